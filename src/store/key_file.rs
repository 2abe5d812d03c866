//! KeyFiles: the files that access is checked with, read again when they change.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::disk;
use crate::request::{
    AccessSettings, Admission, MetaVariables, Purpose, Refusal, SettingError, SigningKeys, admit,
};
use crate::source::{Now, explain, is_lasting};
use crate::system::accounts;

/// The largest number of files whose keys are kept: a location names one. With more of them
/// each request reads its file.
const KEPT_MAX: usize = 256;

/// A file that was written less than this ago may be written again without a change of its
/// times, whose resolution is a tick of the kernel's clock. So what is read of it is not kept.
const FRESH: Duration = Duration::from_secs(2);

/// Why it cannot be decided whether a client has access, or that it has none.
pub(crate) enum AccessError {
    /// It has none: 403.
    Refused(Refusal),
    /// A setting is wrong: 500, and the log names the setting.
    Setting(SettingError),
    /// A file cannot be read now; the text is for the log.
    Temporary(String),
}

/// The keys of files that were read.
#[derive(Default)]
pub(crate) struct KeyFiles {
    kept: RefCell<HashMap<PathBuf, (Version, Rc<SigningKeys>)>>,
}

/// What changes when a file does.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    bytes: u64,
    mode: u32,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            mode: metadata.mode(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl KeyFiles {
    /// Decides whether a client has access. `None`: none is needed here.
    ///
    /// # Errors
    /// When it has none, and when that cannot be decided.
    pub(crate) fn admit(
        &self,
        meta: &MetaVariables,
        settings: &AccessSettings,
        purpose: Purpose,
        now: Now,
    ) -> Result<Option<Admission>, AccessError> {
        let Some(path) = &settings.keys else {
            return Ok(None);
        };
        let keys = self.keys("SSE_KEYS", path)?;
        match admit(meta, settings, &keys, purpose, now.unix_ms) {
            Ok(admission) => Ok(Some(admission)),
            Err(refusal) => Err(AccessError::Refused(refusal)),
        }
    }

    /// The keys of the file that a setting names.
    fn keys(&self, name: &str, path: &Path) -> Result<Rc<SigningKeys>, AccessError> {
        let wrong =
            |text: String| SettingError::new(name, path.as_os_str().as_encoded_bytes(), text);
        let of_system = |error: &io::Error| {
            let remedy = "name a file of keys that this user can read";
            let error_of_setting = wrong(explain(error, &accounts::own_name(), remedy));
            match is_lasting(error) {
                true => AccessError::Setting(error_of_setting),
                false => AccessError::Temporary(error_of_setting.to_string()),
            }
        };
        let (file, metadata) = disk::open_regular(path).map_err(|error| of_system(&error))?;
        if let Some(problem) = exposure(&metadata) {
            return Err(AccessError::Setting(wrong(problem)));
        }
        let version = Version::of(&metadata);
        if let Some((known, keys)) = self.kept.borrow().get(path)
            && *known == version
        {
            return Ok(Rc::clone(keys));
        }
        let bytes = read(&file).map_err(|error| of_system(&error))?;
        let keys = SigningKeys::parse(&bytes)
            .map_err(|problem| AccessError::Setting(wrong(problem.to_string())))?;
        let keys = Rc::new(keys);
        if is_settled(&metadata) {
            let mut kept = self.kept.borrow_mut();
            if kept.len() >= KEPT_MAX {
                kept.clear();
            }
            kept.insert(path.to_owned(), (version, Rc::clone(&keys)));
        }
        Ok(keys)
    }
}

/// Who else may read or replace the keys, in words. The group may read them: a web server's
/// user often has them by that.
fn exposure(metadata: &Metadata) -> Option<String> {
    let mode = metadata.mode() & 0o7777;
    (mode & 0o027 != 0)
        .then(|| format!("others can read or write these keys (mode {mode:04o}); chmod o-rwx,g-wx"))
}

fn is_settled(metadata: &Metadata) -> bool {
    let modified = metadata.modified().ok();
    let age = modified.and_then(|at| SystemTime::now().duration_since(at).ok());
    age.is_some_and(|age| age >= FRESH)
}

fn read(file: &File) -> io::Result<Vec<u8>> {
    let most = SigningKeys::FILE_MAX_BYTES;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let text = format!("longer than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(bytes)
}
