//! What two subscribers must have in common to be served by one reading of a file.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::request::{
    BelowRoot, Format, LineEnd, QueryFilter, Request, Settings, SourceId, TextEncoding,
};
use crate::source::Opening;

/// See [`crate::source::Stream::shared`].
pub(super) fn of(opening: &Opening<'_>) -> Vec<u8> {
    key(opening.settings, opening.request)
}

/// A key of everything that decides which file is read and what its records become.
///
/// Left out is what decides where a reading begins (the last id, `SSE_BACKLOG`,
/// `SSE_REPLAY`), whether there is a stream at all (`SSE_AWAIT`, and `SSE_SUFFIXES` but
/// for what it forbids), and what belongs to one subscriber (heartbeat, retry, origin).
fn key(settings: &Settings, request: &Request) -> Vec<u8> {
    let mut key = Key::default();
    let name = match &settings.root {
        None => {
            key.choice(0);
            key.optional(settings.file.as_deref().map(path));
            settings.file.clone()
        }
        Some(root) => {
            let asked = request.path_info.as_deref().unwrap_or_default();
            let name = BelowRoot::parse(asked, &settings.suffixes);
            key.choice(1);
            key.text(path(root));
            key.optional(name.as_ref().map(|name| path(name.as_path())));
            name.map(|name| name.as_path().to_owned())
        }
    };
    let by_name = || name.as_deref().map_or(Format::Lines, Format::of_name);
    key.choice(match settings.format.unwrap_or_else(by_name) {
        Format::Lines => 0,
        Format::Jsonl => 1,
        Format::State => 2,
    });
    key.optional(settings.filter.as_ref().map(String::as_bytes));
    let asked = request.query.filter.as_deref();
    key.optional(asked.filter(|_| settings.query_filter == QueryFilter::Heard));
    key.optional(settings.event.as_ref().map(|name| name.as_str().as_bytes()));
    key.choice(match settings.source_id {
        SourceId::Ignored => 0,
        SourceId::PassedOn => 1,
    });
    key.choice(match settings.encoding {
        TextEncoding::Utf8 => 0,
        TextEncoding::Windows1252 => 1,
        TextEncoding::Utf16Le => 2,
        TextEncoding::Utf16Be => 3,
    });
    key.choice(match settings.line_end {
        LineEnd::Lf => 0,
        LineEnd::Any => 1,
    });
    key.number(settings.flush.map_or(0, |flush| flush.as_millis() as u64));
    key.number(settings.max_line_bytes as u64);
    key.number(settings.state_max_bytes);
    key.number(
        settings
            .settle
            .map_or(0, |settle| settle.as_millis() as u64),
    );
    key.0
}

fn path(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// Fields in a fixed order, each of which tells where it ends: numbers are 8 bytes,
/// texts follow their length.
#[derive(Default)]
struct Key(Vec<u8>);

impl Key {
    fn choice(&mut self, which: u8) {
        self.0.push(which);
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text);
    }

    fn optional(&mut self, text: Option<&[u8]>) {
        self.choice(u8::from(text.is_some()));
        self.text(text.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Lifetime, MetaVariables};

    fn key_of(pairs: &[(&str, &str)]) -> Vec<u8> {
        let meta = MetaVariables::of(pairs);
        let settings = Settings::parse(&meta, Lifetime::Unlimited).unwrap().0;
        key(&settings, &Request::from_meta(&meta))
    }

    #[test]
    fn what_changes_an_event_changes_the_key() {
        let file = [("SSE_FILE", "/a/b.log")];
        let root = [("SSE_ROOT", "/a"), ("PATH_INFO", "/b.log")];
        let heard = [("SSE_ALLOW_FILTER", "yes"), ("QUERY_STRING", "filter=x")];
        let others = [
            &[("SSE_FILE", "/a/c.log")][..],
            &[("SSE_FILE", "/a/b.log"), ("SSE_FORMAT", "jsonl")],
            &[("SSE_FILE", "/a/b.log"), ("SSE_FORMAT", "state")],
            &[("SSE_FILE", "/a/b.log"), ("SSE_FILTER", "x")],
            &[("SSE_FILE", "/a/b.log"), ("SSE_EVENT", "x")],
            &[("SSE_FILE", "/a/b.log"), ("SSE_MAX_LINE", "1K")],
            &[("SSE_FILE", "/a/b.log"), ("SSE_SOURCE_ID", "yes")],
            &[("SSE_FILE", "/a/b.log"), ("SSE_STATE_MAX", "2M")],
            &[("SSE_FILE", "/a/b.log"), ("SSE_SETTLE", "1s")],
            &[("SSE_FILE", "/a/b.log"), ("SSE_ENCODING", "latin1")],
            &[("SSE_FILE", "/a/b.log"), ("SSE_ENCODING", "utf-16")],
            &[("SSE_FILE", "/a/b.log"), ("SSE_LINE_END", "any")],
            &[("SSE_FILE", "/a/b.log"), ("SSE_FLUSH", "1s")],
            &[file[0], heard[0], heard[1]],
            &root,
            &[("SSE_ROOT", "/a"), ("PATH_INFO", "/c.log")],
            &[("SSE_ROOT", "/a/b"), ("PATH_INFO", "/.log")],
            &[root[0], root[1], ("SSE_SUFFIXES", ".jsonl")],
            &[],
        ];
        let mut keys: Vec<_> = others.iter().map(|pairs| key_of(pairs)).collect();
        keys.push(key_of(&file));
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn what_changes_no_event_leaves_the_key_as_it_is() {
        let file = ("SSE_FILE", "/a/b.log");
        for other in [
            ("SSE_FORMAT", "lines"),
            ("SSE_BACKLOG", "3"),
            ("SSE_REPLAY", "1K"),
            ("SSE_HEARTBEAT", "3s"),
            ("SSE_RETRY", "9s"),
            ("SSE_AWAIT", "yes"),
            ("SSE_ALLOW_ORIGIN", "*"),
            ("SSE_ALLOW_FILTER", "yes"),
            ("QUERY_STRING", "filter=x&lastEventId=5"),
            ("HTTP_LAST_EVENT_ID", "7-0123456789abcdef"),
            ("PATH_INFO", "/c"),
        ] {
            assert_eq!(key_of(&[file]), key_of(&[file, other]), "{other:?}");
        }
        let one = [("SSE_ROOT", "/a"), ("PATH_INFO", "/b.log")];
        let other = [("SSE_ROOT", "/a"), ("PATH_INFO", "b.log")];
        assert_eq!(key_of(&one), key_of(&other));
    }
}
