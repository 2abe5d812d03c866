//! Engine: the connections to one engine, which all streams of a process share.
//!
//! One connection carries the questions of all readers, one after the other. Further connections
//! wait for new entries: see [`Waiting`]. A connection that is lost is made again at once, and
//! unanswered questions are asked again. If it cannot be made, all readers are told, and
//! the next attempt waits: 0.1 s, then twice as long each time, up to 5 s, each times 0.5 to 1.

mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::link::{Link, Opener, READ_BYTES};
use super::question::{COMPARED_MAX, Question, Slot};
use super::waiting::Waiting;
use crate::source::redis::{Address, Item, Reader};
use crate::system::log::{Level, Log};

/// How long the engine may take to answer, and to accept a connection.
const ANSWER: Duration = Duration::from_secs(5);

/// The first and the longest wait before another attempt to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How often a question is asked, because a connection can be lost by what it asks.
const TRIES: u8 = 3;

/// The number of the connection for questions; those that wait have higher ones.
const QUESTIONS: u64 = 0;

/// The readers of one engine, and its connections.
pub(super) struct Engine {
    pub(super) address: Address,
    /// It is in the high half of the data of epoll.
    number: u64,
    opener: Rc<Opener>,
    log: Rc<Log>,
    link: Option<Link>,
    /// The link has answered something.
    is_proven: bool,
    questions: VecDeque<Question>,
    waiting: Vec<Waiting>,
    /// Which of `waiting` a key belongs to, and its readers.
    keys: BTreeMap<Vec<u8>, (usize, Vec<usize>)>,
    slots: Slab<Slot>,
    down_until: Option<Instant>,
    failures: u32,
    /// When it answered again after it could not be reached.
    back_at: Option<Instant>,
    /// The owners that must be told of a change.
    told: Vec<u64>,
    /// What is read is written here first.
    scratch: Vec<u8>,
}

/// How long to wait after so many failures.
pub(super) fn backoff(failures: u32) -> Duration {
    let wait = BACKOFF.0.saturating_mul(1 << failures.min(10));
    wait.min(BACKOFF.1).mul_f64(0.5 + fastrand::f64() / 2.0)
}

impl Engine {
    pub(super) fn new(address: Address, number: u64, opener: &Rc<Opener>, log: &Rc<Log>) -> Self {
        Self {
            address,
            number,
            opener: Rc::clone(opener),
            log: Rc::clone(log),
            link: None,
            is_proven: false,
            questions: VecDeque::new(),
            waiting: Vec::new(),
            keys: BTreeMap::new(),
            slots: Slab::new(),
            down_until: None,
            failures: 0,
            back_at: None,
            told: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Adds a reader of a key.
    pub(super) fn add(&mut self, key: &[u8], generation: u64) -> usize {
        self.slots.insert(Slot {
            key: key.to_vec(),
            owner: 0,
            reply: None,
            has_signal: false,
            shares_answers: false,
            ahead: Vec::new(),
            ahead_answer: None,
            generation,
        })
    }

    pub(super) fn remove(&mut self, slot: usize) {
        let Some(slot_of_key) = self.slots.try_remove(slot) else {
            return;
        };
        let key = slot_of_key.key;
        if let Some((line, readers)) = self.keys.get_mut(&key) {
            readers.retain(|reader| *reader != slot);
            if readers.is_empty() {
                self.waiting[*line].keys.remove(&key);
                self.keys.remove(&key);
            }
        }
        if self.slots.is_empty() {
            self.rest();
        }
    }

    /// Closes the connections when nobody needs them.
    fn rest(&mut self) {
        self.link = None;
        self.questions.clear();
        self.waiting.clear();
    }

    /// It is not used any more: its readers move to another server when they ask.
    pub(super) fn leave(&mut self) {
        self.link = None;
        for question in std::mem::take(&mut self.questions) {
            self.refuse(&question, io::ErrorKind::NotConnected);
        }
        for line in 0..self.waiting.len() {
            self.lose_waiting(line);
        }
        self.failures = 0;
        self.down_until = None;
    }

    pub(super) fn has_no_readers(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn set_owner(&mut self, slot: usize, owner: u64) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.owner = owner;
        }
    }

    pub(super) fn share_answers(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.shares_answers = true;
        }
    }

    pub(super) fn send(&mut self, slot: usize, commands: Vec<u8>, replies: usize) {
        let now = Instant::now();
        let Some(own) = self.slots.get_mut(slot) else {
            return;
        };
        own.reply = None;
        let asker = (slot, own.generation);
        if self.down_until.is_some_and(|until| now < until) {
            own.reply = Some(Err(io::ErrorKind::NotConnected.into()));
            return;
        }
        if own.shares_answers {
            let mut latest = self.questions.iter_mut().rev().take(COMPARED_MAX);
            if let Some(same) = latest.find(|asked| asked.commands == commands) {
                return same.askers.push(asker);
            }
        }
        self.ask(vec![asker], commands, replies, now);
    }

    fn ask(&mut self, askers: Vec<(usize, u64)>, commands: Vec<u8>, replies: usize, now: Instant) {
        self.questions.push_back(Question {
            askers,
            commands,
            replies,
            tries: 1,
            until: now + ANSWER,
        });
        match &mut self.link {
            Some(link) => {
                if let Some(question) = self.questions.back() {
                    link.push(&question.commands);
                }
                self.flush(now);
            }
            None => self.connect(now),
        }
    }

    pub(super) fn receive(&mut self, slot: usize) -> Option<io::Result<Vec<u8>>> {
        self.slots.get_mut(slot)?.reply.take()
    }

    fn open(&self, connection: u64) -> io::Result<Link> {
        let data = self.number << 32 | connection;
        self.opener.open(&self.address, data)
    }

    fn connect(&mut self, now: Instant) {
        self.is_proven = false;
        match self.open(QUESTIONS) {
            Ok(mut link) => {
                for question in &mut self.questions {
                    question.until = now + ANSWER;
                    link.push(&question.commands);
                }
                self.link = Some(link);
                self.flush(now);
            }
            Err(error) => self.fail(&error.to_string(), now),
        }
    }

    fn flush(&mut self, now: Instant) {
        if let Some(link) = &mut self.link {
            if let Err(error) = link.flush() {
                self.lose(&error, now);
            }
        }
    }

    /// The connection for questions is lost.
    fn lose(&mut self, error: &io::Error, now: Instant) {
        self.link = None;
        if error.kind() == io::ErrorKind::PermissionDenied {
            // Trying again soon does not help.
            self.failures = self.failures.max(8);
        }
        if !self.is_proven {
            return self.fail(&error.to_string(), now);
        }
        for mut question in std::mem::take(&mut self.questions) {
            question.tries += 1;
            match question.tries <= TRIES {
                // Nobody waits for the answer.
                _ if question.askers.is_empty() => {}
                true => self.questions.push_back(question),
                false => self.refuse(&question, io::ErrorKind::ConnectionAborted),
            }
        }
        if !self.questions.is_empty() {
            self.connect(now);
        }
    }

    /// The engine cannot be reached: all readers are told.
    fn fail(&mut self, reason: &str, now: Instant) {
        self.link = None;
        let wait = backoff(self.failures);
        self.failures += 1;
        self.down_until = Some(now + wait);
        let text = format!(
            "{}: {reason}; streams and posts that need it are asked to come again",
            self.address
        );
        let kind = format!("engine {}", self.address);
        self.log.rate_limited(Level::Error, &kind, &text);
        for question in std::mem::take(&mut self.questions) {
            self.refuse(&question, io::ErrorKind::NotConnected);
        }
        for line in 0..self.waiting.len() {
            self.lose_waiting(line);
        }
    }

    fn refuse(&mut self, question: &Question, kind: io::ErrorKind) {
        for asker in &question.askers {
            self.answer(*asker, Err(kind.into()));
        }
    }

    fn answer(&mut self, (slot, generation): (usize, u64), answer: io::Result<Vec<u8>>) {
        let slot = self.slots.get_mut(slot);
        if let Some(slot) = slot.filter(|slot| slot.generation == generation) {
            slot.reply = Some(answer);
            self.told.push(slot.owner);
        }
    }

    /// A connection may be readable or writable.
    pub(super) fn on_ready(&mut self, connection: u64) {
        let now = Instant::now();
        if connection == QUESTIONS {
            self.flush(now);
            self.read(now);
        } else {
            self.read_waiting(connection as usize - 1, now);
        }
    }

    fn read(&mut self, now: Instant) {
        // A link reports its end after the replies before it.
        while let Some(link) = &mut self.link {
            self.scratch.resize(READ_BYTES, 0);
            match link.receive(&mut self.scratch) {
                Ok(false) => return,
                Ok(true) => {}
                Err(error) => return self.lose(&error, now),
            }
            loop {
                match self.take(now) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => return self.lose(&error, now),
                }
            }
        }
    }

    /// Uses the next reply, or the replies to the next question; returns whether there was one.
    fn take(&mut self, now: Instant) -> io::Result<bool> {
        let Some(link) = &mut self.link else {
            return Ok(false);
        };
        if link.is_opening() {
            let Some(reply) = link.take(1)? else {
                return Ok(false);
            };
            link.takes_opening_reply();
            if let Ok(Item::Error(text)) = Reader::new(&reply).item() {
                let reason = String::from_utf8_lossy(text).into_owned();
                let remedy = match reason.split(' ').next().unwrap_or_default() {
                    "NOTPRIMARY" => "the sentinels will name another",
                    "NOPERM" => "let the user run the commands that docs/many-machines.md lists",
                    _ => "set SSE_REDIS_USER and SSE_REDIS_PASSWORD_FILE",
                };
                if !reason.starts_with("NOTPRIMARY") {
                    // Trying again soon does not help.
                    self.failures = self.failures.max(8);
                }
                self.fail(&format!("{reason}; {remedy}"), now);
            }
            return Ok(true);
        }
        let Some(question) = self.questions.front() else {
            return Ok(false);
        };
        let Some(answer) = link.take(question.replies)? else {
            return Ok(false);
        };
        self.is_proven = true;
        if self.failures > 0 {
            self.failures = 0;
            self.back_at = Some(now);
            self.log
                .line(Level::Info, &format!("{}: it answers again", self.address));
        }
        self.down_until = None;
        let question = self.questions.pop_front();
        if let Some((last, others)) = question
            .iter()
            .flat_map(|question| question.askers.split_last())
            .next()
        {
            for asker in others {
                self.answer(*asker, Ok(answer.clone()));
            }
            self.answer(*last, Ok(answer));
        }
        Ok(true)
    }

    /// The next deadline: when to act even if nothing arrives.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if !self.told.is_empty() {
            return Some(Instant::now());
        }
        let question = self.questions.front().map(|question| question.until);
        let waiting = self.waiting.iter().filter_map(Waiting::deadline);
        waiting.chain(question).min()
    }

    /// Does what is due.
    pub(super) fn on_time(&mut self) {
        let now = Instant::now();
        if self
            .questions
            .front()
            .is_some_and(|question| now >= question.until)
        {
            self.is_proven = false;
            let seconds = ANSWER.as_secs();
            let error = io::Error::other(format!("no answer for {seconds} s"));
            self.lose(&error, now);
        }
        for line in 0..self.waiting.len() {
            if self.waiting[line].is_lost(now) {
                self.lose_waiting(line);
            }
            self.block(line, now);
        }
    }

    /// The owners that must be told of a change.
    pub(super) fn take_told(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.told)
    }

    /// How long it has answered since it could not be reached; `None` if it always could.
    pub(super) fn reachable_for(&self) -> Option<Duration> {
        match self.failures {
            0 => self.back_at.map(|at| at.elapsed()),
            _ => Some(Duration::ZERO),
        }
    }

    /// Whether the last attempt to reach it succeeded.
    pub(super) fn is_up(&self) -> bool {
        self.failures == 0
    }
}
