//! Question: commands that wait for their replies, and Slot: a reader, which waits for one.

use std::io;
use std::time::Instant;

/// With how many unanswered questions a new one is compared.
pub(super) const COMPARED_MAX: usize = 32;

/// Commands for which one reply, or several, are expected.
pub(super) struct Question {
    /// Who asked, and their generations; if there is none, nobody waits for the answer.
    pub(super) askers: Vec<(usize, u64)>,
    pub(super) commands: Vec<u8>,
    pub(super) replies: usize,
    pub(super) tries: u8,
    pub(super) until: Instant,
}

/// A reader.
pub(super) struct Slot {
    pub(super) key: Vec<u8>,
    pub(super) owner: u64,
    pub(super) reply: Option<io::Result<Vec<u8>>>,
    pub(super) has_signal: bool,
    /// What it asks when there is a signal.
    pub(super) ahead: Vec<u8>,
    /// The answer to that, if it came with the signal.
    pub(super) ahead_answer: Option<Vec<u8>>,
    /// It may get the answer to an equal question of another reader.
    pub(super) shares_answers: bool,
    /// Distinguishes the readers that have had this place.
    pub(super) generation: u64,
}
