//! Names that begin with `SSE_` but belong to no setting: probably misspelt.

use super::error::{Notice, printable};
use super::table::NAMES;
use crate::request::MetaVariables;

/// A notice for each variable that begins with `SSE_` and is not a setting.
pub(super) fn unknown_names(meta: &MetaVariables) -> impl Iterator<Item = Notice> {
    meta.names()
        .filter(|name| name.starts_with(b"SSE_"))
        .filter(|name| !NAMES.iter().any(|known| known.as_bytes() == *name))
        .map(|name| {
            let text = format!("{}: no such setting, it is ignored", printable(name));
            Notice(match nearest(name) {
                Some(known) => format!("{text}; did you mean {known}?"),
                None => text,
            })
        })
}

/// The setting whose name is so similar to an unknown one that it was probably meant.
pub(super) fn nearest(name: &[u8]) -> Option<&'static str> {
    let name = name.get(..64).unwrap_or(name);
    NAMES
        .iter()
        .map(|known| (edits(name, known.as_bytes()), *known))
        .min()
        .filter(|(edits, known)| *edits <= 2 || *edits * 4 <= known.len() - "SSE_".len())
        .map(|(_, known)| known)
}

/// The number of bytes that must be inserted, removed, replaced, or exchanged with their
/// neighbour to turn `a` into `b` (the optimal string alignment distance).
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
    fn an_unknown_name_is_reported_and_no_other_variable_is() {
        let meta = MetaVariables::of(&[("SSE_FLIE", "/a"), ("PATH", "/bin"), ("SSE_RETRY", "9s")]);
        let notices: Vec<String> = unknown_names(&meta).map(|n| n.to_string()).collect();
        assert_eq!(
            notices,
            ["SSE_FLIE: no such setting, it is ignored; did you mean SSE_FILE?"]
        );
    }
}
