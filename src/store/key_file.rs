//! KeyFiles: the files that access is checked with, read again when they change.

pub(crate) mod selecting;

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
    AccessKeys, AccessSettings, Admission, Grants, MetaVariables, Purpose, ReadTokenKeys, Refusal,
    SettingError, SigningKeys, TokenKeys,
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

/// The keys of files that were read. The default, for CGI programs, knows links only.
#[derive(Default)]
pub(crate) struct KeyFiles {
    links: Kept<SigningKeys>,
    tokens: Kept<dyn TokenKeys>,
    /// Reads a key file for JSON Web Tokens; `None` in a program without their verification.
    read_token_keys: Option<ReadTokenKeys>,
}

/// The keys of each file, with its version.
type Kept<T> = RefCell<HashMap<PathBuf, (Version, Rc<T>)>>;

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
    /// For a program that knows tokens, too.
    pub(crate) fn with_tokens(read_token_keys: Option<ReadTokenKeys>) -> Self {
        Self {
            read_token_keys,
            ..Self::default()
        }
    }

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
        let grants = self.grants(meta, settings, purpose, now)?;
        let admitted = grants.map(|grants| grants.admit(None)).transpose();
        admitted.map_err(AccessError::Refused)
    }

    /// Checks what a request presents. `None`: no access is needed here.
    ///
    /// # Errors
    /// When that cannot be decided.
    pub(crate) fn grants(
        &self,
        meta: &MetaVariables,
        settings: &AccessSettings,
        purpose: Purpose,
        now: Now,
    ) -> Result<Option<Grants>, AccessError> {
        if !settings.is_required() {
            return Ok(None);
        }
        let links = settings.keys.as_deref().map(|path| self.links(path));
        let links = links.transpose()?;
        let tokens = settings.token_keys.as_deref().map(|path| self.tokens(path));
        let tokens = tokens.transpose()?;
        let keys = AccessKeys {
            links: links.as_deref(),
            tokens: tokens.as_deref(),
        };
        Ok(Some(Grants::of(meta, settings, keys, purpose, now.unix_ms)))
    }

    fn links(&self, path: &Path) -> Result<Rc<SigningKeys>, AccessError> {
        let parse = |file: &[u8]| {
            let keys = SigningKeys::parse(file).map_err(|problem| problem.to_string())?;
            Ok((Rc::new(keys), Exposed::Secret))
        };
        keys_of(&self.links, "SSE_KEYS", path, parse)
    }

    fn tokens(&self, path: &Path) -> Result<Rc<dyn TokenKeys>, AccessError> {
        let name = "SSE_JWT_KEYS";
        let Some(read) = self.read_token_keys else {
            let text = "this program does not check JSON Web Tokens; use sse-fcgi or sse-httpd \
                        (built with the feature jwt), or signed links (SSE_KEYS)";
            let value = path.as_os_str().as_encoded_bytes();
            return Err(AccessError::Setting(SettingError::new(name, value, text)));
        };
        let parse = |file: &[u8]| {
            let keys: Rc<dyn TokenKeys> = read(file)?.into();
            let exposed = match keys.has_secret() {
                true => Exposed::Secret,
                false => Exposed::Public,
            };
            Ok((keys, exposed))
        };
        keys_of(&self.tokens, name, path, parse)
    }
}

/// What others may know of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exposed {
    /// Nothing.
    Secret,
    /// Everything; they may only not change it.
    Public,
}

/// The keys of the file that a setting names, which are read if it has changed.
fn keys_of<T: ?Sized>(
    kept: &Kept<T>,
    name: &str,
    path: &Path,
    parse: impl FnOnce(&[u8]) -> Result<(Rc<T>, Exposed), String>,
) -> Result<Rc<T>, AccessError> {
    let wrong = |text: String| {
        let value = path.as_os_str().as_encoded_bytes();
        AccessError::Setting(SettingError::new(name, value, text))
    };
    let of_system = |error: &io::Error| {
        let remedy = "name a file of keys that this user can read";
        let text = explain(error, &accounts::own_name(), remedy);
        match is_lasting(error) {
            true => wrong(text),
            false => AccessError::Temporary(format!("{name}={}: {text}", path.display())),
        }
    };
    let (file, metadata) = disk::open_regular(path).map_err(|error| of_system(&error))?;
    let version = Version::of(&metadata);
    if let Some((known, keys)) = kept.borrow().get(path) {
        if *known == version {
            return Ok(Rc::clone(keys));
        }
    }
    let bytes = read(&file).map_err(|error| of_system(&error))?;
    let (keys, exposed) = match parse(&bytes) {
        Ok(parsed) => parsed,
        // Who else can read it matters more.
        Err(problem) => {
            return Err(wrong(
                exposure(&metadata, Exposed::Secret).unwrap_or(problem),
            ));
        }
    };
    if let Some(problem) = exposure(&metadata, exposed) {
        return Err(wrong(problem));
    }
    if is_settled(&metadata) {
        let mut kept = kept.borrow_mut();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(path.to_owned(), (version, Rc::clone(&keys)));
    }
    Ok(keys)
}

/// Who else may read or replace the keys, in words. The group may read them: a web server's
/// user often has them by that.
fn exposure(metadata: &Metadata, exposed: Exposed) -> Option<String> {
    let mode = metadata.mode() & 0o7777;
    match exposed {
        Exposed::Secret if mode & 0o027 != 0 => Some(format!(
            "others can read or write these keys (mode {mode:04o}); chmod o-rwx,g-wx"
        )),
        Exposed::Public if mode & 0o022 != 0 => Some(format!(
            "others can write these keys (mode {mode:04o}); chmod go-w"
        )),
        _ => None,
    }
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
