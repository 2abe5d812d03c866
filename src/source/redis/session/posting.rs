//! What a POST asks of an engine: whether its client may publish to a session, and then its entry.
//!
//! Each is sent once, since a message must not be counted or appended twice.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::presence::{Named, SessionKeys, StoredMember, eval};
use crate::request::Rate;
use crate::source::redis::{Append, Item, NotWritten, Reader, StreamId, command};
use crate::source::{Author, SessionId};

/// Finds the session, and counts the POST for its client's rate. `KEYS`: who the members are, or
/// the stream of a private session; the client's rate. The rate is the generic cell rate
/// algorithm, as in [`crate::publish::rate`], by the clock of the engine.
const TURN: &str = "\
local who
if ARGV[1] == '' then who = redis.call('EXISTS', KEYS[1]) == 1 and '' or false
else who = redis.call('HGET', KEYS[1], ARGV[1]) end
if not who then return {'gone'} end
local each, period = tonumber(ARGV[2]), tonumber(ARGV[3])
if each > 0 then
  local t = redis.call('TIME')
  local now = t[1] * 1000000 + t[2]
  local used = tonumber(redis.call('GET', KEYS[2]) or now)
  used = math.min(math.max(used, now), now + period) + each
  if used > now + period then return {'wait', used - now - period} end
  redis.call('SET', KEYS[2], string.format('%.0f', used), 'PX', math.ceil((used - now) / 1000))
end
return {'go', who}
";

/// A session to which a client publishes.
#[derive(Clone, Debug)]
pub struct Posting {
    /// The keys of its room, or of its sessions.
    pub keys: SessionKeys,
    /// The session that receives the message, or the member that sends it.
    pub session: SessionId,
    /// Who chose the key of the room; `None`: a private session.
    pub room: Option<Named>,
    /// About how many entries are kept.
    pub keep: u64,
}

/// Whether a client may publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It may; in a room, as this member.
    Now(Option<Author>),
    /// It has published too often, and may so much later.
    Later(Duration),
    /// There is no such session.
    NoSession,
}

impl Posting {
    /// Asks whether `client` may publish now. The command has one reply, for [`Self::turn_of`].
    #[must_use]
    pub fn turn(&self, client: &[u8], rate: Option<Rate>) -> Vec<u8> {
        let (key, member) = match self.room {
            Some(_) => (self.keys.members(), self.session.to_string()),
            None => (self.keys.session(self.session), String::new()),
        };
        let period = rate.map_or(0, |rate| rate.period.as_micros() as u64);
        let each = rate.map_or(0, |rate| (period / u64::from(rate.count.max(1))).max(1));
        let keys = [key, self.keys.rate(xxh3_64(client))];
        let (each, period) = (each.to_string(), period.to_string());
        let arguments = [member.as_bytes(), each.as_bytes(), period.as_bytes()];
        eval([TURN, ""], &keys, &arguments)
    }

    /// Reads the reply to [`Self::turn`].
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn turn_of(&self, reply: &[u8]) -> Result<Turn, NotWritten> {
        let mut reader = Reader::new(reply);
        match reader.item()? {
            Item::Error(text) => return Err(NotWritten::of(text)),
            Item::Array(1 | 2) => {}
            _ => return Err(NotWritten::Unknown("the turn has another reply".into())),
        }
        match (reader.string()?, self.room) {
            (b"go", None) => Ok(Turn::Now(None)),
            (b"go", Some(_)) => {
                let author = StoredMember::author(reader.string()?);
                Ok(author.map_or(Turn::NoSession, |author| Turn::Now(Some(author))))
            }
            (b"wait", _) => match reader.item()? {
                Item::Integer(us) => Ok(Turn::Later(Duration::from_micros(us.unsigned_abs()))),
                _ => Err(NotWritten::Unknown("the turn has another reply".into())),
            },
            _ => Ok(Turn::NoSession),
        }
    }

    /// Appends an entry: commands with so many replies, of which [`Self::appended`] reads the
    /// first. `author` is the member of a room, whose entry `fields` are.
    #[must_use]
    pub fn append(
        &self,
        author: Option<&Author>,
        fields: Vec<(&'static str, Vec<u8>)>,
    ) -> (Vec<u8>, usize) {
        let mut out = Vec::new();
        if self.room.is_none() {
            // A session that has ended must not come back.
            let (key, keep) = (self.keys.session(self.session), self.keep.to_string());
            let mut words: Vec<&[u8]> = vec![b"XADD", &key, b"NOMKSTREAM", b"MAXLEN", b"~"];
            words.extend([keep.as_bytes(), b"*"]);
            for (name, value) in &fields {
                words.extend([name.as_bytes(), value]);
            }
            command(&words, &mut out);
            return (out, 1);
        }
        let tag = author.map(|author| ("tag", author.tag_text().into_bytes()));
        let key = self.keys.history().to_vec();
        let entry = Append {
            key: key.clone(),
            keep: self.keep,
            fields: tag.into_iter().chain(fields).collect(),
        };
        entry.command(&mut out);
        if self.room != Some(Named::ByClient) {
            return (out, 1);
        }
        // A history in which something was said stays.
        command(&[b"PERSIST", &key], &mut out);
        (out, 2)
    }

    /// The id of the entry; `None` if there is no such session.
    ///
    /// # Errors
    /// Why there is no entry.
    pub fn appended(&self, replies: &[u8]) -> Result<Option<StreamId>, NotWritten> {
        match Reader::new(replies).item()? {
            Item::Nil if self.room.is_none() => Ok(None),
            _ => crate::source::redis::appended(replies).map(Some),
        }
    }

    /// The id that an entry's event has in the stream of this session.
    #[must_use]
    pub fn event_id(&self, id: StreamId) -> String {
        format!("{}.{id}", self.session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posting(room: Option<Named>) -> Posting {
        Posting {
            keys: SessionKeys::of(b"k"),
            session: SessionId::of([0; 16]),
            room,
            keep: 7,
        }
    }

    #[test]
    fn turns_are_read_and_errors_are_told() {
        let room = posting(Some(Named::BySettings));
        let private = posting(None);
        let member = "0123456789abcdef+{\"tag\":\"0123456789abcdef\",\"nick\":\"Ann\"}";
        let go = format!("*2\r\n$2\r\ngo\r\n${}\r\n{member}\r\n", member.len());
        let Ok(Turn::Now(Some(author))) = room.turn_of(go.as_bytes()) else {
            panic!("{go}");
        };
        assert_eq!(author.tag_text(), "0123456789abcdef");
        let go = b"*2\r\n$2\r\ngo\r\n$0\r\n\r\n";
        assert_eq!(private.turn_of(go), Ok(Turn::Now(None)));
        assert_eq!(room.turn_of(go), Ok(Turn::NoSession));
        let wait = b"*2\r\n$4\r\nwait\r\n:1500\r\n";
        let later = Turn::Later(Duration::from_micros(1500));
        assert_eq!(room.turn_of(wait), Ok(later));
        assert_eq!(room.turn_of(b"*1\r\n$4\r\ngone\r\n"), Ok(Turn::NoSession));
        for bad in [
            &b"-NOPERM x\r\n"[..],
            b":1\r\n",
            b"*0\r\n",
            b"",
            b"*2\r\n$2\r\ngo\r\n",
        ] {
            assert!(room.turn_of(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_session_that_has_ended_does_not_come_back() {
        let fields = || vec![("data", b"x".to_vec())];
        let (commands, replies) = posting(None).append(None, fields());
        let text = String::from_utf8(commands).unwrap();
        assert!(text.contains("NOMKSTREAM"), "{text}");
        assert_eq!(replies, 1);
        assert_eq!(posting(None).appended(b"$-1\r\n"), Ok(None));
        let (commands, replies) = posting(Some(Named::ByClient)).append(None, fields());
        let text = String::from_utf8(commands).unwrap();
        assert!(
            text.contains("PERSIST") && !text.contains("NOMKSTREAM"),
            "{text}"
        );
        assert_eq!(replies, 2);
        assert!(posting(Some(Named::ByClient)).appended(b"$-1\r\n").is_err());
    }
}
