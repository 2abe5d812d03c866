//! The search for the last records of a stream, for a client without an id.

use super::entry::EntryEncoding;
use super::id::StreamId;
use super::query::{Page, Refused};

/// How far back it searches, in bytes of replies: a filter may match nothing.
const SEARCH_MAX_BYTES: usize = 16 << 20;

/// The search for the position before the last records.
pub(super) struct Search {
    /// How many records are missing.
    missing: usize,
    /// What comes before this id has not been searched.
    before: StreamId,
    searched_bytes: usize,
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
        }
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
        encoding: &EntryEncoding,
    ) -> Result<Option<StreamId>, Refused> {
        self.searched_bytes += page.bytes();
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
            self.before = id.previous();
            self.missing -= usize::from(counts);
            if missing == 0 || self.searched_bytes > SEARCH_MAX_BYTES {
                return Ok(Some(id));
            }
        }
    }
}
