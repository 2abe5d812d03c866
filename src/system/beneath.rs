//! The folders that a responder is confined to (`--beneath`).
//!
//! ```text
//! path ──► resolve: every link followed by us ──► below a folder? ──► open from that
//!                                                   │ no               folder, no links
//!                                                   └──► refused
//! ```
//!
//! A request names paths, and a user who can write below one of the folders can put links
//! there. So the check of a request is repeated whenever a file is opened, and the kernel opens
//! the resolved path from the folder without following any link. A component that was replaced
//! by a link in between causes an error.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};

use super::below::{self, Links};

/// The kernel's limit for links in a path.
const LINKS_MAX: u32 = 40;

/// The folders of a confined process. CGI programs never set it, so they do not contain the
/// code.
static CONFINED: OnceLock<Confined> = OnceLock::new();

struct Confined {
    open: fn(&Path, OFlag, Mode) -> io::Result<OwnedFd>,
    make_folder: fn(&Path, Mode) -> io::Result<()>,
    folders: Vec<PathBuf>,
}

/// Confines this process to these folders, which must exist.
///
/// # Errors
/// The folder and the remedy.
pub(crate) fn confine(folders: &[PathBuf]) -> Result<(), String> {
    if folders.is_empty() {
        return Ok(());
    }
    let resolved: Result<Vec<PathBuf>, String> = folders.iter().map(|path| folder(path)).collect();
    let confined = Confined {
        open: open_below_a_folder,
        make_folder: make_below_a_folder,
        folders: resolved?,
    };
    CONFINED
        .set(confined)
        .map_err(|_| "--beneath: the process is confined already".into())
}

fn folder(path: &Path) -> Result<PathBuf, String> {
    let shown = path.display();
    let remedy = "name a folder that exists and that this user can enter";
    let resolved = fs::canonicalize(path)
        .and_then(|path| open_folder(&path).map(|_| path))
        .map_err(|error| format!("--beneath {shown}: {error}; {remedy}"))?;
    Ok(resolved)
}

/// Whether a path that a request names lies below one of the folders.
///
/// # Errors
/// The reason, for the log.
pub(crate) fn check(path: &Path) -> Result<(), String> {
    let Some(confined) = CONFINED.get() else {
        return Ok(());
    };
    find(&confined.folders, path).map(|_| ()).map_err(|error| {
        let folders: Vec<String> = confined
            .folders
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        format!(
            "{error}; the responder was started with --beneath {}: name a path below it, or \
             add --beneath for another folder",
            folders.join(" --beneath ")
        )
    })
}

/// Opens an existing file or folder like `open(2)`; in a confined process only below one of the
/// folders.
///
/// # Errors
/// The system's error; `PermissionDenied` for a path outside of the folders.
pub(crate) fn open(path: &Path, flags: OFlag) -> io::Result<File> {
    match CONFINED.get() {
        Some(confined) => (confined.open)(path, flags, Mode::empty()).map(File::from),
        None => {
            let mut how = OpenOptions::new();
            how.read(true).custom_flags(flags.bits()).open(path)
        }
    }
}

/// Creates a folder whose parent exists.
///
/// # Errors
/// Like [`open`].
pub(crate) fn make_folder(path: &Path, mode: Mode) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    match CONFINED.get() {
        Some(confined) => (confined.make_folder)(path, mode),
        None => fs::DirBuilder::new().mode(mode.bits()).create(path),
    }
}

/// Whether a folder may be listed.
///
/// # Errors
/// `PermissionDenied` if it is outside of the folders.
pub(crate) fn may_list(path: &Path) -> io::Result<()> {
    match CONFINED.get() {
        Some(confined) => {
            (confined.open)(path, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()).map(|_| ())
        }
        None => Ok(()),
    }
}

fn open_below_a_folder(path: &Path, flags: OFlag, mode: Mode) -> io::Result<OwnedFd> {
    let folders = CONFINED.get().map_or(&[][..], |confined| &confined.folders);
    let (folder, rest) = find(folders, path)?;
    open_from(&folder, &rest, flags, mode)
}

fn make_below_a_folder(path: &Path, mode: Mode) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let parent = open_below_a_folder(parent, flags, Mode::empty())?;
    Ok(mkdirat(&parent, name, mode)?)
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = (OFlag::O_PATH | OFlag::O_DIRECTORY).bits();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    opened.map(OwnedFd::from)
}

/// Opens `rest`, a resolved path, from `folder`: no component of it may be a link.
fn open_from(folder: &Path, rest: &Path, flags: OFlag, mode: Mode) -> io::Result<OwnedFd> {
    let folder = open_folder(folder)?;
    let rest = if rest.as_os_str().is_empty() {
        Path::new(".")
    } else {
        rest
    };
    Ok(below::open_below(
        &folder,
        rest,
        flags,
        mode,
        Links::Refused,
    )?)
}

/// The folder that contains a path, and the path relative to it.
fn find(folders: &[PathBuf], path: &Path) -> io::Result<(PathBuf, PathBuf)> {
    let resolved = resolve(path)?;
    let mut found = folders.iter().filter_map(|folder| {
        let rest = resolved.strip_prefix(folder).ok()?;
        Some((folder.clone(), rest.to_owned()))
    });
    found.next().ok_or_else(|| {
        let text = if resolved == path {
            "lies outside".to_owned()
        } else {
            format!("leads to {}, outside", resolved.display())
        };
        io::Error::new(io::ErrorKind::PermissionDenied, text)
    })
}

/// The path without links, `.` and `..`. Components that do not exist are kept unchanged. So a
/// path that would lead out after somebody creates a folder (`missing/../..`) is refused.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut resolved = PathBuf::from("/");
    let mut left: VecDeque<OsString> = components(&std::path::absolute(path)?);
    let mut links = 0;
    let mut is_missing = false;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            if is_missing {
                let text = "`..` behind a folder that does not exist";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
            }
            resolved.pop();
            continue;
        }
        resolved.push(&name);
        if is_missing {
            continue;
        }
        let metadata = match fs::symlink_metadata(&resolved) {
            Ok(metadata) => metadata,
            // A component that cannot be read cannot be opened either, and is checked again
            // before it is.
            Err(error) if is_out_of_sight(&error) => {
                is_missing = true;
                continue;
            }
            Err(error) => return Err(error),
        };
        if metadata.is_symlink() {
            links += 1;
            if links > LINKS_MAX {
                return Err(Errno::ELOOP.into());
            }
            let target = fs::read_link(&resolved)?;
            resolved.pop();
            if target.is_absolute() {
                resolved = PathBuf::from("/");
            }
            for name in components(&target).into_iter().rev() {
                left.push_front(name);
            }
        }
    }
    Ok(resolved)
}

fn is_out_of_sight(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}

/// The components of a path, including `..`.
fn components(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::new("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder for one test, without links in its path.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("sse-beneath-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(path.join("in/sub")).unwrap();
            fs::create_dir_all(path.join("inside")).unwrap();
            fs::write(path.join("in/a.log"), "a").unwrap();
            fs::write(path.join("secret"), "s").unwrap();
            Self(path.canonicalize().unwrap())
        }

        fn check(&self, path: &str, expected: Option<&str>) {
            let found = find(&[self.0.join("in")], &self.0.join(path));
            let rest = found.as_ref().ok().map(|(_, rest)| rest.to_str().unwrap());
            assert_eq!(rest, expected, "{path}: {found:?}");
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn names_lead_out_of_a_folder_by_no_trick() {
        let scratch = Scratch::new("names");
        let link = |from: &str, to: &str| symlink(to, scratch.0.join(from)).unwrap();
        link("in/secret", "../secret");
        link("in/up", "..");
        link("in/root", "/");
        link("in/dangling", "../later");
        link("in/loop", "loop");
        link("in/current", "sub/../a.log");
        link("in/absolute", scratch.0.join("in/a.log").to_str().unwrap());
        link("way-in", "in/sub");
        for (path, expected) in [
            ("in", Some("")),
            ("in/", Some("")),
            ("in/a.log", Some("a.log")),
            ("in/./sub/../a.log", Some("a.log")),
            ("inside/../in/a.log", Some("a.log")),
            ("in/not/there/yet", Some("not/there/yet")),
            ("in/a.log/below-a-file", Some("a.log/below-a-file")),
            ("in/current", Some("a.log")),
            ("in/absolute", Some("a.log")),
            ("way-in/b.log", Some("sub/b.log")),
            ("in/up/in/a.log", Some("a.log")),
            ("secret", None),
            ("inside", None),
            ("in/../secret", None),
            ("in/sub/../../secret", None),
            ("in/secret", None),
            ("in/up/secret", None),
            ("in/root/etc/shadow", None),
            ("in/dangling", None),
            ("in/loop", None),
            ("in/missing/../../secret", None),
            ("in/missing/../a.log", None),
            ("in/a.log/../../secret", None),
            ("../../../../../../etc/shadow", None),
        ] {
            scratch.check(path, expected);
        }
    }

    #[test]
    fn a_link_that_was_put_in_place_meanwhile_is_not_followed() {
        let scratch = Scratch::new("race");
        let folder = scratch.0.join("in");
        let (folder, rest) = find(&[folder], &scratch.0.join("in/sub/secret")).unwrap();
        let open = || open_from(&folder, &rest, OFlag::O_RDONLY, Mode::empty());
        fs::write(scratch.0.join("in/sub/secret"), "not yet").unwrap();
        open().unwrap();
        fs::remove_dir_all(scratch.0.join("in/sub")).unwrap();
        symlink("..", scratch.0.join("in/sub")).unwrap();
        assert_eq!(
            open().unwrap_err().raw_os_error(),
            Some(Errno::ELOOP as i32)
        );
    }
}
