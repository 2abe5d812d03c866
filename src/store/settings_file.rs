//! Settings files: how they are found and trusted.
//!
//! A user who can write a settings file determines which files are read and, for a command,
//! which program is run. So it must belong to root, to the user of this process, or to the
//! owner of its folder (who can put any program there), and no other user may write it.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, access, geteuid};

use crate::request::MetaVariables;
use crate::request::settings::{FileError, Sections, SettingsFile};
use crate::system::accounts;

/// The name of the file beside CGI programs. In all distributions Apache serves no file whose
/// name begins with `.ht`.
pub(crate) const NAME: &str = ".htsse";

/// Whether a settings file may be a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    /// It may: an administrator named it.
    Followed,
    /// It may not.
    Refused,
}

/// The bytes of a server's settings file, and its name for [`SettingsFile::parse`]. A server may
/// hand them to its workers.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_bytes(path: &Path) -> Result<(String, Vec<u8>), FileError> {
    contents(path, open(path, Links::Followed))
}

/// Reads the file in a folder of CGI programs; `None` if there is none.
pub(crate) fn beside(folder: &Path) -> Option<Result<SettingsFile, FileError>> {
    let path = folder.join(NAME);
    match open(&path, Links::Refused) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        opened => Some(parse_beside(&path, opened)),
    }
}

/// Adds the settings of the file beside a CGI program to those of its environment, which take
/// precedence. `program` is the first of its arguments, by which the server names it. The
/// file's folder is that of this path or, if it has none, the working directory (RFC 3875
/// §7.2).
///
/// # Errors
/// The problem of the file. Then `meta` gets only the `SSE_LOG` of the file, if that could be
/// read.
pub(crate) fn complete(meta: &mut MetaVariables, program: &OsStr) -> Result<(), FileError> {
    complete_from(meta, program).map(drop)
}

/// The same; returns the file, if there is one.
///
/// # Errors
/// As of [`complete`].
pub(crate) fn complete_from(
    meta: &mut MetaVariables,
    program: &OsStr,
) -> Result<Option<SettingsFile>, FileError> {
    let program = Path::new(program);
    let folder = program.parent().unwrap_or(Path::new(""));
    let path = folder.join(NAME);
    let added = match open(&path, Links::Refused) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => add(meta, &path, opened, program),
    };
    if let Err(error) = &added {
        if let Some(log) = error.log() {
            if meta.get("SSE_LOG").last().is_none() {
                meta.push("SSE_LOG", log);
            }
        }
    }
    added.map(Some)
}

fn add(
    meta: &mut MetaVariables,
    path: &Path,
    opened: io::Result<File>,
    program: &Path,
) -> Result<SettingsFile, FileError> {
    let file = parse_beside(path, opened)?;
    let name = program.file_name().unwrap_or_default();
    file.complete(meta, file.program(name.as_bytes()));
    Ok(file)
}

/// Reads the file beside CGI programs, whose names must be in the folder.
fn parse_beside(path: &Path, opened: io::Result<File>) -> Result<SettingsFile, FileError> {
    let file = parse(path, opened, Sections::Programs)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    check_programs(&file, folder)?;
    Ok(file)
}

/// Checks that the folder contains every program that a section names.
fn check_programs(file: &SettingsFile, folder: &Path) -> Result<(), FileError> {
    for section in file.sections() {
        for name in &section.names {
            if access(&folder.join(OsStr::from_bytes(name)), AccessFlags::F_OK).is_err() {
                let remedy = "no such program in this folder; correct the name, or remove the \
                              section";
                return Err(file.unknown(section, name, remedy));
            }
        }
    }
    Ok(())
}

/// Opens a settings file, without blocking on a FIFO.
fn open(path: &Path, links: Links) -> io::Result<File> {
    let mut flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    if links == Links::Refused {
        flags |= OFlag::O_NOFOLLOW;
    }
    let mut how = File::options();
    how.read(true).custom_flags(flags.bits()).open(path)
}

fn parse(
    path: &Path,
    opened: io::Result<File>,
    sections: Sections,
) -> Result<SettingsFile, FileError> {
    let (name, bytes) = contents(path, opened)?;
    SettingsFile::parse(&name, &bytes, sections)
}

/// The name and the bytes of a file, if it is trusted.
fn contents(path: &Path, opened: io::Result<File>) -> Result<(String, Vec<u8>), FileError> {
    let name = absolute(path).display().to_string();
    let problem = |problem: &str| FileError::of_file(&name, problem);
    let file = opened.map_err(|error| problem(&unopened(&error)))?;
    let metadata = file.metadata().map_err(|e| problem(&e.to_string()))?;
    if let Some(reason) = distrust(path, &metadata) {
        return Err(problem(&reason));
    }
    let mut bytes = Vec::with_capacity(metadata.len().min(1 << 16) as usize + 1);
    let most = SettingsFile::MAX_BYTES as u64 + 1;
    let read = file.take(most).read_to_end(&mut bytes);
    read.map_err(|error| problem(&error.to_string()))?;
    Ok((name, bytes))
}

/// Why a file could not be opened.
fn unopened(error: &io::Error) -> String {
    let user = accounts::own_name();
    match error.raw_os_error() {
        Some(libc::ELOOP) => "a symbolic link; put the file itself there".into(),
        Some(libc::ENXIO) => "no regular file; replace it by one".into(),
        _ if error.kind() == io::ErrorKind::PermissionDenied => {
            format!("{user} may not read it; make it readable: chmod 644")
        }
        _ => error.to_string(),
    }
}

/// Why a file is not trusted.
fn distrust(path: &Path, metadata: &Metadata) -> Option<String> {
    if !metadata.is_file() {
        return Some("no regular file; replace it by one".into());
    }
    let mode = metadata.mode();
    if mode & 0o022 != 0 {
        let mode = mode & 0o7777;
        return Some(format!("others may write it (mode {mode:04o}); chmod 644"));
    }
    let owner = metadata.uid();
    if owner == 0 || owner == geteuid().as_raw() || Some(owner) == folder_owner(path) {
        return None;
    }
    let user = accounts::own_name();
    Some(format!(
        "it belongs to the user {owner}; give it to {user}, to root, or to the owner of its \
         folder: chown"
    ))
}

fn folder_owner(path: &Path) -> Option<u32> {
    let folder = absolute(path).parent()?.to_owned();
    Some(folder.metadata().ok()?.uid())
}

/// The path that messages name.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
