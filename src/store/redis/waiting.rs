//! Waiting: a connection that waits for new entries of several keys, with XREAD BLOCK.
//!
//! ```text
//!   idle ──► XREAD BLOCK of its keys ──► a key has an entry ──► its readers ask
//!    ▲                │                                             │
//!    │                └── CLIENT UNBLOCK: another key               │
//!    └──────────────────────────────────────────── they wait again ◄┘
//! ```
//!
//! If it has one key only, what its reader will ask is sent together with XREAD. Redis executes it
//! as soon as XREAD returns, and the entry arrives without another round trip.
//!
//! What an entry costs the engine grows with the number of keys of one blocked connection; so
//! there are at most [`Waiting::KEYS_MAX`].

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::link::Link;
use crate::source::redis::{Item, Malformed, Reader, StreamId, command};

/// How long XREAD blocks: a connection that was lost silently is noticed then.
const BLOCK: Duration = Duration::from_secs(20);

/// How long XREAD blocks if it cannot be unblocked.
const SHORT_BLOCK: Duration = Duration::from_millis(200);

/// How long other keys wait for those that had an entry, whose readers are about to wait again.
const HOLD: Duration = Duration::from_millis(5);

/// How long after an error it waits again.
const PAUSE: Duration = Duration::from_millis(500);

/// A blocked connection.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) link: Option<Link>,
    /// In a cluster, the slot of its keys.
    pub(super) slot: Option<u16>,
    /// The connection's number, for CLIENT UNBLOCK.
    client_id: Option<i64>,
    /// The reply to CLIENT ID is missing.
    is_asking_id: bool,
    /// The keys, and after which entry of each someone waits.
    pub(super) keys: BTreeMap<Vec<u8>, Option<StreamId>>,
    /// The keys of the command that blocks; `None` if none does.
    blocked: Option<Vec<Vec<u8>>>,
    /// What the reader of the only key will ask, and after which id.
    ahead: Option<(StreamId, Ahead)>,
    /// What was sent together with XREAD, whose replies are missing.
    asked_ahead: Option<Ahead>,
    /// XREAD has returned an entry of this key, and those replies follow.
    ahead_of: Option<Vec<u8>>,
    is_unblocking: bool,
    /// How many keys had an entry and are not waited for yet.
    to_return: usize,
    /// When it waits again in any case.
    hold_until: Option<Instant>,
    /// When the connection is taken for lost.
    lost_at: Option<Instant>,
}

/// Commands that a reader will ask, and the number of their replies.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    pub(super) commands: Vec<u8>,
    pub(super) replies: usize,
}

/// What a reply says.
pub(super) enum Said {
    Nothing,
    /// It is not complete.
    NotYet,
    /// This key has entries, and these commands of its reader have this answer.
    Answer(Vec<u8>, Vec<u8>, Vec<u8>),
    /// These keys have entries.
    Entries(Vec<Vec<u8>>),
    /// The command was refused; each key must be looked at.
    Refused(Vec<Vec<u8>>),
}

impl Waiting {
    /// The maximum number of keys.
    pub(super) const KEYS_MAX: usize = 32;

    /// Waits for an entry of `key` after `after`. Returns the number of the client to unblock, if
    /// that is necessary.
    pub(super) fn wait(&mut self, key: &[u8], after: StreamId, ahead: Ahead) -> Option<i64> {
        self.ahead = Some((after, ahead));
        let earliest = match self.keys.get(key) {
            Some(Some(other)) => after.min(*other),
            _ => after,
        };
        self.keys.insert(key.to_vec(), Some(earliest));
        match &self.blocked {
            Some(keys) if keys.iter().any(|own| own == key) => None,
            Some(_) if self.is_unblocking => None,
            Some(_) => {
                self.is_unblocking = self.client_id.is_some();
                self.client_id
            }
            None => {
                self.to_return = self.to_return.saturating_sub(1);
                None
            }
        }
    }

    /// Whether a command should be sent now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        // (The replies to what was asked ahead come at once.)
        let is_held = self.hold_until.is_some_and(|until| now < until);
        self.blocked.is_none()
            && self.asked_ahead.is_none()
            && self.keys.values().any(Option::is_some)
            && (!is_held || (self.to_return == 0 && !self.is_pausing()))
    }

    fn is_pausing(&self) -> bool {
        self.to_return == usize::MAX
    }

    /// Queues the command. The link is open.
    pub(super) fn block(&mut self, link: &mut Link, now: Instant) {
        let mut out = Vec::new();
        if self.lost_at.is_none() {
            command(&[b"CLIENT", b"ID"], &mut out);
            self.is_asking_id = true;
        }
        let (keys, ids): (Vec<_>, Vec<_>) = self
            .keys
            .iter()
            .filter_map(|(key, after)| Some((key.clone(), (*after)?.to_string())))
            .unzip();
        let block = match self.client_id {
            Some(_) => BLOCK,
            None => SHORT_BLOCK,
        };
        let milliseconds = block.as_millis().to_string();
        let mut words: Vec<&[u8]> = vec![b"XREAD", b"COUNT", b"1", b"BLOCK"];
        words.extend([milliseconds.as_bytes(), b"STREAMS"]);
        words.extend(keys.iter().map(Vec::as_slice));
        words.extend(ids.iter().map(String::as_bytes));
        command(&words, &mut out);
        // (The last one that began to wait may have left.)
        let ahead = self.ahead.take().filter(|(after, _)| match ids.as_slice() {
            [id] => *id == after.to_string(),
            _ => false,
        });
        if let Some((_, ahead)) = ahead {
            out.extend_from_slice(&ahead.commands);
            self.asked_ahead = Some(ahead);
        }
        link.push(&out);
        self.blocked = Some(keys);
        self.is_unblocking = false;
        self.hold_until = None;
        self.to_return = 0;
        self.lost_at = Some(now + block + Duration::from_secs(5));
    }

    /// Uses the next reply of the link.
    pub(super) fn next(&mut self, now: Instant) -> io::Result<Said> {
        let Some(link) = &mut self.link else {
            return Ok(Said::NotYet);
        };
        if let Some(ahead) = self.asked_ahead.as_ref().filter(|_| self.blocked.is_none()) {
            let Some(answer) = link.take(ahead.replies)? else {
                return Ok(Said::NotYet);
            };
            let commands = self.asked_ahead.take().unwrap_or_default().commands;
            return Ok(match self.ahead_of.take() {
                Some(key) => Said::Answer(key, commands, answer),
                // XREAD returned nothing, so this is of no use.
                None => Said::Nothing,
            });
        }
        let Some(reply) = link.take(1)? else {
            return Ok(Said::NotYet);
        };
        // The connection for questions reports what is wrong with the opening.
        if link.takes_opening_reply() {
            return Ok(Said::Nothing);
        }
        let said = self.take(&reply, now);
        let said =
            said.map_err(|error| io::Error::new(ErrorKind::InvalidData, error.to_string()))?;
        match said {
            Said::Entries(mut keys) if self.asked_ahead.is_some() => {
                self.ahead_of = keys.pop();
                Ok(Said::Nothing)
            }
            said => Ok(said),
        }
    }

    /// Uses a reply.
    fn take(&mut self, reply: &[u8], now: Instant) -> Result<Said, Malformed> {
        let mut reader = Reader::new(reply);
        let item = reader.item()?;
        if std::mem::take(&mut self.is_asking_id) {
            self.client_id = match item {
                Item::Integer(id) => Some(id),
                _ => None,
            };
            return Ok(Said::Nothing);
        }
        let keys = self.blocked.take().unwrap_or_default();
        self.is_unblocking = false;
        match item {
            Item::Array(length) => {
                let mut found = Vec::new();
                for _ in 0..length {
                    reader.array()?;
                    let key = reader.string()?;
                    found.push(key.to_vec());
                    self.free(key);
                    reader.skip()?;
                }
                self.to_return = found.len();
                self.hold_until = Some(now + HOLD);
                Ok(Said::Entries(found))
            }
            Item::Error(_) => {
                for key in &keys {
                    self.free(key);
                }
                self.to_return = usize::MAX;
                self.hold_until = Some(now + PAUSE);
                Ok(Said::Refused(keys))
            }
            _ => Ok(Said::Nothing),
        }
    }

    /// Nobody waits for a key any more. (Its readers may have left.)
    fn free(&mut self, key: &[u8]) {
        if let Some(after) = self.keys.get_mut(key) {
            *after = None;
        }
    }

    /// The connection is lost. Returns the keys that someone waits for.
    pub(super) fn lose(&mut self) -> Vec<Vec<u8>> {
        let waited = self.keys.iter_mut();
        let waited = waited.filter_map(|(key, after)| after.take().map(|_| key.clone()));
        let waited = waited.collect();
        *self = Self {
            slot: self.slot,
            keys: std::mem::take(&mut self.keys),
            ..Self::default()
        };
        waited
    }

    /// The next deadline: when to act even if nothing arrives.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.blocked {
            Some(_) => self.lost_at,
            None if self.asked_ahead.is_some() => self.lost_at,
            None if self.keys.values().any(Option::is_some) => self.hold_until,
            None => None,
        }
    }

    /// Whether the connection has not answered in time.
    pub(super) fn is_lost(&self, now: Instant) -> bool {
        (self.blocked.is_some() || self.asked_ahead.is_some())
            && self.lost_at.is_some_and(|at| now >= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_frees_its_key_and_another_key_unblocks() {
        let now = Instant::now();
        let id = |ms| StreamId { ms, seq: 0 };
        let mut waiting = Waiting {
            client_id: Some(7),
            blocked: Some(vec![b"a".to_vec()]),
            lost_at: Some(now),
            ..Waiting::default()
        };
        assert_eq!(waiting.wait(b"a", id(1), Ahead::default()), None);
        assert_eq!(waiting.wait(b"b", id(1), Ahead::default()), Some(7));
        assert_eq!(waiting.wait(b"c", id(1), Ahead::default()), None);
        let reply = b"*1\r\n*2\r\n$1\r\na\r\n*1\r\n*2\r\n$3\r\n2-0\r\n*2\r\n$1\r\nx\r\n$1\r\ny\r\n";
        let Ok(Said::Entries(keys)) = waiting.take(reply, now) else {
            panic!("no entries");
        };
        assert_eq!(keys, [b"a".to_vec()]);
        // The others wait a moment for it.
        assert!(!waiting.is_due(now));
        assert!(waiting.is_due(now + HOLD));
        assert_eq!(waiting.wait(b"a", id(2), Ahead::default()), None);
        assert!(waiting.is_due(now));
    }
}
