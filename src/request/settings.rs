//! The `SSE_*` settings.
//!
//! They are meta-variables like any other, so that the same names work under every
//! gateway, and a client can set none of them: what a client sends arrives under
//! `HTTP_*` only. They are trusted, but can be mistaken: a value that cannot be read
//! is a [`SettingError`], and one outside its range is clamped with a [`Notice`].
//! Both are one line that names the setting and the remedy.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::meta::MetaVariables;
use super::origin::AllowedOrigin;
use super::units;
use crate::event::EventName;

/// Every name that a setting has, here or in a sister program; anything else that
/// begins with `SSE_` is probably a slip, and gets a [`Notice`].
pub const KNOWN_SETTINGS: &[&str] = &[
    "SSE_ALLOW_COMMANDS",
    "SSE_ALLOW_FILTER",
    "SSE_ALLOW_ORIGIN",
    "SSE_AWAIT",
    "SSE_BACKLOG",
    "SSE_COMMAND",
    "SSE_COMMAND_MAX",
    "SSE_COMMAND_OUTPUT",
    "SSE_COMMAND_SHARED",
    "SSE_COMMAND_TIMEOUT",
    "SSE_COUNT",
    "SSE_ENCODING",
    "SSE_EVENT",
    "SSE_FILE",
    "SSE_FILE_KEEP",
    "SSE_FILE_MAX",
    "SSE_FILTER",
    "SSE_FLUSH",
    "SSE_FORMAT",
    "SSE_HEARTBEAT",
    "SSE_INTERVAL",
    "SSE_LINE_END",
    "SSE_LOG",
    "SSE_MAX_AGE",
    "SSE_MAX_LINE",
    "SSE_MAX_SUBSCRIBERS",
    "SSE_PREFIX",
    "SSE_PUBLISH_ALLOW",
    "SSE_PUBLISH_MAX",
    "SSE_PUBLISH_RATE",
    "SSE_PUBLISH_SYNC",
    "SSE_PUBLISH_TIMEOUT",
    "SSE_PUBLISH_TOKEN_FILE",
    "SSE_REPLAY",
    "SSE_RETRY",
    "SSE_ROOT",
    "SSE_SEND_TIMEOUT",
    "SSE_SESSION_GRACE",
    "SSE_SETTLE",
    "SSE_SOURCE_ID",
    "SSE_SPOOL",
    "SSE_STATE_MAX",
    "SSE_STREAM",
    "SSE_SUFFIXES",
];

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// The settings of one stream, each with its default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `SSE_FILE`: the one file that tail and script use.
    pub file: Option<PathBuf>,
    /// `SSE_ROOT`: the folder below which `PATH_INFO` names the file. Never set
    /// together with `SSE_FILE`.
    pub root: Option<PathBuf>,
    /// `SSE_AWAIT`: whether a name below the root that is not there is awaited, or
    /// answered with 404 (the default).
    pub absent: Absent,
    /// `SSE_SUFFIXES`: what names below the root must end in. Default: anything.
    pub suffixes: Vec<String>,
    /// `SSE_FORMAT`. Default `None`: it follows the file's name, see
    /// [`Format::of_name`].
    pub format: Option<Format>,
    /// `SSE_ENCODING`: what the bytes of a file mean. Default UTF-8.
    pub encoding: TextEncoding,
    /// `SSE_LINE_END`: what ends a line. Default LF, also after CR.
    pub line_end: LineEnd,
    /// `SSE_FLUSH`: an unfinished last line is a record once the file was quiet for so long,
    /// 100ms to 1h. Default none: it is held back until its line end comes.
    pub flush: Option<Duration>,
    /// `SSE_FILTER`: which records are sent, see [`crate::request::Filter`]. Default: all.
    /// It is read where there are records: other programs need no regular expressions.
    pub filter: Option<String>,
    /// `SSE_ALLOW_FILTER`: whether the query's `filter` is heard as well.
    pub query_filter: QueryFilter,
    /// `SSE_STATE_MAX`: the largest file in the format `state`, in bytes. Default 1M.
    pub state_max_bytes: u64,
    /// `SSE_SETTLE`: how long a file in the format `state` must have been left alone before
    /// it is read, 10ms to 1m. Default: 50ms, and 2s for one that was emptied.
    pub settle: Option<Duration>,
    /// `SSE_SOURCE_ID`: whether a `jsonl` record's own `id` is passed on.
    pub source_id: SourceId,
    /// `SSE_BACKLOG`: records that a first-time client gets, 0 to 1 000 000.
    /// Default 10: a page that opens is not empty, and opening stays cheap.
    pub backlog_records: usize,
    /// `SSE_REPLAY`: how far back, in bytes, a last id may reach. Default 16M.
    pub replay_bytes: u64,
    /// `SSE_MAX_LINE`: the longest record in bytes, 16 to 64M. Default 1M.
    pub max_line_bytes: usize,
    /// `SSE_EVENT`: the event's name for `lines` and `state`. Default none, that is `message`.
    pub event: Option<EventName<'static>>,
    /// `SSE_INTERVAL`: clock and countdown, 10ms to 24h. Default 1s.
    pub interval: Duration,
    /// `SSE_COUNT`: where a countdown starts, 0 to 1 000 000 (default 10); after how
    /// many events a clock ends (default never).
    pub count: Option<u64>,
    /// `SSE_HEARTBEAT`: a comment after this much silence, 1s to 25s. Default 15s:
    /// the shortest silence limit of any server measured is 30 s, and it takes two
    /// heartbeats to notice a client that left.
    pub heartbeat: Duration,
    /// `SSE_RETRY`: the reconnection time, 1s to 1h. Default 3s, the browsers' own.
    pub retry: Duration,
    /// `SSE_SEND_TIMEOUT`: a reader that takes nothing for so long is closed, 1s to
    /// 1h. Default 30s.
    pub send_timeout: Duration,
    /// `SSE_MAX_AGE`: a stream ends at an event boundary after this, 1s at least.
    /// Default 1h under nph and CGI, where every stream holds a worker of the
    /// server; none otherwise.
    pub max_age: Option<Duration>,
    /// `SSE_ALLOW_ORIGIN`: origins that may read across sites. Default none.
    pub allow_origin: Vec<AllowedOrigin>,
    /// `SSE_COMMAND`: the program that the stream `command` runs, and its arguments; a
    /// word may be quoted as for a shell, but no shell reads it. Empty where it is unset.
    pub command: Vec<String>,
    /// `SSE_COMMAND_SHARED`: under a responder, whether one run serves all subscribers.
    pub command_sharing: CommandSharing,
    /// `SSE_COMMAND_TIMEOUT`: a program that runs for longer is ended, 1s to 24h. Default
    /// 1h, as a CGI stream lasts.
    pub command_timeout: Duration,
    /// `SSE_COMMAND_OUTPUT`: a program that says more bytes is ended. Default 64M.
    pub command_output_bytes: u64,
    /// `SSE_COMMAND_MAX`: how many programs a process runs at once, 1 to 10 000. Default
    /// 20; who comes too much is asked to come again.
    pub commands_max: usize,
    /// `SSE_LOG`: a file to log to. Default: the server's log.
    pub log: Option<PathBuf>,
    /// `SSE_FILE_MAX`: a file that would grow beyond it is rotated first, 1K at least.
    /// Default: it grows without end.
    pub file_max_bytes: Option<u64>,
    /// `SSE_FILE_KEEP`: how many rotated files are kept, 1 to 100. Default 3.
    pub file_keep: u32,
    /// Whether `SSE_PUBLISH_ALLOW` lets anybody publish here at all.
    pub publishers: Publishers,
    /// `SSE_SPOOL`: the folder where sessions live.
    pub spool: Option<PathBuf>,
    /// `SSE_SESSION_GRACE`: how long a session outlives its stream, 10s to 24h. Default
    /// 2m: a laptop that is carried to another room comes back, and who closed the page
    /// is soon gone.
    pub session_grace: Duration,
}

/// How a file's bytes become events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line is an event.
    Lines,
    /// A line is a JSON object that says what the event is.
    Jsonl,
    /// The whole file is one event, whenever it changes.
    State,
}

impl Format {
    /// The format that a file's name stands for: `jsonl` for names that end in
    /// `.jsonl` or `.ndjson`, else `lines`.
    #[must_use]
    pub fn of_name(path: &Path) -> Self {
        match path.extension().and_then(OsStr::to_str) {
            Some("jsonl" | "ndjson") => Self::Jsonl,
            _ => Self::Lines,
        }
    }
}

/// How the bytes of a file are text. A byte order mark in the file counts more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextEncoding {
    /// UTF-8.
    Utf8,
    /// windows-1252, which the WHATWG Encoding Standard means by `latin1` and `ascii` too.
    Windows1252,
    /// UTF-16, the low byte first: for the format `state` only.
    Utf16Le,
    /// UTF-16, the high byte first: for the format `state` only.
    Utf16Be,
}

impl TextEncoding {
    /// Reads a label of the WHATWG Encoding Standard (§4.2) for one of these.
    #[must_use]
    pub fn of_label(label: &str) -> Option<Self> {
        match &*label.to_ascii_lowercase() {
            "utf-8" | "utf8" | "unicode-1-1-utf-8" | "unicode11utf8" | "unicode20utf8"
            | "x-unicode20utf8" => Some(Self::Utf8),
            "windows-1252" | "cp1252" | "x-cp1252" | "latin1" | "l1" | "ascii" | "us-ascii"
            | "ansi_x3.4-1968" | "iso-8859-1" | "iso8859-1" | "iso88591" | "iso_8859-1"
            | "iso_8859-1:1987" | "iso-ir-100" | "csisolatin1" | "cp819" | "ibm819" => {
                Some(Self::Windows1252)
            }
            "utf-16" | "utf-16le" | "ucs-2" | "iso-10646-ucs-2" | "csunicode" | "unicode"
            | "unicodefeff" => Some(Self::Utf16Le),
            "utf-16be" | "unicodefffe" => Some(Self::Utf16Be),
            _ => None,
        }
    }

    /// Whether a byte that looks like a line end can only be one.
    #[must_use]
    pub fn has_lines(self) -> bool {
        matches!(self, Self::Utf8 | Self::Windows1252)
    }
}

/// What ends a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnd {
    /// LF and CRLF.
    Lf,
    /// CR as well.
    Any,
}

/// What a name below `SSE_ROOT` that is not there means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// 404.
    NotFound,
    /// The stream opens, and waits for the file.
    Awaited,
}

/// Whether there is anybody who may publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publishers {
    /// There is nobody.
    None,
    /// There is somebody: [`Publishing`](super::Publishing) holds who.
    Some,
}

/// Who gets the output of one run of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandSharing {
    /// One subscriber: the program is started for each.
    Alone,
    /// All subscribers of a responder.
    Shared,
}

/// Whether clients may choose records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryFilter {
    /// The query's `filter` is passed over.
    Ignored,
    /// It counts, on top of `SSE_FILTER`.
    Heard,
}

/// What becomes of a `jsonl` record's own `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceId {
    /// It is passed over: the event's id is the place in the file.
    Ignored,
    /// The data becomes `{"source_id":…,"data":…}`.
    PassedOn,
}

/// The default of `SSE_MAX_AGE`, which depends on the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// A process for each stream (nph, CGI): one hour.
    Hour,
    /// No limit (FastCGI, a terminal).
    Unlimited,
}

/// A setting that cannot be read: the stream is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    name: String,
    value: String,
    remedy: String,
}

/// A setting that was understood, but not as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice(String);

impl SettingError {
    /// `remedy` says what is wrong and what to write instead.
    #[must_use]
    pub fn new(name: &str, value: &[u8], remedy: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: printable(value),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value.is_empty() {
            return write!(f, "{}: {}", self.name, self.remedy);
        }
        write!(f, "{}={}: {}", self.name, self.value, self.remedy)
    }
}

impl std::error::Error for SettingError {}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value for a log line: one line. A path is not cut; anything else has at most 80
/// characters.
fn printable(value: &[u8]) -> String {
    let text = value.escape_ascii().to_string();
    let most = if value.starts_with(b"/") { 1024 } else { 80 };
    if text.len() <= most {
        text
    } else {
        format!("{}...", &text[..most])
    }
}

impl Settings {
    /// Reads every setting.
    ///
    /// # Errors
    /// The first setting whose value cannot be read.
    pub fn parse(
        meta: &MetaVariables,
        lifetime: Lifetime,
    ) -> Result<(Self, Vec<Notice>), SettingError> {
        let mut read = Reader {
            meta,
            notices: Vec::new(),
        };
        let file = path(meta, "SSE_FILE");
        let root = path(meta, "SSE_ROOT");
        if let (Some(_), Some(root)) = (&file, &root) {
            let remedy = "SSE_FILE is set as well; set one of them, and the other to nothing";
            return Err(SettingError::new(
                "SSE_ROOT",
                root.as_os_str().as_encoded_bytes(),
                remedy,
            ));
        }
        let max_age_limits = (SECOND, Duration::MAX);
        let settings = Self {
            format: read.format()?,
            file,
            root,
            publishers: match read.words("SSE_PUBLISH_ALLOW")?[..] {
                [] => Publishers::None,
                _ => Publishers::Some,
            },
            absent: read.choice("SSE_AWAIT", Absent::NotFound, Absent::Awaited)?,
            suffixes: read.words("SSE_SUFFIXES")?,
            filter: read
                .text(
                    "SSE_FILTER",
                    "not UTF-8; write a text, or /.../ for a regular expression",
                )?
                .map(str::to_owned),
            encoding: read
                .read(
                    "SSE_ENCODING",
                    TextEncoding::of_label,
                    "no such encoding here; write utf-8 or latin1 \
                     (windows-1252), or for the format state utf-16, utf-16le or utf-16be; \
                     convert other files with iconv",
                )?
                .unwrap_or(TextEncoding::Utf8),
            line_end: read
                .read(
                    "SSE_LINE_END",
                    |text| match text {
                        "lf" => Some(LineEnd::Lf),
                        "any" => Some(LineEnd::Any),
                        _ => None,
                    },
                    "no such line end; write lf or any",
                )?
                .unwrap_or(LineEnd::Lf),
            flush: read.duration("SSE_FLUSH", (Duration::from_millis(100), HOUR))?,
            query_filter: read.choice(
                "SSE_ALLOW_FILTER",
                QueryFilter::Ignored,
                QueryFilter::Heard,
            )?,
            settle: read.duration("SSE_SETTLE", (Duration::from_millis(10), SECOND * 60))?,
            state_max_bytes: read.size("SSE_STATE_MAX", 1 << 20, (1, 64 << 20))?,
            source_id: read.choice("SSE_SOURCE_ID", SourceId::Ignored, SourceId::PassedOn)?,
            backlog_records: read.count("SSE_BACKLOG", 10, 1_000_000)? as usize,
            replay_bytes: read.size("SSE_REPLAY", 16 << 20, (0, u64::MAX))?,
            max_line_bytes: read.size("SSE_MAX_LINE", 1 << 20, (16, 64 << 20))? as usize,
            event: read.event_name("SSE_EVENT")?,
            interval: read
                .duration("SSE_INTERVAL", (Duration::from_millis(10), HOUR * 24))?
                .unwrap_or(SECOND),
            count: read.optional_count("SSE_COUNT", 1_000_000)?,
            heartbeat: read
                .duration("SSE_HEARTBEAT", (SECOND, SECOND * 25))?
                .unwrap_or(SECOND * 15),
            retry: read
                .duration("SSE_RETRY", (SECOND, HOUR))?
                .unwrap_or(SECOND * 3),
            send_timeout: read
                .duration("SSE_SEND_TIMEOUT", (SECOND, HOUR))?
                .unwrap_or(SECOND * 30),
            max_age: read
                .duration("SSE_MAX_AGE", max_age_limits)?
                .or(match lifetime {
                    Lifetime::Hour => Some(HOUR),
                    Lifetime::Unlimited => None,
                }),
            allow_origin: read.origins("SSE_ALLOW_ORIGIN")?,
            command: read.command("SSE_COMMAND")?,
            command_sharing: read.choice(
                "SSE_COMMAND_SHARED",
                CommandSharing::Alone,
                CommandSharing::Shared,
            )?,
            command_timeout: read
                .duration("SSE_COMMAND_TIMEOUT", (SECOND, HOUR * 24))?
                .unwrap_or(HOUR),
            command_output_bytes: read.size("SSE_COMMAND_OUTPUT", 64 << 20, (1, u64::MAX))?,
            commands_max: read
                .number("SSE_COMMAND_MAX", (1, 10_000))?
                .map_or(20, |count| count as usize),
            log: Self::log(meta),
            file_max_bytes: read.optional_size("SSE_FILE_MAX", (1 << 10, u64::MAX))?,
            file_keep: read
                .number("SSE_FILE_KEEP", (1, 100))?
                .map_or(3, |count| count as u32),
            spool: path(meta, "SSE_SPOOL"),
            session_grace: read
                .duration("SSE_SESSION_GRACE", (SECOND * 10, HOUR * 24))?
                .unwrap_or(SECOND * 120),
        };
        read.unknown_names();
        Ok((settings, read.notices))
    }

    /// `SSE_LOG` alone, which holds also where another setting is wrong.
    #[must_use]
    pub fn log(meta: &MetaVariables) -> Option<PathBuf> {
        path(meta, "SSE_LOG")
    }

    /// The path that `SSE_FILE` names, for a stream that cannot do without.
    ///
    /// # Errors
    /// When it is not set.
    pub fn required_file(&self) -> Result<PathBuf, SettingError> {
        let remedy = "not set; this stream reads a file, so set SSE_FILE to its path";
        self.file
            .clone()
            .ok_or_else(|| SettingError::new("SSE_FILE", b"", remedy))
    }

    /// The folder that `SSE_SPOOL` names, for a stream that cannot do without.
    ///
    /// # Errors
    /// When it is not set.
    pub fn required_spool(&self) -> Result<&Path, SettingError> {
        let remedy = "not set; set SSE_SPOOL to a folder that sessions can live in, such as \
                      /var/lib/sse-cgi/spool";
        self.spool
            .as_deref()
            .ok_or_else(|| SettingError::new("SSE_SPOOL", b"", remedy))
    }
}

/// `SSE_MAX_SUBSCRIBERS`: how many streams a process serves at once, 1 to 1 000 000.
/// Default 50000, which a small machine holds.
///
/// # Errors
/// When it is no number.
pub fn subscribers_max(meta: &MetaVariables) -> Result<(usize, Vec<Notice>), SettingError> {
    let mut read = Reader {
        meta,
        notices: Vec::new(),
    };
    let remedy = "not a number; write digits only, such as 50000";
    let name = "SSE_MAX_SUBSCRIBERS";
    let most = read.read(name, units::count, remedy)?;
    let most = most.map_or(50_000, |most| {
        read.clamp(name, most, (1, 1_000_000), |n| n.to_string())
    });
    Ok((most as usize, read.notices))
}

pub(super) fn path(meta: &MetaVariables, name: &str) -> Option<PathBuf> {
    let value = meta.get(name).last()?;
    Some(PathBuf::from(OsString::from_vec(value.to_vec())))
}

/// Reads settings, and keeps what is to be said of them.
pub(super) struct Reader<'a> {
    pub(super) meta: &'a MetaVariables,
    pub(super) notices: Vec<Notice>,
}

impl Reader<'_> {
    fn text(&self, name: &str, remedy: &str) -> Result<Option<&str>, SettingError> {
        let Some(value) = self.meta.get(name).last() else {
            return Ok(None);
        };
        let text = std::str::from_utf8(value);
        text.map(Some)
            .map_err(|_| SettingError::new(name, value, remedy))
    }

    pub(super) fn read<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
        remedy: &str,
    ) -> Result<Option<T>, SettingError> {
        let Some(text) = self.text(name, remedy)? else {
            return Ok(None);
        };
        let wrong = || SettingError::new(name, text.as_bytes(), remedy);
        parse(text).map(Some).ok_or_else(wrong)
    }

    pub(super) fn duration(
        &mut self,
        name: &str,
        range: (Duration, Duration),
    ) -> Result<Option<Duration>, SettingError> {
        let remedy = "not a duration; write a whole number and ms, s, m or h, such as 15s";
        let read = self.read(name, units::duration, remedy)?;
        Ok(read.map(|value| self.clamp(name, value, range, units::duration_text)))
    }

    pub(super) fn size(
        &mut self,
        name: &str,
        default: u64,
        range: (u64, u64),
    ) -> Result<u64, SettingError> {
        Ok(self.optional_size(name, range)?.unwrap_or(default))
    }

    pub(super) fn optional_size(
        &mut self,
        name: &str,
        range: (u64, u64),
    ) -> Result<Option<u64>, SettingError> {
        let remedy = "not a size; write a number of bytes, or of K, M or G, such as 16M";
        let read = self.read(name, units::size, remedy)?;
        Ok(read.map(|value| self.clamp(name, value, range, units::size_text)))
    }

    pub(super) fn optional_count(
        &mut self,
        name: &str,
        most: u64,
    ) -> Result<Option<u64>, SettingError> {
        self.number(name, (0, most))
    }

    fn number(&mut self, name: &str, range: (u64, u64)) -> Result<Option<u64>, SettingError> {
        let read = self.read(
            name,
            units::count,
            "not a number; write digits only, such as 10",
        )?;
        Ok(read.map(|value| self.clamp(name, value, range, |n| n.to_string())))
    }

    fn count(&mut self, name: &str, default: u64, most: u64) -> Result<u64, SettingError> {
        Ok(self.optional_count(name, most)?.unwrap_or(default))
    }

    fn clamp<T: Ord + Copy>(
        &mut self,
        name: &str,
        value: T,
        (least, most): (T, T),
        text: impl Fn(T) -> String,
    ) -> T {
        let clamped = value.clamp(least, most);
        if clamped != value {
            let (limit, word) = if value < least {
                (least, "least")
            } else {
                (most, "most")
            };
            let limit = text(limit);
            self.notices.push(Notice(format!(
                "{name}={}: out of range, {limit} is used; write {limit} at {word}",
                text(value),
            )));
        }
        clamped
    }

    fn format(&self) -> Result<Option<Format>, SettingError> {
        let parse = |text: &str| match text {
            "lines" => Some(Format::Lines),
            "jsonl" => Some(Format::Jsonl),
            "state" => Some(Format::State),
            _ => None,
        };
        self.read(
            "SSE_FORMAT",
            parse,
            "no such format; write lines, jsonl or state",
        )
    }

    pub(super) fn choice<T: Copy>(&self, name: &str, no: T, yes: T) -> Result<T, SettingError> {
        let parse = |text: &str| match text {
            "yes" => Some(yes),
            "no" => Some(no),
            _ => None,
        };
        Ok(self
            .read(name, parse, "neither yes nor no; write one of them")?
            .unwrap_or(no))
    }

    pub(super) fn words(&self, name: &str) -> Result<Vec<String>, SettingError> {
        let text = self.text(name, "not UTF-8; write words separated by spaces")?;
        Ok(text
            .unwrap_or_default()
            .split_ascii_whitespace()
            .map(str::to_owned)
            .collect())
    }

    pub(super) fn command(&self, name: &str) -> Result<Vec<String>, SettingError> {
        let remedy = "not a command; write a program and its arguments, with quotes closed";
        Ok(self.read(name, shlex::split, remedy)?.unwrap_or_default())
    }

    fn event_name(&self, name: &str) -> Result<Option<EventName<'static>>, SettingError> {
        let parse = |text: &str| EventName::new(text.to_owned()).ok();
        let remedy = "not an event name; write UTF-8 text without line breaks";
        let event = self.read(name, parse, remedy)?;
        match event {
            Some(event) if event.is_reserved() => {
                let remedy = "only the stream itself and EventSource use this name; \
                              write another";
                Err(SettingError::new(name, event.as_str().as_bytes(), remedy))
            }
            event => Ok(event),
        }
    }

    fn origins(&self, name: &str) -> Result<Vec<AllowedOrigin>, SettingError> {
        let words = self.words(name)?;
        let parse = |word: &String| {
            AllowedOrigin::parse(word).map_err(|remedy| {
                let remedy = format!("not a list of origins; {remedy}");
                SettingError::new(name, word.as_bytes(), remedy)
            })
        };
        words.iter().map(parse).collect()
    }

    fn unknown_names(&mut self) {
        let slips: Vec<Notice> = self
            .meta
            .names()
            .filter(|name| name.starts_with(b"SSE_"))
            .filter(|name| !KNOWN_SETTINGS.iter().any(|known| known.as_bytes() == *name))
            .map(|name| {
                let text = format!("{}: no such setting, it is ignored", printable(name));
                Notice(match nearest(name) {
                    Some(known) => format!("{text}; did you mean {known}?"),
                    None => text,
                })
            })
            .collect();
        self.notices.extend(slips);
    }
}

/// The setting whose name is so much like an unknown one that it was probably meant.
fn nearest(name: &[u8]) -> Option<&'static str> {
    let name = name.get(..64).unwrap_or(name);
    KNOWN_SETTINGS
        .iter()
        .map(|known| (edits(name, known.as_bytes()), *known))
        .min()
        .filter(|(edits, known)| *edits <= 2 || *edits * 4 <= known.len() - "SSE_".len())
        .map(|(_, known)| known)
}

/// How many bytes have to be inserted, removed, replaced, or exchanged with their
/// neighbour to make `b` of `a` (the optimal string alignment distance).
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut rows: [Vec<usize>; 3] = [Vec::new(), Vec::new(), (0..=b.len()).collect()];
    for i in 1..=a.len() {
        rows.rotate_left(1);
        rows[2] = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[1][j] + 1).min(rows[2][j - 1] + 1);
            let is_exchanged = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if is_exchanged {
                least = least.min(rows[0][j - 2] + 1);
            }
            rows[2].push(least);
        }
    }
    rows[2][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<(Settings, Vec<String>), String> {
        Settings::parse(&MetaVariables::of(pairs), Lifetime::Hour)
            .map(|(s, n)| (s, n.iter().map(ToString::to_string).collect()))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn nothing_set_means_the_documented_defaults() {
        let (s, notices) = parse(&[]).unwrap();
        assert_eq!(notices, Vec::<String>::new());
        assert_eq!(s.backlog_records, 10);
        assert_eq!(s.replay_bytes, 16 << 20);
        assert_eq!(s.max_line_bytes, 1 << 20);
        assert_eq!(s.interval, SECOND);
        assert_eq!(s.heartbeat, SECOND * 15);
        assert_eq!(s.retry, SECOND * 3);
        assert_eq!(s.send_timeout, SECOND * 30);
        assert_eq!(s.max_age, Some(HOUR));
        assert_eq!((s.event, s.count, s.file, s.log), (None, None, None, None));
        let unlimited = Settings::parse(&MetaVariables::of(&[]), Lifetime::Unlimited).unwrap();
        assert_eq!(unlimited.0.max_age, None);
    }

    #[test]
    fn an_empty_value_is_an_unset_one() {
        assert_eq!(
            parse(&[("SSE_HEARTBEAT", ""), ("SSE_BACKLOG", "")]),
            parse(&[])
        );
    }

    #[test]
    fn the_setting_that_was_probably_meant_is_named() {
        for (name, expected) in [
            ("SSE_FLIE", Some("SSE_FILE")),
            ("SSE_FILES", Some("SSE_FILE")),
            ("SSE_HEART_BEAT", Some("SSE_HEARTBEAT")),
            ("SSE_PUBLISH_TOKENFILE", Some("SSE_PUBLISH_TOKEN_FILE")),
            ("SSE_WHATEVER_THIS_IS", None),
            ("SSE_", None),
        ] {
            assert_eq!(nearest(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn a_value_outside_its_range_is_clamped_and_said() {
        for (name, value, notice) in [
            (
                "SSE_HEARTBEAT",
                "60s",
                "SSE_HEARTBEAT=1m: out of range, 25s is used; write 25s at most",
            ),
            (
                "SSE_INTERVAL",
                "1ms",
                "SSE_INTERVAL=1ms: out of range, 10ms is used; write 10ms at least",
            ),
            (
                "SSE_RETRY",
                "0s",
                "SSE_RETRY=0s: out of range, 1s is used; write 1s at least",
            ),
            (
                "SSE_MAX_LINE",
                "1G",
                "SSE_MAX_LINE=1G: out of range, 64M is used; write 64M at most",
            ),
        ] {
            assert_eq!(parse(&[(name, value)]).unwrap().1, [notice]);
        }
        assert_eq!(
            parse(&[("SSE_HEARTBEAT", "60s")]).unwrap().0.heartbeat,
            SECOND * 25
        );
    }

    #[test]
    fn a_value_that_cannot_be_read_names_the_setting_and_the_remedy() {
        for (name, value, error) in [
            (
                "SSE_HEARTBEAT",
                "15",
                "SSE_HEARTBEAT=15: not a duration; write a whole number and ms, s, m or h, such as 15s",
            ),
            (
                "SSE_BACKLOG",
                "ten",
                "SSE_BACKLOG=ten: not a number; write digits only, such as 10",
            ),
            (
                "SSE_FORMAT",
                "xml",
                "SSE_FORMAT=xml: no such format; write lines, jsonl or state",
            ),
        ] {
            assert_eq!(parse(&[(name, value)]).unwrap_err(), error);
        }
        let long = parse(&[("SSE_REPLAY", &"x\n".repeat(100))]).unwrap_err();
        assert!(!long.contains('\n') && long.len() < 200, "{long}");
    }

    #[test]
    fn a_file_can_be_bounded() {
        let (s, notices) = parse(&[("SSE_FILE_MAX", "1M"), ("SSE_FILE_KEEP", "0")]).unwrap();
        assert_eq!(
            notices,
            ["SSE_FILE_KEEP=0: out of range, 1 is used; write 1 at least"]
        );
        assert_eq!((s.file_max_bytes, s.file_keep), (Some(1 << 20), 1));
        let (s, _) = parse(&[]).unwrap();
        assert_eq!((s.file_max_bytes, s.file_keep), (None, 3));
    }

    #[test]
    fn every_number_that_is_clamped_is_reported() {
        for name in ["SSE_COMMAND_MAX", "SSE_FILE_KEEP"] {
            for value in ["0", "99999999"] {
                let notices = parse(&[(name, value)]).unwrap().1;
                assert!(notices[0].contains("out of range"), "{name}={value}");
            }
        }
        let meta = MetaVariables::of(&[("SSE_MAX_SUBSCRIBERS", "0")]);
        let (most, notices) = subscribers_max(&meta).unwrap();
        assert_eq!((most, notices.len()), (1, 1));
    }

    #[test]
    fn labels_of_encodings_are_those_of_the_standard() {
        for (label, expected) in [
            ("UTF-8", Some(TextEncoding::Utf8)),
            ("latin1", Some(TextEncoding::Windows1252)),
            ("ISO-8859-1", Some(TextEncoding::Windows1252)),
            ("utf-16", Some(TextEncoding::Utf16Le)),
            ("utf-16be", Some(TextEncoding::Utf16Be)),
            ("shift_jis", None),
        ] {
            assert_eq!(TextEncoding::of_label(label), expected, "{label}");
        }
        let error = parse(&[("SSE_ENCODING", "shift_jis")]).unwrap_err();
        assert!(error.contains("write utf-8 or latin1"), "{error}");
    }

    #[test]
    fn a_slip_in_a_name_is_noticed() {
        let (_, notices) = parse(&[("SSE_FLIE", "/x"), ("HTTP_SSE_FILE", "/etc/passwd")]).unwrap();
        assert_eq!(
            notices,
            ["SSE_FLIE: no such setting, it is ignored; did you mean SSE_FILE?"]
        );
    }

    #[test]
    fn the_format_follows_the_name_unless_it_is_set() {
        assert_eq!(Format::of_name(Path::new("/a.log")), Format::Lines);
        assert_eq!(Format::of_name(Path::new("/a.jsonl")), Format::Jsonl);
        assert_eq!(Format::of_name(Path::new("/a.ndjson")), Format::Jsonl);
        let format = |pairs| parse(pairs).unwrap().0.format;
        assert_eq!(format(&[]), None);
        assert_eq!(format(&[("SSE_FORMAT", "state")]), Some(Format::State));
    }

    #[test]
    fn a_file_and_a_folder_at_once_are_a_mistake() {
        let error = parse(&[("SSE_FILE", "/f"), ("SSE_ROOT", "/r")]).unwrap_err();
        assert!(
            error.starts_with("SSE_ROOT=/r: SSE_FILE is set as well"),
            "{error}"
        );
        assert!(parse(&[("SSE_FILE", ""), ("SSE_ROOT", "/r")]).is_ok());
    }

    #[test]
    fn an_origin_that_could_never_match_is_refused() {
        let (s, _) = parse(&[("SSE_ALLOW_ORIGIN", "https://a.example  http://b:8080 *")]).unwrap();
        assert_eq!(s.allow_origin.len(), 3);
        for bad in [
            "https://a.example/",
            "a.example",
            "null",
            "https://ok.example https://*",
            "https://a.example,https://b.example",
        ] {
            assert!(parse(&[("SSE_ALLOW_ORIGIN", bad)]).is_err(), "{bad}");
        }
    }
}
