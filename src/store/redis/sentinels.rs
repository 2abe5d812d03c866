//! Sentinels: who the primary of a service is.
//!
//! ```text
//!   ask one sentinel ──► it names the primary ──► ask again every second
//!        │  ▲                                      └─► it names another: readers and writers move
//!        │  └── the next one, if it does not know, or does not answer within a second
//!        └─► none knows: readers and writers are told, and the next attempt waits
//! ```
//!
//! Asking again notices a failover while the connection to the old primary stays open, as it does
//! when only the sentinels cannot reach it.

use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::engine::backoff;
use super::link::{Link, Opener};
use crate::source::redis::{Address, EnginePlace, Item, Malformed, Reader, Server, command};
use crate::system::log::{Level, Log};

/// How long a sentinel may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

/// How often they are asked.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The sentinels of one service.
pub(super) struct Sentinels {
    pub(super) address: Address,
    service: String,
    /// The one that is asked is the first.
    servers: Vec<Server>,
    /// The data of epoll.
    data: u64,
    opener: Rc<Opener>,
    log: Rc<Log>,
    link: Option<Link>,
    /// Until when the sentinel must answer; `None`: it is not being asked.
    until: Option<Instant>,
    /// When they are asked again.
    ask_at: Option<Instant>,
    /// Why those that were asked in this round do not know, and how many they are.
    errors: String,
    tried: usize,
    primary: Option<Address>,
    /// Why there is no primary, and until when nobody is asked.
    failure: Option<(String, Instant)>,
    failures: u32,
    /// Who waits to be told of the primary.
    waiting: Vec<Weak<Cell<u64>>>,
    told: Vec<u64>,
    /// Former primaries, whose readers and writers must move.
    former: Vec<Address>,
}

impl Sentinels {
    /// `None` if the address is not of sentinels.
    pub(super) fn new(
        address: &Address,
        data: u64,
        opener: &Rc<Opener>,
        log: &Rc<Log>,
    ) -> Option<Self> {
        let EnginePlace::Sentinels(servers, service) = &address.place else {
            return None;
        };
        let mut servers = servers.clone();
        // The clients of a service should not all ask the same one.
        fastrand::shuffle(&mut servers);
        Some(Self {
            address: address.clone(),
            service: service.clone(),
            servers,
            data,
            opener: Rc::clone(opener),
            log: Rc::clone(log),
            link: None,
            until: None,
            ask_at: None,
            errors: String::new(),
            tried: 0,
            primary: None,
            failure: None,
            failures: 0,
            waiting: Vec::new(),
            told: Vec::new(),
            former: Vec::new(),
        })
    }

    /// The primary. `None`: it is being looked for, and `owner` is told.
    ///
    /// # Errors
    /// Why it is not known.
    pub(super) fn primary(&mut self, owner: &Rc<Cell<u64>>) -> Option<Result<Address, String>> {
        let now = Instant::now();
        if let Some(primary) = &self.primary {
            return Some(Ok(primary.clone()));
        }
        if let Some((reason, until)) = &self.failure {
            if now < *until {
                return Some(Err(reason.clone()));
            }
        }
        if self.until.is_none() {
            self.ask(now);
            if let Some((reason, until)) = &self.failure {
                if now < *until {
                    return Some(Err(reason.clone()));
                }
            }
        }
        self.waiting.push(Rc::downgrade(owner));
        None
    }

    /// Asks the first sentinel, or the next one that can be asked.
    fn ask(&mut self, now: Instant) {
        self.ask_at = None;
        let mut question = Vec::new();
        let words: [&[u8]; 3] = [
            b"SENTINEL",
            b"GET-MASTER-ADDR-BY-NAME",
            self.service.as_bytes(),
        ];
        command(&words, &mut question);
        loop {
            let opened = match self.link.take() {
                Some(link) => Ok(link),
                None => {
                    let sentinel = self.address.sentinel(self.servers[0].clone());
                    self.opener.open(&sentinel, self.data)
                }
            };
            let sent = opened.and_then(|mut link| {
                link.push(&question);
                link.flush()?;
                Ok(link)
            });
            match sent {
                Ok(link) => {
                    self.link = Some(link);
                    self.until = Some(now + ANSWER);
                    return;
                }
                Err(error) if !self.has_next(&error.to_string(), now) => return,
                Err(_) => {}
            }
        }
    }

    /// The first sentinel does not know. Whether there is another one to ask.
    fn has_next(&mut self, error: &str, now: Instant) -> bool {
        let (host, port) = &self.servers[0];
        let separator = if self.tried == 0 { "" } else { "; " };
        let _ = write!(self.errors, "{separator}{host}:{port}: {error}");
        self.link = None;
        self.until = None;
        self.servers.rotate_left(1);
        self.tried += 1;
        if self.tried < self.servers.len() {
            return true;
        }
        self.fail(now);
        false
    }

    fn next(&mut self, error: &str, now: Instant) {
        if self.has_next(error, now) {
            self.ask(now);
        }
    }

    /// No sentinel knows the primary.
    fn fail(&mut self, now: Instant) {
        self.tried = 0;
        let errors = std::mem::take(&mut self.errors);
        let until = now + backoff(self.failures);
        self.failures += 1;
        self.ask_at = Some(until);
        let consequence = match self.primary {
            Some(_) => "a failover is not noticed",
            None => "streams and posts that need it are asked to come again",
        };
        let reason = format!("no sentinel names the primary: {errors}");
        let text = format!("{}: {reason}; {consequence}", self.address);
        let kind = format!("engine {}", self.address);
        self.log.rate_limited(Level::Error, &kind, &text);
        self.failure = Some((reason, until));
        self.tell();
    }

    fn tell(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let owners = waiting.iter().filter_map(Weak::upgrade);
        self.told.extend(owners.map(|owner| owner.get()));
    }

    /// A sentinel has named the primary.
    fn find(&mut self, server: Server, now: Instant) {
        self.until = None;
        self.ask_at = Some(now + ASK_EVERY);
        self.tried = 0;
        self.errors.clear();
        self.failure = None;
        if std::mem::take(&mut self.failures) > 0 {
            let text = format!("{}: a sentinel answers again", self.address);
            self.log.line(Level::Info, &text);
        }
        let primary = self.address.server(server);
        if let Some(former) = self.primary.take_if(|former| *former != primary) {
            let text = format!("{}: the primary is {primary} now", self.address);
            self.log.line(Level::Info, &text);
            self.former.push(former);
        }
        self.primary = Some(primary);
        self.tell();
    }

    /// The connection may be readable or writable.
    pub(super) fn on_ready(&mut self) {
        let now = Instant::now();
        while let Some(link) = &mut self.link {
            let replies = match link.flush().and_then(|()| link.read()) {
                Ok(replies) if replies.is_empty() => return,
                Ok(replies) => replies,
                Err(error) => {
                    self.link = None;
                    // Otherwise another one is asked when it is time.
                    if self.until.is_some() {
                        self.next(&error.to_string(), now);
                    }
                    return;
                }
            };
            for reply in replies {
                match self.read(&reply) {
                    Ok(server) => self.find(server, now),
                    Err(error) => self.next(&error, now),
                }
            }
        }
    }

    fn read(&self, reply: &[u8]) -> Result<Server, String> {
        let mut reader = Reader::new(reply);
        let malformed = |error: Malformed| error.to_string();
        match reader.item().map_err(malformed)? {
            Item::Array(2) => {
                let host = reader.string().map_err(malformed)?;
                let host = String::from_utf8_lossy(host).into_owned();
                let port = reader.string().map_err(malformed)?;
                let port = std::str::from_utf8(port).ok();
                let port = port.and_then(|port| port.parse().ok());
                Ok((host, port.ok_or("its reply contains no port")?))
            }
            Item::Error(text) => Err(String::from_utf8_lossy(text).into_owned()),
            _ => {
                let service = &self.service;
                Err(format!(
                    "it watches no service of the name {service}; correct the name in SSE_REDIS"
                ))
            }
        }
    }

    /// The next deadline: when to act even if nothing arrives.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until.into_iter().chain(self.ask_at).min()
    }

    /// Does what is due. If nobody uses them, nobody is asked.
    pub(super) fn on_time(&mut self, has_users: bool) {
        let now = Instant::now();
        if !has_users {
            self.link = None;
            self.until = None;
            self.ask_at = None;
            self.primary = None;
            self.failures = 0;
            return;
        }
        if self.until.is_some_and(|until| now >= until) {
            self.next(&format!("no answer for {} s", ANSWER.as_secs()), now);
        }
        if self.ask_at.is_some_and(|at| now >= at) {
            self.ask(now);
        }
    }

    /// Whether they name another server than this one, which was the primary.
    pub(super) fn names_another_than(&self, server: &Address) -> bool {
        self.primary
            .as_ref()
            .is_some_and(|primary| primary != server)
    }

    /// The owners that must be told.
    pub(super) fn take_told(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.told)
    }

    /// The primaries that are none any more.
    pub(super) fn take_former(&mut self) -> Vec<Address> {
        std::mem::take(&mut self.former)
    }

    /// Whether one of them answered when they were asked last.
    pub(super) fn is_up(&self) -> bool {
        self.failures == 0
    }
}
