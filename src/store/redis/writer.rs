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
//!
//! If they must be confirmed, those of one batch are followed by one WAITAOF or WAIT, and those that
//! come meanwhile are the next batch:
//!
//! ```text
//! batch ──► answered ──► WAITAOF answered: their users are told ──► next batch
//! ```

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::engine::backoff;
use super::link::{Link, Opener};
use crate::source::redis::{Address, Confirm, Confirmation, Item, NotWritten, Reader};
use crate::system::log::{Level, Log};

/// How long the engine may take to answer, and to accept a connection.
const ANSWER: Duration = Duration::from_secs(5);

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

/// The confirmation of a batch.
struct Batch {
    replicas: u32,
    /// The best command that the engine knows.
    by: Confirm,
    /// When the command must have been answered; `None`: it was not sent.
    until: Option<Instant>,
    /// The size of the command in the link.
    command_bytes: usize,
    /// Those that have been executed.
    executed: Vec<Write>,
}

impl Batch {
    fn ask(&mut self, link: &mut Link, now: Instant) {
        let mut command = Vec::new();
        self.by.command(self.replicas, &mut command);
        link.push(&command);
        self.command_bytes = command.len();
        self.until = Some(now + Confirm::LONGEST + ANSWER);
    }
}

/// A connection for writing.
pub(super) struct Writer {
    pub(super) address: Address,
    pub(super) confirmation: Confirmation,
    /// If everything must be confirmed.
    batch: Option<Batch>,
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
    pub(super) fn new(
        address: Address,
        confirmation: Confirmation,
        number: u64,
        opener: &Rc<Opener>,
        log: &Rc<Log>,
    ) -> Self {
        let batch = match confirmation {
            Confirmation::None => None,
            Confirmation::Sync { replicas } => Some(Batch {
                replicas,
                by: Confirm::Disk,
                until: None,
                command_bytes: 0,
                executed: Vec::new(),
            }),
        };
        Self {
            address,
            confirmation,
            batch,
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
            // It may have to wait for the batch before.
            until: match self.batch {
                Some(_) => now + ANSWER + Confirm::LONGEST * 2,
                None => now + ANSWER,
            },
        };
        self.writes.push_back(write);
        match self.link {
            Some(_) => self.push(now),
            None => self.connect(now),
        }
        slot
    }

    /// Sends what has not been sent, if the engine has accepted the link and has confirmed the
    /// batch before.
    fn push(&mut self, now: Instant) {
        let is_confirming = self.is_confirming();
        let link = self.link.as_mut().filter(|link| !link.is_opening());
        if let Some(link) = link.filter(|_| !is_confirming) {
            for write in self.writes.iter().skip(self.pushed) {
                link.push(&write.commands);
            }
            self.pushed = self.writes.len();
            if let Some(batch) = self.batch.as_mut().filter(|_| self.pushed > 0) {
                batch.ask(link, now);
            }
        }
        self.flush(now);
    }

    fn is_confirming(&self) -> bool {
        let batch = self.batch.as_ref();
        batch.is_some_and(|batch| batch.until.is_some())
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
        if let Some(batch) = self.batch.as_mut().filter(|batch| batch.until.is_some()) {
            unsent = unsent.saturating_sub(batch.command_bytes);
        }
        let text = format!("{error}; the entry is in the stream, unconfirmed");
        self.settle(&Err(NotWritten::Unknown(text)));
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

    /// The batch is confirmed, or will not be.
    fn settle(&mut self, confirmed: &Result<(), NotWritten>) {
        let Some(batch) = &mut self.batch else { return };
        batch.until = None;
        for write in std::mem::take(&mut batch.executed) {
            // What was refused needs no confirmation.
            let answer = match confirmed {
                Err(error) if !write.answer.starts_with(b"-") => Err(error.clone()),
                _ => Ok(write.answer),
            };
            self.answer(&write.slot, answer);
        }
    }

    /// The reply to the command that confirms a batch.
    fn confirm(&mut self, reply: &[u8], now: Instant) {
        let (Some(batch), Some(link)) = (&mut self.batch, &mut self.link) else {
            return;
        };
        match batch.by.confirmed(batch.replicas, reply) {
            Some(confirmed) => {
                self.settle(&confirmed);
                self.push(now);
            }
            // Before Redis 7.2.
            None => {
                batch.by = Confirm::Replicas;
                batch.ask(link, now);
                self.flush(now);
            }
        }
    }

    /// It is not used any more: what is sent next is sent to another server.
    pub(super) fn leave(&mut self) {
        if self.link.is_some() {
            self.is_proven = false;
            self.lose("it is not the primary any more", Instant::now());
        }
        self.failures = 0;
        self.down_until = None;
        self.reason = None;
    }

    /// It cannot be used now: nothing that is left was sent.
    fn fail(&mut self, reason: NotWritten, now: Instant) {
        self.link = None;
        let wait = backoff(self.failures);
        self.failures += 1;
        self.down_until = Some(now + wait);
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
        if self.pushed == 0 && self.is_confirming() {
            return self.confirm(&reply, now);
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
                match &mut self.batch {
                    Some(batch) => batch.executed.push(write),
                    None => self.answer(&write.slot, Ok(write.answer)),
                }
            }
        }
    }

    /// The next deadline: when to act even if nothing arrives.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if !self.told.is_empty() {
            return Some(Instant::now());
        }
        let confirming = self.batch.as_ref().and_then(|batch| batch.until);
        match self.writes.front().map(|write| write.until) {
            Some(until) => Some(confirming.map_or(until, |other| other.min(until))),
            None if confirming.is_some() => confirming,
            None => self.link.as_ref().map(|_| self.used + IDLE),
        }
    }

    /// Does what is due.
    pub(super) fn on_time(&mut self) {
        let now = Instant::now();
        let confirming = self.batch.as_ref().and_then(|batch| batch.until);
        let waiting = self.writes.front().map(|write| write.until);
        let is_late = |until: &Option<Instant>| until.is_some_and(|until| now >= until);
        if is_late(&confirming) || is_late(&waiting) {
            self.is_proven = false;
            self.lose(&format!("no answer for {} s", ANSWER.as_secs()), now);
        } else if confirming.or(waiting).is_none() && now >= self.used + IDLE {
            self.link = None;
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
