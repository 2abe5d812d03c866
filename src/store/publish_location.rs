//! PublishLocation: where the records of a request go, whether its client may publish now, and
//! the errors.
//!
//! Nothing here waits.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::append::{AppendError, MissingFile, Presence, Target};
use super::disk;
use super::spool::SpoolFolder;
use crate::publish::rate::{self, Bucket, Key};
use crate::publish::{PostFields, Record, Replies, Reply, Tokens};
use crate::request::{
    Absent, BelowRoot, Durability, Format, Grant, Publishing, Request, SettingError, Settings,
};
use crate::source::redis::Confirmation;
use crate::source::room::{history_settings, may_be_room, members_of};
use crate::source::session::{SPOOL_REMEDY, is_in_engine};
use crate::source::tail::TailId;
use crate::source::{
    Author, Now, Recipients, SessionId, SessionKind, Spool as _, explain, is_lasting,
};
use crate::system::accounts;
use crate::system::log::{Level, Log};

/// The location that is published to.
pub(crate) struct PublishLocation {
    pub(crate) settings: Settings,
    pub(crate) publishing: Publishing,
    /// The recipients of a POST; `None`: the stream's file, or its key.
    pub(crate) recipients: Option<Recipients>,
    /// The access to engines.
    pub(crate) engines: Engines,
    /// Who is told that an engine has answered; see [`OpenEntries`].
    pub(crate) owner: u64,
}

/// Whether a program publishes to the streams of engines.
#[derive(Clone)]
pub(crate) enum Engines {
    /// It does not.
    Absent,
    /// It does at a location that names a key.
    Offered(Rc<dyn OpenEntries>),
    /// It does nothing else.
    Only(Rc<dyn OpenEntries>),
}

/// The access to the streams of engines. A program without it contains none of their code.
pub(crate) trait OpenEntries {
    /// The stream to which a request publishes.
    fn open_entries(
        &self,
        location: &PublishLocation,
        request: &Request,
        fields: &PostFields,
    ) -> Result<Box<dyn EntryDestination>, PublishError>;

    /// The room or the private session to which a request publishes.
    fn open_session(
        &self,
        recipients: Recipients,
        location: &PublishLocation,
        request: &Request,
        fields: &PostFields,
    ) -> Result<Box<dyn EntryDestination>, PublishError>;

    /// Waits until an engine has answered, at most so long. Only a program without an event loop
    /// calls it.
    fn wait(&self, time: Duration);
}

/// A stream of an engine, as the destination of one record. It never waits.
pub(crate) trait EntryDestination {
    /// Whether its client may publish now, when it is known; in a room, as which member.
    fn turn(&mut self) -> Option<Result<Option<Author>, PublishError>> {
        Some(Ok(None))
    }

    /// Begins to append it.
    fn append(&mut self, record: &Record);

    /// The id of its event, when it is known.
    fn outcome(&mut self) -> Option<Result<String, PublishError>>;

    /// The error of a record whose outcome was not known in time.
    fn gave_up(&self) -> PublishError;
}

/// Why nothing was published.
pub(crate) enum PublishError {
    /// A setting is wrong: the status is 500, and the log names the setting.
    Setting(SettingError),
    /// There is no such file, or it must not be disclosed.
    NotFound,
    /// The same for the client; the text is for the log.
    Hidden(String),
    /// There is no such session, or it has ended.
    NoSession,
    /// The client exceeds its rate and must wait so long.
    TooOften(Duration),
    /// The file cannot be written now; the text is for the log.
    Unavailable(String),
    /// The same, until somebody acts.
    Unwritable(String),
}

impl From<SettingError> for PublishError {
    fn from(error: SettingError) -> Self {
        Self::Setting(error)
    }
}

impl PublishError {
    /// The error of appending a record.
    pub(crate) fn of(target: &Target, trouble: AppendError) -> Self {
        let path = target.display();
        match trouble {
            AppendError::NotFound => Self::NotFound,
            AppendError::Hidden(error) => Self::Hidden(hidden(&path, &error)),
            AppendError::Busy => {
                let text = format!("publish to {path}: others held its lock all the time");
                Self::Unavailable(text)
            }
            AppendError::System(error) => unavailable(&path, &error),
        }
    }

    /// The response.
    pub(crate) fn reply(&self, replies: &Replies) -> Reply {
        match self {
            Self::Setting(_) => replies.misconfigured(),
            Self::NotFound | Self::Hidden(_) => replies.not_found(),
            Self::NoSession => replies.no_session(),
            Self::TooOften(wait) => replies.too_many(*wait),
            Self::Unavailable(_) => replies.unavailable(),
            Self::Unwritable(_) => replies.unwritable(),
        }
    }

    /// Logs what the administrator can repair.
    pub(crate) fn log(&self, log: &Log) {
        match self {
            Self::Setting(error) => log.line(Level::Error, &error.to_string()),
            Self::Unwritable(text) => log.line(Level::Error, text),
            Self::Unavailable(text) | Self::Hidden(text) => log.line(Level::Warning, text),
            Self::NotFound | Self::NoSession | Self::TooOften(_) => {}
        }
    }
}

impl PublishLocation {
    /// The tokens that permit publishing here.
    pub(crate) fn tokens(&self) -> Result<Tokens, PublishError> {
        match &self.publishing.token_file {
            Some(path) if self.publishing.allow.contains(&Grant::Token) => {
                let read = disk::open_regular(path).and_then(|(file, _)| read_tokens(&file));
                read.map_err(|error| {
                    let value = path.as_os_str().as_encoded_bytes();
                    let remedy = "name a file of tokens that this user can read";
                    let text = explain(&error, &accounts::own_name(), remedy);
                    let error_of_setting = SettingError::new("SSE_PUBLISH_TOKEN_FILE", value, text);
                    match is_lasting(&error) {
                        true => PublishError::Setting(error_of_setting),
                        false => PublishError::Unavailable(error_of_setting.to_string()),
                    }
                })
            }
            _ => Ok(Tokens::default()),
        }
    }

    /// Whether records go to a stream of an engine.
    fn is_engine_s(&self) -> Result<bool, SettingError> {
        let settings = &self.settings;
        match self.recipients {
            None => Ok(settings.stream_key.is_some() || settings.stream_key_prefix.is_some()),
            Some(_) => is_in_engine(settings),
        }
    }

    /// Which disk and replicas must confirm an entry before its publisher gets 201.
    pub(crate) fn confirmation(&self) -> Confirmation {
        match self.publishing.durability {
            Durability::Process => Confirmation::None,
            Durability::Power => Confirmation::Sync {
                replicas: self.publishing.replicas,
            },
        }
    }

    /// The stream to which a request publishes, if its location has one.
    pub(crate) fn entries(
        &self,
        request: &Request,
        fields: &PostFields,
    ) -> Result<Option<Box<dyn EntryDestination>>, PublishError> {
        let settings = &self.settings;
        let name = match settings.stream_key_prefix {
            Some(_) => "SSE_STREAM_KEY_PREFIX",
            None => "SSE_STREAM_KEY",
        };
        let entries = match &self.engines {
            Engines::Only(entries) => entries,
            _ if !self.is_engine_s()? => return Ok(None),
            Engines::Offered(entries) => entries,
            Engines::Absent => {
                let remedy = "this program does not publish to Redis; use publish-redis, \
                              sse-fcgi or sse-httpd";
                return Err(SettingError::new(name, b"", remedy).into());
            }
        };
        if settings.file.is_some() || settings.root.is_some() {
            let remedy = "SSE_FILE or SSE_ROOT is set as well; set one of them, and the other \
                          to nothing";
            return Err(SettingError::new(name, b"", remedy).into());
        }
        let opened = match self.recipients {
            None => entries.open_entries(self, request, fields),
            Some(recipients) => entries.open_session(recipients, self, request, fields),
        };
        opened.map(Some)
    }

    /// The destination of a request's records.
    pub(crate) fn destination(
        &self,
        request: &Request,
        fields: &PostFields,
        now: Now,
    ) -> Result<Destination, PublishError> {
        let settings = &self.settings;
        let named = || fields.session.as_deref().and_then(SessionId::parse);
        match self.recipients {
            None => Ok(Destination {
                target: Arc::new(target(settings, request)?),
                turns: None,
                session: None,
                author: None,
            }),
            Some(Recipients::Session) => {
                let spool = open_spool(settings, SessionKind::Private)?;
                // Sessions that cannot be swept now are swept when the next client connects.
                let _ = spool.sweep(now, &mut |_| Ok(()));
                let id = named().ok_or(PublishError::NoSession)?;
                let folder = spool
                    .session(id)
                    .map_err(|error| of_session(settings, &error))?;
                let name = SessionKind::Private.file_name();
                Ok(Destination {
                    target: Arc::new(Target::within(folder, name)),
                    turns: Some(
                        spool
                            .counted("private")
                            .map_err(|error| of_session(settings, &error))?,
                    ),
                    session: Some(id),
                    author: None,
                })
            }
            Some(Recipients::Room) => {
                if !may_be_room(settings, request) {
                    return Err(PublishError::NotFound);
                }
                let spool = open_spool(settings, members_of(settings, request))?;
                let id = named().ok_or(PublishError::NoSession)?;
                let stored = spool
                    .read(id)
                    .map_err(|error| of_session(settings, &error))?;
                let author = Author::parse(&stored).ok_or(PublishError::NoSession)?;
                Ok(Destination {
                    target: Arc::new(target(&history_settings(settings), request)?),
                    turns: None,
                    session: Some(id),
                    author: Some(author),
                })
            }
        }
    }
}

/// The destination of records.
pub(crate) struct Destination {
    pub(crate) target: Arc<Target>,
    /// The file beside which its client's POSTs are counted, if it is not the target.
    turns: Option<Target>,
    /// The session that receives the record, or that sends it.
    pub(crate) session: Option<SessionId>,
    /// The member of a room who publishes it.
    pub(crate) author: Option<Author>,
}

impl Destination {
    /// The file beside which its client's POSTs are counted.
    pub(crate) fn turns(&self) -> &Target {
        self.turns.as_ref().unwrap_or(&self.target)
    }

    /// Whether the file beside which POSTs are counted exists. That of a session does.
    pub(crate) fn presence(&self) -> Result<Presence, AppendError> {
        match self.session {
            Some(_) if self.turns.is_some() => Ok(Presence::There),
            _ => self.target.presence(),
        }
    }

    /// The id that the event has in the stream of the client that posted it.
    pub(crate) fn event_id(&self, place: TailId) -> String {
        match self.session {
            Some(session) => format!("{session}.{}", place.event_id()),
            None => place.to_string(),
        }
    }
}

fn open_spool(settings: &Settings, kind: SessionKind) -> Result<SpoolFolder, PublishError> {
    let folder = settings.required_spool()?;
    let opened = SpoolFolder::open(folder, kind, settings.session_grace);
    opened.map_err(|error| {
        let text = explain(&error, &accounts::own_name(), SPOOL_REMEDY);
        let value = folder.as_os_str().as_encoded_bytes();
        let wrong = SettingError::new("SSE_SPOOL", value, text);
        match is_lasting(&error) {
            true => PublishError::Setting(wrong),
            false => PublishError::Unavailable(wrong.to_string()),
        }
    })
}

/// The error of a session that cannot receive records.
fn of_session(settings: &Settings, error: &io::Error) -> PublishError {
    if error.kind() == io::ErrorKind::NotFound {
        return PublishError::NoSession;
    }
    let folder = settings.spool.as_deref().unwrap_or(Path::new(""));
    let text = explain(error, &accounts::own_name(), SPOOL_REMEDY);
    let text = format!("SSE_SPOOL={}: {text}", folder.display());
    match is_lasting(error) {
        true => PublishError::Unwritable(text),
        false => PublishError::Unavailable(text),
    }
}

/// The file of a request.
pub(crate) fn target(settings: &Settings, request: &Request) -> Result<Target, PublishError> {
    let is_jsonl = |path: &Path| {
        let format = settings.format;
        format.unwrap_or_else(|| Format::of_name(path)) == Format::Jsonl
    };
    if let Some(root) = &settings.root {
        let asked = request.path_info.as_deref().unwrap_or_default();
        let name = BelowRoot::parse(asked, &settings.suffixes);
        // A file that is read as plain lines, such as a log, must not get records.
        let name = name
            .filter(|name| is_jsonl(name.as_path()))
            .ok_or(PublishError::NotFound)?;
        let missing = match settings.absent {
            Absent::Awaited => MissingFile::Create,
            Absent::NotFound => MissingFile::Report,
        };
        return Target::below(root, &name, missing).map_err(|trouble| match trouble {
            AppendError::System(error) => unavailable(&root.display(), &error),
            AppendError::Hidden(error) => {
                PublishError::Hidden(hidden(&root.join(name.as_path()).display(), &error))
            }
            _ => PublishError::NotFound,
        });
    }
    let Some(path) = &settings.file else {
        let remedy = "not set; set SSE_FILE or SSE_ROOT to where records go";
        return Err(SettingError::new("SSE_FILE", b"", remedy).into());
    };
    if !is_jsonl(path) {
        let value = path.as_os_str().as_encoded_bytes();
        let remedy = "records are JSON lines; name a file that ends in .jsonl, \
                      or set SSE_FORMAT=jsonl";
        return Err(SettingError::new("SSE_FILE", value, remedy).into());
    }
    Target::at(path).map_err(|error| unavailable(&path.display(), &error))
}

fn hidden(name: &impl Display, error: &io::Error) -> String {
    let remedy = "clients get a 404; let it write the file and its folder";
    let text = explain(error, &accounts::own_name(), remedy);
    format!("publish to {name}: {text}")
}

fn unavailable(path: &impl Display, error: &io::Error) -> PublishError {
    let text = format!("publish to {path}: {}", unwritten(error));
    match is_lasting(error) {
        true => PublishError::Unwritable(text),
        false => PublishError::Unavailable(text),
    }
}

/// Why a file could not be written, and the remedy.
pub(crate) fn unwritten(error: &io::Error) -> String {
    use io::ErrorKind::{
        FileTooLarge, NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    let remedy = match error.kind() {
        PermissionDenied => "let it write the file and its folder",
        NotFound => "make the folder, or correct the path",
        ReadOnlyFilesystem => "name a path on a file system that is writable",
        StorageFull | QuotaExceeded => "make room on the disk",
        FileTooLarge => "raise the limit on the size of files (ulimit -f)",
        _ => "the path must be a regular file that it can write",
    };
    explain(error, &accounts::own_name(), remedy)
}

fn read_tokens(file: &File) -> io::Result<Tokens> {
    let mut bytes = Vec::new();
    let most = Tokens::FILE_MAX_BYTES;
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let text = format!("longer than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(Tokens::parse(&bytes))
}

/// Counts a POST for its client's rate. `Err(AppendError::Busy)` asks to be called again; the
/// inner error is how long the client has to wait.
pub(crate) fn take_turn(
    target: &Target,
    publishing: &Publishing,
    client: &[u8],
    unix_ms: u64,
) -> Result<Result<(), Duration>, AppendError> {
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
