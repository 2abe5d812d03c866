//! Which file a stream reads.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::tail::{Disk, DiskFile, Sibling, Stat};
use super::{OpenError, Opening};
use crate::request::{Absent, BelowRoot, Format, SettingError};

/// A file to follow, and what kind its name says it is.
pub(super) struct Followed {
    pub(super) disk: Box<dyn Disk>,
    pub(super) format: Format,
    /// Whether its name ends in `.json`.
    pub(super) is_json: bool,
    /// The setting that names it and its value, for messages.
    setting: (&'static str, PathBuf),
    /// Its path, for messages.
    path: PathBuf,
}

impl Followed {
    /// The file that `SSE_FILE` names, or `PATH_INFO` below `SSE_ROOT`.
    ///
    /// # Errors
    /// When neither is set, or no file of that name may be known of.
    pub(super) fn of(opening: &Opening<'_>) -> Result<Self, OpenError> {
        let settings = opening.settings;
        let Some(root) = &settings.root else {
            let path = settings.required_file()?;
            let disk = opening.world.disk(&path);
            let named = (path.clone(), ("SSE_FILE", path));
            return Ok(Self::new(disk, &named.0, settings.format, named.1));
        };
        let asked = opening.request.path_info.as_deref().unwrap_or_default();
        let setting = ("SSE_ROOT", root.clone());
        let Some(name) = BelowRoot::parse(asked, &settings.suffixes) else {
            // What may not be named looks exactly like what is not there.
            return match settings.absent {
                Absent::NotFound => Err(OpenError::NotFound),
                Absent::Awaited => {
                    let name = PathBuf::from("absent");
                    Ok(Self::new(
                        Box::new(Nowhere),
                        &name,
                        settings.format,
                        setting,
                    ))
                }
            };
        };
        let mut disk = opening.world.disk_below(root, &name).map_err(|error| {
            if !says_what_the_root_is(&error) {
                return short_of(&setting, &error);
            }
            let remedy = format!("{error}; name a folder that this user can read");
            SettingError::new("SSE_ROOT", root.as_os_str().as_encoded_bytes(), remedy).into()
        })?;
        if settings.absent == Absent::NotFound
            && let Err(error) = disk.open()
        {
            if !says_what_the_name_is(&error) {
                return Err(short_of(&setting, &error));
            }
            // Between a rename and the new file there is none, for a moment. Where nothing
            // can be opened now, whether it is there cannot be told, and a 404 would end the
            // client's stream for good.
            let siblings = disk
                .siblings()
                .map_err(|error| short_of(&setting, &error))?;
            if siblings.is_empty() {
                return Err(OpenError::NotFound);
            }
        }
        Ok(Self::new(disk, name.as_path(), settings.format, setting))
    }

    fn new(
        disk: Box<dyn Disk>,
        name: &Path,
        format: Option<Format>,
        setting: (&'static str, PathBuf),
    ) -> Self {
        Self {
            disk,
            format: format.unwrap_or_else(|| Format::of_name(name)),
            is_json: name
                .extension()
                .is_some_and(|extension| extension == "json"),
            path: match setting.0 {
                "SSE_ROOT" => setting.1.join(name),
                _ => setting.1.clone(),
            },
            setting,
        }
    }

    /// Opens the file, if it is there and can be read; otherwise it is waited for.
    ///
    /// # Errors
    /// When `SSE_FILE` names something that will never be a file to follow.
    pub(super) fn open(&mut self) -> Result<Option<Rc<dyn DiskFile>>, OpenError> {
        let error = match self.disk.open() {
            Ok(file) => return Ok(Some(file)),
            Err(error) => error,
        };
        let (name, path) = &self.setting;
        if error.kind() == io::ErrorKind::NotFound {
            return Ok(None);
        }
        // Below a root, whatever is wrong looks like a name that is not there; but what the
        // system lacks is not wrong with the name.
        if *name != "SSE_FILE" {
            if !says_what_the_name_is(&error) {
                return Err(short_of(&self.setting, &error));
            }
            let siblings = self.disk.siblings();
            return match siblings {
                Ok(_) => Ok(None),
                Err(error) => Err(short_of(&self.setting, &error)),
            };
        }
        if error.kind() == io::ErrorKind::InvalidInput {
            let remedy = format!("{error}; name a regular file, there or to come");
            return Err(
                SettingError::new(name, path.as_os_str().as_encoded_bytes(), remedy).into(),
            );
        }
        // What it holds cannot be told now: a client that has an id keeps it, and comes
        // again.
        let path = path.display();
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied => "; let this user read the file",
            _ => "",
        };
        let trouble = format!("{name}={path}: {error}{remedy}");
        Err(OpenError::Temporary(trouble))
    }

    /// The file's path, for messages.
    pub(super) fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// The file's path, or its root's, for messages.
    pub(super) fn display(&self) -> String {
        self.setting.1.display().to_string()
    }
}

/// Whether an error is about the folder, and not about what the system lacks.
fn says_what_the_root_is(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, NotADirectory, NotFound, PermissionDenied};
    let kinds = [InvalidInput, NotADirectory, NotFound, PermissionDenied];
    kinds.contains(&error.kind())
}

/// Whether an error is about the name: it leads to nothing, to no file, out of the root or
/// to what this user may not read. Any other is trouble that passes, and says nothing of
/// whether the file is there: EIO, ESTALE, no memory or descriptor left.
fn says_what_the_name_is(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, InvalidFilename, IsADirectory};
    let kinds = [CrossesDevices, InvalidFilename, IsADirectory];
    says_what_the_root_is(error) || kinds.contains(&error.kind())
}

/// There is no descriptor left, or the like.
fn short_of((name, path): &(&str, PathBuf), error: &io::Error) -> OpenError {
    let path = path.display();
    OpenError::Temporary(format!("{name}={path}: {error}"))
}

/// A file that will never be there.
struct Nowhere;

fn not_there<T>() -> io::Result<T> {
    Err(io::Error::from(io::ErrorKind::NotFound))
}

impl Disk for Nowhere {
    fn stat(&mut self) -> io::Result<Stat> {
        not_there()
    }

    fn open(&mut self) -> io::Result<Rc<dyn DiskFile>> {
        not_there()
    }

    fn siblings(&mut self) -> io::Result<Vec<Sibling>> {
        Ok(Vec::new())
    }

    fn open_sibling(&mut self, _: &str) -> io::Result<Rc<dyn DiskFile>> {
        not_there()
    }
}
