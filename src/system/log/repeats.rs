//! The repeated lines of the log, in a table of fixed size. It is stored as bytes, in memory or
//! in a file that processes share.
//!
//! A line has a slot in the bucket that its hash selects. The slot contains when the line was
//! written last, and how many were suppressed since. If a bucket is full, the oldest line is
//! forgotten: it is written again too early, but never lost.
//!
//! Pure: the code that stores the table does not interpret it.

use xxhash_rust::xxh3::xxh3_64;

/// The same line is written once in this period.
pub(super) const PERIOD_MS: u64 = 60_000;

/// How many different lines of requests are written to a log in [`PERIOD_MS`]: a client that invents
/// paths must not fill the disk.
pub(super) const LINES_MAX: u64 = 200;

/// How much of one program's stderr is logged in [`PERIOD_MS`].
pub(super) const STDERR_MAX_BYTES: u64 = 64 * 1024;

/// The number of buckets in a table.
pub(super) const BUCKETS: u64 = 256;

/// The number of lines in a bucket.
const SLOTS: usize = 8;

const SLOT_BYTES: usize = 24;

/// A part of the table.
pub(super) type Bucket = [u8; SLOTS * SLOT_BYTES];

/// The hash of a line without its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u64);

impl Key {
    /// The key for all lines of one log together, for [`admit`]. The first bucket is for these
    /// only, so that however many lines clients cause, no limit is forgotten.
    pub(super) fn all_of(log: &[u8]) -> Self {
        // 0 is an empty slot.
        Self((xxh3_64(log) / BUCKETS * BUCKETS).max(BUCKETS))
    }

    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let hash = xxh3_64(&parts.join(&0));
        match hash % BUCKETS {
            0 => Self(hash + 1),
            _ => Self(hash),
        }
    }

    /// The number of its bucket, less than [`BUCKETS`].
    pub(super) fn bucket(self) -> u64 {
        self.0 % BUCKETS
    }
}

/// What the log does with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Write it. `suppressed` were suppressed since it was written last.
    Write {
        suppressed: u64,
    },
    Suppress,
}

#[derive(Clone, Copy)]
struct Slot {
    key: u64,
    /// When the line was written last; milliseconds since 1970.
    since_ms: u64,
    count: u64,
}

/// Whether to write a line at `now_ms`; counts it if not.
pub(super) fn repeat(bucket: &mut Bucket, key: Key, now_ms: u64) -> Admission {
    let (place, mut slot) = find(bucket, key);
    let admission = if slot.is_over(now_ms) {
        let suppressed = slot.count;
        (slot.since_ms, slot.count) = (now_ms, 0);
        Admission::Write { suppressed }
    } else {
        slot.count += 1;
        Admission::Suppress
    };
    put(bucket, place, slot);
    admission
}

/// Whether `amount` more may be written at `now_ms` under this key, with at most `most` in
/// [`PERIOD_MS`]. The caller chooses the unit: lines or bytes. `suppressed` is the amount that
/// was suppressed in the period before.
pub(super) fn admit(
    bucket: &mut Bucket,
    key: Key,
    amount: u64,
    most: u64,
    now_ms: u64,
) -> Admission {
    let (place, mut slot) = find(bucket, key);
    let mut suppressed = 0;
    if slot.is_over(now_ms) {
        suppressed = slot.count.saturating_sub(most);
        (slot.since_ms, slot.count) = (now_ms, 0);
    }
    // The count of what was written stays below `most`, so what exceeds it was suppressed.
    let is_admitted = slot.count.saturating_add(amount) <= most;
    slot.count = match is_admitted {
        true => slot.count + amount,
        false => slot.count.max(most).saturating_add(amount),
    };
    put(bucket, place, slot);
    if is_admitted {
        Admission::Write { suppressed }
    } else {
        Admission::Suppress
    }
}

/// How much was suppressed under a key that [`admit`] counts, once in [`PERIOD_MS`]: `last` is
/// the key of when that was told last, in the same bucket. It is not told again.
pub(super) fn settle(
    bucket: &mut Bucket,
    key: Key,
    last: Key,
    most: u64,
    now_ms: u64,
) -> Admission {
    let (place, mut slot) = find(bucket, key);
    if slot.count <= most || repeat(bucket, last, now_ms) == Admission::Suppress {
        return Admission::Suppress;
    }
    let suppressed = slot.count - most;
    slot.count = most;
    put(bucket, place, slot);
    Admission::Write { suppressed }
}

impl Slot {
    /// Also true if the clock was set back, or the table is damaged.
    fn is_over(self, now_ms: u64) -> bool {
        !(self.since_ms..self.since_ms.saturating_add(PERIOD_MS)).contains(&now_ms)
    }
}

/// The slot of a key, or the one that it replaces.
fn find(bucket: &Bucket, key: Key) -> (usize, Slot) {
    let slots: [Slot; SLOTS] = std::array::from_fn(|place| slot(bucket, place));
    if let Some(place) = slots.iter().position(|slot| slot.key == key.0) {
        return (place, slots[place]);
    }
    let oldest = slots
        .iter()
        .enumerate()
        .min_by_key(|(_, slot)| slot.since_ms);
    let place = oldest.map_or(0, |(place, _)| place);
    let new = Slot {
        key: key.0,
        since_ms: 0,
        count: 0,
    };
    (place, new)
}

fn slot(bucket: &Bucket, place: usize) -> Slot {
    let number = |index: usize| {
        let at = place * SLOT_BYTES + 8 * index;
        u64::from_le_bytes(std::array::from_fn(|byte| bucket[at + byte]))
    };
    Slot {
        key: number(0),
        since_ms: number(1),
        count: number(2),
    }
}

fn put(bucket: &mut Bucket, place: usize, slot: Slot) {
    let bytes = &mut bucket[place * SLOT_BYTES..];
    for (index, number) in [slot.key, slot.since_ms, slot.count]
        .into_iter()
        .enumerate()
    {
        bytes[8 * index..8 * (index + 1)].copy_from_slice(&number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: Bucket = [0; SLOTS * SLOT_BYTES];
    const START: u64 = 1_800_000_000_000;
    const FIRST: Admission = Admission::Write { suppressed: 0 };

    #[test]
    fn the_same_line_is_written_once_a_minute_with_a_count() {
        let mut bucket = EMPTY;
        let key = Key::of(&[b"a", b"b"]);
        assert_eq!(repeat(&mut bucket, key, START), FIRST);
        for second in 1..60 {
            let now = START + second * 1_000;
            assert_eq!(repeat(&mut bucket, key, now), Admission::Suppress);
        }
        let other = Key::of(&[b"ab", b""]);
        assert_eq!(repeat(&mut bucket, other, START), FIRST);
        let again = Admission::Write { suppressed: 59 };
        assert_eq!(repeat(&mut bucket, key, START + PERIOD_MS), again);
        assert_eq!(repeat(&mut bucket, key, START + 2 * PERIOD_MS), FIRST);
    }

    #[test]
    fn a_clock_that_was_set_back_or_a_damaged_table_silences_no_line() {
        let mut bucket = EMPTY;
        let key = Key::of(&[b"a"]);
        assert_eq!(repeat(&mut bucket, key, START), FIRST);
        assert_eq!(repeat(&mut bucket, key, START - 1), FIRST);
        let mut bucket = [0xff; SLOTS * SLOT_BYTES];
        assert_eq!(repeat(&mut bucket, key, START), FIRST);
    }

    #[test]
    fn a_full_bucket_forgets_the_oldest_line() {
        let mut bucket = EMPTY;
        for number in 0..1_000_u64 {
            let key = Key(number + 2);
            assert_eq!(repeat(&mut bucket, key, START + number), FIRST);
        }
        assert_eq!(
            repeat(&mut bucket, Key(1_001), START + 1_000),
            Admission::Suppress
        );
    }

    #[test]
    fn what_is_left_out_of_an_output_that_ends_is_told_once_a_period() {
        let mut bucket = EMPTY;
        let (key, last) = (Key::of(&[b"stderr"]), Key::of(&[b"end"]));
        let end = |bucket: &mut Bucket, now_ms| settle(bucket, key, last, 100, now_ms);
        assert_eq!(end(&mut bucket, START), Admission::Suppress);
        let say = |bucket: &mut Bucket, now_ms| admit(bucket, key, 60, 100, now_ms);
        assert_eq!(say(&mut bucket, START), FIRST);
        assert_eq!(end(&mut bucket, START), Admission::Suppress);
        assert_eq!(say(&mut bucket, START), Admission::Suppress);
        let told = Admission::Write { suppressed: 60 };
        assert_eq!(end(&mut bucket, START), told);
        assert_eq!(end(&mut bucket, START), Admission::Suppress);
        // Another process of the same program: what is not told now is told later.
        assert_eq!(say(&mut bucket, START + 1), Admission::Suppress);
        assert_eq!(end(&mut bucket, START + 2), Admission::Suppress);
        assert_eq!(say(&mut bucket, START + PERIOD_MS), told);
    }

    fn admit_line(bucket: &mut Bucket, now_ms: u64) -> Admission {
        admit(bucket, Key::all_of(b"log"), 1, LINES_MAX, now_ms)
    }

    #[test]
    fn the_limits_of_logs_are_in_a_bucket_of_their_own() {
        for number in 0..10_000_u32 {
            let bytes = number.to_le_bytes();
            assert_eq!(Key::all_of(&bytes).bucket(), 0);
            assert_ne!(Key::of(&[&bytes]).bucket(), 0);
        }
        assert_ne!(Key::all_of(b"a"), Key::all_of(b"b"));
    }

    #[test]
    fn what_is_left_out_of_a_period_is_counted_in_bytes() {
        let mut bucket = EMPTY;
        let key = Key::of(&[b"stderr"]);
        let mut say = |bytes, now_ms| admit(&mut bucket, key, bytes, 100, now_ms);
        assert_eq!(say(60, START), FIRST);
        assert_eq!(say(60, START), Admission::Suppress);
        // Nothing else in this period is written either.
        assert_eq!(say(10, START + 1), Admission::Suppress);
        let next = Admission::Write { suppressed: 70 };
        assert_eq!(say(10, START + PERIOD_MS), next);
        assert_eq!(say(90, START + PERIOD_MS), FIRST);
        assert_eq!(say(1, START + PERIOD_MS), Admission::Suppress);
    }

    #[test]
    fn no_client_can_make_up_more_lines_than_the_limit() {
        let mut bucket = EMPTY;
        let written = (0..10_000)
            .filter(|_| admit_line(&mut bucket, START) == FIRST)
            .count();
        assert_eq!(written as u64, LINES_MAX);
        let suppressed = 10_000 - LINES_MAX;
        let next = Admission::Write { suppressed };
        assert_eq!(admit_line(&mut bucket, START + PERIOD_MS), next);
        assert_eq!(admit_line(&mut bucket, START + PERIOD_MS), FIRST);
    }
}
