//! The settings of a location.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::reader::Dividing;
use super::streams::{NOT_A_STREAM_NAME, is_stream_name};
use super::table as row;
use super::unknown::unknown_names;
use super::{
    Absent, CommandSharing, Format, LineEnd, Notice, Publishers, QueryFilter, Reader, SettingError,
    SourceId, TextEncoding,
};
use crate::event::{CompositeId, EventName, Tag};
use crate::request::MetaVariables;
use crate::request::access::AccessSettings;
use crate::request::origin::AllowedOrigin;

/// The settings of one location, with defaults filled in. Ranges and defaults are in the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `SSE_FILE`: the file of tail and script.
    pub file: Option<PathBuf>,
    /// `SSE_ROOT`: the folder below which `PATH_INFO` names the file. Never set
    /// together with `SSE_FILE`.
    pub root: Option<PathBuf>,
    /// `SSE_AWAIT`: what happens when a file below the root is missing.
    pub absent: Absent,
    /// `SSE_SUFFIXES`: the permitted ends of names below the root; empty: any.
    pub suffixes: Vec<String>,
    /// `SSE_FORMAT`. `None`: the file's name determines it, see [`Format::of_name`].
    pub format: Option<Format>,
    /// `SSE_ENCODING`: the file's encoding.
    pub encoding: TextEncoding,
    /// `SSE_LINE_END`: which bytes end a line.
    pub line_end: LineEnd,
    /// `SSE_FLUSH`: after the file has been unchanged for so long, an unfinished last line is a
    /// record. `None`: it is held back until its line end is written.
    pub flush: Option<Duration>,
    /// `SSE_FILTER`: which records are sent, see [`crate::request::Filter`]. Only sources with
    /// records parse it, so that other programs contain no regular expressions.
    pub filter: Option<String>,
    /// `SSE_ALLOW_FILTER`: whether the query's `filter` is used as well.
    pub query_filter: QueryFilter,
    /// `SSE_STATE_MAX`: the largest file in the format `state`.
    pub state_max_bytes: u64,
    /// `SSE_SETTLE`: how long a file in the format `state` must be unchanged before it is read.
    /// `None`: 50 ms, and 2 s for a file that was emptied.
    pub settle: Option<Duration>,
    /// `SSE_SOURCE_ID`: whether a `jsonl` record's own `id` is passed on.
    pub source_id: SourceId,
    /// `SSE_BACKLOG`: the number of records that a first-time client gets.
    pub backlog_records: usize,
    /// `SSE_REPLAY`: how far back a Last-Event-ID may reach.
    pub replay_bytes: u64,
    /// `SSE_MAX_LINE`: the longest record.
    pub max_line_bytes: usize,
    /// `SSE_EVENT`: the event's name for `lines` and `state`. `None` means `message`.
    pub event: Option<EventName<'static>>,
    /// `SSE_INTERVAL`: the time between the events of clock and countdown.
    pub interval: Duration,
    /// `SSE_COUNT`: the first number of a countdown (`None`: 10); the number of events after
    /// which a clock ends (`None`: never).
    pub count: Option<u64>,
    /// `SSE_HEARTBEAT`: a comment after this much silence. The shortest silence limit that was
    /// measured for any server is 30 s, and it takes two heartbeats to notice that a client has
    /// left.
    pub heartbeat: Duration,
    /// `SSE_RETRY`: the reconnection time.
    pub retry: Duration,
    /// `SSE_SEND_TIMEOUT`: a client that accepts nothing for so long is disconnected.
    pub send_timeout: Duration,
    /// `SSE_MAX_AGE`: a stream ends at an event boundary after this time. The default depends
    /// on the gateway, see [`Lifetime`].
    pub max_age: Option<Duration>,
    /// `SSE_ALLOW_ORIGIN`: the origins whose pages may read across origins.
    pub allow_origin: Vec<AllowedOrigin>,
    /// Whether a client must show that it has access, and by what.
    pub access: AccessSettings,
    /// `SSE_COMMAND`: the program to run and its arguments; empty if it is not set.
    pub command: Vec<String>,
    /// `SSE_COMMAND_SHARED`: in a responder, whether one run serves all subscribers.
    pub command_sharing: CommandSharing,
    /// `SSE_COMMAND_TIMEOUT`: a program that runs for longer is ended.
    pub command_timeout: Duration,
    /// `SSE_COMMAND_OUTPUT`: a program that writes more is ended.
    pub command_output_bytes: u64,
    /// `SSE_COMMAND_MAX`: how many programs a process runs at the same time.
    pub commands_max: usize,
    /// The values that separate shared streams.
    pub dividing: Dividing,
    /// `SSE_LOG`: the file for the log. `None`: the server's log.
    pub log: Option<PathBuf>,
    /// `SSE_FILE_MAX`: a file that would grow beyond it is rotated first. `None`: it grows
    /// without limit.
    pub file_max_bytes: Option<u64>,
    /// `SSE_FILE_KEEP`: how many rotated files are kept.
    pub file_keep: u32,
    /// Whether `SSE_PUBLISH_ALLOW` permits anyone to publish here.
    pub publishers: Publishers,
    /// `SSE_SPOOL`: the folder for sessions.
    pub spool: Option<PathBuf>,
    /// `SSE_SESSION_GRACE`: how long a session outlives its stream.
    pub session_grace: Duration,
    /// `SSE_REDIS`: the engine of the stream `redis`, which parses it: other programs do not
    /// contain the parser.
    pub redis: Option<String>,
    /// `SSE_REDIS_USER`: the user of the engine.
    pub redis_user: Option<String>,
    /// `SSE_REDIS_PASSWORD_FILE`: the file of the user's password.
    pub redis_password_file: Option<PathBuf>,
    /// `SSE_REDIS_CA`: the certificates that the engine's is verified with, for TLS.
    pub redis_ca: Option<PathBuf>,
    /// `SSE_REDIS_CERT`: the certificate that is shown to the engine, and its key.
    pub redis_cert: Option<PathBuf>,
    /// `SSE_STREAM_KEY`: the key of the Redis Stream.
    pub stream_key: Option<String>,
    /// `SSE_STREAM_KEY_PREFIX`: what comes before the name in `PATH_INFO`.
    pub stream_key_prefix: Option<String>,
    /// `SSE_KEEP`: about how many entries of a Redis Stream publishing keeps.
    pub keep_entries: u64,
    /// `SSE_STREAMS`: the names of the streams that one connection may request.
    pub streams: Vec<String>,
}

/// The default of `SSE_MAX_AGE`, which depends on the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// A process for each stream (nph, CGI): one hour.
    Hour,
    /// No limit (FastCGI, a terminal).
    Unlimited,
}

/// The remedy for a text that is not UTF-8.
const NOT_UTF_8: &str = "not UTF-8; write it in UTF-8";

impl Settings {
    /// Reads every setting.
    ///
    /// # Errors
    /// The first setting whose value cannot be read.
    pub fn parse(
        meta: &MetaVariables,
        lifetime: Lifetime,
    ) -> Result<(Self, Vec<Notice>), SettingError> {
        let mut read = Reader::new(meta);
        let file = read.path(&row::FILE);
        let root = read.path(&row::ROOT);
        if let (Some(_), Some(root)) = (&file, &root) {
            let remedy = "SSE_FILE is set as well; set one of them, and the other to nothing";
            return Err(SettingError::new(
                "SSE_ROOT",
                root.as_os_str().as_encoded_bytes(),
                remedy,
            ));
        }
        let mut settings = Self {
            format: read.word(
                &row::FORMAT,
                &[
                    ("lines", Format::Lines),
                    ("jsonl", Format::Jsonl),
                    ("state", Format::State),
                ],
                "no such format; write lines, jsonl or state",
            )?,
            file,
            root,
            publishers: match read.words(&row::PUBLISH_ALLOW)?[..] {
                [] => Publishers::None,
                _ => Publishers::Some,
            },
            absent: match read.is_yes(&row::AWAIT)? {
                true => Absent::Awaited,
                false => Absent::NotFound,
            },
            suffixes: read.words(&row::SUFFIXES)?,
            filter: read.string(
                &row::FILTER,
                "not UTF-8; write a text, or /.../ for a regular expression",
            )?,
            encoding: read
                .parsed(
                    &row::ENCODING,
                    TextEncoding::of_label,
                    "no such encoding here; write utf-8 or latin1 \
                     (windows-1252), or for the format state utf-16, utf-16le or utf-16be; \
                     convert other files with iconv",
                    |encoding| encoding.label().into(),
                )?
                .unwrap_or(TextEncoding::Utf8),
            line_end: read
                .word(
                    &row::LINE_END,
                    &[("lf", LineEnd::Lf), ("any", LineEnd::Any)],
                    "no such line end; write lf or any",
                )?
                .unwrap_or(LineEnd::Lf),
            flush: read.optional_duration(&row::FLUSH)?,
            query_filter: match read.is_yes(&row::ALLOW_FILTER)? {
                true => QueryFilter::Used,
                false => QueryFilter::Ignored,
            },
            settle: read.optional_duration(&row::SETTLE)?,
            state_max_bytes: read.size(&row::STATE_MAX)?,
            source_id: match read.is_yes(&row::SOURCE_ID)? {
                true => SourceId::PassedOn,
                false => SourceId::Ignored,
            },
            backlog_records: read.count(&row::BACKLOG)? as usize,
            replay_bytes: read.size(&row::REPLAY)?,
            max_line_bytes: read.size(&row::MAX_LINE)? as usize,
            event: read.event_name(&row::EVENT)?,
            interval: read.duration(&row::INTERVAL)?,
            count: read.optional_count(&row::COUNT)?,
            heartbeat: read.duration(&row::HEARTBEAT)?,
            retry: read.duration(&row::RETRY)?,
            send_timeout: read.duration(&row::SEND_TIMEOUT)?,
            max_age: read.optional_duration(&row::MAX_AGE)?.or(match lifetime {
                Lifetime::Hour => Some(Duration::from_secs(3600)),
                Lifetime::Unlimited => None,
            }),
            allow_origin: read.origins(&row::ALLOW_ORIGIN)?,
            access: AccessSettings::read(&mut read)?,
            command: read.command(&row::COMMAND)?,
            command_sharing: match read.is_yes(&row::COMMAND_SHARED)? {
                true => CommandSharing::Shared,
                false => CommandSharing::Alone,
            },
            command_timeout: read.duration(&row::COMMAND_TIMEOUT)?,
            command_output_bytes: read.size(&row::COMMAND_OUTPUT)?,
            commands_max: read.count(&row::COMMAND_MAX)? as usize,
            log: read.path(&row::LOG),
            file_max_bytes: read.optional_size(&row::FILE_MAX)?,
            file_keep: read.count(&row::FILE_KEEP)? as u32,
            spool: read.path(&row::SPOOL),
            session_grace: read.duration(&row::SESSION_GRACE)?,
            redis: read.string(&row::REDIS, NOT_UTF_8)?,
            redis_user: read.string(&row::REDIS_USER, NOT_UTF_8)?,
            redis_password_file: read.path(&row::REDIS_PASSWORD_FILE),
            redis_ca: read.path(&row::REDIS_CA),
            redis_cert: read.path(&row::REDIS_CERT),
            stream_key: read.string(&row::STREAM_KEY, NOT_UTF_8)?,
            stream_key_prefix: read.string(&row::STREAM_KEY_PREFIX, NOT_UTF_8)?,
            keep_entries: read.count(&row::KEEP)?,
            streams: stream_names(&mut read)?,
            dividing: Dividing::default(),
        };
        let (mut notices, dividing) = read.finish();
        settings.dividing = dividing;
        // A signed link permits publishing too.
        if settings.access.is_required() {
            settings.publishers = Publishers::Some;
        }
        notices.extend(unknown_names(meta));
        Ok((settings, notices))
    }

    /// `SSE_LOG` alone, which is used even if another setting is invalid.
    #[must_use]
    pub fn log(meta: &MetaVariables) -> Option<PathBuf> {
        Reader::new(meta).path(&row::LOG)
    }

    /// The path that `SSE_FILE` names, for a stream that needs one.
    ///
    /// # Errors
    /// When it is not set.
    pub fn required_file(&self) -> Result<PathBuf, SettingError> {
        let remedy = "not set; this stream reads a file, so set SSE_FILE to its path";
        self.file
            .clone()
            .ok_or_else(|| SettingError::new("SSE_FILE", b"", remedy))
    }

    /// The folder that `SSE_SPOOL` names, for a stream that needs one.
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

/// Reads `SSE_STREAMS`. Two names with one tag would be one stream in a client's id.
fn stream_names(read: &mut Reader<'_>) -> Result<Vec<String>, SettingError> {
    let wrong = |value: &str, remedy: &str| {
        SettingError::new(row::STREAMS.name, value.as_bytes(), remedy.to_owned())
    };
    let names = read.words(&row::STREAMS)?;
    let one = read.string(&row::STREAM, "no such stream")?;
    let other = one.filter(|one| !names.is_empty() && one != "streams");
    if let Some(one) = other {
        let remedy = "SSE_STREAMS is set as well; set one of them, and the other to nothing";
        return Err(SettingError::new(row::STREAM.name, one.as_bytes(), remedy));
    }
    for (number, name) in names.iter().enumerate() {
        if !is_stream_name(name.as_bytes()) {
            return Err(wrong(name, NOT_A_STREAM_NAME));
        }
        if names[..number].contains(name) {
            return Err(wrong(name, "it occurs twice; keep one of them"));
        }
    }
    if names.len() > CompositeId::REDIS_MAX {
        let remedy = "too many streams for one connection; write 13 files or 19 Redis Streams at \
                      most, and the others into another location";
        return Err(wrong(&names.join(" "), remedy));
    }
    let words: Vec<&str> = names.iter().map(String::as_str).collect();
    if let Some((one, other)) = Tag::first_pair(&words) {
        let remedy =
            format!("the ids of clients could not distinguish {one} and {other}; rename one");
        return Err(wrong(other, &remedy));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::settings::{DefaultValue, Kind, TABLE};
    use crate::request::{Commands, Publishing, subscribers_max};

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

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
    fn a_slip_in_a_name_is_noticed() {
        let (_, notices) = parse(&[("SSE_FLIE", "/x"), ("HTTP_SSE_FILE", "/etc/passwd")]).unwrap();
        assert_eq!(
            notices,
            ["SSE_FLIE: no such setting, it is ignored; did you mean SSE_FILE?"]
        );
    }

    #[test]
    fn every_default_of_the_table_is_one_that_is_not_reported() {
        for setting in TABLE {
            let DefaultValue::Value(default) = setting.spec.default else {
                continue;
            };
            let (_, notices) = parse(&[(setting.spec.name, default)]).unwrap();
            assert_eq!(notices, Vec::<String>::new(), "{}", setting.spec.name);
        }
    }

    #[test]
    fn every_limit_of_the_table_is_used_and_reported() {
        for setting in TABLE {
            let below_and_above = match setting.spec.kind {
                Kind::Duration(least, most) => [
                    (least - Duration::from_millis(1), least),
                    (most.saturating_add(SECOND), most),
                ]
                .map(|(value, limit)| (value != limit).then(|| format!("{}ms", value.as_millis()))),
                Kind::Size(least, most) | Kind::Count(least, most) => [
                    least.checked_sub(1).map(|value| value.to_string()),
                    most.checked_add(1).map(|value| value.to_string()),
                ],
                _ => continue,
            };
            let name = setting.spec.name;
            for value in below_and_above.into_iter().flatten() {
                let meta = MetaVariables::of(&[(name, &value)]);
                let mut notices = Settings::parse(&meta, Lifetime::Hour).unwrap().1;
                notices.extend(Publishing::parse(&meta).unwrap().1);
                notices.extend(subscribers_max(&meta).unwrap().1);
                assert_eq!(notices.len(), 1, "{name}={value}");
                assert!(notices[0].to_string().contains("out of range"), "{name}");
            }
        }
    }

    #[test]
    fn every_value_that_is_no_value_of_its_kind_is_refused() {
        for setting in TABLE {
            use Kind::{Choice, Count, Origins, Rate, Size, Subset, YesNo};
            let kind = setting.spec.kind;
            let is_checked = matches!(kind, Kind::Duration(..) | Size(..) | Count(..) | YesNo)
                || matches!(kind, Choice(_) | Subset(_) | Rate | Origins);
            let meta = MetaVariables::of(&[(setting.spec.name, "no such value")]);
            let errors = [
                Settings::parse(&meta, Lifetime::Hour).err(),
                Publishing::parse(&meta).err(),
                subscribers_max(&meta).err(),
                Commands::of_process(&meta).err(),
            ];
            let is_refused = errors.iter().any(Option::is_some);
            if is_checked {
                assert!(is_refused, "{}", setting.spec.name);
            }
        }
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
