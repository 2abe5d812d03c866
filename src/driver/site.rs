//! Where the records of a request go, whether it is its client's turn, and what is said
//! when that comes to nothing.
//!
//! Nothing here waits.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use super::append::{Missing, Target, Trouble};
use super::disk;
use super::log::{Level, Log};
use crate::publish::rate::{self, Bucket, Key};
use crate::publish::{Replies, Reply, Tokens};
use crate::request::{
    Absent, BelowRoot, Format, Grant, Publishing, Request, SettingError, Settings,
};

/// The file that is published to, and how.
pub(super) struct Site {
    pub(super) settings: Settings,
    pub(super) publishing: Publishing,
}

/// Why nothing was published.
pub(super) enum Refused {
    /// A setting is wrong: 500, and the log says which.
    Setting(SettingError),
    /// No such file, or none that may be known of.
    NotFound,
    /// It is said when to come again.
    TooOften(Duration),
    /// The file cannot be written to now; for the log.
    Unavailable(String),
}

impl From<SettingError> for Refused {
    fn from(error: SettingError) -> Self {
        Self::Setting(error)
    }
}

impl Refused {
    /// Why a record could not be added.
    pub(super) fn of(target: &Target, trouble: Trouble) -> Self {
        let name = target.name();
        Self::Unavailable(match trouble {
            Trouble::NotFound => return Self::NotFound,
            Trouble::Busy => format!("publish to {name}: others held its lock all the time"),
            Trouble::System(error) => format!("publish to {name}: {error}"),
        })
    }

    /// What the client is told.
    pub(super) fn reply(&self, replies: &Replies) -> Reply {
        match self {
            Self::Setting(_) => replies.misconfigured(),
            Self::NotFound => replies.not_found(),
            Self::TooOften(wait) => replies.too_many(*wait),
            Self::Unavailable(_) => replies.unavailable(),
        }
    }

    /// Tells the administrator what is his to mend.
    pub(super) fn log(&self, log: &Log) {
        match self {
            Self::Setting(error) => log.line(Level::Error, &error.to_string()),
            Self::Unavailable(text) => log.line(Level::Warning, text),
            Self::NotFound | Self::TooOften(_) => {}
        }
    }
}

impl Site {
    /// The tokens that count here.
    pub(super) fn tokens(&self) -> Result<Tokens, SettingError> {
        match &self.publishing.token_file {
            Some(path) if self.publishing.allow.contains(&Grant::Token) => {
                let read = disk::open_regular(path).and_then(|(file, _)| read_tokens(&file));
                read.map_err(|error| {
                    let value = path.as_os_str().as_encoded_bytes();
                    let remedy = format!("{error}; name a file of tokens that this user can read");
                    SettingError::new("SSE_PUBLISH_TOKEN_FILE", value, remedy)
                })
            }
            _ => Ok(Tokens::default()),
        }
    }

    /// The file that a request means.
    pub(super) fn target(&self, request: &Request) -> Result<Target, Refused> {
        let is_jsonl = |path: &Path| {
            let format = self.settings.format;
            format.unwrap_or_else(|| Format::of_name(path)) == Format::Jsonl
        };
        if let Some(root) = &self.settings.root {
            let asked = request.path_info.as_deref().unwrap_or_default();
            let name = BelowRoot::parse(asked, &self.settings.suffixes);
            // What is read as plain lines is no place for records: a log, say.
            let name = name
                .filter(|name| is_jsonl(name.as_path()))
                .ok_or(Refused::NotFound)?;
            let missing = match self.settings.absent {
                Absent::Awaited => Missing::Made,
                Absent::NotFound => Missing::Told,
            };
            return Target::below(root, &name, missing).map_err(|trouble| match trouble {
                Trouble::System(error) => unavailable(root, &error),
                _ => Refused::NotFound,
            });
        }
        let Some(path) = &self.settings.file else {
            let remedy = "not set; set SSE_FILE or SSE_ROOT to where records go";
            return Err(SettingError::new("SSE_FILE", b"", remedy).into());
        };
        if !is_jsonl(path) {
            let value = path.as_os_str().as_encoded_bytes();
            let remedy = "records are JSON lines; name a file that ends in .jsonl, \
                          or set SSE_FORMAT=jsonl";
            return Err(SettingError::new("SSE_FILE", value, remedy).into());
        }
        Target::at(path).map_err(|error| unavailable(path, &error))
    }
}

fn unavailable(path: &Path, error: &io::Error) -> Refused {
    Refused::Unavailable(format!("{}: {error}", path.display()))
}

fn read_tokens(file: &File) -> io::Result<Tokens> {
    let mut bytes = Vec::new();
    let most = Tokens::FILE_MAX_BYTES;
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("longer than {most} bytes")));
    }
    Ok(Tokens::parse(&bytes))
}

/// Counts a post against its client's rate. `Err(Trouble::Busy)` asks to come again; the
/// inner error is how long the client has to wait.
pub(super) fn take_turn(
    target: &Target,
    publishing: &Publishing,
    client: &[u8],
    unix_ms: u64,
) -> Result<Result<(), Duration>, Trouble> {
    let Some(rate) = publishing.rate else {
        return Ok(Ok(()));
    };
    let table = target.open_beside(".rate")?;
    let key = Key::of(client);
    let mut bucket: Bucket = [0; size_of::<Bucket>()];
    let place = key.bucket() * size_of::<Bucket>() as u64;
    match table.read_exact_at(&mut bucket, place) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => bucket.fill(0),
        read => read?,
    }
    let admitted = rate::admit(&mut bucket, key, rate, unix_ms);
    if admitted.is_ok() {
        table.write_all_at(&bucket, place)?;
    }
    Ok(admitted)
}
