//! The table of settings: everything that the programs and the documents know of a setting is
//! in its row.
//!
//! A new setting is a row here, a field of [`Settings`](super::Settings) or
//! [`Publishing`](crate::request::Publishing), and its reading there. Help, options,
//! `docs/settings.md`, the check for unknown names and the keys of shared streams follow.

use std::time::Duration;

use super::row::DefaultValue::{Unset, Value};
use super::row::Kind::{
    Choice, Command, Count, Origins, Path, Rate, Size, Subset, Text, Words, YesNo,
};
use super::row::Scope::{Location, Process};
use super::row::Sharing::{BySource, Divides, Ignored};
use super::row::Streams::{Every, Only, Responder};
use super::row::{Brief, Kind, Setting, Spec, contains, is_same};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// From `least` to `most` milliseconds.
const fn milliseconds(least: u64, most: Duration) -> Kind {
    Kind::Duration(Duration::from_millis(least), most)
}

/// From one second to `most`.
const fn seconds(most: Duration) -> Kind {
    Kind::Duration(SECOND, most)
}

/// Makes of each row `NAME "SSE_NAME" kind = default (reason), streams, scope, sharing: help;`
/// a constant [`Spec`] of that name, for reading, and an entry of the table.
macro_rules! table {
    ($(
        $id:ident $name:literal $kind:expr, = $default:expr, $reason:literal;
        $streams:expr, $scope:expr, $sharing:expr;
        $help:literal
    )*) => {
        $(
            pub(in crate::request) const $id: Spec = Spec {
                name: $name,
                kind: $kind,
                default: $default,
                sharing: $sharing,
            };
        )*

        /// The rows, for constant functions: a program contains only the rows that these
        /// select.
        const ROWS: &[&Setting] = &[$(
            &Setting {
                spec: $id,
                reason: $reason,
                streams: $streams,
                scope: $scope,
                help: $help,
            },
        )*];

        /// The rows without the texts of their help.
        pub(super) const BRIEFS: &[Brief] = &[$(
            Brief {
                name: $name,
                default: match $default {
                    Value(text) | Unset(text) => text,
                },
                streams: $streams,
            },
        )*];

        /// The names of all settings, without their rows.
        pub(super) const NAMES: &[&str] = &[$($name),*];
    };
}

table! {
    STREAM "SSE_STREAM" Text("NAME"), = Unset("the last part of SCRIPT_NAME, but not status"), "";
    Responder, Location, Ignored;
    "the stream that sse-fcgi serves here: clock, countdown, script, tail, command, redis, publish, session, room, streams or status"

    FILE "SSE_FILE" Path, = Unset(""), "";
    Only(&["tail", "script", "room", "publish"]), Location, Divides;
    "the file to read, or to publish to; it may be created later"

    ROOT "SSE_ROOT" Path, = Unset(""), "";
    Only(&["tail", "room", "publish"]), Location, Divides;
    "a folder: PATH_INFO names the file below it"

    PREFIX "SSE_PREFIX" Path, = Unset("the first component of the path, if it has more than one"), "";
    Responder, Location, Ignored;
    "the location's part of the path, for gateways without PATH_INFO"

    AWAIT "SSE_AWAIT" YesNo, = Value("no"), "";
    Only(&["tail", "room", "publish"]), Location, Ignored;
    "whether to wait for a missing file below SSE_ROOT, or to answer 404"

    SUFFIXES "SSE_SUFFIXES" Words, = Unset("any"), "";
    Only(&["tail", "redis", "room", "publish", "publish-redis"]), Location, BySource;
    "the permitted ends of names below SSE_ROOT, separated by spaces"

    FORMAT "SSE_FORMAT" Choice(&["lines", "jsonl", "state"]), = Unset("jsonl for .jsonl and .ndjson, else lines"), "";
    Only(&["tail", "command", "session", "publish"]), Location, BySource;
    "what becomes an event: each line, each JSON object, or the whole file"

    ENCODING "SSE_ENCODING" Text("LABEL"), = Value("utf-8"), "";
    Only(&["tail"]), Location, Divides;
    "the file's encoding: utf-8, latin1, and for the format state utf-16, utf-16le or utf-16be"

    LINE_END "SSE_LINE_END" Choice(&["lf", "any"]), = Value("lf"), "";
    Only(&["tail"]), Location, Divides;
    "what ends a line: lf stands for LF and CRLF; any adds CR, which progress bars write"

    FLUSH "SSE_FLUSH" milliseconds(100, HOUR), = Unset("never"), "";
    Only(&["tail"]), Location, Divides;
    "treat an unfinished last line as a record after the file was unchanged for so long"

    BACKLOG "SSE_BACKLOG" Count(0, 1_000_000), = Value("10"), "a new page is not empty";
    Only(&["tail", "redis", "room"]), Location, Ignored;
    "the number of records that a first-time client gets"

    REPLAY "SSE_REPLAY" Size(0, u64::MAX), = Value("16M"), "some hours of a busy log";
    Only(&["tail", "redis", "session", "room"]), Location, Ignored;
    "how far back a Last-Event-ID may reach"

    MAX_LINE "SSE_MAX_LINE" Size(16, 64 << 20), = Value("1M"), "";
    Only(&["tail", "redis", "command", "session", "room", "publish", "publish-redis"]), Location, Divides;
    "the longest record; a longer one is cut, and a gap reports it"

    FILTER "SSE_FILTER" Text("TEXT|/REGEX/"), = Unset("all records"), "";
    Only(&["tail", "redis", "room"]), Location, Divides;
    "send only records that contain this; a leading ! inverts"

    ALLOW_FILTER "SSE_ALLOW_FILTER" YesNo, = Value("no"), "";
    Only(&["tail", "redis", "room"]), Location, BySource;
    "whether clients may filter too, by the query's filter"

    STATE_MAX "SSE_STATE_MAX" Size(1, 64 << 20), = Value("1M"), "";
    Only(&["tail"]), Location, Divides;
    "the largest file in the format state"

    SETTLE "SSE_SETTLE" milliseconds(10, MINUTE), = Unset("50ms; 2s for a file that was emptied"), "";
    Only(&["tail"]), Location, Divides;
    "how long a state file must be unchanged before it is read"

    SOURCE_ID "SSE_SOURCE_ID" YesNo, = Value("no"), "";
    Only(&["tail", "redis", "command"]), Location, Divides;
    "whether the data of a jsonl record contains its own id, in an object"

    EVENT "SSE_EVENT" Text("NAME"), = Unset("none, which is message"), "";
    Only(&["tail", "command", "session"]), Location, Divides;
    "the event name for the formats lines and state"

    INTERVAL "SSE_INTERVAL" milliseconds(10, HOUR.saturating_mul(24)), = Value("1s"), "";
    Only(&["clock", "countdown"]), Location, Divides;
    "the time between events"

    COUNT "SSE_COUNT" Count(0, 1_000_000), = Unset("10 for a countdown; a clock does not end"), "";
    Only(&["clock", "countdown"]), Location, Divides;
    "the first number of a countdown; the number of events after which a clock ends"

    COMMAND "SSE_COMMAND" Command, = Unset(""), "";
    Only(&["command", "session"]), Location, Divides;
    "the program to run and its arguments, quoted as for a shell; no shell is used"

    COMMAND_SHARED "SSE_COMMAND_SHARED" YesNo, = Value("no"), "";
    Only(&["command"]), Location, BySource;
    "under sse-fcgi, whether one run serves all subscribers"

    COMMAND_TIMEOUT "SSE_COMMAND_TIMEOUT" seconds(HOUR.saturating_mul(24)), = Value("1h"), "as long as a stream under CGI";
    Only(&["command", "session"]), Location, Divides;
    "a program that runs for longer is ended"

    COMMAND_OUTPUT "SSE_COMMAND_OUTPUT" Size(1, u64::MAX), = Value("64M"), "";
    Only(&["command", "session"]), Location, Divides;
    "a program that writes more is ended"

    COMMAND_MAX "SSE_COMMAND_MAX" Count(1, 10_000), = Value("20"), "";
    Only(&["command", "session"]), Location, Ignored;
    "how many programs run at the same time; further clients are asked to reconnect later"

    PUBLISH_ALLOW "SSE_PUBLISH_ALLOW" Subset(&["token", "user", "same-origin", "anyone"]), = Unset("nobody"), "";
    Only(&["publish", "publish-redis", "session", "room"]), Location, Ignored;
    "who may publish; any of these suffices"

    PUBLISH_TOKEN_FILE "SSE_PUBLISH_TOKEN_FILE" Path, = Unset(""), "";
    Only(&["publish", "publish-redis", "session", "room"]), Location, Ignored;
    "the file of the tokens, one on each line"

    PUBLISH_MAX "SSE_PUBLISH_MAX" Size(1, 16 << 20), = Value("64K"), "";
    Only(&["publish", "publish-redis", "session", "room"]), Location, Ignored;
    "the largest body"

    PUBLISH_TIMEOUT "SSE_PUBLISH_TIMEOUT" milliseconds(100, MINUTE.saturating_mul(5)), = Value("10s"), "";
    Only(&["publish", "publish-redis", "session", "room"]), Location, Ignored;
    "how long a body may take to arrive, and then how long appending its record may take"

    PUBLISH_RATE "SSE_PUBLISH_RATE" Rate, = Unset("unlimited"), "";
    Only(&["publish", "publish-redis", "session", "room"]), Location, Ignored;
    "how often one client may publish, such as 60/m"

    PUBLISH_SYNC "SSE_PUBLISH_SYNC" YesNo, = Value("no"), "";
    Only(&["publish", "publish-redis", "session", "room"]), Location, Ignored;
    "whether the response 201 waits until the record is on the disk"

    PUBLISH_REPLICAS "SSE_PUBLISH_REPLICAS" Count(0, 100), = Value("0"), "";
    Only(&["publish-redis", "session", "room"]), Location, Ignored;
    "with SSE_PUBLISH_SYNC, how many replicas of Redis must have the record too"

    FILE_MAX "SSE_FILE_MAX" Size(1 << 10, u64::MAX), = Unset("never"), "";
    Only(&["publish", "room"]), Location, Ignored;
    "publishing rotates the file before it grows beyond this"

    FILE_KEEP "SSE_FILE_KEEP" Count(1, 100), = Value("3"), "";
    Only(&["publish", "room"]), Location, Ignored;
    "how many rotated files are kept"

    SPOOL "SSE_SPOOL" Path, = Unset(""), "";
    Only(&["session", "room"]), Location, Divides;
    "the folder for sessions, in which no other user may write; it is created if it is missing"

    SESSION_GRACE "SSE_SESSION_GRACE" Kind::Duration(SECOND.saturating_mul(10), HOUR.saturating_mul(24)), = Value("2m"), "a laptop may be carried to another room";
    Only(&["session", "room"]), Location, Ignored;
    "how long a session outlives its stream"

    REDIS "SSE_REDIS" Text("URL"), = Unset(""), "";
    Only(&["redis", "session", "room", "publish-redis"]), Location, Divides;
    "the Redis that keeps the stream: redis://HOST:PORT/DATABASE, rediss:// for TLS, redis+sentinel://, redis+cluster:// or unix:/PATH"

    REDIS_USER "SSE_REDIS_USER" Text("NAME"), = Unset("the user of the URL, else default"), "";
    Only(&["redis", "session", "room", "publish-redis"]), Location, Divides;
    "the ACL user of SSE_REDIS"

    REDIS_PASSWORD_FILE "SSE_REDIS_PASSWORD_FILE" Path, = Unset("the password of the URL, else none"), "";
    Only(&["redis", "session", "room", "publish-redis"]), Location, Divides;
    "the file whose first line is the password for SSE_REDIS"

    REDIS_CA "SSE_REDIS_CA" Path, = Unset("the system's certificates"), "";
    Only(&["redis", "session", "room", "publish-redis"]), Location, Divides;
    "for rediss://, the file of the certificates with which that of SSE_REDIS is verified (PEM)"

    REDIS_CERT "SSE_REDIS_CERT" Path, = Unset("none"), "";
    Only(&["redis", "session", "room", "publish-redis"]), Location, Divides;
    "for rediss://, the file with the certificate of this client and its private key (PEM)"

    STREAM_KEY "SSE_STREAM_KEY" Text("KEY"), = Unset(""), "";
    Only(&["redis", "session", "room", "publish-redis"]), Location, BySource;
    "the key of the Redis Stream"

    STREAM_KEY_PREFIX "SSE_STREAM_KEY_PREFIX" Text("PREFIX"), = Unset(""), "";
    Only(&["redis", "session", "room", "publish-redis"]), Location, BySource;
    "what comes before the name in PATH_INFO to make the key of the Redis Stream"

    KEEP "SSE_KEEP" Count(1, 1_000_000_000), = Value("100000"), "some 20 MB of short events, hours at ten a second";
    Only(&["session", "room", "publish-redis"]), Location, Ignored;
    "publishing to a Redis Stream removes the oldest entries beyond this number"

    STREAMS "SSE_STREAMS" Words, = Unset(""), "";
    Only(&["streams"]), Location, Ignored;
    "the streams that one connection may request by ?s=NAME&s=NAME, separated by spaces; [stream NAME] of the settings file has the settings of each"

    HEARTBEAT "SSE_HEARTBEAT" seconds(SECOND.saturating_mul(25)), = Value("15s"), "servers cut streams that are silent for 30s";
    Every, Location, Ignored;
    "send a comment (with ?heartbeat=event an event) after this much silence"

    RETRY "SSE_RETRY" seconds(HOUR), = Value("3s"), "the default of browsers";
    Every, Location, Ignored;
    "the reconnection time; it is sent times 0.75 to 1.5, so that clients do not return together"

    SEND_TIMEOUT "SSE_SEND_TIMEOUT" seconds(HOUR), = Value("30s"), "";
    Every, Location, Ignored;
    "disconnect a client that accepts nothing for so long"

    MAX_AGE "SSE_MAX_AGE" seconds(Duration::MAX), = Unset("1h under CGI; none under FastCGI and in a terminal"), "a CGI stream holds a worker of the server";
    Every, Location, Ignored;
    "end the stream after this, up to a tenth earlier; the client resumes"

    ALLOW_ORIGIN "SSE_ALLOW_ORIGIN" Origins, = Unset("none"), "";
    Every, Location, Ignored;
    "origins whose pages may read the stream, separated by spaces; * is any, without credentials"

    KEYS "SSE_KEYS" Path, = Unset("everybody may read"), "";
    Every, Location, Ignored;
    "the file of the keys of signed links, one on each line; without a valid link a client gets 403"

    COOKIE "SSE_COOKIE" Words, = Unset("none"), "";
    Every, Location, Ignored;
    "the cookies that may contain a signed link, separated by spaces"

    JWT_KEYS "SSE_JWT_KEYS" Path, = Unset("none"), "";
    Responder, Location, Ignored;
    "the JWK Set (RFC 7517) of the keys of JSON Web Tokens; without a valid token or link a client gets 403"

    JWT_AUDIENCE "SSE_JWT_AUDIENCE" Words, = Unset(""), "";
    Responder, Location, Ignored;
    "the audiences (aud) of which a token must have one, separated by spaces; needed with SSE_JWT_KEYS"

    JWT_ISSUER "SSE_JWT_ISSUER" Text("URL"), = Unset("any"), "";
    Responder, Location, Ignored;
    "the issuer (iss) that a token must have"

    JWT_CLAIM "SSE_JWT_CLAIM" Text("NAME"), = Value("sse"), "";
    Responder, Location, Ignored;
    "the claim of a token that contains the path prefixes which it opens"

    LOG "SSE_LOG" Path, = Unset("the server's log, in a terminal stderr"), "";
    Every, Process, Ignored;
    "a file to log to, as JSON lines; SIGHUP makes sse-fcgi reopen it"

    MAX_SUBSCRIBERS "SSE_MAX_SUBSCRIBERS" Count(1, 1_000_000), = Value("50000"), "a small machine can serve this many, if it has enough descriptors";
    Responder, Process, Ignored;
    "how many streams sse-fcgi serves at the same time; further clients are asked to reconnect later"

    ALLOW_COMMANDS "SSE_ALLOW_COMMANDS" YesNo, = Value("no"), "";
    Responder, Process, Ignored;
    "whether requests may name any SSE_COMMAND, as with sse-fcgi --allow-commands"
}

/// Every setting. Only pages and tests need all of them.
pub static TABLE: &[&Setting] = ROWS;

/// The settings of every stream.
pub static COMMON: &[&Setting] = &select::<{ count(Rows::Common) }>(Rows::Common);

/// The settings of a whole process.
pub static PROCESS_SETTINGS: &[&Setting] = &select::<{ count(Rows::Process) }>(Rows::Process);

/// The names of the settings whose values are paths.
pub(super) const PATHS: &[&str] = &names::<{ count(Rows::Paths) }>(Rows::Paths);

/// The names of those that no CGI program reads.
pub(super) const OF_RESPONDERS: &[&str] = &names::<{ count(Rows::Responder) }>(Rows::Responder);

/// The names of those that the section of a stream of several may set ([`Rows::Member`]).
pub(super) const OF_MEMBERS: &[&str] = &names::<{ count(Rows::Member) }>(Rows::Member);

/// Some rows of the table.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    /// The settings of the stream of this name, without the common ones.
    Own(&'a str),
    /// The settings of every stream.
    Common,
    /// The settings of a whole process.
    Process,
    /// Those whose values are paths.
    Paths,
    /// Those that only a responder reads.
    Responder,
    /// Those of a stream that is one of several in a connection: it is a file or a Redis Stream,
    /// at one place.
    Member,
}

impl Rows<'_> {
    const fn include(self, row: &Setting) -> bool {
        let is_common = matches!(row.streams, Every);
        match self {
            Self::Own(stream) => !is_common && row.is_for(stream),
            Self::Common => is_common,
            Self::Process => matches!(row.scope, Process),
            Self::Paths => matches!(row.spec.kind, Path),
            Self::Responder => matches!(row.streams, Responder),
            Self::Member => {
                const ACCESS: [&str; 7] = [
                    "SSE_STREAM",
                    "SSE_KEYS",
                    "SSE_COOKIE",
                    "SSE_JWT_KEYS",
                    "SSE_JWT_AUDIENCE",
                    "SSE_JWT_ISSUER",
                    "SSE_JWT_CLAIM",
                ];
                const OF_PATHS: [&str; 5] = [
                    "SSE_ROOT",
                    "SSE_AWAIT",
                    "SSE_SUFFIXES",
                    "SSE_ALLOW_FILTER",
                    "SSE_STREAM_KEY_PREFIX",
                ];
                let name = row.spec.name;
                let is_read = !is_common && (row.is_for("tail") || row.is_for("redis"));
                contains(&ACCESS, name) || (is_read && !contains(&OF_PATHS, name))
            }
        }
    }
}

/// The number of these rows.
#[must_use]
pub const fn count(rows: Rows<'_>) -> usize {
    let (mut count, mut at) = (0, 0);
    while at < ROWS.len() {
        count += rows.include(ROWS[at]) as usize;
        at += 1;
    }
    count
}

/// These rows; `N` is their [`count`]. It is evaluated in a constant, so that the program does
/// not contain the text of all other rows.
#[must_use]
pub const fn select<const N: usize>(rows: Rows<'_>) -> [&'static Setting; N] {
    let mut found = [ROWS[0]; N];
    let (mut count, mut at) = (0, 0);
    while at < ROWS.len() {
        if rows.include(ROWS[at]) {
            found[count] = ROWS[at];
            count += 1;
        }
        at += 1;
    }
    found
}

/// The names of these rows, without the rows.
const fn names<const N: usize>(rows: Rows<'_>) -> [&'static str; N] {
    let (mut names, mut at) = ([""; N], 0);
    let found = select::<N>(rows);
    while at < N {
        names[at] = found[at].spec.name;
        at += 1;
    }
    names
}

/// The row of a setting, for a stream that an application defines.
///
/// # Panics
/// When there is no such setting; in a constant this is an error of the compiler.
#[must_use]
pub const fn setting(name: &str) -> &'static Setting {
    let mut at = 0;
    while at < ROWS.len() {
        if is_same(ROWS[at].spec.name, name) {
            return ROWS[at];
        }
        at += 1;
    }
    panic!("no such setting")
}
