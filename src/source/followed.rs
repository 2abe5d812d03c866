//! Followed: the file that a stream reads.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::tail::{Disk, DiskFile};
use super::{Host, OpenError, Opening, explain, is_name_too_long};
use crate::request::{Absent, BelowRoot, Format, SettingError};

/// A file to follow.
pub(super) struct Followed {
    pub(super) disk: Box<dyn Disk>,
    pub(super) format: Format,
    /// Whether its name ends in `.json`.
    pub(super) is_json: bool,
    /// The setting that names it and its value, for messages.
    setting: (&'static str, PathBuf),
    /// Its full path, for messages.
    path: PathBuf,
    /// No file had this path when it was opened.
    is_missing: bool,
    host: Rc<dyn Host>,
}

impl Followed {
    /// The file that `SSE_FILE` names, or `PATH_INFO` below `SSE_ROOT`.
    ///
    /// # Errors
    /// When neither is set, or the existence of such a file must not be revealed.
    pub(super) fn of(opening: &Opening<'_>) -> Result<Self, OpenError> {
        let settings = opening.settings;
        let Some(root) = &settings.root else {
            let path = settings.required_file()?;
            let disk = opening.host.disk(&path);
            let setting = ("SSE_FILE", path.clone());
            return Ok(Self::new(opening, disk, path, setting));
        };
        let asked = opening.request.path_info.as_deref().unwrap_or_default();
        let setting = ("SSE_ROOT", root.clone());
        // A forbidden name gets the same response as a missing file. It is not awaited either:
        // no file could ever be served by this name.
        let Some(name) = BelowRoot::parse(asked, &settings.suffixes) else {
            return Err(OpenError::NotFound);
        };
        let mut disk = opening.host.disk_below(root, &name).map_err(|error| {
            if !says_what_the_root_is(&error) {
                return short_of(&setting, &error);
            }
            let remedy = "name a folder that it can read";
            let text = explain(&error, &opening.host.user(), remedy);
            SettingError::new("SSE_ROOT", root.as_os_str().as_encoded_bytes(), text).into()
        })?;
        if settings.absent == Absent::NotFound {
            if let Err(error) = disk.open() {
                if !says_what_the_name_is(&error) {
                    return Err(short_of(&setting, &error));
                }
                // Between a rename and the creation of the new file, there is no file for a moment.
                // If nothing can be opened now, it is unknown whether the file exists, and a 404
                // would end the client's stream permanently.
                let siblings = disk
                    .siblings()
                    .map_err(|error| short_of(&setting, &error))?;
                if siblings.is_empty() {
                    let path = root.join(name.as_path());
                    warn_of_hidden(&**opening.host, &path, &error, "clients get a 404");
                    return Err(OpenError::NotFound);
                }
            }
        }
        let path = root.join(name.as_path());
        Ok(Self::new(opening, disk, path, setting))
    }

    fn new(
        opening: &Opening<'_>,
        disk: Box<dyn Disk>,
        path: PathBuf,
        setting: (&'static str, PathBuf),
    ) -> Self {
        let format = opening.settings.format;
        Self {
            disk,
            format: format.unwrap_or_else(|| Format::of_name(&path)),
            is_json: path
                .extension()
                .is_some_and(|extension| extension == "json"),
            setting,
            path,
            is_missing: false,
            host: Rc::clone(opening.host),
        }
    }

    /// Tells the administrator that the file is awaited, since the path may be a mistake.
    pub(super) fn warn_of_missing(&self) {
        if !self.is_missing {
            return;
        }
        let path = self.path.display();
        let missing = match self.host.missing_folder(&self.path) {
            Some(folder) => format!("the folder {} is missing", folder.display()),
            None => "its folder is there".into(),
        };
        let name = self.setting.0;
        self.host.warn(&format!(
            "{name}: {path} is not there yet; waiting; {missing}; create it, or correct {name}"
        ));
    }

    /// Opens the file, if it exists and can be read; otherwise it is awaited.
    ///
    /// # Errors
    /// When `SSE_FILE` names something that can never be followed.
    pub(super) fn open(&mut self) -> Result<Option<Rc<dyn DiskFile>>, OpenError> {
        let error = match self.disk.open() {
            Ok(file) => return Ok(Some(file)),
            Err(error) => error,
        };
        let (name, path) = &self.setting;
        if error.kind() == io::ErrorKind::NotFound {
            self.is_missing = true;
            return Ok(None);
        }
        // Below a root, an error of the name looks like a missing file. An error of the
        // system's resources is not one of the name.
        if *name != "SSE_FILE" {
            // The file system permits no name of this length, so there will never be such a
            // file.
            if is_name_too_long(&error) {
                return Err(OpenError::NotFound);
            }
            if !says_what_the_name_is(&error) {
                return Err(short_of(&self.setting, &error));
            }
            let siblings = self.disk.siblings();
            return match siblings {
                Ok(_) => {
                    warn_of_hidden(&*self.host, &self.path, &error, "it is waited for");
                    Ok(None)
                }
                Err(error) => Err(short_of(&self.setting, &error)),
            };
        }
        if error.kind() == io::ErrorKind::InvalidInput {
            let remedy = format!("{error}; name a regular file, there or to come");
            return Err(
                SettingError::new(name, path.as_os_str().as_encoded_bytes(), remedy).into(),
            );
        }
        // Its content is unknown now: a client that has an id keeps it and reconnects.
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "let it read the file and search the folders above it"
            }
            _ => "clients are asked to come again",
        };
        let text = explain(&error, &self.host.user(), remedy);
        Err(OpenError::Temporary(format!(
            "{name}={}: {text}",
            path.display()
        )))
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

/// Whether an error concerns the folder, and not the system's resources.
fn says_what_the_root_is(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, NotADirectory, NotFound, PermissionDenied};
    let kinds = [InvalidInput, NotADirectory, NotFound, PermissionDenied];
    kinds.contains(&error.kind())
}

/// Whether an error concerns the name: it leads to nothing, to something that is not a file,
/// out of the root, or to a file that this user may not read. Any other error is temporary, and
/// does not show whether the file exists: EIO, ESTALE, no memory or descriptor left.
fn says_what_the_name_is(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, IsADirectory};
    let kinds = [CrossesDevices, IsADirectory];
    says_what_the_root_is(error) || kinds.contains(&error.kind()) || is_name_too_long(error)
}

/// Tells the administrator why a client does not get a file below a root although it exists.
fn warn_of_hidden(host: &dyn Host, path: &Path, error: &io::Error, outcome: &str) {
    use io::ErrorKind::{CrossesDevices, PermissionDenied};
    let remedy = match error.kind() {
        PermissionDenied => "let it read the file and search the folders above it",
        CrossesDevices => {
            "a link leads out of SSE_ROOT; remove it, or set SSE_ROOT to a folder \
                           that contains both"
        }
        _ => return,
    };
    let text = explain(error, &host.user(), &format!("{outcome}; {remedy}"));
    host.warn(&format!("SSE_ROOT: {}: {text}", path.display()));
}

/// The error if descriptors or other resources are exhausted.
fn short_of((name, path): &(&str, PathBuf), error: &io::Error) -> OpenError {
    let path = path.display();
    OpenError::Temporary(format!("{name}={path}: {error}"))
}
