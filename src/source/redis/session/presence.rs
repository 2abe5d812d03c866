//! Presence: the sessions of a key, as an engine keeps them.
//!
//! ```text
//! K                      the history of a room: a stream
//! {K}//alive             its members' session ids, by the time when their grace ends
//! {K}//members           who they are, by session id
//! {K}//<session id>      a private session: a stream, which expires after its grace
//! {K}//rate/<hash>       when a client will have used up what it has published; it expires then
//! ```
//!
//! All keys of a room have one hash tag, so a cluster keeps them together. No name in a path
//! contains `//`, so no client can reach one of them as a stream.
//!
//! What changes more than one key is a script, so that it happens as a whole: whoever removes a
//! member's session writes its leave. The clock is that of the engine, since those of the nodes
//! differ. Every script can be executed twice, because its reply may be lost: the second time
//! changes nothing.

use std::time::Duration;

use crate::source::redis::resp::{Item, Malformed, Reader, command};
use crate::source::{Author, Members, SessionId};

/// How long presence that nobody updates is kept after the last grace, so that leaves can be
/// announced to the next client.
const KEPT_MS: u64 = 24 * 3600 * 1000;

/// The parts that several scripts use. `KEYS`: the history, the members by time, who they are.
///
/// Sessions are removed only if the engine has been up for longer than the grace: before that,
/// their nodes may not have been able to update them. A history that consists of joins and leaves
/// only, of a name that a client has chosen (`ARGV[5]`), expires.
const ROOM: &str = "\
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local grace, kept = tonumber(ARGV[1]), tonumber(ARGV[2])
local function touch(id)
  redis.call('ZADD', KEYS[2], now + grace, id)
  redis.call('PEXPIRE', KEYS[2], grace + kept)
  redis.call('PEXPIRE', KEYS[3], grace + kept)
end
local function last()
  local e = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  return e and e[2][3] == 'event' and (e[2][4] == 'join' or e[2][4] == 'leave')
end
local function age()
  if redis.call('PTTL', KEYS[1]) < 0 then return end
  if last() then redis.call('PEXPIRE', KEYS[1], grace + kept)
  else redis.call('PERSIST', KEYS[1]) end
end
local function say(who, event)
  if string.sub(who, 17, 17) ~= '+' then return end
  local new = redis.call('EXISTS', KEYS[1]) == 0
  if not new then age() end
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*',
    'tag', string.sub(who, 1, 16), 'event', event, 'data', string.sub(who, 18))
  if new and ARGV[5] == '1' then redis.call('PEXPIRE', KEYS[1], grace + kept) end
end
local function sweep()
  if ARGV[4] ~= '1' then return end
  local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 256)
  if #due == 0 then return end
  local up = string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)')
  if not up or up * 1000 < grace then return end
  for _, id in ipairs(due) do
    local who = redis.call('HGET', KEYS[3], id)
    redis.call('ZREM', KEYS[2], id)
    redis.call('HDEL', KEYS[3], id)
    if who then say(who, 'leave') end
  end
end
local function who(first)
  local ids = redis.call('ZRANGE', KEYS[2], 0, ARGV[6] - 1)
  local r = {first, redis.call('ZCARD', KEYS[2])}
  for i = 1, #ids, 500 do
    for _, v in ipairs(redis.call('HMGET', KEYS[3], unpack(ids, i, math.min(i + 499, #ids)))) do
      if v then r[#r + 1] = v end
    end
  end
  return r
end
";

/// Opens a member's session, that of the id in `ARGV[7]` or a new one.
const ENTER: &str = "\
if ARGV[7] ~= '' then
  local own = redis.call('HGET', KEYS[3], ARGV[7])
  if own then touch(ARGV[7]); sweep(); return {'back', own} end
end
if not redis.call('ZSCORE', KEYS[2], ARGV[8]) then
  redis.call('HSET', KEYS[3], ARGV[8], ARGV[9])
  touch(ARGV[8])
  sweep()
  say(ARGV[9], 'join')
end
return who('new')
";

/// Updates the session of a member whose stream is open, and looks who has left.
const KEEP: &str = "\
if not redis.call('ZSCORE', KEYS[2], ARGV[7]) then return {'gone'} end
touch(ARGV[7])
sweep()
age()
return {'kept'}
";

/// Asks who is here.
const WHO: &str = "return who('new')\n";

/// Opens a private session, that of the first key or a new one at the second.
const OPEN: &str = "\
if ARGV[2] ~= '' and redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 1 then return {'back'} end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('XADD', KEYS[2], '*', 'event', 'welcome', 'data', ARGV[3])
  redis.call('PEXPIRE', KEYS[2], ARGV[1])
end
return {'new'}
";

/// Updates a private session.
const TOUCH: &str = "\
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 1 then return {'kept'} end
return {'gone'}
";

/// The names of the keys that belong to a stream's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionKeys {
    history: Vec<u8>,
    tagged: Vec<u8>,
}

impl SessionKeys {
    /// Of the key `key`.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        let tagged = match has_hash_tag(key) {
            true => key.to_vec(),
            false => [b"{", key, b"}"].concat(),
        };
        Self {
            history: key.to_vec(),
            tagged,
        }
    }

    /// The history of a room.
    #[must_use]
    pub fn history(&self) -> &[u8] {
        &self.history
    }

    fn suffixed(&self, suffix: &str) -> Vec<u8> {
        [&self.tagged, &b"//"[..], suffix.as_bytes()].concat()
    }

    /// The members of a room.
    #[must_use]
    pub fn members(&self) -> Vec<u8> {
        self.suffixed("members")
    }

    /// The stream of a private session.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Vec<u8> {
        self.suffixed(&id.to_string())
    }

    /// How much one client has published; `client` is a hash of it.
    #[must_use]
    pub fn rate(&self, client: u64) -> Vec<u8> {
        self.suffixed(&format!("rate/{client:016x}"))
    }

    fn of_room(&self) -> [Vec<u8>; 3] {
        [self.history.clone(), self.suffixed("alive"), self.members()]
    }
}

/// Whether a key contains a hash tag: the text between its first `{` and the next `}`, unless
/// that is empty (the specification of Redis Cluster).
fn has_hash_tag(key: &[u8]) -> bool {
    let start = key.iter().position(|b| *b == b'{');
    start.is_some_and(|start| {
        let rest = &key[start + 1..];
        rest.iter()
            .position(|b| *b == b'}')
            .is_some_and(|end| end > 0)
    })
}

/// Whether a member's join and leave are announced in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// They are.
    Yes,
    /// They are not.
    No,
}

/// Whether sessions whose grace has passed may be removed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweeping {
    /// They may.
    Allowed,
    /// This node could not reach the engine a while ago, so others may not have been able to
    /// update their sessions either.
    Deferred,
}

/// Who chose the key of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// The administrator.
    BySettings,
    /// A client, by the name in the path.
    ByClient,
}

/// What the commands of a room depend on.
#[derive(Clone, Debug)]
pub struct RoomRules {
    /// How long a session outlives its stream.
    pub grace: Duration,
    /// About how many entries the history keeps.
    pub keep: u64,
    /// Who chose its key.
    pub named: Named,
    /// How many members are named.
    pub named_max: usize,
}

/// A member as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMember(String);

impl StoredMember {
    /// Writes a member.
    #[must_use]
    pub fn new(author: &Author, announced: Announced) -> Self {
        let sign = match announced {
            Announced::Yes => '+',
            Announced::No => '-',
        };
        Self(format!(
            "{}{sign}{{{}}}",
            author.tag_text(),
            author.fields()
        ))
    }

    /// Reads a member.
    #[must_use]
    pub fn author(stored: &[u8]) -> Option<Author> {
        Author::parse(stored.get(17..)?)
    }
}

/// A command with one reply.
pub(super) fn eval(parts: [&str; 2], keys: &[Vec<u8>], arguments: &[&[u8]]) -> Vec<u8> {
    let script = parts.concat();
    let count = keys.len().to_string();
    let mut words: Vec<&[u8]> = vec![b"EVAL", script.as_bytes(), count.as_bytes()];
    words.extend(keys.iter().map(Vec::as_slice));
    words.extend_from_slice(arguments);
    let mut out = Vec::with_capacity(script.len() + 512);
    command(&words, &mut out);
    out
}

fn ms(time: Duration) -> String {
    time.as_millis().to_string()
}

impl RoomRules {
    fn eval(
        &self,
        script: &str,
        keys: &SessionKeys,
        sweeping: Sweeping,
        arguments: &[&[u8]],
    ) -> Vec<u8> {
        let (grace, kept) = (ms(self.grace), KEPT_MS.to_string());
        let keep = self.keep.to_string();
        let named_max = self.named_max.to_string();
        let flag = |is_set| if is_set { &b"1"[..] } else { b"0" };
        let mut all: Vec<&[u8]> = vec![
            grace.as_bytes(),
            kept.as_bytes(),
            keep.as_bytes(),
            flag(sweeping == Sweeping::Allowed),
            flag(self.named == Named::ByClient),
            named_max.as_bytes(),
        ];
        all.extend_from_slice(arguments);
        eval([ROOM, script], &keys.of_room(), &all)
    }

    /// Opens the session `old`, or the session `new` of `member` if that has ended.
    #[must_use]
    pub fn enter(
        &self,
        keys: &SessionKeys,
        sweeping: Sweeping,
        old: Option<SessionId>,
        new: SessionId,
        member: &StoredMember,
    ) -> Vec<u8> {
        let old = old.map(|id| id.to_string()).unwrap_or_default();
        let new = new.to_string();
        let arguments = [old.as_bytes(), new.as_bytes(), member.0.as_bytes()];
        self.eval(ENTER, keys, sweeping, &arguments)
    }

    /// Updates a session, and removes some whose grace has passed.
    #[must_use]
    pub fn keep(&self, keys: &SessionKeys, sweeping: Sweeping, id: SessionId) -> Vec<u8> {
        self.eval(KEEP, keys, sweeping, &[id.to_string().as_bytes()])
    }

    /// Asks who is here.
    #[must_use]
    pub fn who(&self, keys: &SessionKeys) -> Vec<u8> {
        self.eval(WHO, keys, Sweeping::Deferred, &[])
    }
}

/// Opens the private session `old`, or `new` if that has ended. Its first event has the data
/// `welcome`.
#[must_use]
pub fn open_private(
    keys: &SessionKeys,
    grace: Duration,
    old: Option<SessionId>,
    new: SessionId,
    welcome: &str,
) -> Vec<u8> {
    let both = [keys.session(old.unwrap_or(new)), keys.session(new)];
    let old = old.map(|id| id.to_string()).unwrap_or_default();
    let arguments = [ms(grace).into_bytes(), old.into_bytes(), welcome.into()];
    let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
    eval([OPEN, ""], &both, &arguments)
}

/// Updates a private session.
#[must_use]
pub fn touch_private(keys: &SessionKeys, grace: Duration, id: SessionId) -> Vec<u8> {
    eval([TOUCH, ""], &[keys.session(id)], &[ms(grace).as_bytes()])
}

/// The reply to one of the commands above.
#[derive(Clone, Debug)]
pub enum Presence {
    /// The session continues; that of a member names it.
    Back(Option<Author>),
    /// A new session, or only an answer about the members of a room.
    New(Members),
    /// The session was updated.
    Kept,
    /// There is no such session.
    Gone,
}

/// Why there is no reply.
#[derive(Debug)]
pub enum PresenceError {
    /// The engine's error, such as `NOPERM …`.
    Refused(String),
    /// It is no reply to such a command.
    Malformed,
}

impl From<Malformed> for PresenceError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl Presence {
    /// Reads a reply.
    ///
    /// # Errors
    /// When the engine refused the command, or the reply has another form.
    pub fn parse(bytes: &[u8]) -> Result<Self, PresenceError> {
        let mut reader = Reader::new(bytes);
        let length = match reader.item()? {
            Item::Array(length) => length,
            Item::Error(text) => {
                let text = String::from_utf8_lossy(text).into_owned();
                return Err(PresenceError::Refused(text));
            }
            _ => return Err(PresenceError::Malformed),
        };
        match (reader.string()?, length) {
            (b"back", 1) => Ok(Self::Back(None)),
            (b"back", _) => {
                let author = StoredMember::author(reader.string()?);
                Ok(Self::Back(Some(author.ok_or(PresenceError::Malformed)?)))
            }
            (b"new", 1) => Ok(Self::New(Members::default())),
            (b"new", _) => {
                let Item::Integer(count) = reader.item()? else {
                    return Err(PresenceError::Malformed);
                };
                let mut named = Vec::new();
                for _ in 2..length {
                    named.extend(StoredMember::author(reader.string()?));
                }
                let count = usize::try_from(count).unwrap_or_default();
                Ok(Self::New(Members { count, named }))
            }
            (b"kept", _) => Ok(Self::Kept),
            (b"gone", _) => Ok(Self::Gone),
            _ => Err(PresenceError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_room_are_in_one_slot() {
        let names = |key: &[u8]| {
            let keys = SessionKeys::of(key).of_room();
            keys.map(|key| String::from_utf8(key).unwrap())
        };
        assert_eq!(
            names(b"live:a"),
            ["live:a", "{live:a}//alive", "{live:a}//members"]
        );
        assert_eq!(
            names(b"{live}:a"),
            ["{live}:a", "{live}:a//alive", "{live}:a//members"]
        );
        // An empty pair is no hash tag: the whole key is hashed.
        assert!(
            !has_hash_tag(b"live:{}{a}")
                && !has_hash_tag(b"a}{b")
                && has_hash_tag(b"a{}b}{c}") == has_hash_tag(b"a{}b}")
        );
    }

    #[test]
    fn replies_are_read_and_errors_are_told() {
        let member = "0123456789abcdef+{\"tag\":\"0123456789abcdef\",\"nick\":\"Ann\"}";
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        let wire = format!("*3\r\n{}:7\r\n{}", bulk("new"), bulk(member));
        let Ok(Presence::New(members)) = Presence::parse(wire.as_bytes()) else {
            panic!("{wire}");
        };
        assert_eq!((members.count, members.named.len()), (7, 1));
        let stored = StoredMember::new(&members.named[0], Announced::Yes);
        assert_eq!(stored.0, member);
        let wire = format!("*2\r\n{}{}", bulk("back"), bulk(member));
        let back = Presence::parse(wire.as_bytes());
        assert!(matches!(back, Ok(Presence::Back(Some(author))) if author == members.named[0]));
        for (wire, is_refused) in [
            ("-NOPERM x\r\n", true),
            (":1\r\n", false),
            ("*1\r\n", false),
        ] {
            let error = Presence::parse(wire.as_bytes()).unwrap_err();
            assert_eq!(matches!(error, PresenceError::Refused(_)), is_refused);
        }
    }
}
