//! The values of settings that are words.

use std::ffi::OsStr;
use std::path::Path;

/// How a file's bytes become events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line is an event.
    Lines,
    /// A line is a JSON object that describes the event.
    Jsonl,
    /// The whole file is one event, whenever it changes.
    State,
}

impl Format {
    /// The format that a file's name implies: `jsonl` for names that end in
    /// `.jsonl` or `.ndjson`, else `lines`.
    #[must_use]
    pub fn of_name(path: &Path) -> Self {
        match path.extension().and_then(OsStr::to_str) {
            Some("jsonl" | "ndjson") => Self::Jsonl,
            _ => Self::Lines,
        }
    }
}

/// A file's encoding. A byte order mark in the file takes precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextEncoding {
    /// UTF-8.
    Utf8,
    /// windows-1252; in the WHATWG Encoding Standard, `latin1` and `ascii` are labels of it.
    Windows1252,
    /// UTF-16, little-endian: for the format `state` only.
    Utf16Le,
    /// UTF-16, big-endian: for the format `state` only.
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

    /// The label by which the standard names it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Windows1252 => "windows-1252",
            Self::Utf16Le => "utf-16le",
            Self::Utf16Be => "utf-16be",
        }
    }

    /// Whether every byte with the value of a line end ends a line.
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

/// What happens when a file below `SSE_ROOT` is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The client gets 404.
    NotFound,
    /// The stream opens and waits for the file.
    Awaited,
}

/// Whether `SSE_PUBLISH_ALLOW` permits anyone to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publishers {
    /// Nobody may publish.
    None,
    /// Somebody may: [`Publishing`](crate::request::Publishing) contains who.
    Some,
}

/// The subscribers that share one run of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandSharing {
    /// One: the program is started for each subscriber.
    Alone,
    /// All subscribers of a responder.
    Shared,
}

/// Whether clients may filter records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryFilter {
    /// The query's `filter` is ignored.
    Ignored,
    /// A record must match it and `SSE_FILTER`.
    Used,
}

/// The handling of a `jsonl` record's own `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceId {
    /// It is ignored: the event's id is the position in the file.
    Ignored,
    /// The data becomes `{"source_id":…,"data":…}`.
    PassedOn,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_follows_the_name() {
        assert_eq!(Format::of_name(Path::new("/a.log")), Format::Lines);
        assert_eq!(Format::of_name(Path::new("/a.jsonl")), Format::Jsonl);
        assert_eq!(Format::of_name(Path::new("/a.ndjson")), Format::Jsonl);
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
    }
}
