//! Publishing by POST.

use std::rc::Rc;

use super::connection::{Action, State};
use super::event_loop::Server;
use super::request::permit_path;
use super::token::ConnectionId;
use crate::publish::{Post, Replies, Reply};
use crate::request::{MetaVariables, Publishing, Request, SettingError, Settings};
use crate::source::{Now, WayUp};
use crate::store::posting::{Posting, Step};
use crate::store::site::PublishLocation;
use crate::system::log::Level;

impl Server {
    /// A request wants to publish; `way` says what a POST to a stream's own address is for.
    pub(super) fn begin_post(
        &mut self,
        id: ConnectionId,
        way: Option<WayUp>,
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
        if let Some(path) = &publishing.token_file
            && let Err(error) = permit_path("SSE_PUBLISH_TOKEN_FILE", path)
        {
            return self.refuse_post(id, request, &error);
        }
        let site = Rc::new(PublishLocation {
            settings,
            publishing,
            way,
        });
        let post = Post::from_meta(meta);
        let log = Rc::new(self.log_for(id));
        let begun = Posting::begin(&site, request, &post, now, &log);
        self.pass_on(id, &log.take_copies());
        match begun {
            Err(reply) => self.reply(id, &reply),
            Ok(posting) => {
                if let Some(connection) = self.connections.get_mut(id) {
                    connection.state = State::Receiving(Box::new(posting));
                }
                self.proceed_with_post(id, now)
            }
        }
    }

    /// A setting is wrong: the client gets a 500 in JSON, and the log the reason.
    fn refuse_post(&mut self, id: ConnectionId, request: &Request, error: &SettingError) -> Action {
        self.say(id, Level::Error, &error.to_string());
        let reply = Replies::without_settings(request).misconfigured();
        self.reply(id, &reply)
    }

    /// A part of a body has been received, or its end.
    pub(super) fn take_body(&mut self, id: ConnectionId, bytes: Option<&[u8]>, now: Now) -> Action {
        let Some(connection) = self.connections.get_mut(id) else {
            return Action::Wait;
        };
        let State::Receiving(posting) = &mut connection.state else {
            // Streams are requested without a body.
            return Action::Wait;
        };
        match bytes {
            Some(bytes) => posting.take(bytes),
            None => posting.end(),
        }
        self.proceed_with_post(id, now)
    }

    /// Takes a POST as far as it goes now.
    pub(super) fn proceed_with_post(&mut self, id: ConnectionId, now: Now) -> Action {
        let Some(connection) = self.connections.get_mut(id) else {
            return Action::Wait;
        };
        let State::Receiving(posting) = &mut connection.state else {
            return Action::Wait;
        };
        match posting.at(now) {
            Step::Bytes { until } => self.wake_at(id, until),
            Step::Again { at } => self.wake_at(id, at),
            Step::Reply(reply) => {
                let lines = posting.log().take_copies();
                self.pass_on(id, &lines);
                return self.reply(id, &reply);
            }
        }
        Action::Wait
    }

    fn reply(&mut self, id: ConnectionId, reply: &Reply) -> Action {
        self.respond(id, &reply.head, &reply.body)
    }
}
