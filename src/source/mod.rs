//! Layer 2: the sources of events.
//!
//! ```text
//! bytes, cursors, now ──► Source::poll ──► Batch of events
//! ```
//!
//! A source is a state machine: a poll returns the events that are due and the time of the next
//! ones. It has no clock (`now` is an argument) and no descriptor (files are read through
//! [`tail::Disk`]). It serves one cursor, and does not know its subscribers.
//!
//! A new source is one file here and one row in [`STREAMS`].

/// The rows of the table of settings that only the stream of this name, or it and a few
/// others, read. No other row becomes part of the program.
macro_rules! settings_of {
    ($stream:literal) => {{
        use crate::request::settings::{Rows, count, select};
        &select::<{ count(Rows::Own($stream)) }>(Rows::Own($stream))
    }};
}

mod changes;
mod charset;
pub mod clock;
pub mod command;
pub mod countdown;
mod followed;
mod lines;
mod record;
pub mod redis;
pub mod room;
pub mod script;
pub mod session;
pub mod several;
mod spool;
mod state;
pub mod tail;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::event::{Batch, EventId, Gap, Reason, Unavailable};
use crate::request::settings::COMMON;
use crate::request::{BelowRoot, LastId, Request, Setting, SettingError, Settings};

pub use changes::Changes;
pub use clock::Clock;
pub use command::Command;
pub use countdown::Countdown;
pub(crate) use record::{JsonLine, text_of};
pub use room::Author;
pub use script::Script;
pub use spool::{Members, SessionId, SessionKind, Spool};
pub use tail::Tail;

/// A point in time, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Time since a fixed point of this process; it never goes back. All waiting uses it.
    pub monotonic: Duration,
    /// Milliseconds since 1970-01-01 UTC, for ids that outlive a process.
    pub unix_ms: u64,
}

/// When a source must be polled again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// As soon as the batch has been sent: there is more.
    More,
    /// At this time ([`Now::monotonic`]), or when a change is reported.
    At(Duration),
    /// When a change is reported.
    Change,
    /// Never: the stream has ended, and its `close` event is in the batch.
    End,
}

/// A stream of events, read through one cursor.
pub trait Source {
    /// Appends the events that are due at `now` to `out`, and stops when it is full.
    fn poll(&mut self, now: Now, out: &mut Batch) -> Next;

    /// The id after which a client misses nothing and gets nothing twice: the position *before*
    /// the next event. `None` if this stream cannot be resumed by position, or if the position
    /// is not known yet, because its start is still being searched for; an event `place`
    /// reports it as soon as it is known.
    ///
    /// If [`Stream::shared`] returns the same bytes for two openings, the same records follow
    /// equal positions of their sources. Only what has no position can differ: a tail delivers
    /// late lines of a rotated file only to clients that read that file to its end while they
    /// were connected, and each client's gaps report what its own source could not read.
    fn position(&self) -> Option<EventId<'static>>;

    /// Whether this is the source's position, under any of its ids.
    fn is_at(&self, id: &EventId<'_>) -> bool {
        self.position().is_some_and(|own| own == *id)
    }

    /// Whether it can be opened again at a [`Source::position`] that it has passed. A source that
    /// cannot, because its output is stored nowhere, is shared by attaching to it at its present
    /// position. It is never cut short to be resumed later.
    fn can_go_back(&self) -> bool {
        true
    }

    /// Why there is nothing to read, as of the last poll; `None` if there is something, or if this
    /// kind of stream always has something to come. A stream that stays unavailable for a while
    /// reports it to its client.
    fn unavailable(&self) -> Option<Unavailable> {
        None
    }

    /// Appends the event that reports [`Source::unavailable`]. A source of several streams
    /// reports each of them.
    fn report_unavailable(&self, out: &mut Batch) {
        if let Some(reason) = self.unavailable() {
            out.unavailable(reason);
        }
    }

    /// Whether its polls have reported something unavailable that still is, while the stream goes
    /// on: a subscriber that joins now has not been told of it.
    fn has_told(&self) -> bool {
        false
    }

    /// Appends the events that [`Source::has_told`] is about, for a subscriber that joins.
    fn report_told(&self, _out: &mut Batch) {}

    /// The next poll stops at this position if it reaches it, so that another reader of the same
    /// stream can take over. A source with one order of events need not (the default): each
    /// reader passes all positions, and its batch is cut there.
    fn aim(&mut self, at: &EventId<'_>) {
        let _ = at;
    }

    /// Reports changes of its data; `None` (the default) if only time brings events.
    fn changes(&self) -> Option<Rc<dyn Changes>> {
        None
    }

    /// Whether a client determines the cost of a poll: then other sources are polled first. It does
    /// not change.
    fn is_costly(&self) -> bool {
        false
    }

    /// Called when it has been idle for a while: releases the memory of a burst.
    fn rest(&mut self) {}
}

/// The arguments of opening a source.
pub struct Opening<'a> {
    /// The settings of the location.
    pub settings: &'a Settings,
    /// The request.
    pub request: &'a Request,
    /// The moment of opening.
    pub now: Now,
    /// The host's files.
    pub host: &'a Rc<dyn Host>,
    /// The position of the channel with the same key ([`Stream::shared`]), for a source that
    /// cannot go back: it attaches to the channel there.
    pub live: Option<&'a EventId<'static>>,
}

/// The operating system as a source sees it. `store::host` implements it.
pub trait Host {
    /// The file at `path` and its folder, to be followed.
    fn disk(&self, path: &Path) -> Box<dyn tail::Disk>;

    /// The file `name` below the folder `root`. Nothing outside of it is opened, wherever links
    /// lead.
    ///
    /// # Errors
    /// The system's error for the folder.
    fn disk_below(&self, root: &Path, name: &BelowRoot) -> std::io::Result<Box<dyn tail::Disk>>;

    /// Logs a warning for the administrator: the stream is served, but something is wrong.
    fn warn(&self, message: &str);

    /// The user of this process, for messages.
    fn user(&self) -> String {
        "this user".into()
    }

    /// The first missing folder on the path to `path`.
    fn missing_folder(&self, _path: &Path) -> Option<PathBuf> {
        None
    }

    /// Reads a small file whole.
    ///
    /// # Errors
    /// The system's error, or `InvalidData` if it is longer than `limit_bytes`.
    fn read(&self, path: &Path, limit_bytes: u64) -> std::io::Result<Vec<u8>>;

    /// Starts a program: its name and its arguments.
    ///
    /// # Errors
    /// The system's error; `Unsupported` in a host without programs.
    fn start(&self, words: &[String]) -> std::io::Result<Box<dyn command::Process>> {
        let _ = words;
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// The sessions of a kind below the folder that `SSE_SPOOL` names. Those that are kept
    /// alive here outlive their streams by `grace`.
    ///
    /// # Errors
    /// If there is no such folder and it cannot be created, or if others may write in it.
    fn spool(
        &self,
        _folder: &Path,
        _kind: SessionKind,
        _grace: Duration,
    ) -> std::io::Result<Rc<dyn Spool>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// The access to a key of an engine, which keeps streams outside this machine.
    ///
    /// # Errors
    /// `Unsupported` in a host without engines; when no descriptor is left.
    fn feed(&self, key: &redis::Key) -> std::io::Result<Box<dyn redis::Feed>> {
        let _ = key;
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// Opens a room or a private session whose history an engine keeps.
    ///
    /// # Errors
    /// Those of [`redis::session::open`]; in a host without engines, a setting is wrong.
    fn open_in_engine(
        &self,
        _recipients: Recipients,
        _opening: &Opening<'_>,
    ) -> Result<Opened, OpenError> {
        Err(in_files_only())
    }

    /// Random bytes for secrets.
    ///
    /// # Errors
    /// The system's error.
    fn secret(&self) -> std::io::Result<[u8; 16]> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// Appends a line, without its newline, to the `jsonl` file of a request. It never waits.
    ///
    /// # Errors
    /// `WouldBlock` while another process appends: try again. Otherwise the system's error.
    fn append(&self, _to: &Settings, _request: &Request, _line: &str) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// The offset of local time from UTC at `unix_ms`, in seconds.
    fn utc_offset_seconds(&self, unix_ms: u64) -> i32;
}

/// The result of opening a stream.
pub enum Opened {
    /// Events will follow; first the gap, if any, with the source's position as its id.
    Stream(Box<dyn Source>, Option<Gap>),
    /// The client has received everything, `close` included: 204 ends its `EventSource`.
    Finished,
}

/// Why there is no stream.
#[derive(Debug)]
pub enum OpenError {
    /// A setting is invalid: 500, and the text goes to the server's log.
    Setting(SettingError),
    /// There is no such stream, or its existence must not be revealed: 404.
    NotFound,
    /// The query cannot be read, such as its `filter`, or asks for more than can be served: 400.
    BadQuery,
    /// The client may read none of the streams that it asks for: 403.
    Forbidden,
    /// A temporary error: a 200 stream with `retry:` that ends, and the text goes to the log.
    Temporary(String),
}

impl From<SettingError> for OpenError {
    fn from(error: SettingError) -> Self {
        Self::Setting(error)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(error) => error.fmt(f),
            Self::NotFound => f.write_str("no such file"),
            Self::BadQuery => f.write_str("the query cannot be read"),
            Self::Forbidden => f.write_str("no access"),
            Self::Temporary(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for OpenError {}

/// A function that opens a source.
pub type Open = fn(&Opening<'_>) -> Result<Opened, OpenError>;

/// A function that returns what must be equal for two subscribers to share a channel, in
/// addition to their settings.
pub type Shared = fn(&Settings, &Request) -> Option<Vec<u8>>;

/// One kind of stream: a row of the table.
pub struct Stream {
    /// Its name, in `SSE_STREAM` and in the programs' names.
    pub name: &'static str,
    /// Its description in one line, for `--help`.
    pub summary: &'static str,
    /// Opens it.
    pub open: Open,
    /// The settings that it reads besides those of every stream
    /// ([`crate::request::settings::setting`] gives one by its name).
    pub settings: &'static [&'static Setting],
    /// The setting that a bare argument in a terminal sets.
    pub argument: Option<&'static str>,
    /// Whether subscribers can share a channel, and what must be equal for that in addition to
    /// the settings with [`Divides`](crate::request::settings::Sharing::Divides) in the table:
    /// see [`Stream::share_key`]. `None`, and a function that returns `None`: every subscriber
    /// has a source of its own.
    pub shared: Option<Shared>,
}

impl Stream {
    /// Every setting that it reads.
    pub fn all_settings(&self) -> impl Iterator<Item = &'static Setting> {
        self.settings.iter().chain(COMMON).copied()
    }

    /// Whether it reads the setting of this name.
    #[must_use]
    pub fn reads(&self, name: &str) -> bool {
        self.all_settings().any(|setting| setting.spec.name == name)
    }

    /// What two subscribers must have in common to share a channel: two openings with equal
    /// keys read and encode exactly the same events from equal [`Source::position`]s. `None` if
    /// nothing is shared. A key does not show that the stream exists: only [`Stream::open`]
    /// does.
    #[must_use]
    pub fn share_key(&self, settings: &Settings, request: &Request) -> Option<Vec<u8>> {
        let own = self.shared?(settings, request)?;
        let mut key = self.name.as_bytes().to_vec();
        key.push(0);
        // Each value follows its length, so that no two sets of values give the same key.
        let mut add = |value: Option<&[u8]>| {
            let length = value.map_or(u64::MAX, |value| value.len() as u64);
            key.extend_from_slice(&length.to_le_bytes());
            key.extend_from_slice(value.unwrap_or_default());
        };
        for setting in self.all_settings() {
            add(settings.dividing.get(setting.spec.name));
        }
        add(Some(&own));
        Some(key)
    }
}

/// All streams.
pub static STREAMS: [&Stream; 9] = [
    &clock::STREAM,
    &countdown::STREAM,
    &script::STREAM,
    &tail::STREAM,
    &command::STREAM,
    &redis::STREAM,
    &session::STREAM,
    &room::STREAM,
    &several::STREAM,
];

/// The recipients of a POST to a stream's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// The session that it names, and no other.
    Session,
    /// All members of the room except the session that it names.
    Room,
}

impl Recipients {
    /// The recipients for a stream; `None` if its address accepts no POST.
    #[must_use]
    pub fn of(stream: &Stream) -> Option<Self> {
        // By name, so that a stream defined elsewhere, which takes no POST, need not declare it.
        match stream.name {
            "session" => Some(Self::Session),
            "room" => Some(Self::Room),
            _ => None,
        }
    }
}

/// The error of a program that has sessions and no engines.
pub(crate) fn in_files_only() -> OpenError {
    let remedy = "this program keeps sessions in files; set SSE_STREAM_KEY and \
                  SSE_STREAM_KEY_PREFIX to nothing, or use sse-fcgi or sse-httpd";
    SettingError::new("SSE_REDIS", b"", remedy).into()
}

/// For the administrator: the system's error for a path, the user, and the remedy.
pub(crate) fn explain(error: &io::Error, user: &str, remedy: &str) -> String {
    format!("{error}; this process runs as {user}; {remedy}")
}

/// Whether waiting does not end an error: permissions and names stay until somebody changes them.
/// A full disk and exhausted descriptors are temporary.
pub(crate) fn is_lasting(error: &io::Error) -> bool {
    use io::ErrorKind::{
        InvalidInput, IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem,
        Unsupported,
    };
    let kinds = [
        InvalidInput,
        IsADirectory,
        NotADirectory,
        NotFound,
        PermissionDenied,
        ReadOnlyFilesystem,
        Unsupported,
    ];
    kinds.contains(&error.kind()) || is_name_too_long(error)
}

/// Whether the file system permits no name of this length. (`ErrorKind::InvalidFilename` is this;
/// Rust 1.85 has it, but does not let others name it.)
pub(crate) fn is_name_too_long(error: &io::Error) -> bool {
    format!("{:?}", error.kind()) == "InvalidFilename"
}

/// A last id that a source has interpreted, or why it could not.
fn resume_point<T>(
    last_id: &LastId,
    parse: impl FnOnce(&str) -> Option<T>,
) -> (Option<T>, Option<Gap>) {
    match last_id {
        LastId::None => (None, None),
        LastId::Malformed => (None, Some(Gap::new(Reason::BadId))),
        LastId::Given(id) => match parse(id.as_str()) {
            Some(point) => (Some(point), None),
            None => (None, Some(Gap::new(Reason::BadId))),
        },
    }
}

/// How far in the future an id's start may be before it is rejected: the clocks of servers that
/// share a name can differ by some seconds.
const CLOCK_SKEW_MS: u64 = 60_000;

/// Reads a plain decimal number without sign, as used in ids.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The monotonic moment at which the wall clock will show `unix_ms`.
fn moment(now: Now, unix_ms: u64) -> Duration {
    now.monotonic + Duration::from_millis(unix_ms.saturating_sub(now.unix_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::settings::{DefaultValue, Kind, Sharing};
    use crate::request::{Lifetime, MetaVariables};

    /// A value of a setting that is not its default.
    fn another_value(setting: &Setting) -> String {
        let default = setting.default_text();
        match setting.spec.kind {
            Kind::Duration(least, _) => format!("{}ms", least.as_millis() + 1),
            Kind::Size(least, _) | Kind::Count(least, _) => (least + 1).to_string(),
            Kind::YesNo => "yes".into(),
            Kind::Choice(words) | Kind::Subset(words) => {
                let other = words.iter().find(|word| **word != default);
                (*other.unwrap()).into()
            }
            Kind::Rate => "7/m".into(),
            Kind::Origins => "https://a.example".into(),
            Kind::Path | Kind::Words | Kind::Command => "/other".into(),
            Kind::Text(_) if setting.spec.name == "SSE_ENCODING" => "latin1".into(),
            Kind::Text(_) => "other".into(),
        }
    }

    /// The streams whose settings decide what is shared. (Several streams are shared by their set.)
    fn shared_by_settings() -> impl Iterator<Item = &'static Stream> {
        let shared = STREAMS.into_iter().filter(|stream| stream.shared.is_some());
        shared.filter(|stream| stream.name != several::STREAM.name)
    }

    fn key_of(stream: &Stream, pairs: &[(&str, &str)]) -> Vec<u8> {
        let meta = MetaVariables::of(pairs);
        let (settings, notices) = Settings::parse(&meta, Lifetime::Unlimited).unwrap();
        assert_eq!(notices, [], "{pairs:?}");
        stream
            .share_key(&settings, &Request::from_meta(&meta))
            .unwrap()
    }

    #[test]
    fn every_setting_of_a_shared_stream_is_in_its_key_or_its_row_says_why_not() {
        for stream in shared_by_settings() {
            for setting in stream.all_settings() {
                let base: &[(&str, &str)] = match setting.spec.name {
                    "SSE_ROOT" => &[("SSE_COMMAND_SHARED", "yes")],
                    _ => &[("SSE_COMMAND_SHARED", "yes"), ("SSE_FILE", "/a")],
                };
                let value = another_value(setting);
                let other = [base, &[(setting.spec.name, value.as_str())]].concat();
                let is_same = key_of(stream, base) == key_of(stream, &other);
                let name = format!("{} {}", stream.name, setting.spec.name);
                match setting.spec.sharing {
                    Sharing::Divides => assert!(!is_same, "{name}"),
                    Sharing::Ignored => assert!(is_same, "{name}"),
                    Sharing::BySource => {}
                }
            }
        }
    }

    #[test]
    fn a_default_that_is_written_out_leaves_the_key_as_it_is() {
        for stream in shared_by_settings() {
            for setting in stream.all_settings() {
                let DefaultValue::Value(default) = setting.spec.default else {
                    continue;
                };
                let base = ("SSE_COMMAND_SHARED", "yes");
                if setting.spec.name == base.0 {
                    continue;
                }
                let other = [base, (setting.spec.name, default)];
                let name = setting.spec.name;
                assert_eq!(key_of(stream, &[base]), key_of(stream, &other), "{name}");
            }
        }
    }

    #[test]
    fn equal_values_of_different_spelling_are_one_in_the_key() {
        for (name, one, other) in [
            ("SSE_FLUSH", "60s", "1m"),
            ("SSE_STATE_MAX", "2048K", "2M"),
            ("SSE_ENCODING", "latin1", "windows-1252"),
        ] {
            let keys = [one, other].map(|value| key_of(&tail::STREAM, &[(name, value)]));
            assert_eq!(keys[0], keys[1], "{name}");
        }
    }
}
