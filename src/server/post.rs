//! Serves POST: publishing.

use std::os::fd::BorrowedFd;
use std::rc::Rc;

use nix::sys::epoll::EpollFlags;

use super::connection::{Action, State};
use super::event_loop::Server;
use super::request::permit_path;
use super::token::{ConnectionId, Token};
use crate::publish::{PostFields, Replies, Reply};
use crate::request::{MetaVariables, Publishing, Request, SettingError, Settings};
use crate::source::{Now, Recipients};
use crate::store::post::{PostHandler, Step};
use crate::store::publish_location::{Engines, PublishLocation};
use crate::store::publish_queue::Outcome;
use crate::system::log::Level;

impl Server {
    /// Begins to serve a POST. `recipients` are those of a POST to a stream's own address.
    pub(super) fn begin_post(
        &mut self,
        id: ConnectionId,
        recipients: Option<Recipients>,
        meta: &MetaVariables,
        request: &Request,
        settings: Settings,
        now: Now,
    ) -> Action {
        let publishing = match Publishing::parse(meta) {
            Ok((publishing, notices)) => {
                for notice in self.new_notices(notices) {
                    self.say(id, Level::Warning, &notice.to_string());
                }
                publishing
            }
            Err(error) => return self.refuse_post(id, request, &error),
        };
        if let Some(path) = &publishing.token_file {
            if let Err(error) = permit_path("SSE_PUBLISH_TOKEN_FILE", path) {
                return self.refuse_post(id, request, &error);
            }
        }
        let location = Rc::new(PublishLocation {
            settings,
            publishing,
            recipients,
            engines: Engines::Offered(self.host.clone()),
            owner: Token::Change(id).to_u64(),
        });
        let post = PostFields::from_meta(meta);
        let log = Rc::new(self.log_for(id));
        let begun = PostHandler::begin(&location, request, &post, now, &log);
        self.pass_on(id, &log.take_copies());
        match begun {
            Err(reply) => self.reply(id, &reply),
            Ok(handler) => {
                if let Some(connection) = self.connections.get_mut(id) {
                    connection.state = State::Receiving(Box::new(handler));
                }
                self.proceed_with_post(id, now)
            }
        }
    }

    /// A setting is wrong: the client gets a 500 in JSON, and the log the reason.
    pub(super) fn refuse_post(
        &mut self,
        id: ConnectionId,
        request: &Request,
        error: &SettingError,
    ) -> Action {
        self.say(id, Level::Error, &error.to_string());
        let reply = Replies::without_settings(request).misconfigured();
        self.reply(id, &reply)
    }

    /// A part of a body, or its end, has been received.
    pub(super) fn take_body(&mut self, id: ConnectionId, bytes: Option<&[u8]>, now: Now) -> Action {
        let Some(connection) = self.connections.get_mut(id) else {
            return Action::Wait;
        };
        let State::Receiving(handler) = &mut connection.state else {
            // A request for a stream has no body that matters.
            return Action::Wait;
        };
        match bytes {
            Some(bytes) => handler.take(bytes),
            None => handler.end(),
        }
        self.proceed_with_post(id, now)
    }

    /// Advances a POST as far as possible now.
    pub(super) fn proceed_with_post(&mut self, id: ConnectionId, now: Now) -> Action {
        match self.post_handler(id).map(|handler| handler.at(now)) {
            Some(step) => self.take_step(id, step, now),
            None => Action::Wait,
        }
    }

    fn post_handler(&mut self, id: ConnectionId) -> Option<&mut PostHandler> {
        match &mut self.connections.get_mut(id)?.state {
            State::Receiving(handler) => Some(handler),
            _ => None,
        }
    }

    fn take_step(&mut self, id: ConnectionId, step: Step, now: Now) -> Action {
        match step {
            Step::Bytes { until } | Step::Answer { until } => self.wake_at(id, until),
            Step::Again { at } => self.wake_at(id, at),
            Step::Adding => {}
            Step::Add(addition) => {
                let poller = &self.poller;
                let register = |results: BorrowedFd<'_>| {
                    Ok(poller.add(results, EpollFlags::EPOLLIN, Token::Added)?)
                };
                let added = self.publish_queue.add(id.to_u64(), &addition, register);
                if let Some(outcome) = added {
                    return self.on_added(id, outcome, now);
                }
            }
            Step::Reply(reply) => {
                let lines = self
                    .post_handler(id)
                    .map(|handler| handler.log().take_copies());
                self.pass_on(id, &lines.unwrap_or_default());
                return self.reply(id, &reply);
            }
        }
        Action::Wait
    }

    fn on_added(&mut self, id: ConnectionId, outcome: Outcome, now: Now) -> Action {
        match self
            .post_handler(id)
            .map(|handler| handler.added(outcome, now))
        {
            Some(step) => self.take_step(id, step, now),
            // The client has disconnected.
            None => Action::Wait,
        }
    }

    /// Workers have appended records to files: responds to their POSTs.
    pub(super) fn take_results(&mut self, now: Now) {
        for (number, outcome) in self.publish_queue.results() {
            let id = ConnectionId::from_u64(number);
            let action = self.on_added(id, outcome, now);
            self.perform(id, action, now);
        }
    }

    pub(super) fn reply(&mut self, id: ConnectionId, reply: &Reply) -> Action {
        self.respond(id, &reply.head, &reply.body)
    }
}
