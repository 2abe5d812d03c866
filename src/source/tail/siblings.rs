//! The rotated files beside a followed one: which names they have.
//!
//! A name only says that a file may be a rotated one. Which file came when is decided in
//! `order.rs` and `between.rs`.

use super::disk::{Sibling, Stat};

/// In how many rotated files, from the newest, a client's place is looked for. A client
/// that was away for more rotations gets a gap.
pub(super) const SIBLINGS_MAX: usize = 16;

/// For how long a daemon may write to a rotated file after the new one was made. A file
/// `app-2.log` that is written to for longer is a log of its own.
const LATE_WRITES_NS: i128 = 600 * 1_000_000_000;

/// Where in a name the number or date stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `app.log.1`, and `app.log.1.log`: nothing but a rotation makes such names.
    AfterName,
    /// `app.1.log`. With a plain number it may be a log of its own, such as the second
    /// worker's.
    BeforeExtension,
}

/// What makes a name the name of a rotated file: its number or date (`1`, `20261121`,
/// `2026-11-21_00:30`), or `old`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark<'a> {
    /// The number or date, without what separates it from the name.
    pub text: &'a str,
    /// Where it stands.
    pub form: Form,
}

impl<'a> Mark<'a> {
    /// The mark in `name`, if that is the name of a rotated file of `base`. Any other file
    /// beside a log may be a log of its own, and must not be taken for a part of this one.
    #[must_use]
    pub fn of(base: &str, name: &'a str) -> Option<Self> {
        let plain = COMPRESSED
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        let (stem, extension) = match base.rfind('.') {
            Some(at) if at > 0 => base.split_at(at),
            _ => (base, ""),
        };
        let (rest, form) = match plain.strip_prefix(base) {
            Some(rest) => (rest, Form::AfterName),
            None if extension.is_empty() => return None,
            None => {
                let rest = plain.strip_suffix(extension)?.strip_prefix(stem)?;
                (rest, Form::BeforeExtension)
            }
        };
        let text = rest.strip_prefix(['.', '-', '_'])?;
        let marks = [Some(text), text.strip_suffix(extension)];
        let text = marks.into_iter().flatten().find(|text| is_mark(text))?;
        Some(Self { text, form })
    }
}

/// How many names are tried, each of which a rotated file may be of: a date has separators too.
const BASES_MAX: usize = 8;

/// The names of which `name` may be a rotated file: those for which [`Mark::of`] finds a mark
/// before the extension.
#[must_use]
pub fn bases_of(name: &str) -> Vec<String> {
    let (stem, extension) = match name.rfind('.') {
        Some(at) if at > 0 => name.split_at(at),
        _ => (name, ""),
    };
    let separators = stem.rmatch_indices(['.', '-', '_']);
    let marked = separators.filter(|(at, _)| *at > 0 && is_mark(&stem[at + 1..]));
    let bases = marked.take(BASES_MAX).map(|(at, _)| {
        let before = &stem[..at];
        match before.ends_with(extension) {
            true => before.to_owned(),
            false => [before, extension].concat(),
        }
    });
    bases
        .filter(|base| Mark::of(base, name).is_some())
        .collect()
}

fn is_mark(text: &str) -> bool {
    let is_time = |c: char| c.is_ascii_digit() || "-_.:TZ".contains(c);
    text == "old" || (text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(is_time))
}

/// Endings of compressed files, which we cannot read.
const COMPRESSED: [&str; 6] = [".gz", ".xz", ".bz2", ".zst", ".lz4", ".Z"];

impl Sibling {
    /// Whether its name says that it is compressed, so that we cannot read it.
    pub(super) fn is_compressed(&self) -> bool {
        COMPRESSED.iter().any(|end| self.name.ends_with(end))
    }

    /// Whether nothing but its number tells it from a log of its own (`app-2.log`).
    pub(super) fn is_doubtful(&self) -> bool {
        let is_number = self.mark.len() < 6 && self.mark.bytes().all(|b| b.is_ascii_digit());
        self.form == Form::BeforeExtension && is_number
    }

    /// Whether it is a log of its own: it is older than the file `current` that the path
    /// names, but is still written to.
    pub(super) fn is_other_log(&self, current: &Stat) -> bool {
        let (Some(born), Some(current_born)) = (self.stat.born_ns, current.born_ns) else {
            return false;
        };
        self.is_doubtful()
            && born < current_born
            && self.stat.modified_ns > current_born + LATE_WRITES_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_a_rotated_file_may_be_of_are_those_that_its_mark_fits() {
        for (name, expected) in [
            ("room.jsonl", &[][..]),
            ("room.1.jsonl", &["room.jsonl"]),
            ("room-old.jsonl", &["room.jsonl"]),
            ("room.jsonl.1.jsonl", &["room.jsonl"]),
            (
                "room-2026-11-28.jsonl",
                &["room-2026-11.jsonl", "room-2026.jsonl", "room.jsonl"],
            ),
            ("room-x.jsonl", &[]),
            ("1.jsonl", &[]),
            (".1.jsonl", &[]),
        ] {
            assert_eq!(bases_of(name), expected, "{name}");
        }
        assert_eq!(
            bases_of(&format!("a{}.jsonl", "-1".repeat(120))).len(),
            BASES_MAX
        );
    }

    #[test]
    fn only_a_rotation_is_a_sibling() {
        use Form::{AfterName, BeforeExtension};
        for (base, name, expected) in [
            ("log", "log.1", Some(("1", AfterName))),
            ("log", "log-20261121", Some(("20261121", AfterName))),
            ("log", "log.2026-11-21.gz", Some(("2026-11-21", AfterName))),
            ("log", "log.old", Some(("old", AfterName))),
            ("log", "log", None),
            ("log", "log.old.gz", Some(("old", AfterName))),
            (
                "log",
                "log.2026-11-21T08:00",
                Some(("2026-11-21T08:00", AfterName)),
            ),
            ("log", "log.2nd", None),
            ("log", "log.1.tmp", None),
            ("log", "log-2-errors", None),
            ("log", "log.bak", None),
            ("log", "log1", None),
            ("log", "logs.1", None),
            ("log", "xlog.1", None),
            ("app.log", "app.log.1", Some(("1", AfterName))),
            ("app.log", "app.1.log", Some(("1", BeforeExtension))),
            ("app.log", "app_1.log.gz", Some(("1", BeforeExtension))),
            (
                "app.log",
                "app-2026-11-28.log",
                Some(("2026-11-28", BeforeExtension)),
            ),
            (
                "app.log",
                "app.log.2026-11-28.log",
                Some(("2026-11-28", AfterName)),
            ),
            ("app.log", "app.old.log", Some(("old", BeforeExtension))),
            ("app.log", "app.log.gz", None),
            ("app.log", "app-error.log", None),
            ("app.log", "app-1-error.log", None),
            ("app.log", "app1.log", None),
            ("app.log", "app.log.bak", None),
            ("app.log", "app.1.txt", None),
            ("app.log", "apple.1.log", None),
            (".log", ".1.log", None),
        ] {
            let found = Mark::of(base, name).map(|mark| (mark.text, mark.form));
            assert_eq!(found, expected, "{base}: {name}");
        }
    }
}
