//! Engine: the connections to one engine, which all streams of a process share.
//!
//! One connection carries the questions of all readers, one after the other. Further connections
//! wait for new entries: see [`Waiting`]. A connection that is lost is made again at once, and
//! unanswered questions are asked again. If it cannot be made, all readers are told, and
//! the next attempt waits: 0.1 s, then twice as long each time, up to 5 s, each times 0.5 to 1.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::link::{Link, Opener};
use super::question::{COMPARED_MAX, Question, Slot};
use super::waiting::{Said, Waiting};
use crate::source::redis::{Address, Item, Reader, StreamId, command};
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
            answer: Vec::new(),
            answered: 0,
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

    pub(super) fn watch(&mut self, slot: usize, after: StreamId) {
        let Some(own) = self.slots.get_mut(slot) else {
            return;
        };
        own.has_signal = false;
        let key = own.key.clone();
        let line = match self.keys.get_mut(&key) {
            Some((line, readers)) => {
                if !readers.contains(&slot) {
                    readers.push(slot);
                }
                *line
            }
            None => {
                let has_room = |line: &Waiting| line.keys.len() < Waiting::KEYS_MAX;
                let line = self.waiting.iter().position(has_room).unwrap_or_else(|| {
                    self.waiting.push(Waiting::default());
                    self.waiting.len() - 1
                });
                self.keys.insert(key.clone(), (line, vec![slot]));
                line
            }
        };
        let now = Instant::now();
        if let Some(client) = self.waiting[line].wait(&key, after) {
            let mut commands = Vec::new();
            command(
                &[b"CLIENT", b"UNBLOCK", client.to_string().as_bytes()],
                &mut commands,
            );
            self.ask(Vec::new(), commands, 1, now);
        }
        self.block(line, now);
    }

    pub(super) fn take_signal(&mut self, slot: usize) -> bool {
        let slot = self.slots.get_mut(slot);
        slot.is_none_or(|slot| std::mem::take(&mut slot.has_signal))
    }

    /// Lets a connection wait, if it should.
    fn block(&mut self, line: usize, now: Instant) {
        if !self.waiting[line].is_due(now) || self.down_until.is_some_and(|until| now < until) {
            return;
        }
        let opened = match self.waiting[line].link.take() {
            Some(link) => Ok(link),
            None => self.open(line as u64 + 1),
        };
        let sent = opened.and_then(|mut link| {
            self.waiting[line].block(&mut link, now);
            link.flush()?;
            Ok(link)
        });
        match sent {
            Ok(link) => self.waiting[line].link = Some(link),
            Err(_) => self.lose_waiting(line),
        }
    }

    fn open(&self, connection: u64) -> io::Result<Link> {
        let data = self.number << 32 | connection;
        self.opener.open(&self.address, data)
    }

    /// A waiting connection is lost: its readers ask, which shows whether the engine is reachable.
    fn lose_waiting(&mut self, line: usize) {
        for key in self.waiting[line].lose() {
            self.signal(&key);
        }
    }

    fn signal(&mut self, key: &[u8]) {
        let Some((_, readers)) = self.keys.get(key) else {
            return;
        };
        for reader in readers {
            if let Some(slot) = self.slots.get_mut(*reader) {
                slot.has_signal = true;
                self.told.push(slot.owner);
            }
        }
    }

    fn connect(&mut self, now: Instant) {
        self.is_proven = false;
        match self.open(QUESTIONS) {
            Ok(mut link) => {
                for question in &mut self.questions {
                    question.answer.clear();
                    question.answered = 0;
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
        let wait = BACKOFF
            .0
            .saturating_mul(1 << self.failures.min(10))
            .min(BACKOFF.1);
        self.failures += 1;
        self.down_until = Some(now + wait.mul_f64(0.5 + fastrand::f64() / 2.0));
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
            match link.read() {
                Ok(replies) if replies.is_empty() => return,
                Ok(replies) => {
                    for reply in replies {
                        self.take(reply, now);
                    }
                }
                Err(error) => return self.lose(&error, now),
            }
        }
    }

    fn take(&mut self, reply: Vec<u8>, now: Instant) {
        let Some(link) = &mut self.link else { return };
        if link.takes_opening_reply() {
            if let Ok(Item::Error(text)) = Reader::new(&reply).item() {
                let reason = String::from_utf8_lossy(text).into_owned();
                let remedy = "set SSE_REDIS_USER and SSE_REDIS_PASSWORD_FILE";
                // Trying again soon does not help.
                self.failures = self.failures.max(8);
                self.fail(&format!("{reason}; {remedy}"), now);
            }
            return;
        }
        self.is_proven = true;
        if self.failures > 0 {
            self.failures = 0;
            self.back_at = Some(now);
            self.log
                .line(Level::Info, &format!("{}: it answers again", self.address));
        }
        self.down_until = None;
        let Some(question) = self.questions.front_mut() else {
            return;
        };
        match question.answered {
            0 => question.answer = reply,
            _ => question.answer.extend_from_slice(&reply),
        }
        question.answered += 1;
        if question.answered < question.replies {
            return;
        }
        let Some(question) = self.questions.pop_front() else {
            return;
        };
        if let Some((last, others)) = question.askers.split_last() {
            for asker in others {
                self.answer(*asker, Ok(question.answer.clone()));
            }
            self.answer(*last, Ok(question.answer));
        }
    }

    fn read_waiting(&mut self, line: usize, now: Instant) {
        // A link reports its end after the replies before it.
        loop {
            let Some(waiting) = self.waiting.get_mut(line) else {
                return;
            };
            let Some(link) = &mut waiting.link else {
                return;
            };
            let replies = match link.flush().and_then(|()| link.read()) {
                Ok(replies) => replies,
                Err(_) => return self.lose_waiting(line),
            };
            if replies.is_empty() {
                break;
            }
            let mut keys = Vec::new();
            for reply in replies {
                if let Some(link) = &mut waiting.link {
                    if link.takes_opening_reply() {
                        // The connection for questions reports what is wrong.
                        continue;
                    }
                }
                match waiting.take(&reply, now) {
                    Ok(Said::Nothing) => {}
                    Ok(Said::Entries(found) | Said::Refused(found)) => keys.extend(found),
                    Err(_) => return self.lose_waiting(line),
                }
            }
            for key in keys {
                self.signal(&key);
            }
        }
        self.block(line, now);
    }

    /// When something must be done, whatever arrives.
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
