//! Room: what one member publishes reaches all others.
//!
//! ```text
//! GET  ──► welcome {session, tag, nick, members} ──► history ──► live, without one's own
//! POST, X-Session-ID ──► one line of the history, with the member's tag and nick
//!
//! streams ──► alive ──► sweep: join, leave, as lines of the history
//! ```
//!
//! The history is a file like any other, and its order is the order that all members see. A
//! member is a session. The other members see its tag, from which the session's id cannot be
//! derived, and its nickname.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::session::{
    EmptySource, SessionClient, SessionSource, is_in_engine, open_spool, trouble,
};
use super::spool::{Members, SessionId, SessionKind, Spool};
use super::tail;
use super::{Changes, Host, Next, Now, OpenError, Opened, Opening, Recipients, Source, Stream};
use crate::event::{Batch, Event, EventId, EventName};
use crate::request::{
    BelowRoot, Filter, Format, LastId, Method, Nick, Publishers, Request, Settings,
};

/// The stream `room`.
pub static STREAM: Stream = Stream {
    name: "room",
    summary: "what one member says reaches all others",
    open,
    settings: settings_of!("room"),
    argument: Some("SSE_FILE"),
    shared: None,
};

/// The names of events that only the room itself may use.
const OWN_EVENTS: [&str; 3] = ["welcome", "join", "leave"];

/// How soon a line is tried again while another process appends one.
const BUSY: Duration = Duration::from_millis(3);

/// The maximum number of members whose names a welcome lists. Above it, the welcome contains
/// only their number.
pub(super) const NAMED_MAX: usize = 1_000;

/// A member, as other members see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// Random. It alone identifies the member: two members can have the same nickname.
    tag: u64,
    /// Its nickname.
    nick: Nick,
}

impl Author {
    /// A member with the random number `tag` and the nickname that it requests, or one for a
    /// guest.
    pub(super) fn new(tag: u64, nick: Option<Nick>) -> Self {
        let guest = || Nick::cleaned(&format!("guest-{:04x}", tag >> 48));
        // A guest's nickname has visible characters.
        let nick = nick.or_else(guest).expect("a guest's nick shows");
        Self { tag, nick }
    }

    /// The same member with another nickname for this message.
    #[must_use]
    pub fn called(self, nick: Option<Nick>) -> Self {
        Self {
            nick: nick.unwrap_or(self.nick),
            ..self
        }
    }

    /// Reads a member's session file.
    #[must_use]
    pub fn parse(json: &[u8]) -> Option<Self> {
        let stored: BTreeMap<String, String> = serde_json::from_slice(json).ok()?;
        Some(Self {
            tag: u64::from_str_radix(stored.get("tag")?, 16).ok()?,
            nick: Nick::cleaned(stored.get("nick")?)?,
        })
    }

    /// Its tag as 16 hexadecimal digits.
    #[must_use]
    pub fn tag_text(&self) -> String {
        format!("{:016x}", self.tag)
    }

    /// `"tag":"…","nick":"…"`: the first two fields of every event about it.
    pub(super) fn fields(&self) -> String {
        // Serialization fails only for keys that are not strings, and a string has no keys.
        let nick = serde_json::to_string(self.nick.as_str()).unwrap_or_default();
        format!("\"tag\":\"{:016x}\",\"nick\":{nick}", self.tag)
    }

    /// The beginning of each of its lines, and of no line of another member.
    fn line_start(&self) -> String {
        format!("{{\"tag\":\"{:016x}\"", self.tag)
    }

    /// A line of the history for a message of the member: `data` is JSON on one line. The data
    /// of its event is `{"tag":…,"nick":…,"data":…}`.
    #[must_use]
    pub fn line(&self, event: Option<&EventName<'_>>, data: Option<&str>) -> String {
        let mut line = self.line_start();
        if let Some(event) = event {
            let event = serde_json::to_string(event.as_str()).unwrap_or_default();
            let _ = write!(line, ",\"event\":{event}");
        }
        let _ = write!(line, ",\"data\":{{{}", self.fields());
        if let Some(data) = data {
            line.push_str(",\"data\":");
            line.push_str(data);
        }
        line.push_str("}}");
        line
    }

    /// Whether no member may use this event name, because the event would be a false report
    /// about the members.
    #[must_use]
    pub fn may_not_say(event: &EventName<'_>) -> bool {
        OWN_EVENTS.contains(&event.as_str())
    }

    fn event_line(&self, name: &'static str) -> String {
        self.line(EventName::new(name).ok().as_ref(), None)
    }
}

/// Whether a line of the history reports a join or leave: a new member's backlog consists of
/// messages.
fn is_coming_or_going(line: &[u8]) -> bool {
    let tag_bytes = "{\"tag\":\"0123456789abcdef\"".len();
    line.get(tag_bytes..).is_some_and(|rest| {
        rest.starts_with(b",\"event\":\"join\",") || rest.starts_with(b",\"event\":\"leave\",")
    })
}

/// The kind of the sessions that are members of a request's room.
#[must_use]
pub fn members_of(settings: &Settings, request: &Request) -> SessionKind {
    let mut location = Vec::new();
    match (&settings.file, &settings.root) {
        (Some(file), _) => location.extend_from_slice(file.as_os_str().as_bytes()),
        (None, Some(root)) => {
            location.extend_from_slice(root.as_os_str().as_bytes());
            location.push(0);
            let name = request.path_info.as_deref().unwrap_or_default();
            location.extend_from_slice(name.trim_ascii_start());
        }
        (None, None) => {}
    }
    SessionKind::Member {
        room: xxh3_64(&location),
    }
}

/// Whether a request may be for a room. Below `SSE_ROOT` the client chooses the name, and
/// reading a room writes to its history; so neither a log nor a rotated file can be a room.
#[must_use]
pub fn may_be_room(settings: &Settings, request: &Request) -> bool {
    let name = request.path_info.as_deref().unwrap_or_default();
    settings.root.is_none() || Format::of_name(Path::new(OsStr::from_bytes(name))) == Format::Jsonl
}

/// Whether the name is that of a rotated file below `SSE_ROOT`: `room.1.jsonl` is one where there
/// is a `room.jsonl`.
fn is_rotated(opening: &Opening<'_>) -> bool {
    let Some(root) = &opening.settings.root else {
        return false;
    };
    let asked = opening.request.path_info.as_deref().unwrap_or_default();
    let path = Path::new(OsStr::from_bytes(asked));
    let Some(name) = path.file_name().and_then(OsStr::to_str) else {
        return false;
    };
    tail::bases_of(name).iter().any(|base| {
        let base = path.with_file_name(base);
        BelowRoot::parse(base.as_os_str().as_bytes(), &[])
            .and_then(|name| opening.host.disk_below(root, &name).ok())
            .is_some_and(|mut disk| disk.stat().is_ok())
    })
}

/// Whether a room's own lines about joins and leaves are appended to its history. Below
/// `SSE_ROOT` a GET of any name would be enough to write to a file; there the location must
/// permit somebody to publish.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Announcing {
    Yes,
    No,
}

impl Announcing {
    fn of(settings: &Settings) -> Self {
        match settings.root.is_some() && settings.publishers == Publishers::None {
            true => Self::No,
            false => Self::Yes,
        }
    }
}

/// The field of a member's session file which says that its join was not announced.
const UNANNOUNCED: &str = "unannounced";

/// Whether the join of this session's member was announced.
fn was_announced(stored: &[u8]) -> bool {
    let stored = serde_json::from_slice::<BTreeMap<String, String>>(stored);
    stored.is_ok_and(|stored| !stored.contains_key(UNANNOUNCED))
}

/// The settings for reading a history: it is `jsonl`, whatever its name.
#[must_use]
pub fn history_settings(settings: &Settings) -> Settings {
    Settings {
        format: Some(Format::Jsonl),
        ..settings.clone()
    }
}

fn open(opening: &Opening<'_>) -> Result<Opened, OpenError> {
    if is_in_engine(opening.settings)? {
        return opening.host.open_in_engine(Recipients::Room, opening);
    }
    if !may_be_room(opening.settings, opening.request) || is_rotated(opening) {
        return Err(OpenError::NotFound);
    }
    let announcing = Announcing::of(opening.settings);
    let kind = members_of(opening.settings, opening.request);
    let spool = open_spool(opening, kind)?;
    let client = SessionClient::of(opening, &*spool)?;
    let trouble = |error: io::Error| trouble(opening, &error);
    let secret = || opening.host.secret().map_err(trouble);
    let (author, last_id) = match &client {
        &SessionClient::Returned(id, position) => {
            let stored = spool.read(id).map_err(trouble)?;
            let author = Author::parse(&stored)
                .ok_or_else(|| trouble(io::Error::other("a member's session holds none")))?;
            (author, LastId::Given(position.event_id()))
        }
        SessionClient::New(_) => {
            // Random as well, and not derived from the session's id, because it is public.
            let tag = u128::from_be_bytes(secret()?) as u64;
            (
                Author::new(tag, opening.request.query.nick.clone()),
                LastId::None,
            )
        }
    };
    let mut request = opening.request.clone();
    request.last_id = last_id;
    let settings = history_settings(opening.settings);
    let inner = tail::open_with(
        &Opening {
            settings: &settings,
            request: &request,
            ..*opening
        },
        tail::Extra {
            filter: Some(Filter::unless_starts_with(&author.line_start())),
            uncounted: is_coming_or_going,
            missing: tail::Missing::IsUsual,
            ..tail::Extra::default()
        },
    )?;
    let (inner, inner_gap) = match inner {
        Opened::Stream(inner, gap) => (inner, gap),
        Opened::Finished => return Ok(Opened::Finished),
    };
    if opening.request.method != Method::Get {
        return Ok(Opened::Stream(Box::new(EmptySource), None));
    }
    let (id, is_new, gap) = match client {
        SessionClient::Returned(id, _) => (id, false, inner_gap),
        SessionClient::New(gap) => {
            let id = SessionId::of(secret()?);
            let unannounced = match announcing {
                Announcing::Yes => String::new(),
                Announcing::No => format!(",\"{UNANNOUNCED}\":\"\""),
            };
            let stored = format!("{{{}{unannounced}}}\n", author.fields());
            spool.make(id, stored.as_bytes()).map_err(trouble)?;
            (id, true, gap.or(inner_gap))
        }
    };
    let room = Room {
        kept: SessionSource::new(inner, Rc::clone(&spool), id, &settings, opening.now),
        id,
        // A client that missed records may have missed joins and leaves.
        welcome: is_new || gap.is_some(),
        join: is_new && announcing == Announcing::Yes,
        join_at: opening.now.monotonic,
        look_at: opening.now.monotonic,
        look_every: settings.heartbeat,
        warned: false,
        announcing,
        author,
        spool,
        history: History {
            host: Rc::clone(opening.host),
            settings,
            request,
        },
    };
    Ok(Opened::Stream(Box::new(room), gap))
}

/// Appends lines to the history.
struct History {
    host: Rc<dyn Host>,
    settings: Settings,
    request: Request,
}

impl History {
    fn append(&self, line: &str) -> io::Result<()> {
        self.host.append(&self.settings, &self.request, line)
    }
}

/// The data of a member's welcome.
pub(super) fn welcome(session: SessionId, author: &Author, members: Members) -> String {
    let (count, mut named) = (members.count, members.named);
    named.sort_by(|a, b| (&a.nick, a.tag).cmp(&(&b.nick, b.tag)));
    let named: Vec<String> = named
        .iter()
        .map(|member| format!("{{{}}}", member.fields()))
        .collect();
    format!(
        "{{\"session\":\"{session}\",{},\"count\":{count},\"members\":[{}]}}",
        author.fields(),
        named.join(",")
    )
}

/// The stream of a member.
struct Room {
    kept: SessionSource,
    id: SessionId,
    author: Author,
    spool: Rc<dyn Spool>,
    history: History,
    /// A welcome must be sent.
    welcome: bool,
    /// Its join must be announced.
    join: bool,
    join_at: Duration,
    /// When it checks next which members have left.
    look_at: Duration,
    look_every: Duration,
    /// A warning that joins and leaves cannot be announced has been logged.
    warned: bool,
    announcing: Announcing,
}

impl Room {
    fn say_join(&mut self, now: Now) {
        if !self.join || now.monotonic < self.join_at {
            return;
        }
        match self.history.append(&self.author.event_line("join")) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.join_at = now.monotonic + BUSY;
                return;
            }
            // It can read, although the join cannot be written.
            Err(error) => self.warn(&error),
            Ok(()) => {}
        }
        self.join = false;
    }

    fn warn(&mut self, error: &io::Error) {
        if std::mem::replace(&mut self.warned, true) {
            return;
        }
        let text = format!("room: tell who is here: {error}");
        self.history.host.warn(&text);
    }

    fn say_welcome(&mut self, out: &mut Batch) {
        if !std::mem::take(&mut self.welcome) {
            return;
        }
        let members = self.spool.members(NAMED_MAX).unwrap_or_default();
        let data = welcome(self.id, &self.author, members);
        out.event(&Event {
            id: self.kept.position(),
            name: EventName::new("welcome").ok(),
            data: data.as_bytes(),
        });
    }

    /// Checks which members have been away for too long, and announces that they have left.
    fn look(&mut self, now: Now) {
        if now.monotonic < self.look_at {
            return;
        }
        let history = &self.history;
        let announcing = self.announcing;
        let swept = self.spool.sweep(now, &mut |stored| {
            match Author::parse(stored) {
                // A location that may announce it will do so.
                Some(_) if announcing == Announcing::No && was_announced(stored) => {
                    Err(io::ErrorKind::Unsupported.into())
                }
                Some(author) if was_announced(stored) => {
                    history.append(&author.event_line("leave"))
                }
                // It was not announced, or its process ended before it had written its session
                // file.
                _ => Ok(()),
            }
        });
        let wait = match swept {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => BUSY,
            Err(error) => {
                self.warn(&error);
                self.look_every
            }
            Ok(()) => self.look_every,
        };
        self.look_at = now.monotonic + wait;
    }
}

impl Source for Room {
    fn poll(&mut self, now: Now, out: &mut Batch) -> Next {
        self.look(now);
        self.say_join(now);
        self.say_welcome(out);
        let own_at = match self.join {
            true => self.look_at.min(self.join_at),
            false => self.look_at,
        };
        match self.kept.poll(now, out) {
            Next::Change => Next::At(own_at),
            Next::At(at) => Next::At(at.min(own_at)),
            other => other,
        }
    }

    fn position(&self) -> Option<EventId<'static>> {
        self.kept.position()
    }

    fn changes(&self) -> Option<Rc<dyn Changes>> {
        self.kept.changes()
    }

    fn is_costly(&self) -> bool {
        self.kept.is_costly()
    }

    fn rest(&mut self) {
        self.kept.rest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Verdict;
    use crate::source::record::{JsonLine, text_of};

    fn ann() -> Author {
        Author::new(
            0x0123_4567_89ab_cdef,
            Nick::cleaned("Ann \"<b>\" \u{2028}x"),
        )
    }

    #[test]
    fn a_member_s_line_reads_back_as_an_event_of_its_own() {
        let line = ann().line(EventName::new("mo\"ve").ok().as_ref(), Some("{\"x\":1}"));
        assert!(!line.contains('\n') && line.starts_with(&ann().line_start()));
        assert!(!is_coming_or_going(line.as_bytes()));
        assert!(is_coming_or_going(ann().event_line("leave").as_bytes()));
        let record = JsonLine::parse(&line).unwrap();
        assert_eq!(record.event.unwrap().as_str(), "mo\"ve");
        let data = text_of(record.data.unwrap()).into_owned();
        let data: serde_json::Value = serde_json::from_slice(&data).unwrap();
        assert_eq!(data["nick"], "Ann \"<b>\" x");
        assert_eq!(data["tag"], "0123456789abcdef");
        assert_eq!(data["data"]["x"], 1);
    }

    #[test]
    fn only_a_member_s_own_lines_are_kept_from_it() {
        let filter = Filter::unless_starts_with(&ann().line_start());
        let bob = Author::new(7, None);
        let passes = |line: &str| filter.judge(line.as_bytes(), &mut 0) == Verdict::Passes;
        assert!(!passes(&ann().line(None, Some("1"))));
        // The same tag in a message of another member.
        let of_ann = "{\"tag\":\"0123456789abcdef\"}";
        assert!(passes(&bob.line(None, Some(of_ann))));
    }

    #[test]
    fn what_a_session_holds_is_the_member() {
        let stored = format!("{{{}}}\n", ann().fields());
        assert_eq!(Author::parse(stored.as_bytes()), Some(ann()));
        assert_eq!(Author::new(0xabcd << 48, None).nick.as_str(), "guest-abcd");
        assert_eq!(Author::parse(b""), None);
    }
}
