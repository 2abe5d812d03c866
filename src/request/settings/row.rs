//! Setting: a row of the table of settings.

use std::time::Duration;

use crate::request::units::{duration_text, size_text};

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The part that is needed to read its value.
    pub spec: Spec,
    /// The reason for the default; empty if it needs none.
    pub reason: &'static str,
    /// The streams that read it.
    pub streams: Streams,
    /// Where it can be set.
    pub scope: Scope,
    /// What it does, in one line.
    pub help: &'static str,
}

/// The part of a row that is needed to read a setting's value. It is separate, so that a
/// program which reads a setting does not contain the text of its help.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its name, such as `SSE_FILE`.
    pub name: &'static str,
    /// The form and range of its value.
    pub kind: Kind,
    /// Its value if it is not set.
    pub default: DefaultValue,
    /// Whether streams with different values can be shared.
    pub sharing: Sharing,
}

/// The form of a value. Ranges include both ends.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `500ms`, `15s`, `2m`, `1h`. `Duration::MAX` as the second value: no upper limit.
    Duration(Duration, Duration),
    /// Bytes, or `K`, `M`, `G` (powers of 1024). `u64::MAX` as the second value: no upper
    /// limit.
    Size(u64, u64),
    /// A whole number.
    Count(u64, u64),
    /// `yes` or `no`.
    YesNo,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any of these words, separated by spaces.
    Subset(&'static [&'static str]),
    /// Words separated by spaces.
    Words,
    /// A path of the file system.
    Path,
    /// A program and its arguments, quoted as for a shell.
    Command,
    /// Origins separated by spaces, as [`AllowedOrigin`](crate::request::AllowedOrigin)
    /// reads them.
    Origins,
    /// `60/m`: a count per second, minute or hour.
    Rate,
    /// Text of another form, with its placeholder for help.
    Text(&'static str),
}

/// A default.
#[derive(Clone, Copy, Debug)]
pub enum DefaultValue {
    /// This value, in the form in which a user would write it.
    Value(&'static str),
    /// No value; the text explains in a few words what that means. It can be empty.
    Unset(&'static str),
}

/// The streams that read a setting.
#[derive(Clone, Copy, Debug)]
pub enum Streams {
    /// Every one.
    Every,
    /// The streams of these names. `publish` counts as one, although it is not a stream.
    Only(&'static [&'static str]),
    /// None: the responder reads it.
    Responder,
}

/// Where a setting can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In each location of a web server; the process's environment is the default.
    Location,
    /// Only in the environment of a responder. (The environment of a CGI program is that of its
    /// location.)
    Process,
}

/// Whether subscribers whose locations differ in a setting can share a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// They cannot.
    Divides,
    /// The source decides, by more than the value (see
    /// [`Stream::shared`](crate::source::Stream::shared)).
    BySource,
    /// They can: it determines where a subscriber begins, whether it is served, or how, but not
    /// the content of an event.
    Ignored,
}

/// The parts of a row that a report of a program's settings needs: all but the help.
#[derive(Clone, Copy, Debug)]
pub struct Brief {
    /// Its name.
    pub name: &'static str,
    /// Its default in words; empty if there is none.
    pub default: &'static str,
    pub(super) streams: Streams,
}

impl Brief {
    /// All of them, in the order of the table.
    pub const ALL: &'static [Self] = super::table::BRIEFS;

    /// Whether the stream of this name reads it.
    #[must_use]
    pub const fn is_for(&self, stream: &str) -> bool {
        self.streams.include(stream)
    }
}

/// The streams of the CGI programs, which are also the programs' names.
pub const PROGRAMS: [&str; 9] = [
    "clock",
    "command",
    "countdown",
    "publish",
    "room",
    "script",
    "session",
    "streams",
    "tail",
];

impl Streams {
    const fn include(self, stream: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Only(names) => contains(names, stream),
            Self::Responder => false,
        }
    }
}

impl Setting {
    /// Its option in a terminal, such as `--max-age`.
    #[must_use]
    pub fn option(&self) -> String {
        format!("--{}", option_name(self.spec.name))
    }

    /// Whether the stream of this name reads it.
    #[must_use]
    pub const fn is_for(&self, stream: &str) -> bool {
        self.streams.include(stream)
    }

    /// Its default in words; empty if there is none.
    #[must_use]
    pub fn default_text(&self) -> &'static str {
        match self.spec.default {
            DefaultValue::Value(text) | DefaultValue::Unset(text) => text,
        }
    }
}

impl Kind {
    /// The placeholder for a value in help.
    #[must_use]
    pub fn placeholder(&self) -> String {
        match self {
            Self::Duration(..) => "DURATION".into(),
            Self::Size(..) => "SIZE".into(),
            Self::Count(..) => "N".into(),
            Self::YesNo => "yes|no".into(),
            Self::Choice(words) => words.join("|"),
            Self::Subset(_) | Self::Words => "WORDS".into(),
            Self::Path => "PATH".into(),
            Self::Command => "COMMAND".into(),
            Self::Origins => "ORIGINS".into(),
            Self::Rate => "RATE".into(),
            Self::Text(name) => (*name).into(),
        }
    }

    /// The permitted values in words; empty if any text of the kind is permitted.
    #[must_use]
    pub fn range(&self) -> String {
        fn between<T: PartialEq>(least: &T, most: &T, limit: &T, text: fn(&T) -> String) -> String {
            if most == limit {
                return format!("{} or more", text(least));
            }
            format!("{} to {}", text(least), text(most))
        }
        match self {
            Self::Duration(least, most) => {
                between(least, most, &Duration::MAX, |d| duration_text(*d))
            }
            Self::Size(least, most) => between(least, most, &u64::MAX, |n| size_text(*n)),
            Self::Count(least, most) => between(least, most, &u64::MAX, u64::to_string),
            Self::Rate => "1 to 1000000 in s, m or h".into(),
            Self::YesNo => "yes, no".into(),
            Self::Choice(words) | Self::Subset(words) => words.join(", "),
            Self::Words | Self::Path | Self::Command | Self::Origins | Self::Text(_) => {
                String::new()
            }
        }
    }
}

/// The name of the option for a setting: `SSE_MAX_AGE` is `max-age`.
#[must_use]
pub(crate) fn option_name(setting: &str) -> String {
    let name = setting.strip_prefix("SSE_").unwrap_or(setting);
    name.to_ascii_lowercase().replace('_', "-")
}

pub(super) const fn contains(names: &[&str], name: &str) -> bool {
    let mut at = 0;
    while at < names.len() {
        if is_same(names[at], name) {
            return true;
        }
        at += 1;
    }
    false
}

/// Compares two texts: `==` is not available in a constant function.
pub(super) const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}
