//! Decides what a client has missed: pure functions of what the engine returned.
//!
//! ```text
//! a Last-Event-ID, the stream as it is ──► resume ──► where to go on, and a gap or none
//! the position,    the stream as it is ──► Ledger ──► how many entries were lost
//! ```
//!
//! A stream cannot be compared with what it was when the client read it. So these functions use
//! what Redis keeps: the first and the last entry, the last id that was generated, and how many
//! entries were ever added (Redis 7).

use super::id::StreamId;
use crate::event::Reason;
use crate::source::CLOCK_SKEW_MS;

/// A stream at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The number of entries.
    pub length: u64,
    /// The greatest id that was ever generated; it stays when the entry is removed.
    pub last_generated: StreamId,
    /// How many entries were ever added. `None` before Redis 7.
    pub entries_added: Option<u64>,
    /// The greatest id that was deleted by its id (XDEL). `None` before Redis 7.
    pub max_deleted: Option<StreamId>,
    /// The first entry; `None` if there is none.
    pub first: Option<StreamId>,
}

/// A Last-Event-ID in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The id.
    pub id: StreamId,
    /// Whether there is an entry with this id.
    pub is_entry: bool,
    /// The entry before it, if there is one.
    pub before: Option<StreamId>,
}

/// Where a stream continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The position: the entries after this id follow. It is the client's own id if nothing is
    /// lost. Otherwise it is an id with which the client can return without another gap.
    pub after: StreamId,
    /// What the client is told, if it may have missed something.
    pub gap: Option<Reason>,
}

impl Resumed {
    fn exact(after: StreamId) -> Self {
        Self { after, gap: None }
    }

    fn gap(reason: Reason, after: StreamId) -> Self {
        Self {
            after,
            gap: Some(reason),
        }
    }
}

/// The first time that a clock could have put into an id, in milliseconds: 2001-09-09. Smaller
/// numbers are counted by a publisher.
const CLOCK_IDS_FROM_MS: u64 = 1_000_000_000_000;

impl Snapshot {
    /// Before the first entry, or after everything if there is none.
    #[must_use]
    pub fn start(&self) -> StreamId {
        self.first.map_or(self.last_generated, StreamId::previous)
    }

    /// Whether no entry was ever removed.
    fn is_whole(&self) -> bool {
        self.entries_added == Some(self.length)
    }

    /// Where to continue for a client that has an id this stream has never generated.
    ///
    /// An id of the clock, up to now, is of the same stream: the engine has lost its newest
    /// entries (a failover, a restart), and the client has all entries that are left. Any other id
    /// is of another stream, of which the client has none.
    fn after_unknown(&self, id: StreamId, unix_ms: u64) -> StreamId {
        let is_of_clock = |id: StreamId| id.ms >= CLOCK_IDS_FROM_MS;
        let is_same = is_of_clock(id)
            && is_of_clock(self.last_generated)
            && id.ms <= unix_ms.saturating_add(CLOCK_SKEW_MS);
        match is_same {
            true => self.last_generated,
            false => self.start(),
        }
    }
}

/// Decides where a client continues that has received the entry `place.id`. `stream` is `None` if
/// there is no such key.
#[must_use]
pub fn resume(place: Place, stream: Option<&Snapshot>, unix_ms: u64) -> Resumed {
    let id = place.id;
    let Some(stream) = stream else {
        return match id == StreamId::START {
            true => Resumed::exact(id),
            false => Resumed::gap(Reason::UnknownId, StreamId::START),
        };
    };
    // (After the last id that was generated there is nothing, whether or not its entry is left.)
    if place.is_entry || id == stream.last_generated {
        return Resumed::exact(id);
    }
    if id > stream.last_generated {
        return Resumed::gap(Reason::UnknownId, stream.after_unknown(id, unix_ms));
    }
    if id == StreamId::START && stream.is_whole() {
        return Resumed::exact(id);
    }
    match stream.first {
        // No id lies between: a client has this one of a gap, as the position of the first entry.
        Some(first) if id.next() == first => Resumed::exact(id),
        Some(first) if id > first => {
            // After it, nothing is missing that is in the stream. The entry before is the same
            // position, under an id that will be found.
            Resumed::gap(Reason::UnknownId, place.before.unwrap_or(id))
        }
        _ => Resumed::gap(Reason::Expired, stream.start()),
    }
}

/// How many of a stream's entries a reader has received, to notice those that it never will: Redis
/// removes the oldest ones silently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// How many had been added up to the position where counting began; `None` if that is not
    /// known.
    added: Option<u64>,
    /// How many have been received since.
    received: u64,
}

/// The result of a look at the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing is lost before the next entry.
    Whole,
    /// Entries after the position were removed, so many if that is known. The position may have
    /// moved to just before the first entry that is left.
    Lost(Option<u64>, StreamId),
    /// It is another stream, or one that has lost its newest entries.
    Other(StreamId),
}

impl Ledger {
    /// Counts from a position after which `stream` contains nothing.
    #[must_use]
    pub fn at_end(stream: Option<&Snapshot>) -> Self {
        Self {
            added: stream.map_or(Some(0), |stream| stream.entries_added),
            received: 0,
        }
    }

    /// Counts from a position after which `stream` contains `remaining` entries, which are all
    /// that were added after it.
    #[must_use]
    pub fn before(stream: &Snapshot, remaining: u64) -> Self {
        let added = stream.entries_added;
        Self {
            added: added.map(|added| added.saturating_sub(remaining)),
            received: 0,
        }
    }

    /// An entry was received.
    pub fn receive(&mut self) {
        self.received += 1;
    }

    /// How many entries were added since the last one that was received; `None` if that is not
    /// known. Negative: fewer than were received, so it is not the same stream.
    fn news(&self, stream: &Snapshot) -> Option<i64> {
        let (added, now) = (self.added?, stream.entries_added?);
        let (added, now) = (i64::try_from(added).ok()?, i64::try_from(now).ok()?);
        Some(now - added - i64::try_from(self.received).ok()?)
    }

    /// Compares the stream with the `position` up to which all has been received, before the
    /// entries after it are. `is_entry`: there is an entry at the position, or never was one. At
    /// least `following` entries come after it.
    #[must_use]
    pub fn look(
        &self,
        position: StreamId,
        stream: Option<&Snapshot>,
        is_entry: bool,
        following: u64,
        unix_ms: u64,
    ) -> Look {
        let Some(stream) = stream else {
            return match position == StreamId::START {
                true => Look::Whole,
                false => Look::Other(StreamId::START),
            };
        };
        if stream.last_generated < position {
            return Look::Other(stream.after_unknown(position, unix_ms));
        }
        let news = self.news(stream);
        let is_before_first = stream.first.is_none_or(|first| position < first);
        // It was neither trimmed nor deleted, and is gone.
        let was_lost = !is_entry
            && !is_before_first
            && position != stream.last_generated
            && stream.max_deleted.is_some_and(|deleted| deleted < position);
        if was_lost || news.is_some_and(|news| news < following as i64) {
            let after = match is_before_first {
                true => stream.start(),
                // It has lost entries that were received, and got others since.
                false => position,
            };
            return Look::Other(after);
        }
        if !is_before_first {
            return Look::Whole;
        }
        // All entries that are left come after the position.
        match news.map(|news| news - stream.length as i64) {
            Some(0) => Look::Whole,
            Some(lost) if lost > 0 => Look::Lost(Some(lost as u64), stream.start()),
            Some(_) => Look::Other(stream.start()),
            None if position == StreamId::START && self.added == Some(0) => Look::Whole,
            None => match stream.first {
                Some(first) if position.next() == first => Look::Whole,
                _ if position == stream.last_generated => Look::Whole,
                _ => Look::Lost(None, stream.start()),
            },
        }
    }

    /// All entries that `stream` contains have been received: how many were removed among them
    /// before that. Negative: more were received than were added, so it is not the same stream. It
    /// counts from here.
    pub fn settle(&mut self, stream: Option<&Snapshot>) -> i64 {
        let lost = stream.and_then(|stream| self.news(stream)).unwrap_or(0);
        *self = Self::at_end(stream);
        lost
    }

    /// Entries were reported as lost, and all that are left come after the position.
    #[must_use]
    pub fn restart(stream: &Snapshot) -> Self {
        Self::before(stream, stream.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> StreamId {
        StreamId::parse(text).unwrap()
    }

    const NOW_MS: u64 = 1_700_000_000_000;

    /// A stream with these entries, which has generated `last` and `added` ids.
    fn stream(entries: &[&str], last: &str, added: Option<u64>) -> Snapshot {
        Snapshot {
            length: entries.len() as u64,
            last_generated: id(last),
            entries_added: added,
            max_deleted: added.map(|_| StreamId::START),
            first: entries.first().map(|first| id(first)),
        }
    }

    /// `expected`: the position, and the reason of the gap.
    fn check(last_id: &str, entries: &[&str], last: &str, added: u64, expected: (&str, &str)) {
        let last_id = id(last_id);
        let place = Place {
            id: last_id,
            is_entry: entries.iter().any(|entry| id(entry) == last_id),
            before: entries
                .iter()
                .rev()
                .map(|entry| id(entry))
                .find(|entry| *entry < last_id),
        };
        let stream = stream(entries, last, Some(added));
        let resumed = resume(place, Some(&stream), NOW_MS);
        let gap = resumed.gap.map_or("", Reason::as_str);
        assert_eq!((&*resumed.after.to_string(), gap), expected, "{last_id}");
        // The position of a gap is one with which the client can return without another.
        let after = resumed.after;
        let again = Place {
            id: after,
            is_entry: entries.iter().any(|entry| id(entry) == after),
            before: None,
        };
        assert_eq!(resume(again, Some(&stream), NOW_MS), Resumed::exact(after));
    }

    #[test]
    fn a_last_event_id_is_found_or_its_client_is_told() {
        let whole = ["1-1", "1-2", "5-0"];
        let left = ["5-0", "7-0", "9-0"];
        let first = "4-18446744073709551615";
        for (last_id, entries, last, added, expected) in [
            // Present.
            ("1-1", &whole[..], "5-0", 3, ("1-1", "")),
            ("5-0", &whole, "5-0", 3, ("5-0", "")),
            ("5-0", &left, "9-0", 9, ("5-0", "")),
            // The last id that was generated, although its entry is gone.
            ("9-0", &whole, "9-0", 4, ("9-0", "")),
            // Beyond it.
            ("9-1", &left, "9-0", 9, (first, "unknown-id")),
            ("9999999999999-0", &left, "9-0", 9, (first, "unknown-id")),
            // Before the first entry.
            ("4-0", &left, "9-0", 9, (first, "expired")),
            ("0-1", &left, "9-0", 9, (first, "expired")),
            // Missing in the middle.
            ("6-0", &left, "9-0", 9, ("5-0", "unknown-id")),
            ("8-5", &left, "9-0", 9, ("7-0", "unknown-id")),
            // Empty.
            ("9-0", &[], "9-0", 9, ("9-0", "")),
            ("8-0", &[], "9-0", 9, ("9-0", "expired")),
            ("9-1", &[], "9-0", 9, ("9-0", "unknown-id")),
            // From before the first entry that ever was.
            ("0-0", &whole, "5-0", 3, ("0-0", "")),
            ("0-0", &left, "9-0", 9, (first, "expired")),
            ("0-0", &[], "9-0", 9, ("9-0", "expired")),
            // The position of a gap.
            (first, &left, "9-0", 9, (first, "")),
        ] {
            check(last_id, entries, last, added, expected);
        }
    }

    #[test]
    fn a_stream_that_has_lost_its_newest_entries_is_not_sent_again() {
        let entries = ["1690000000000-0", "1690000000005-0"];
        let last = entries[1];
        check("1690000000009-3", &entries, last, 2, (last, "unknown-id"));
        // No clock has generated this one yet.
        let first = "1689999999999-18446744073709551615";
        check("1800000000000-0", &entries, last, 2, (first, "unknown-id"));
    }

    #[test]
    fn a_key_that_is_gone_is_unknown() {
        let place = |text| Place {
            id: id(text),
            is_entry: false,
            before: None,
        };
        assert_eq!(
            resume(place("5-0"), None, NOW_MS),
            Resumed::gap(Reason::UnknownId, StreamId::START)
        );
        assert_eq!(
            resume(place("0-0"), None, NOW_MS),
            Resumed::exact(StreamId::START)
        );
    }

    #[test]
    fn live_loss_is_what_was_added_and_is_neither_received_nor_left() {
        let position = id("3-0");
        let ledger = Ledger {
            added: Some(1),
            received: 2,
        };
        let look = |entries: &[&str], last, added| {
            ledger.look(
                position,
                Some(&stream(entries, last, Some(added))),
                true,
                0,
                NOW_MS,
            )
        };
        // 1000 entries with MAXLEN 10.
        let left: Vec<String> = (994..=1003).map(|ms| format!("{ms}-0")).collect();
        let left: Vec<&str> = left.iter().map(String::as_str).collect();
        let start = id("993-18446744073709551615");
        assert_eq!(look(&left, "1003-0", 1003), Look::Lost(Some(990), start));
        // All that was added is left.
        assert_eq!(look(&["4-0", "5-0"], "5-0", 5), Look::Whole);
        assert_eq!(look(&["2-0", "3-0", "4-0"], "4-0", 4), Look::Whole);
        assert_eq!(look(&[], "3-0", 3), Look::Whole);
        // All of it is gone.
        assert_eq!(look(&[], "5-0", 5), Look::Lost(Some(2), id("5-0")));
        // Other streams of the same key.
        assert_eq!(
            look(&["9-0"], "9-0", 1),
            Look::Other(id("8-18446744073709551615"))
        );
        assert_eq!(
            look(&["1-0"], "1-0", 1),
            Look::Other(id("0-18446744073709551615"))
        );
        let others = ["4-0", "5-0", "6-0", "7-0", "8-0"];
        let before = id("3-18446744073709551615");
        assert_eq!(look(&others, "8-0", 5), Look::Other(before));
        assert_eq!(
            ledger.look(position, None, false, 0, NOW_MS),
            Look::Other(StreamId::START)
        );
        // It has lost 3-0 and got 4-0.
        assert_eq!(look(&["1-0", "4-0"], "4-0", 2), Look::Other(position));
        let replaced = stream(&["1-0", "4-0", "5-0"], "5-0", Some(3));
        let look = ledger.look(position, Some(&replaced), true, 2, NOW_MS);
        assert_eq!(look, Look::Other(position));
        // The same, when as many were added since.
        let replaced = stream(&["1-0", "4-0", "5-0"], "5-0", Some(5));
        let look = ledger.look(position, Some(&replaced), false, 1, NOW_MS);
        assert_eq!(look, Look::Other(position));
        // It was deleted, which is no loss.
        let deleted = Snapshot {
            max_deleted: Some(position),
            ..replaced
        };
        let look = ledger.look(position, Some(&deleted), false, 1, NOW_MS);
        assert_eq!(look, Look::Whole);
    }

    #[test]
    fn before_redis_7_whatever_may_be_missing_is_reported() {
        let ledger = Ledger::default();
        let look = |position, entries: &[&str], last| {
            ledger.look(
                id(position),
                Some(&stream(entries, last, None)),
                false,
                0,
                NOW_MS,
            )
        };
        assert_eq!(look("3-0", &["3-0", "4-0"], "4-0"), Look::Whole);
        assert_eq!(look("3-0", &["3-1"], "3-1"), Look::Whole);
        assert_eq!(look("3-0", &[], "3-0"), Look::Whole);
        let start = id("4-18446744073709551615");
        assert_eq!(look("3-0", &["5-0"], "5-0"), Look::Lost(None, start));
    }

    #[test]
    fn an_entry_that_was_deleted_before_it_was_received_is_counted() {
        let mut ledger = Ledger {
            added: Some(3),
            received: 2,
        };
        let now = stream(&["3-0", "4-0", "6-0"], "6-0", Some(6));
        assert_eq!(ledger.settle(Some(&now)), 1);
        assert_eq!(ledger.settle(Some(&now)), 0);
    }
}
