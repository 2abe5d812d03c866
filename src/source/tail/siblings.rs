//! The rotated files beside a followed one: which they are, and in which order.

use std::cmp::Ordering;

use super::disk::Sibling;

/// In how many rotated files a client's place is looked for, from the newest: who was
/// away for more rotations is told so.
pub(super) const SIBLINGS_MAX: usize = 16;

/// What `name` adds to `base`, if that makes it a rotated file of it: a number or a date
/// (`.1`, `-20261121`, `.2026-11-21_00:30.gz`), or `.old`. Anything else beside a log may
/// be a log of its own, and must not be taken for a part of this one.
#[must_use]
pub fn rotation_suffix<'a>(base: &str, name: &'a str) -> Option<&'a str> {
    let suffix = name.strip_prefix(base)?;
    let mark = suffix.strip_prefix(['.', '-', '_'])?;
    let plain = COMPRESSED
        .iter()
        .find_map(|end| mark.strip_suffix(end))
        .unwrap_or(mark);
    let is_time = |c: char| c.is_ascii_digit() || "-_.:T".contains(c);
    let is_rotation = plain == "old"
        || (plain.starts_with(|c: char| c.is_ascii_digit()) && plain.chars().all(is_time));
    is_rotation.then_some(suffix)
}

/// Endings of compressed files, which we cannot read.
const COMPRESSED: [&str; 6] = [".gz", ".xz", ".bz2", ".zst", ".lz4", ".Z"];

/// Whether a suffix says that the file is compressed, so that we cannot read it.
pub(super) fn is_compressed(suffix: &str) -> bool {
    COMPRESSED.iter().any(|end| suffix.ends_with(end))
}

/// Puts the newest first. The names decide where they are
/// of one kind: a daemon that writes on into a rotated file makes its time a lie.
pub(super) fn newest_first(mut siblings: Vec<Sibling>) -> Vec<Sibling> {
    siblings.sort_by(|a, b| newer(a, b).then_with(|| a.name.cmp(&b.name)));
    siblings
}

fn newer(a: &Sibling, b: &Sibling) -> Ordering {
    match (Kind::of(&a.suffix), Kind::of(&b.suffix)) {
        (Kind::Number(a), Kind::Number(b)) => a.cmp(&b),
        (Kind::Date(a), Kind::Date(b)) => b.cmp(a),
        // Two ways of naming in one folder: somebody changed the rotation, once.
        _ => b.stat.modified_ns.cmp(&a.stat.modified_ns),
    }
}

enum Kind<'a> {
    /// A place in a chain: 1 is the newest.
    Number(u64),
    /// Text that sorts by time.
    Date(&'a str),
}

impl<'a> Kind<'a> {
    fn of(suffix: &'a str) -> Self {
        let mark = &suffix[1..];
        let digits = mark.bytes().take_while(u8::is_ascii_digit).count();
        let rest = &mark[digits..];
        let whole = rest.is_empty() || is_compressed(rest);
        match mark[..digits].parse() {
            Ok(number) if whole && digits < 6 => Self::Number(number),
            Ok(_) => Self::Date(mark),
            // `.old` is what a chain of one is called.
            Err(_) => Self::Number(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::Stat;
    use super::*;

    fn order(names: &[(&str, i128)]) -> Vec<String> {
        let sibling = |&(suffix, modified_ns): &(&str, i128)| Sibling {
            name: format!("log{suffix}"),
            suffix: suffix.into(),
            stat: Stat {
                identity: (0, 0),
                size_bytes: 0,
                modified_ns,
                links: 1,
                born_ns: None,
            },
        };
        let sorted = newest_first(names.iter().map(sibling).collect());
        sorted.into_iter().map(|s| s.suffix).collect()
    }

    #[test]
    fn names_decide_the_order_and_times_only_between_kinds() {
        assert_eq!(
            order(&[(".10", 9), (".2", 1), (".1", 5)]),
            [".1", ".2", ".10"]
        );
        assert_eq!(
            order(&[("-20261120", 9), ("-20261121", 1)]),
            ["-20261121", "-20261120"]
        );
        assert_eq!(order(&[(".1", 1), ("-20261121", 2)]), ["-20261121", ".1"]);
        assert_eq!(order(&[(".2.gz", 1), (".1", 2)]), [".1", ".2.gz"]);
    }

    #[test]
    fn only_a_rotation_is_a_sibling() {
        for (name, expected) in [
            ("log.1", Some(".1")),
            ("log-20261121", Some("-20261121")),
            ("log.2026-11-21.gz", Some(".2026-11-21.gz")),
            ("log.old", Some(".old")),
            ("log", None),
            ("log.old.gz", Some(".old.gz")),
            ("log.2026-11-21T08:00", Some(".2026-11-21T08:00")),
            ("log.2nd", None),
            ("log.1.tmp", None),
            ("log-2-errors", None),
            ("log.bak", None),
            ("log1", None),
            ("logs.1", None),
            ("xlog.1", None),
        ] {
            assert_eq!(rotation_suffix("log", name), expected, "{name}");
        }
    }
}
