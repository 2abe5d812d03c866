//! What two subscribers must have in common to be served by one reading of a file, besides
//! their settings.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::request::{BelowRoot, Format, QueryFilter, Request, Settings};

/// What depends on more than the value of a setting: the name below `SSE_ROOT`, the format
/// that a file's name implies, and the client's filter where it is used. See
/// [`crate::source::Stream::shared`].
///
/// `SSE_SUFFIXES` matters only by the names that it forbids.
#[expect(clippy::unnecessary_wraps, reason = "the type of Stream::shared")]
pub(super) fn key(settings: &Settings, request: &Request) -> Option<Vec<u8>> {
    let mut key = Vec::new();
    let name = match &settings.root {
        None => settings.file.clone(),
        Some(_) => {
            let asked = request.path_info.as_deref().unwrap_or_default();
            let name = BelowRoot::parse(asked, &settings.suffixes);
            add(&mut key, name.as_ref().map(|name| path(name.as_path())));
            name.map(|name| name.as_path().to_owned())
        }
    };
    let by_name = || name.as_deref().map_or(Format::Lines, Format::of_name);
    key.push(match settings.format.unwrap_or_else(by_name) {
        Format::Lines => 0,
        Format::Jsonl => 1,
        Format::State => 2,
    });
    let filter = request.query.filter.as_deref();
    let is_used = settings.query_filter == QueryFilter::Used;
    add(&mut key, filter.filter(|_| is_used));
    Some(key)
}

fn path(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// Adds a text after its length, so that no two keys are equal by chance.
fn add(key: &mut Vec<u8>, text: Option<&[u8]>) {
    key.push(u8::from(text.is_some()));
    let text = text.unwrap_or_default();
    key.extend_from_slice(&(text.len() as u64).to_le_bytes());
    key.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Lifetime, MetaVariables};
    use crate::source::tail::STREAM;

    fn key_of(pairs: &[(&str, &str)]) -> Vec<u8> {
        let meta = MetaVariables::of(pairs);
        let settings = Settings::parse(&meta, Lifetime::Unlimited).unwrap().0;
        STREAM
            .share_key(&settings, &Request::from_meta(&meta))
            .unwrap()
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
