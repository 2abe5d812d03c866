//! POSTs on their way into a file.

use std::rc::Rc;

use super::super::log::Level;
use super::super::posting::{Posting, Step};
use super::super::site::Site;
use super::answer::permit_path;
use super::peer::Phase;
use super::responder::{Responder, peer};
use super::timers::Whom;
use crate::publish::{Post, Replies, Reply};
use crate::request::{MetaVariables, Publishing, Request, SettingError, Settings};
use crate::source::{Now, WayUp};

impl Responder {
    /// A request wants to publish; `way` is what a post to a stream's own address is for.
    pub(super) fn begin_post(
        &mut self,
        whom: Whom,
        way: Option<WayUp>,
        meta: &MetaVariables,
        request: &Request,
        settings: Settings,
        now: Now,
    ) {
        let publishing = match Publishing::parse(meta) {
            Ok((publishing, notices)) => {
                for notice in self.new_notices(notices) {
                    self.say(whom, Level::Warning, &notice.to_string());
                }
                publishing
            }
            Err(error) => return self.refuse_post(whom, request, &error, now),
        };
        if let Some(path) = &publishing.token_file
            && let Err(error) = permit_path("SSE_PUBLISH_TOKEN_FILE", path)
        {
            return self.refuse_post(whom, request, &error, now);
        }
        let site = Rc::new(Site {
            settings,
            publishing,
            way,
        });
        let post = Post::from_meta(meta);
        let log = Rc::new(self.log_for(whom));
        let begun = Posting::begin(&site, request, &post, now, &log);
        self.pass_on(whom, &log.take_copies());
        match begun {
            Err(reply) => self.reply(whom, &reply, now),
            Ok(posting) => {
                let Some(peer) = self.peer(whom) else { return };
                peer.phase = Phase::Receiving;
                peer.posting = Some(Box::new(posting));
                self.go_on_with_post(whom, now);
            }
        }
    }

    /// A setting is wrong: whoever posts is told so in JSON, and the log is told which.
    pub(super) fn refuse_post(
        &mut self,
        whom: Whom,
        request: &Request,
        error: &SettingError,
        now: Now,
    ) {
        self.say(whom, Level::Error, &error.to_string());
        let reply = Replies::without_settings(request).misconfigured();
        self.reply(whom, &reply, now);
    }

    /// A part of a body has come; the end of it if there is none.
    pub(super) fn take_body(&mut self, whom: Whom, bytes: Option<&[u8]>, now: Now) {
        let Some(peer) = self.peer(whom) else { return };
        let Some(posting) = &mut peer.posting else {
            return;
        };
        match bytes {
            Some(bytes) => posting.take(bytes),
            None => posting.end(),
        }
        self.go_on_with_post(whom, now);
    }

    /// Takes a POST as far as it goes.
    pub(super) fn go_on_with_post(&mut self, whom: Whom, now: Now) {
        let Some(peer) = peer(&mut self.peers, whom) else {
            return;
        };
        let Some(posting) = &mut peer.posting else {
            return;
        };
        match posting.at(now) {
            Step::Bytes { until } => self.wake_at(whom, until),
            Step::Again { at } => self.wake_at(whom, at),
            Step::Reply(reply) => {
                let lines = posting.log().take_copies();
                peer.posting = None;
                self.pass_on(whom, &lines);
                self.reply(whom, &reply, now);
            }
        }
    }

    fn reply(&mut self, whom: Whom, reply: &Reply, now: Now) {
        self.answer(whom, &reply.head, &reply.body, now);
    }
}
