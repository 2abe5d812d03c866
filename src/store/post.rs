//! PostHandler: one POST until its record is in the file. Its caller reads the body.
//!
//! ```text
//! begin ──► turn ──► body ──► record ──► Step::Add ──► added ──► Reply
//!   │         │ busy   ▲ bytes   │ busy                  │ busy
//!   └► Reply  └► again │         └► again                └► again
//!                      │
//!                      └► entry ──► Step::Answer ──► Reply     (a stream of an engine)
//! ```
//!
//! It never waits, but returns what it waits for. The caller appends the record, which may wait
//! for a disk. A CGI program waits for that only, a responder for all of its connections. While
//! another publisher holds a lock it asks to be called again, since no descriptor reports that
//! a lock is free.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::answering::AnswerCommand;
use super::append::{AppendError, AppendOptions, Presence};
use super::publish_location::{
    Destination, EntryDestination, PublishError, PublishLocation, take_turn,
};
use super::publish_queue::{Addition, Outcome};
use crate::publish::{
    Post, PostContext, PostFields, PostStart, PostStep, Record, Replies, Reply, begin, denial,
};
use crate::request::{Request, Status};
use crate::source::{Now, Recipients};
use crate::system::log::{Level, Log};

/// The first wait for a lock, which is held for the time of one write.
const AGAIN_FIRST: Duration = Duration::from_micros(200);

/// The longest wait.
const AGAIN_LAST: Duration = Duration::from_millis(5);

/// A POST that may publish.
pub(crate) struct PostHandler {
    location: Rc<PublishLocation>,
    log: Rc<Log>,
    post: Post,
    target: Target,
    stage: Stage,
    /// It has been counted for its client's rate.
    is_counted: bool,
    /// The next wait, at most.
    again: Duration,
}

/// Where its record goes.
enum Target {
    /// To a file.
    File(Destination),
    /// To a stream of an engine.
    Entries(Box<dyn EntryDestination>),
}

enum Stage {
    /// It is being checked whether its client may publish now.
    Turn,
    /// Its body is being received.
    Body,
    /// Its record can be appended.
    Record(Arc<Addition>),
    /// Its record is being appended.
    Adding(Arc<Addition>),
    /// Its record is being appended to a stream of an engine.
    Entering,
}

/// What a POST waits for.
pub(crate) enum Step {
    /// Bytes of its body or their end, until this time.
    Bytes { until: Duration },
    /// This time.
    Again { at: Duration },
    /// The end of this addition, which the caller performs; then it calls
    /// [`PostHandler::added`].
    Add(Arc<Addition>),
    /// The end of that addition, still.
    Adding,
    /// The answer of an engine, until this time.
    Answer { until: Duration },
    /// Nothing: this is the response.
    Reply(Reply),
}

/// The state of a request's body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It was received.
    Nothing,
    /// A part of it may still arrive, and is not needed.
    Unwanted,
}

impl PostHandler {
    /// Decides what can be decided from the head of a request: a POST that may publish, or the
    /// response. Details that only the administrator may know are logged.
    pub(crate) fn begin(
        location: &Rc<PublishLocation>,
        request: &Request,
        fields: &PostFields,
        now: Now,
        log: &Rc<Log>,
    ) -> Result<Self, Reply> {
        let refuse = |refused: PublishError| {
            refused.log(log);
            refused.reply(&Replies::to(request, &location.settings))
        };
        let tokens = location.tokens().map_err(refuse)?;
        let asked = PostContext {
            request,
            fields,
            settings: &location.settings,
            publishing: &location.publishing,
            tokens: &tokens,
        };
        let mut post = match begin(asked, now.monotonic) {
            PostStart::Reply(reply) => {
                if reply.head.status == Status::Forbidden {
                    let text = denial(request, fields, &location.publishing);
                    log.line(Level::Warning, &text);
                }
                return Err(reply);
            }
            PostStart::Post(post) => post,
        };
        let target = match location.entries(request, fields).map_err(refuse)? {
            Some(entries) => Target::Entries(entries),
            None => {
                let to = location.destination(request, fields, now);
                let mut to = to.map_err(refuse)?;
                if let Some(author) = to.author.take() {
                    post.comes_from(author);
                }
                Target::File(to)
            }
        };
        Ok(Self {
            location: Rc::clone(location),
            log: Rc::clone(log),
            post,
            target,
            stage: Stage::Turn,
            is_counted: false,
            again: AGAIN_FIRST,
        })
    }

    /// Adds bytes of the body when they arrive; then call [`PostHandler::at`].
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.post.take(bytes);
    }

    /// The body has ended.
    pub(crate) fn end(&mut self) {
        self.post.end();
    }

    /// The log of its request.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// How many bytes to read.
    pub(crate) fn wanted_bytes(&self) -> usize {
        self.post.wanted_bytes()
    }

    /// The state of the body.
    pub(crate) fn rest(&self) -> Rest {
        match self.stage {
            Stage::Record(_) | Stage::Adding(_) | Stage::Entering => Rest::Nothing,
            _ => Rest::Unwanted,
        }
    }

    /// Advances as far as possible at `now`.
    pub(crate) fn at(&mut self, now: Now) -> Step {
        loop {
            let next = match &self.stage {
                Stage::Turn => match self.ask_turn(now) {
                    Some(step) => return step,
                    None => self.take_turn(now),
                },
                Stage::Body => match self.post.at(now.monotonic) {
                    PostStep::More => {
                        let until = self.post.until();
                        return Step::Bytes { until };
                    }
                    PostStep::Reply(reply) => return Step::Reply(reply),
                    PostStep::Record(record) => Ok(self.record(record)),
                },
                Stage::Record(_) if !self.is_counted => match self.turn(now) {
                    Ok(()) => {
                        self.is_counted = true;
                        continue;
                    }
                    Err(delay) => Err(delay),
                },
                Stage::Record(addition) => {
                    let addition = Arc::clone(addition);
                    self.stage = Stage::Adding(Arc::clone(&addition));
                    return Step::Add(addition);
                }
                Stage::Adding(_) => return Step::Adding,
                Stage::Entering => return self.await_entry(now),
            };
            match next {
                Ok(stage) => self.stage = stage,
                Err(delay) => return self.trouble(delay, now),
            }
            self.again = AGAIN_FIRST;
        }
    }

    /// What the engine says of its client, until that lets it publish.
    fn ask_turn(&mut self, now: Now) -> Option<Step> {
        let Target::Entries(entries) = &mut self.target else {
            return None;
        };
        let until = self.post.until();
        let refused = match entries.turn() {
            Some(Ok(author)) => {
                if let Some(author) = author {
                    self.post.comes_from(author);
                }
                return None;
            }
            Some(Err(error)) => error,
            None if now.monotonic < until => return Some(Step::Answer { until }),
            None => entries.gave_up(),
        };
        Some(self.refuse(&refused))
    }

    fn take_turn(&mut self, now: Now) -> Result<Stage, Delay> {
        let Target::File(destination) = &self.target else {
            return Ok(Stage::Body);
        };
        // Counting creates a file, so it is done only beside a file that exists or is about to.
        if destination.presence().map_err(Delay::Failed)? == Presence::There {
            self.turn(now)?;
            self.is_counted = true;
        }
        Ok(Stage::Body)
    }

    /// The body has become a record.
    fn record(&mut self, record: Record) -> Stage {
        match &mut self.target {
            Target::File(destination) => {
                let addition = addition(&self.location, destination, record);
                Stage::Record(addition)
            }
            Target::Entries(entries) => {
                entries.append(&record);
                Stage::Entering
            }
        }
    }

    fn await_entry(&mut self, now: Now) -> Step {
        let Target::Entries(entries) = &mut self.target else {
            return Step::Adding;
        };
        let until = self.post.until();
        let refused = match entries.outcome() {
            Some(Ok(id)) => return Step::Reply(self.post.replies().created(&id)),
            Some(Err(error)) => error,
            None if now.monotonic < until => return Step::Answer { until },
            None => entries.gave_up(),
        };
        self.refuse(&refused)
    }

    /// Processes the result of [`Step::Add`].
    pub(crate) fn added(&mut self, outcome: Outcome, now: Now) -> Step {
        if let Some(text) = outcome.warning {
            self.log.line(Level::Warning, &text);
        }
        match outcome.place {
            Ok(place) => {
                let id = match &self.target {
                    Target::File(destination) => destination.event_id(place),
                    Target::Entries(_) => place.to_string(),
                };
                Step::Reply(self.post.replies().created(&id))
            }
            Err(trouble) => {
                if let Stage::Adding(addition) = &self.stage {
                    self.stage = Stage::Record(Arc::clone(addition));
                }
                self.trouble(Delay::Failed(trouble), now)
            }
        }
    }

    fn turn(&self, now: Now) -> Result<(), Delay> {
        let Target::File(destination) = &self.target else {
            return Ok(());
        };
        let client = self.post.client();
        let turns = destination.turns();
        let turn = take_turn(turns, &self.location.publishing, client, now.unix_ms);
        turn.map_err(Delay::Failed)?.map_err(Delay::TooOften)
    }

    fn trouble(&mut self, delay: Delay, now: Now) -> Step {
        let refused = match delay {
            Delay::Failed(AppendError::Busy) if now.monotonic < self.post.until() => {
                let wait = self.again.mul_f64(0.5 + fastrand::f64() / 2.0);
                self.again = (self.again * 2).min(AGAIN_LAST);
                let at = now.monotonic + wait;
                return Step::Again { at };
            }
            Delay::Failed(trouble) => self.error(trouble),
            Delay::TooOften(wait) => PublishError::TooOften(wait),
        };
        self.refuse(&refused)
    }

    fn error(&self, trouble: AppendError) -> PublishError {
        match (&self.target, trouble) {
            // It was swept since it was found.
            (Target::File(to), AppendError::NotFound) if to.session.is_some() => {
                PublishError::NoSession
            }
            (Target::File(to), trouble) => PublishError::of(&to.target, trouble),
            (Target::Entries(entries), _) => entries.gave_up(),
        }
    }

    fn refuse(&self, refused: &PublishError) -> Step {
        refused.log(&self.log);
        Step::Reply(refused.reply(self.post.replies()))
    }
}

fn addition(location: &PublishLocation, to: &Destination, record: Record) -> Arc<Addition> {
    let settings = &location.settings;
    let answers = location.recipients == Some(Recipients::Session);
    Arc::new(Addition {
        target: Arc::clone(&to.target),
        record,
        options: AppendOptions::of(settings, location.publishing.durability),
        command: answers.then(|| AnswerCommand::of(settings)).flatten(),
    })
}

/// Why it has to wait.
enum Delay {
    Failed(AppendError),
    TooOften(Duration),
}
