//! Rooms and private sessions whose histories an engine keeps: any node continues them.
//!
//! ```text
//! open ──► entering ──(who it is)──► reading: a `Redis` ──► events, `SESSION.ID` each
//!             │                         ▲
//!             └── presence: updated while the stream is open; looks who has left
//! ```
//!
//! What the files and the spool are on one machine ([`crate::source::room`],
//! [`crate::source::session`]), streams and presence are here: see `presence.rs`. Nothing
//! waits, so a stream begins before its engine has said who its client is.

mod greeting;
mod owners;
mod posting;
mod presence;

use std::rc::Rc;
use std::time::Duration;

use super::entry::EntryEncoding;
use super::open::{engine_of, feed_error, filters, key_of, retry_ms};
use super::search::Search;
use super::{Address, Feed, Key, Redis, State, StreamId, remedy, shown};
use crate::event::{Batch, EventId, Gap, Reason, Unavailable};
use crate::request::{Filter, Format, Method, Publishers, Request, SettingError, Settings};
use crate::source::lines::LineEncoding;
use crate::source::room::{Author, NAMED_MAX, welcome};
use crate::source::session::EmptySource;
use crate::source::{
    Changes, Host, Members, Next, Now, OpenError, Opened, Opening, Recipients, SessionId, Source,
    resume_point,
};
use owners::Owners;
use presence::{
    Announced, Named, Presence, PresenceError, RoomRules, StoredMember, Sweeping, open_private,
    touch_private,
};

pub use posting::{Posting, Turn};
pub use presence::SessionKeys;

/// How often a private session's stream is looked at although no entry was reported: nobody but
/// its clients adds to it.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// The key of a room or of private sessions, and who chose it.
///
/// # Errors
/// As `key_of`; also if a client's name contains a part of a hash tag, because the keys of two
/// names could be the same.
pub fn session_key(settings: &Settings, request: &Request) -> Result<(Vec<u8>, Named), OpenError> {
    let key = key_of(settings, request)?;
    let Some(prefix) = &settings.stream_key_prefix else {
        return Ok((key, Named::BySettings));
    };
    let name = key.get(prefix.len()..).unwrap_or_default();
    match name.iter().any(|b| b"{}".contains(b)) {
        true => Err(OpenError::NotFound),
        false => Ok((key, Named::ByClient)),
    }
}

/// Opens a room or a private session.
///
/// # Errors
/// When a setting is wrong, or the name in the path is not permitted.
pub fn open(recipients: Recipients, opening: &Opening<'_>) -> Result<Opened, OpenError> {
    let settings = opening.settings;
    let (name, named) = session_key(settings, opening.request)?;
    let engine = engine_of(settings, &**opening.host)?;
    if opening.request.method != Method::Get {
        return Ok(Opened::Stream(Box::new(EmptySource), None));
    }
    if recipients == Recipients::Session && !settings.command.is_empty() {
        let text = "is not run for sessions that Redis keeps; unset it, or let a program read and \
                    publish by itself";
        return Err(SettingError::new("SSE_COMMAND", b"", text).into());
    }
    let filters = match recipients {
        Recipients::Room => filters(opening)?,
        Recipients::Session => Vec::new(),
    };
    let (point, gap) = resume_point(&opening.request.last_id, |text| {
        let (id, position) = text.split_once('.')?;
        let id = SessionId::parse(id.as_bytes())?;
        Some((id, StreamId::parse(position)?))
    });
    let random = || {
        let secret = opening.host.secret();
        secret.map_err(|error| OpenError::Temporary(error.to_string()))
    };
    let new = SessionId::of(random()?);
    let kind = match recipients {
        Recipients::Session => Kind::Private,
        Recipients::Room => {
            let announced =
                match named == Named::ByClient && settings.publishers == Publishers::None {
                    true => Announced::No,
                    false => Announced::Yes,
                };
            // Random as well, and not derived from the session's id, because it is public.
            let tag = u128::from_be_bytes(random()?) as u64;
            Kind::Member {
                rules: RoomRules {
                    grace: settings.session_grace,
                    keep: settings.keep_entries,
                    named,
                    named_max: NAMED_MAX,
                },
                author: Author::new(tag, opening.request.query.nick.clone()),
                announced,
            }
        }
    };
    let keys = SessionKeys::of(&name);
    let owners = Rc::new(Owners::default());
    let key = Key { engine, name };
    let presence = open_feed(&**opening.host, &owners, &key)?;
    let grace = settings.session_grace;
    let keep_every = match recipients {
        // As often, it looks who has left.
        Recipients::Room => (grace / 4).min(settings.heartbeat),
        Recipients::Session => grace / 4,
    };
    let mut session = SharedSession {
        presence,
        is_asked: true,
        keys,
        kind,
        grace,
        keep_every,
        keep_at: opening.now.monotonic + keep_every,
        deferred_until: Duration::ZERO,
        must_greet: false,
        asks_who: false,
        stage: Stage::Entering(Box::new(Entering {
            old: point,
            new,
            gap,
            filters,
            settings: settings.clone(),
        })),
        id: new,
        prefix: "".into(),
        retry_ms: retry_ms(opening),
        engine: key.engine,
        owners,
        host: Rc::clone(opening.host),
    };
    session.enter(opening.now);
    Ok(Opened::Stream(Box::new(session), None))
}

fn open_feed(host: &dyn Host, owners: &Owners, key: &Key) -> Result<Box<dyn Feed>, OpenError> {
    let feed = host.feed(key).map_err(|error| feed_error(&error, key))?;
    owners.add(feed.changes());
    Ok(feed)
}

/// The kind of a session.
enum Kind {
    Private,
    Member {
        rules: RoomRules,
        author: Author,
        announced: Announced,
    },
}

/// What is known before the engine has answered.
struct Entering {
    old: Option<(SessionId, StreamId)>,
    new: SessionId,
    gap: Option<Gap>,
    filters: Vec<Filter>,
    settings: Settings,
}

enum Stage {
    /// Its session is being opened.
    Entering(Box<Entering>),
    /// Its history is being read.
    Reading(Box<Redis>),
    /// It has ended.
    Ended,
}

/// The stream of a session.
struct SharedSession {
    /// The feed for commands about presence; it has at most one command without a reply.
    presence: Box<dyn Feed>,
    /// A command has not been answered.
    is_asked: bool,
    keys: SessionKeys,
    kind: Kind,
    grace: Duration,
    keep_every: Duration,
    keep_at: Duration,
    /// Before this time it removes no session of others.
    deferred_until: Duration,
    /// A client that missed entries may have missed joins and leaves: it gets a welcome.
    must_greet: bool,
    /// The command that has not been answered asks who is here.
    asks_who: bool,
    stage: Stage,
    id: SessionId,
    /// What comes before the id of each event.
    prefix: Rc<str>,
    retry_ms: u64,
    engine: Address,
    owners: Rc<Owners>,
    host: Rc<dyn Host>,
}

impl SharedSession {
    fn send(&mut self, commands: Vec<u8>) {
        self.presence.send(commands, 1);
        self.is_asked = true;
    }

    /// Members who could not be kept while the engine was away, or its memory was full, must not be
    /// removed at once.
    fn sweeping(&self, now: Now) -> Sweeping {
        match self.presence.reachable_for() {
            _ if now.monotonic < self.deferred_until => Sweeping::Deferred,
            Some(time) if time < self.grace => Sweeping::Deferred,
            _ => Sweeping::Allowed,
        }
    }

    fn enter(&mut self, now: Now) {
        let Stage::Entering(entering) = &self.stage else {
            return;
        };
        let (old, new) = (entering.old.map(|(id, _)| id), entering.new);
        let commands = match &self.kind {
            Kind::Private => {
                let welcome = format!("{{\"session\":\"{new}\"}}");
                open_private(&self.keys, self.grace, old, new, &welcome)
            }
            Kind::Member {
                rules,
                author,
                announced,
            } => {
                let stored = StoredMember::new(author, *announced);
                rules.enter(&self.keys, self.sweeping(now), old, new, &stored)
            }
        };
        self.send(commands);
    }

    /// Asks what is due.
    fn ask(&mut self, now: Now) {
        if self.is_asked {
            return;
        }
        let commands = match &self.kind {
            Kind::Member { rules, .. } if self.must_greet => {
                self.must_greet = false;
                self.asks_who = true;
                rules.who(&self.keys)
            }
            _ if now.monotonic < self.keep_at => return,
            Kind::Member { rules, .. } => rules.keep(&self.keys, self.sweeping(now), self.id),
            Kind::Private => touch_private(&self.keys, self.grace, self.id),
        };
        self.keep_at = now.monotonic + self.keep_every;
        self.send(commands);
    }

    /// Uses the answer, if there is one; `false` when the stream ends.
    fn take(&mut self, now: Now, out: &mut Batch) -> bool {
        if !self.is_asked {
            return true;
        }
        let Some(received) = self.presence.receive() else {
            return true;
        };
        self.is_asked = false;
        let answer = match received {
            // The reason has been logged.
            Err(_) => return self.fail(out),
            Ok(bytes) => Presence::parse(&bytes),
        };
        match answer {
            Ok(Presence::Kept) => true,
            // This process was stopped for longer than the grace, or somebody removed the keys.
            // Without `close` the client reconnects, gets a gap and a new session.
            Ok(Presence::Gone) => false,
            Ok(Presence::New(members)) if std::mem::take(&mut self.asks_who) => {
                let welcome = self.welcome(members);
                if let (Stage::Reading(inner), Some(data)) = (&mut self.stage, welcome) {
                    inner.greet(data, out);
                }
                true
            }
            Ok(entered) => match self.entered(entered, now, out) {
                Ok(()) => true,
                Err(error) => {
                    self.host.warn(&error.to_string());
                    self.fail(out)
                }
            },
            // It has reached its limit of memory, and goes on to be read.
            Err(PresenceError::Refused(text))
                if text.starts_with("OOM") && !matches!(self.stage, Stage::Entering(_)) =>
            {
                self.warn(&text);
                self.asks_who = false;
                self.deferred_until = now.monotonic + self.grace;
                true
            }
            Err(error) => {
                let text = match &error {
                    PresenceError::Refused(text) => format!("{text}; {}", remedy(text)),
                    PresenceError::Malformed => "a reply has another form".into(),
                };
                self.warn(&text);
                self.fail(out)
            }
        }
    }

    fn warn(&self, text: &str) {
        let key = shown(self.keys.history());
        self.host.warn(&format!("{key}: who is here: {text}"));
    }

    /// The session is open: its history can be read.
    fn entered(&mut self, entered: Presence, now: Now, out: &mut Batch) -> Result<(), OpenError> {
        let Stage::Entering(entering) = std::mem::replace(&mut self.stage, Stage::Ended) else {
            return Ok(());
        };
        let mut gap = entering.gap;
        let mut members = None;
        let mut resumes = None;
        self.id = entering.new;
        match entered {
            Presence::Back(stored) => {
                if let (Kind::Member { author, .. }, Some(stored)) = (&mut self.kind, stored) {
                    *author = stored;
                }
                if let Some((id, position)) = entering.old {
                    self.id = id;
                    resumes = Some(position);
                }
            }
            Presence::New(here) => {
                if entering.old.is_some() {
                    gap = Some(Gap::new(Reason::UnknownId));
                }
                members = Some(here);
            }
            Presence::Kept | Presence::Gone => return Ok(()),
        }
        self.prefix = format!("{}.", self.id).into();
        out.prefix_ids(Some(Rc::clone(&self.prefix)));
        let settings = Settings {
            format: Some(Format::Jsonl),
            ..entering.settings
        };
        let (name, own_tag) = match &self.kind {
            Kind::Private => (self.keys.session(self.id), None),
            Kind::Member { author, .. } => (self.keys.history().to_vec(), Some(author.tag_text())),
        };
        let (host, key_shown) = (Rc::clone(&self.host), shown(self.keys.history()));
        let lines = LineEncoding::new(&settings, Format::Jsonl, move |problem| {
            host.warn(&format!("{key_shown}: {problem}"));
        });
        let mut encoding = EntryEncoding::new(lines, &settings, entering.filters);
        if let Some(tag) = own_tag {
            encoding = encoding.of_room(tag.into_bytes());
        }
        let key = Key {
            engine: self.engine.clone(),
            name,
        };
        let mut feed = open_feed(&*self.host, &self.owners, &key)?;
        // The members of a room ask the same, at the same moment, when there is an entry.
        feed.share_answers();
        let state = match (resumes, &self.kind) {
            (Some(position), _) => State::Resuming(position),
            (None, Kind::Member { .. }) => State::Searching(Search::new(settings.backlog_records)),
            // All of it: its welcome, and what was posted since.
            (None, Kind::Private) => State::Reading,
        };
        let host = Rc::clone(&self.host);
        let mut inner = Redis::new(feed, key.name, encoding, host, state, gap);
        inner.retry_ms = self.retry_ms;
        if let Kind::Private = self.kind {
            inner.look_every = LOOK_EVERY.min(self.keep_every);
            inner.begin_if_new(out);
        }
        if let Some(data) = members.and_then(|members| self.welcome(members)) {
            inner.greet_first(data);
        }
        self.stage = Stage::Reading(Box::new(inner));
        self.keep_at = now.monotonic + self.keep_every;
        Ok(())
    }

    /// The data of a member's welcome.
    fn welcome(&self, members: Members) -> Option<String> {
        match &self.kind {
            Kind::Private => None,
            Kind::Member { author, .. } => Some(welcome(self.id, author, members)),
        }
    }

    fn end(&mut self, out: &mut Batch) -> Next {
        out.prefix_ids(None);
        self.stage = Stage::Ended;
        Next::End
    }

    /// Ends the stream; its client returns with its last id.
    fn fail(&mut self, out: &mut Batch) -> bool {
        out.come_again(Unavailable::Other, self.retry_ms);
        false
    }
}

impl Source for SharedSession {
    fn poll(&mut self, now: Now, out: &mut Batch) -> Next {
        if matches!(self.stage, Stage::Ended) {
            return Next::End;
        }
        out.prefix_ids(Some(Rc::clone(&self.prefix)));
        if !self.take(now, out) {
            return self.end(out);
        }
        let mut next = Next::Change;
        if let Stage::Reading(inner) = &mut self.stage {
            out.prefix_ids(Some(Rc::clone(&self.prefix)));
            next = inner.poll(now, out);
            self.must_greet |= inner.take_gap() && matches!(self.kind, Kind::Member { .. });
        }
        self.ask(now);
        // While the engine cannot be reached, the answer is there at once.
        if next == Next::End || !self.take(now, out) {
            return self.end(out);
        }
        out.prefix_ids(None);
        match next {
            Next::Change if self.is_asked => Next::Change,
            Next::Change => Next::At(self.keep_at),
            Next::At(at) if self.is_asked => Next::At(at),
            Next::At(at) => Next::At(at.min(self.keep_at)),
            other => other,
        }
    }

    fn position(&self) -> Option<EventId<'static>> {
        match &self.stage {
            Stage::Reading(inner) => Some(inner.position()?.prefixed(&self.prefix)),
            _ => None,
        }
    }

    fn unavailable(&self) -> Option<Unavailable> {
        matches!(self.stage, Stage::Ended).then_some(Unavailable::Other)
    }

    fn changes(&self) -> Option<Rc<dyn Changes>> {
        Some(Rc::<Owners>::clone(&self.owners))
    }

    fn is_costly(&self) -> bool {
        // (It does not change: only a client's expression costs, which is read at opening.)
        match &self.stage {
            Stage::Entering(entering) => entering.filters.iter().any(Filter::is_clients_expression),
            Stage::Reading(inner) => inner.is_costly(),
            Stage::Ended => false,
        }
    }

    fn rest(&mut self) {
        if let Stage::Reading(inner) = &mut self.stage {
            inner.rest();
        }
    }
}
