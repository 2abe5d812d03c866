//! Writer: a connection whose commands are executed at most once.
//!
//! ```text
//! queue ──► sent ──► answered
//!   ▲         │
//!   │         ├─ lost, and a byte of it was not sent: it was not executed
//!   └─────────┘
//!             └─ lost, and all of it was sent: nobody knows
//! ```
//!
//! Commands of many users are pipelined. Nothing that may have been executed is ever sent again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::link::{Link, Opener};
use crate::source::redis::{Address, Item, NotWritten, Reader};
use crate::system::log::{Level, Log};

/// How long the engine may take to answer, and to accept a connection.
const ANSWER: Duration = Duration::from_secs(5);

/// The first and the longest wait before another attempt to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long a connection without users is kept.
const IDLE: Duration = Duration::from_secs(30);

/// Where the answer to commands is left for their user.
#[derive(Default)]
pub(super) struct Slot {
    /// Who is told; 0: nobody.
    owner: Cell<u64>,
    answer: RefCell<Option<Result<Vec<u8>, NotWritten>>>,
}

impl Slot {
    pub(super) fn take(&self) -> Option<Result<Vec<u8>, NotWritten>> {
        self.answer.borrow_mut().take()
    }
}

/// Commands, and who waits for their answer.
struct Write {
    slot: Weak<Slot>,
    commands: Vec<u8>,
    replies: usize,
    answer: Vec<u8>,
    answered: usize,
    until: Instant,
}

/// A connection for writing.
pub(super) struct Writer {
    pub(super) address: Address,
    /// The data of epoll.
    number: u64,
    opener: Rc<Opener>,
    log: Rc<Log>,
    link: Option<Link>,
    /// The link has answered something.
    is_proven: bool,
    /// In their order.
    writes: VecDeque<Write>,
    /// How many of them the link has got. It gets none before the engine has accepted it, since
    /// they would be executed as another user or in another database then.
    pushed: usize,
    down_until: Option<Instant>,
    /// Why it is down.
    reason: Option<NotWritten>,
    failures: u32,
    /// When it was used last.
    used: Instant,
    /// The owners that must be told of an answer.
    told: Vec<u64>,
}

impl Writer {
    pub(super) fn new(address: Address, number: u64, opener: &Rc<Opener>, log: &Rc<Log>) -> Self {
        Self {
            address,
            number,
            opener: Rc::clone(opener),
            log: Rc::clone(log),
            link: None,
            is_proven: false,
            writes: VecDeque::new(),
            pushed: 0,
            down_until: None,
            reason: None,
            failures: 0,
            used: Instant::now(),
            told: Vec::new(),
        }
    }

    /// Sends commands that together have so many replies.
    pub(super) fn write(&mut self, commands: Vec<u8>, replies: usize, owner: u64) -> Rc<Slot> {
        let now = Instant::now();
        let slot = Rc::new(Slot::default());
        slot.owner.set(owner);
        self.used = now;
        if let (Some(until), Some(reason)) = (self.down_until, &self.reason) {
            if now < until {
                *slot.answer.borrow_mut() = Some(Err(reason.clone()));
                return slot;
            }
        }
        let write = Write {
            slot: Rc::downgrade(&slot),
            commands,
            replies,
            answer: Vec::new(),
            answered: 0,
            until: now + ANSWER,
        };
        self.writes.push_back(write);
        match self.link {
            Some(_) => self.push(now),
            None => self.connect(now),
        }
        slot
    }

    /// Sends what has not been sent, if the engine has accepted the link.
    fn push(&mut self, now: Instant) {
        if let Some(link) = self.link.as_mut().filter(|link| !link.is_opening()) {
            for write in self.writes.iter().skip(self.pushed) {
                link.push(&write.commands);
            }
            self.pushed = self.writes.len();
        }
        self.flush(now);
    }

    fn connect(&mut self, now: Instant) {
        self.is_proven = false;
        match self.opener.open(&self.address, self.number) {
            Ok(link) => {
                self.link = Some(link);
                self.pushed = 0;
                self.push(now);
            }
            Err(error) => self.fail(NotWritten::Unavailable(error.to_string()), now),
        }
    }

    fn flush(&mut self, now: Instant) {
        if let Some(link) = &mut self.link {
            if let Err(error) = link.flush() {
                self.lose(&error.to_string(), now);
            }
        }
    }

    /// The connection is lost: what was sent whole may have been executed.
    fn lose(&mut self, error: &str, now: Instant) {
        let mut unsent = self.link.take().map_or(0, |link| link.unsent_bytes());
        let mut again = self.writes.split_off(self.pushed);
        while unsent > 0 {
            let Some(write) = self.writes.pop_back() else {
                break;
            };
            unsent = unsent.saturating_sub(write.commands.len());
            again.push_front(write);
        }
        for write in std::mem::replace(&mut self.writes, again) {
            let text = format!("{error}; it was sent, and is in the stream or not");
            self.answer(&write.slot, Err(NotWritten::Unknown(text)));
        }
        self.pushed = 0;
        // Those whose users have left are not sent.
        let is_wanted = |write: &Write| write.slot.strong_count() > 0;
        self.writes.retain(is_wanted);
        if !self.is_proven {
            return self.fail(NotWritten::Unavailable(error.to_owned()), now);
        }
        if !self.writes.is_empty() {
            self.connect(now);
        }
    }

    /// It cannot be used now: nothing that is left was sent.
    fn fail(&mut self, reason: NotWritten, now: Instant) {
        self.link = None;
        let wait = BACKOFF
            .0
            .saturating_mul(1 << self.failures.min(10))
            .min(BACKOFF.1);
        self.failures += 1;
        self.down_until = Some(now + wait.mul_f64(0.5 + fastrand::f64() / 2.0));
        let text = format!("{}: {reason}; nothing can be published to it", self.address);
        let kind = format!("publish to {}", self.address);
        self.log.rate_limited(Level::Error, &kind, &text);
        self.pushed = 0;
        for write in std::mem::take(&mut self.writes) {
            self.answer(&write.slot, Err(reason.clone()));
        }
        self.reason = Some(reason);
    }

    fn answer(&mut self, slot: &Weak<Slot>, answer: Result<Vec<u8>, NotWritten>) {
        if let Some(slot) = slot.upgrade() {
            *slot.answer.borrow_mut() = Some(answer);
            if slot.owner.get() != 0 {
                self.told.push(slot.owner.get());
            }
        }
    }

    /// The connection may be readable or writable.
    pub(super) fn on_ready(&mut self) {
        let now = Instant::now();
        self.flush(now);
        // A link reports its end after the replies before it.
        while let Some(link) = &mut self.link {
            match link.read() {
                Ok(replies) if replies.is_empty() => return,
                Ok(replies) => {
                    for reply in replies {
                        self.take(reply, now);
                    }
                }
                Err(error) => return self.lose(&error.to_string(), now),
            }
        }
    }

    fn take(&mut self, reply: Vec<u8>, now: Instant) {
        let Some(link) = &mut self.link else { return };
        let error = match Reader::new(&reply).item() {
            Ok(Item::Error(text)) => Some(NotWritten::of(text)),
            _ => None,
        };
        if link.takes_opening_reply() {
            match error {
                Some(reason) => self.fail(reason, now),
                None => self.push(now),
            }
            return;
        }
        let Some(write) = self.writes.front_mut().filter(|_| self.pushed > 0) else {
            // An error without a question, such as too many clients, precedes the end.
            if let Some(reason) = error {
                self.fail(reason, now);
            }
            return;
        };
        self.is_proven = true;
        if self.failures > 0 {
            self.failures = 0;
            let text = format!("{}: it can be published to again", self.address);
            self.log.line(Level::Info, &text);
        }
        self.down_until = None;
        match write.answered {
            0 => write.answer = reply,
            _ => write.answer.extend_from_slice(&reply),
        }
        write.answered += 1;
        if write.answered == write.replies {
            if let Some(write) = self.writes.pop_front() {
                self.pushed -= 1;
                self.answer(&write.slot, Ok(write.answer));
            }
        }
    }

    /// When something must be done, whatever arrives.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if !self.told.is_empty() {
            return Some(Instant::now());
        }
        match self.writes.front() {
            Some(write) => Some(write.until),
            None => self.link.as_ref().map(|_| self.used + IDLE),
        }
    }

    /// Does what is due.
    pub(super) fn on_time(&mut self) {
        let now = Instant::now();
        match self.writes.front() {
            Some(write) if now >= write.until => {
                self.is_proven = false;
                self.lose(&format!("no answer for {} s", ANSWER.as_secs()), now);
            }
            None if now >= self.used + IDLE => self.link = None,
            _ => {}
        }
    }

    /// The owners that must be told of an answer.
    pub(super) fn take_told(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.told)
    }

    /// Whether it has no connection, and needs none.
    pub(super) fn is_idle(&self) -> bool {
        self.link.is_none() && self.is_up()
    }

    /// Whether the last attempt to reach the engine succeeded.
    pub(super) fn is_up(&self) -> bool {
        self.failures == 0
    }
}
