//! In which order rotated files were written.
//!
//! Names alone do not tell: `.1` is the newest file of logrotate and the oldest of
//! log4j2, and a date may be written in many ways. So every way of reading the names is
//! tried, and the one that contradicts the files' times least is taken. Times alone do
//! not tell either: a daemon may write to a rotated file, and a restored file is born
//! when it is restored.

use std::cmp::Ordering;

use super::disk::Sibling;

/// Puts the newest first.
pub(super) fn newest_first(siblings: Vec<Sibling>) -> Vec<Sibling> {
    let mut kinds: [Vec<Sibling>; 3] = Default::default();
    for sibling in siblings {
        kinds[Kind::of(&sibling.mark) as usize].push(sibling);
    }
    let [numbers, dates, others] = kinds;
    // Two ways of naming in one folder: somebody changed the rotation once.
    let named = merge(best(numbers, &NUMBERS), best(dates, &DATES));
    let mut others = others;
    others.sort_by_key(|sibling| std::cmp::Reverse(sibling.stat.modified_ns));
    merge(named, others)
}

/// Whether the times of two files contradict that the first was written after the other.
pub(super) fn is_contradicted(newer: &Sibling, older: &Sibling) -> bool {
    by_times(newer, older) == Some(Ordering::Less)
}

/// Which of two files was written first by their times, if these agree: a file that was
/// renamed is younger than another if it was created later, and written later.
fn by_times(a: &Sibling, b: &Sibling) -> Option<Ordering> {
    let differ = |order: &Ordering| order.is_ne();
    // What compresses a file creates it when it likes, but gives it the original's time.
    let born = match (a.stat.born_ns, b.stat.born_ns) {
        (Some(a_ns), Some(b_ns)) if !a.is_compressed() && !b.is_compressed() => {
            Some(a_ns.cmp(&b_ns)).filter(differ)
        }
        _ => None,
    };
    let written = Some(a.stat.modified_ns.cmp(&b.stat.modified_ns)).filter(differ);
    match (born, written) {
        (Some(born), Some(written)) => (born == written).then_some(born),
        (one, other) => one.or(other),
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Number = 0,
    Date = 1,
    Other = 2,
}

impl Kind {
    fn of(mark: &str) -> Self {
        let runs = runs(mark);
        match &runs[..] {
            [] => Self::Other,
            [only] if only.len() < 6 => Self::Number,
            _ if date(&runs, DATES[0]).is_some() => Self::Date,
            _ => Self::Other,
        }
    }
}

/// A way of reading names.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Reading {
    counting: Counting,
    day: Day,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Counting {
    /// The newest file has the lowest number.
    Down,
    /// The newest file has the highest number.
    Up,
}

/// Where the day stands in a date that ends with the year.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Day {
    First,
    Second,
}

/// What is tried, the usual first.
const NUMBERS: [Reading; 2] = [
    Reading {
        counting: Counting::Down,
        day: Day::First,
    },
    Reading {
        counting: Counting::Up,
        day: Day::First,
    },
];

/// The files of one day are usually counted upwards.
const DATES: [Reading; 4] = [
    Reading {
        counting: Counting::Up,
        day: Day::First,
    },
    Reading {
        counting: Counting::Up,
        day: Day::Second,
    },
    Reading {
        counting: Counting::Down,
        day: Day::First,
    },
    Reading {
        counting: Counting::Down,
        day: Day::Second,
    },
];

/// The files, newest first, by the reading that their times contradict least.
fn best(siblings: Vec<Sibling>, readings: &[Reading]) -> Vec<Sibling> {
    let sorted = |reading: Reading| {
        let mut sorted: Vec<(Vec<u64>, &Sibling)> = siblings
            .iter()
            .map(|sibling| (key(&sibling.mark, reading), sibling))
            .collect();
        sorted.sort_by(|(a, a_file), (b, b_file)| {
            b.cmp(a).then_with(|| a_file.name.cmp(&b_file.name))
        });
        sorted
    };
    let doubt = |reading: &Reading| {
        let sorted = sorted(*reading);
        let days = sorted.iter().filter(|(key, _)| !is_calendar(key)).count();
        let pairs = sorted.windows(2);
        let pairs = pairs.filter(|two| is_contradicted(two[0].1, two[1].1));
        (days, pairs.count())
    };
    let taken = readings.iter().copied().min_by_key(doubt);
    let taken = taken.unwrap_or(NUMBERS[0]);
    let order = sorted(taken)
        .into_iter()
        .map(|(_, sibling)| sibling.clone());
    order.collect()
}

/// Whether a key has no thirteenth month.
fn is_calendar(key: &[u64]) -> bool {
    match key {
        [year, month, ..] if is_year(*year) => *month <= 53,
        _ => true,
    }
}

/// Merges two sequences, each newest first.
fn merge(one: Vec<Sibling>, other: Vec<Sibling>) -> Vec<Sibling> {
    let mut merged = Vec::with_capacity(one.len() + other.len());
    let (mut one, mut other) = (one.into_iter().peekable(), other.into_iter().peekable());
    while let (Some(a), Some(b)) = (one.peek(), other.peek()) {
        let order = by_times(a, b).unwrap_or_else(|| a.stat.modified_ns.cmp(&b.stat.modified_ns));
        merged.extend(if order.is_lt() {
            other.next()
        } else {
            one.next()
        });
    }
    merged.extend(one);
    merged.extend(other);
    merged
}

/// What the names are compared by; a greater one is newer.
fn key(mark: &str, reading: Reading) -> Vec<u64> {
    let runs = runs(mark);
    let (mut key, counters) = match date(&runs, reading) {
        Some(date) => date,
        None => (Vec::new(), &runs[..]),
    };
    key.extend(counters.iter().map(|run| match reading.counting {
        Counting::Up => number(run),
        Counting::Down => u64::MAX - number(run),
    }));
    key
}

/// Runs of digits.
fn runs(mark: &str) -> Vec<&str> {
    mark.split(|c: char| !c.is_ascii_digit())
        .filter(|run| !run.is_empty())
        .collect()
}

fn number(run: &str) -> u64 {
    run.parse().unwrap_or(u64::MAX)
}

fn is_year(number: u64) -> bool {
    (1970..2200).contains(&number)
}

/// The date and time that `runs` begin with, greatest unit first, and the runs after it.
/// What follows a date may be a time or a counter.
fn date<'a, 'b>(runs: &'b [&'a str], reading: Reading) -> Option<(Vec<u64>, &'b [&'a str])> {
    let day_first = |a: u64, b: u64, year: u64| match reading.day {
        Day::First => vec![year, b, a],
        Day::Second => vec![year, a, b],
    };
    match runs {
        [year, month, day, rest @ ..] if year.len() == 4 && is_year(number(year)) => {
            Some((vec![number(year), number(month), number(day)], rest))
        }
        [year, rest @ ..] if year.len() == 4 && is_year(number(year)) && !rest.is_empty() => {
            Some((vec![number(year)], rest))
        }
        [a, b, year, rest @ ..]
            if a.len() <= 2 && b.len() <= 2 && year.len() == 4 && is_year(number(year)) =>
        {
            Some((day_first(number(a), number(b), number(year)), rest))
        }
        [whole, rest @ ..] if whole.len() == 8 => {
            let (year, month, day) = (&whole[..4], &whole[4..6], &whole[6..]);
            if is_year(number(year)) && number(month) <= 12 && number(day) <= 31 {
                return Some((vec![number(year), number(month), number(day)], rest));
            }
            let (a, b, year) = (&whole[..2], &whole[2..4], &whole[4..]);
            Some((day_first(number(a), number(b), number(year)), rest))
        }
        // With the time of day behind it.
        [whole, rest @ ..] if matches!(whole.len(), 12 | 14) && is_year(number(&whole[..4])) => {
            let mut key = vec![number(&whole[..4])];
            key.extend(
                (4..whole.len())
                    .step_by(2)
                    .map(|at| number(&whole[at..at + 2])),
            );
            Some((key, rest))
        }
        // Two digits a unit, or seconds or milliseconds since 1970.
        [whole, rest @ ..] if whole.len() >= 6 => Some((vec![number(whole)], rest)),
        // A counter before the date.
        [counter, rest @ ..] if counter.len() < 6 && !rest.is_empty() => {
            let (mut key, after) = date(rest, reading)?;
            if !after.is_empty() {
                return None;
            }
            key.push(number(counter));
            Some((key, after))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::Stat;
    use super::super::siblings::Mark;
    use super::*;

    /// Orders files by name, born and written at the given times.
    fn order(names: &[(&str, i128, i128)]) -> Vec<String> {
        let sibling = |&(suffix, born, modified_ns): &(&str, i128, i128)| {
            let name = format!("log{suffix}");
            let mark = Mark::of("log", &name).unwrap();
            Sibling {
                mark: mark.text.into(),
                form: mark.form,
                name: name.clone(),
                stat: Stat {
                    identity: (0, 0),
                    size_bytes: 0,
                    modified_ns,
                    links: 1,
                    born_ns: (born > 0).then_some(born),
                },
            }
        };
        let sorted = newest_first(names.iter().map(sibling).collect());
        sorted.into_iter().map(|s| s.name[3..].to_owned()).collect()
    }

    /// That files with these names, written one after the other, are found in this order,
    /// oldest first, whatever the file system knows of them.
    fn check(oldest_first: &[&str]) {
        let expected: Vec<&str> = oldest_first.iter().rev().copied().collect();
        for is_known in [0, 1] {
            let files: Vec<(&str, i128, i128)> = { oldest_first.iter().zip(1..) }
                .map(|(name, time)| (*name, 10 * time * is_known, 10 * time + 9))
                .collect();
            assert_eq!(order(&files), expected);
            let reversed: Vec<_> = files.into_iter().rev().collect();
            assert_eq!(order(&reversed), expected);
        }
    }

    #[test]
    fn numbers_count_up_or_down_as_the_times_say() {
        check(&[".10", ".9", ".2", ".1"]);
        check(&[".1", ".2", ".9", ".10"]);
        check(&[".3.gz", ".2.gz", ".1"]);
        // Without any time, the lowest is the newest.
        assert_eq!(order(&[(".10", 0, 5), (".2", 0, 5)]), [".2", ".10"]);
    }

    #[test]
    fn dates_are_dates_however_they_are_written() {
        for names in [
            [".30-11-2026", ".01-12-2026"],
            [".2026-11-28.9", ".2026-11-28.10"],
            ["-20261130", "-20261201"],
            [".30112026", ".01122026"],
            [".12-31-2026", ".01-02-2027"],
            [".2026-11-28", ".2026-11-28.1"],
            [".2026-48", ".2027-01"],
            ["-1795824000", "-1795824060"],
            [".20261128101500", ".20261128101501"],
            ["-261130", "-261201"],
        ] {
            check(&names);
            // Names decide where times are all alike, as after a restore from a backup.
            let same = [(names[0], 5, 5), (names[1], 5, 5)];
            assert_eq!(order(&same), [names[1], names[0]]);
        }
        check(&[".2026-11-28.2", ".2026-11-28.1", ".2026-11-29.1"]);
    }

    #[test]
    fn a_late_line_does_not_change_the_order() {
        assert_eq!(
            order(&[(".1", 30, 39), (".2", 20, 99), (".3", 10, 19)]),
            [".1", ".2", ".3"]
        );
    }

    #[test]
    fn two_ways_of_naming_are_ordered_by_time() {
        assert_eq!(
            order(&[(".1", 0, 1), ("-20261121", 0, 2)]),
            ["-20261121", ".1"]
        );
        assert_eq!(order(&[(".old", 0, 3), (".1", 0, 2)]), [".old", ".1"]);
    }
}
