//! NamedStream: one of several streams that a connection may request, as `[stream NAME]` of a
//! settings file says.

use super::file::SettingsFile;
use super::row::Brief;
use super::table::OF_MEMBERS;
use super::{Lifetime, Notice, Settings};
use crate::request::{Label, MetaVariables};

/// One of the streams of `SSE_STREAMS`.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedStream {
    /// Its name: 1 to 64 letters, digits, `_`, `.` and `-`, and neither `.` nor `..`.
    pub name: String,
    /// The kind of stream: `SSE_STREAM` of its section; else `redis` if that sets a key, and
    /// `tail`.
    pub kind: String,
    /// Its settings. Those of access are only those of its section: without them, those of the
    /// location are used.
    pub settings: Settings,
}

/// The longest name of a stream, in characters.
pub const STREAM_NAME_MAX_CHARS: usize = 64;

/// The remedy for a name that cannot be one.
pub(super) const NOT_A_STREAM_NAME: &str =
    "not the name of a stream; write 1 to 64 letters, digits, _ . or -";

/// Whether a text can be the name of a stream. It becomes a part of a path and of events' names.
#[must_use]
pub fn is_stream_name(text: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
    (1..=STREAM_NAME_MAX_CHARS).contains(&text.len())
        && text.iter().all(is_part)
        && text != b"."
        && text != b".."
}

/// What a stream does not take from the file's top and the environment: they say it of
/// locations.
const OF_LOCATIONS: [&str; 7] = [
    "SSE_STREAM",
    "SSE_KEYS",
    "SSE_COOKIE",
    "SSE_JWT_KEYS",
    "SSE_JWT_AUDIENCE",
    "SSE_JWT_ISSUER",
    "SSE_JWT_CLAIM",
];

impl NamedStream {
    /// Reads the section of this name. What it does not set is set by the file's top and by the
    /// environment, except for access. Returns what is odd about it, too.
    ///
    /// # Errors
    /// There is no such section, or a setting of it is wrong: one line, with the file's line.
    pub fn read(
        file: &SettingsFile,
        name: &str,
        environment: &MetaVariables,
    ) -> Result<(Self, Vec<Notice>), String> {
        let Some(section) = file.stream(name.as_bytes()) else {
            return Err(format!(
                "SSE_STREAMS={name}: {} has no section for it; add [stream {name}]",
                file.name()
            ));
        };
        let mut meta = MetaVariables::default();
        let is_inherited = |name: &str| OF_MEMBERS.contains(&name) && !OF_LOCATIONS.contains(&name);
        file.complete_with(&mut meta, Some(section), is_inherited);
        let kind = match (
            meta.get("SSE_STREAM").last(),
            section.sets("SSE_STREAM_KEY"),
        ) {
            (Some(kind), _) => String::from_utf8_lossy(kind).into_owned(),
            (None, true) => "redis".into(),
            (None, false) => "tail".into(),
        };
        let is_read = |name: &str| {
            let mut briefs = Brief::ALL.iter();
            OF_LOCATIONS.contains(&name)
                || briefs.any(|brief| brief.name == name && brief.is_for(&kind))
        };
        let mut own = section.settings();
        if let Some((setting, value, line)) = own.find(|(name, ..)| !is_read(name)) {
            let problem = format!("the stream {kind} does not read it; remove the line");
            return Err(file.wrong_at(line, setting, value, &problem).to_string());
        }
        meta.add_below_of(environment, is_inherited);
        let label = Label::of(&meta);
        let located = |text: &str| label.locate(text).into_owned();
        let (settings, notices) = Settings::parse(&meta, Lifetime::Unlimited)
            .map_err(|error| located(&error.to_string()))?;
        let stream = Self {
            name: name.into(),
            kind,
            settings,
        };
        Ok((stream, notices))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::settings::Sections;

    const EXAMPLE: &str = "\
SSE_BACKLOG = 3
SSE_KEYS = keys
[/dashboard]
SSE_STREAMS = log builds
[stream log]
SSE_FILE = app.log
[stream builds]
SSE_STREAM_KEY = builds
SSE_REDIS = unix:/run/redis
SSE_BACKLOG = 5
";

    fn read(text: &str, name: &str) -> Result<NamedStream, String> {
        let file = SettingsFile::parse("/etc/f", text.as_bytes(), Sections::Paths)
            .map_err(|error| error.to_string())?;
        let environment = MetaVariables::of(&[("SSE_MAX_LINE", "2K"), ("SSE_FILE", "/x")]);
        NamedStream::read(&file, name, &environment).map(|(stream, _)| stream)
    }

    #[test]
    fn a_stream_takes_its_section_and_then_the_top_and_the_environment() {
        let log = read(EXAMPLE, "log").unwrap();
        assert_eq!(log.kind, "tail");
        assert_eq!(log.settings.file, Some("/etc/app.log".into()));
        assert_eq!(log.settings.backlog_records, 3);
        assert_eq!(log.settings.max_line_bytes, 2048);
        assert!(!log.settings.access.is_required());
        let builds = read(EXAMPLE, "builds").unwrap();
        assert_eq!(builds.kind, "redis");
        assert_eq!(builds.settings.backlog_records, 5);
        let keys = EXAMPLE.replace("[stream builds]\n", "[stream builds]\nSSE_KEYS = own\n");
        let access = read(&keys, "builds").unwrap().settings.access;
        assert_eq!(access.keys, Some("/etc/own".into()));
    }

    #[test]
    fn a_mistake_is_one_line_that_names_its_place_and_the_remedy() {
        let check = |text: &str, name: &str, expected: &str| {
            let error = read(text, name).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        };
        check(
            EXAMPLE,
            "other",
            "SSE_STREAMS=other: /etc/f has no section for it; add [stream other]",
        );
        check(
            "[stream a]\nSSE_FILE = f\nSSE_REDIS = unix:/x\n",
            "a",
            "/etc/f:3: SSE_REDIS=unix:/x: the stream tail does not read it; remove the line",
        );
        check(
            "[stream a]\nSSE_BACKLOG = ten\n",
            "a",
            "/etc/f:2: SSE_BACKLOG=ten: not a number",
        );
        check(
            "[stream a]\nSSE_HEARTBEAT = 5s\n",
            "a",
            "/etc/f:2: SSE_HEARTBEAT=5s: not a setting of one stream of several",
        );
        check(
            "[stream a b]\n",
            "a",
            "/etc/f:1: [stream a b]: one name for each section; write [stream NAME]",
        );
        check(
            "[stream a/b]\n",
            "a",
            "/etc/f:1: [stream a/b]: not the name of a stream",
        );
        check(
            "[stream a]\n[/x]\n[stream a]\n",
            "a",
            "/etc/f:3: [stream a]: line 1 has it already",
        );
    }

    #[test]
    fn a_name_is_a_safe_part_of_a_path_and_of_an_event_s_name() {
        for name in ["log", "a.b-c_9", "...", &"x".repeat(64)] {
            assert!(is_stream_name(name.as_bytes()), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "\u{e9}",
            "a\n",
            &"x".repeat(65),
        ] {
            assert!(!is_stream_name(name.as_bytes()), "{name}");
        }
    }
}
