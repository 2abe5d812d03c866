//! The search for the last records of a stream: for a client without an id, and for one whose id is
//! unknown, which is not sent more than `SSE_REPLAY`.

use super::entry::EntryEncoding;
use super::id::StreamId;
use super::query::{Page, Refused};
use super::resume::Snapshot;

/// How far back it searches, in bytes of replies: a filter may match nothing.
const SEARCH_MAX_BYTES: usize = 16 << 20;

/// The search for the position before the last records.
pub(super) struct Search {
    /// How many records are missing.
    missing: usize,
    /// What comes before this id has not been searched.
    before: StreamId,
    searched_bytes: usize,
    most_bytes: usize,
    /// The entries that have been searched.
    passed: u64,
    /// How many had ever been added when it began.
    added: Option<u64>,
}

impl Search {
    /// Searches for so many records.
    pub(super) fn new(records: usize) -> Self {
        Self {
            missing: records,
            before: StreamId {
                ms: u64::MAX,
                seq: u64::MAX,
            },
            searched_bytes: 0,
            most_bytes: SEARCH_MAX_BYTES,
            passed: 0,
            added: None,
        }
    }

    /// Searches for all records of the last bytes.
    pub(super) fn within(bytes: usize) -> Self {
        Self {
            most_bytes: bytes,
            ..Self::new(usize::MAX)
        }
    }

    /// How many of the entries of a stream come before those that have been searched; `None` before
    /// Redis 7.
    pub(super) fn skipped(&self, stream: &Snapshot) -> Option<u64> {
        let since = stream.entries_added?.checked_sub(self.added?)?;
        stream.length.checked_sub(self.passed + since)
    }

    /// How many records are missing.
    pub(super) fn missing(&self) -> usize {
        self.missing
    }

    /// What comes before this id has not been searched.
    pub(super) fn before(&self) -> StreamId {
        self.before
    }

    /// Searches a page, which has the last entry first. Returns the id of the entry before the
    /// records if it was found, or the search has gone far enough.
    pub(super) fn look(
        &mut self,
        page: &mut Page,
        stream: Option<&Snapshot>,
        encoding: &EntryEncoding,
    ) -> Result<Option<StreamId>, Refused> {
        self.searched_bytes += page.bytes();
        if self.passed == 0 {
            self.added = stream.and_then(|stream| stream.entries_added);
        }
        loop {
            let missing = self.missing;
            let read = page.next(|id, _, fields| {
                // (The expressions of clients are limited by the length of a record.)
                let counts = missing > 0 && encoding.counts(fields, &mut 0);
                (id, counts)
            })?;
            let Some((id, counts)) = read else {
                return Ok(None);
            };
            if missing == 0 || self.searched_bytes > self.most_bytes {
                return Ok(Some(id));
            }
            self.before = id.previous();
            self.missing -= usize::from(counts);
            self.passed += 1;
        }
    }
}
