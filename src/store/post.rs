//! PostHandler: one POST until its record is in the file. Its caller reads the body.
//!
//! ```text
//! begin ──► turn ──► body ──► record ──► Step::Add ──► added ──► Reply
//!   │         │ busy   ▲ bytes   │ busy                  │ busy
//!   └► Reply  └► again │         └► again                └► again
//! ```
//!
//! It never waits: it says what it waits for. Whoever asks adds the record, which may wait for
//! a disk. A CGI program waits for that alone, and a
//! responder for all of its connections. While another publisher holds a lock it asks to
//! come again, since no descriptor tells that a lock is free.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::answering::AnswerCommand;
use super::append::{AppendError, AppendOptions, Presence};
use super::publish_location::{Destination, PublishError, PublishLocation, take_turn};
use super::publish_queue::{Addition, Outcome};
use crate::publish::{
    Post, PostContext, PostFields, PostStart, PostStep, Record, Replies, Reply, begin, denial,
};
use crate::request::{Request, Status};
use crate::source::{Now, Recipients};
use crate::system::log::{Level, Log};

/// How soon it comes again at first. A lock is held for the time of one write.
const AGAIN_FIRST: Duration = Duration::from_micros(200);

/// How soon at the latest.
const AGAIN_LAST: Duration = Duration::from_millis(5);

/// A POST that may publish.
pub(crate) struct PostHandler {
    location: Rc<PublishLocation>,
    log: Rc<Log>,
    post: Post,
    destination: Destination,
    stage: Stage,
    /// It has been counted against its client's rate.
    is_counted: bool,
    /// How soon to come again, at the most.
    again: Duration,
}

enum Stage {
    /// It is to be seen whether its client may publish now.
    Turn,
    /// Its body is received.
    Body,
    /// Its record is to be added.
    Record(Arc<Addition>),
    /// Its record is being added.
    Adding(Arc<Addition>),
}

/// What a POST waits for.
pub(crate) enum Step {
    /// Bytes of its body or their end, and this moment at the latest.
    Bytes { until: Duration },
    /// This moment.
    Again { at: Duration },
    /// The end of this: [`PostHandler::added`] is to be told.
    Add(Arc<Addition>),
    /// The end of that, still.
    Adding,
    /// Nothing: this is the reply.
    Reply(Reply),
}

/// What has become of a request's body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It was received.
    Nothing,
    /// Part of it may still come, and nobody wants it.
    Unwanted,
}

impl PostHandler {
    /// Decides what the head of a request decides: a POST that may publish, or the reply.
    /// What only the administrator is to know is logged.
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
        let mut destination = location.destination(request, fields, now).map_err(refuse)?;
        if let Some(author) = destination.author.take() {
            post.comes_from(author);
        }
        Ok(Self {
            location: Rc::clone(location),
            log: Rc::clone(log),
            post,
            destination,
            stage: Stage::Turn,
            is_counted: false,
            again: AGAIN_FIRST,
        })
    }

    /// Takes bytes of the body in, whenever they come; then [`PostHandler::at`] is asked.
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

    /// How many bytes it would take in.
    pub(crate) fn wanted_bytes(&self) -> usize {
        self.post.wanted_bytes()
    }

    /// What has become of the body.
    pub(crate) fn rest(&self) -> Rest {
        match self.stage {
            Stage::Record(_) | Stage::Adding(_) => Rest::Nothing,
            _ => Rest::Unwanted,
        }
    }

    /// Goes as far as it can at `now`.
    pub(crate) fn at(&mut self, now: Now) -> Step {
        loop {
            self.stage = match &self.stage {
                Stage::Turn => match self.destination.presence() {
                    Ok(Presence::There) => match self.turn(now) {
                        Ok(()) => {
                            self.is_counted = true;
                            Stage::Body
                        }
                        Err(delay) => return self.trouble(delay, now),
                    },
                    // Counting leaves a file behind: only beside a file that is there, or
                    // is about to be.
                    Ok(Presence::ToCome) => Stage::Body,
                    Err(trouble) => return self.trouble(Delay::Failed(trouble), now),
                },
                Stage::Body => match self.post.at(now.monotonic) {
                    PostStep::More => {
                        let until = self.post.until();
                        return Step::Bytes { until };
                    }
                    PostStep::Reply(reply) => return Step::Reply(reply),
                    PostStep::Record(record) => Stage::Record(self.addition(record)),
                },
                Stage::Record(_) if !self.is_counted => match self.turn(now) {
                    Ok(()) => {
                        self.is_counted = true;
                        continue;
                    }
                    Err(delay) => return self.trouble(delay, now),
                },
                Stage::Record(addition) => {
                    let addition = Arc::clone(addition);
                    self.stage = Stage::Adding(Arc::clone(&addition));
                    return Step::Add(addition);
                }
                Stage::Adding(_) => return Step::Adding,
            };
            self.again = AGAIN_FIRST;
        }
    }

    /// What became of its record, after [`Step::Add`].
    pub(crate) fn added(&mut self, outcome: Outcome, now: Now) -> Step {
        if let Some(text) = outcome.warning {
            self.log.line(Level::Warning, &text);
        }
        match outcome.place {
            Ok(place) => {
                let id = self.destination.event_id(place);
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

    fn addition(&self, record: Record) -> Arc<Addition> {
        let settings = &self.location.settings;
        let answers = self.location.recipients == Some(Recipients::Session);
        Arc::new(Addition {
            target: Arc::clone(&self.destination.target),
            record,
            options: AppendOptions::of(settings, self.location.publishing.durability),
            command: answers.then(|| AnswerCommand::of(settings)).flatten(),
        })
    }

    fn turn(&self, now: Now) -> Result<(), Delay> {
        let client = self.post.client();
        let turns = self.destination.turns();
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
            // Swept since it was found.
            Delay::Failed(AppendError::NotFound) if self.destination.session.is_some() => {
                PublishError::NoSession
            }
            Delay::Failed(trouble) => PublishError::of(&self.destination.target, trouble),
            Delay::TooOften(wait) => PublishError::TooOften(wait),
        };
        refused.log(&self.log);
        Step::Reply(refused.reply(self.post.replies()))
    }
}

/// Why it is not its turn.
enum Delay {
    Failed(AppendError),
    TooOften(Duration),
}
