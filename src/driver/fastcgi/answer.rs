//! From a request's parameters to a stream, or to the answer that there is none.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use super::super::beneath;
use super::super::clock;
use super::super::log::{Level, Log};
use super::super::open::{Answered, open};
use super::peer::{Phase, RequestLog};
use super::responder::{Responder, peer};
use super::timers::Whom;
use crate::event::{Batch, Unavailable};
use crate::gateway::{Framing, fastcgi};
use crate::request::WRONG_SETTING;
use crate::request::{
    Answer, Asked, Figures, Head, Label, Lifetime, MetaVariables, Method, Notice, Request,
    SettingError, Settings, Status, StatusAnswer, decide, decide_status, path_below,
};
use crate::source::{Now, Stream, WayUp, World};
use crate::stream::{self, Delivery, Seat, Spot, Subscription, Terms};

/// What a location serves.
enum Service {
    Stream(&'static Stream),
    Publish,
    Status,
}

/// Whether `SSE_COMMAND` has a meaning for a stream.
fn runs_commands(stream: &Stream) -> bool {
    stream.settings.contains(&"SSE_COMMAND") || WayUp::of(stream) == Some(WayUp::Session)
}

/// Whether a request may name this path.
pub(super) fn permit_path(name: &str, path: &Path) -> Result<(), SettingError> {
    beneath::check(path)
        .map_err(|problem| SettingError::new(name, path.as_os_str().as_encoded_bytes(), problem))
}

/// The body of a stream that has nothing now and asks to be opened again.
fn come_again(terms: Terms, reason: Unavailable) -> Vec<u8> {
    let mut batch = Batch::new();
    batch.retry(terms.retry_ms);
    batch.unavailable(reason);
    batch.as_bytes().to_vec()
}

impl Responder {
    /// A request has come.
    pub(super) fn begin(&mut self, whom: Whom, params: MetaVariables, now: Now) {
        self.requests += 1;
        let number = self.requests;
        let Some(peer) = self.peer(whom) else { return };
        peer.phase = Phase::Serving;
        peer.request = RequestLog {
            number,
            label: Label::of(&params),
            ..RequestLog::default()
        };
        let meta = params.over(&self.defaults);
        let (settings, notices) = match Settings::parse(&meta, Lifetime::Unlimited) {
            Ok(parsed) => parsed,
            Err(error) => return self.refuse_setting(whom, &error, now),
        };
        for notice in self.new_notices(notices) {
            self.say(whom, Level::Warning, &notice.to_string());
        }
        let service = match self.service(&meta) {
            Ok(Some(service)) => service,
            Ok(None) => {
                let text = "SSE_STREAM: not set, and the path names no stream; set it for this \
                            location, to tail for example";
                self.say(whom, Level::Error, text);
                return self.answer(whom, &Head::new(Status::NotFound), b"", now);
            }
            Err(error) => return self.refuse_setting(whom, &error, now),
        };
        if let Err(error) = self.permit(&service, &settings) {
            return self.refuse_setting(whom, &error, now);
        }
        let mut request = Request::from_meta(&meta);
        request.path_info = path_below(&meta);
        match service {
            Service::Publish => self.begin_post(whom, None, &meta, &request, settings, now),
            Service::Status => self.answer_status(whom, &request, &settings, now),
            Service::Stream(stream)
                if request.method == Method::Post && WayUp::of(stream).is_some() =>
            {
                let way = WayUp::of(stream);
                self.begin_post(whom, way, &meta, &request, settings, now);
            }
            Service::Stream(stream) => self.open(whom, stream, &request, &settings, now),
        }
    }

    /// Those that are about the request, and not about the process, of which the first
    /// lines of the log have them.
    pub(super) fn new_notices(&self, mut notices: Vec<Notice>) -> Vec<Notice> {
        notices.retain(|notice| !self.notices.contains(notice));
        notices
    }

    fn service(&self, meta: &MetaVariables) -> Result<Option<Service>, SettingError> {
        // A program with one stream of its own serves that everywhere.
        if let [only] = self.streams {
            return Ok(Some(Service::Stream(only)));
        }
        let find = |name: &str| {
            match name {
                "status" => return Some(Service::Status),
                "publish" => return Some(Service::Publish),
                _ => {}
            }
            let found = self.streams.iter().find(|stream| stream.name == name);
            found.map(|stream| Service::Stream(stream))
        };
        match Asked::of(meta) {
            // Who may see the figures, web servers decide by the path: no other path leads to
            // them than the one whose location says so.
            Asked::Named(name) if name == "status" => Ok(None),
            Asked::Named(name) => Ok(find(&name)),
            Asked::Set(name) => find(&name).map(Some).ok_or_else(|| {
                let names: Vec<&str> = self.streams.iter().map(|stream| stream.name).collect();
                let remedy = format!(
                    "no such stream; write {}, publish or status",
                    names.join(", ")
                );
                SettingError::new("SSE_STREAM", name.as_bytes(), remedy)
            }),
        }
    }

    /// Whether a request may name what its settings name: whoever can connect to our socket
    /// chooses them.
    fn permit(&self, service: &Service, settings: &Settings) -> Result<(), SettingError> {
        let paths = [
            ("SSE_FILE", &settings.file),
            ("SSE_ROOT", &settings.root),
            ("SSE_SPOOL", &settings.spool),
        ];
        for (name, path) in paths {
            if let Some(path) = path {
                permit_path(name, path)?;
            }
        }
        match service {
            Service::Stream(stream) if runs_commands(stream) => {
                self.commands.permit(&settings.command)
            }
            _ => Ok(()),
        }
    }

    fn open(
        &mut self,
        whom: Whom,
        stream: &'static Stream,
        request: &Request,
        settings: &Settings,
        now: Now,
    ) {
        // Before anything is opened or started for it.
        let is_full = self.subscribers >= self.subscribers_max || self.is_draining();
        if is_full && let Answer::Stream(head) = decide(request, settings) {
            return self.turn_away(whom, &head, request, settings, now);
        }
        let opening = crate::source::Opening {
            settings,
            request,
            now,
            world: &self.world,
            live: None,
        };
        let key = stream.shared.map(|key| key(&opening));
        let key: Option<Rc<[u8]>> = key
            .filter(|key| !key.is_empty())
            .map(|key| [stream.name.as_bytes(), b"\0", &key].concat().into());
        // Where somebody follows the file already, whoever catches up needs no hints.
        // (Not who limits the size of its stream: it reads by itself to the end.)
        let is_alone = request.query.size_limit_bytes.is_some();
        let is_watched = is_alone || !key.as_ref().is_some_and(|key| self.hub.has(key));
        let live = key.as_ref().and_then(|key| self.hub.place(key));
        self.machine.set_watching(is_watched);
        self.machine.programs.set_limit(settings.commands_max);
        let world = self.world_for(whom);
        let answered = open(
            stream,
            request,
            settings,
            Delivery::Immediate,
            now,
            &world,
            live.as_deref(),
        );
        self.machine.set_watching(true);
        let hints = self.machine.take_hints();
        let (head, source, gap, terms) = match answered {
            Answered::End(head) => return self.answer(whom, &head, b"", now),
            Answered::Mistaken(error) => return self.refuse_setting(whom, &error, now),
            Answered::Later {
                head,
                terms,
                reason,
                trouble,
            } => {
                self.say(whom, Level::Warning, &trouble);
                return self.answer(whom, &head, &come_again(terms, reason), now);
            }
            Answered::HeadLater { head, trouble } => {
                self.say(whom, Level::Warning, &trouble);
                return self.answer(whom, &head, b"", now);
            }
            Answered::Stream {
                head,
                source,
                gap,
                terms,
            } => (head, source, gap, terms),
        };
        let subscription = Subscription::new(source, gap, terms, now);
        // Only who shares a stream may have to read it by itself again.
        let share = key.map(|key| (key, Rc::new(Spot::new(stream, settings, request))));
        let head = Framing::Parsed.write(&head, &clock::http_date());
        let Some(peer) = self.peer(whom) else { return };
        if let Some(hints) = &hints {
            hints.belong_to(whom);
        }
        peer.hints = hints;
        peer.is_watched = is_watched;
        peer.tries = 0;
        peer.send_timeout = settings.send_timeout;
        peer.request.stream = stream.name;
        peer.seat = Some(Box::new(Seat::new(share, subscription, &head, now)));
        self.subscribers += 1;
        self.serve(whom, now);
    }

    /// There is no place for one more: it is asked to come again.
    fn turn_away(
        &mut self,
        whom: Whom,
        head: &Head,
        request: &Request,
        settings: &Settings,
        now: Now,
    ) {
        if !self.is_draining() {
            let limit = self.subscribers_max;
            let text = format!(
                "{limit} subscribers are served already; others are asked to come again; \
                 see SSE_MAX_SUBSCRIBERS and LimitNOFILE"
            );
            self.log.rate_limited(Level::Warning, "full house", &text);
        }
        let terms = Terms::new(request, settings, Delivery::Immediate, fastrand::f64());
        let reason = if self.is_draining() {
            Unavailable::Restarting
        } else {
            Unavailable::Full
        };
        self.answer(whom, head, &come_again(terms, reason), now);
    }

    fn answer_status(&mut self, whom: Whom, request: &Request, settings: &Settings, now: Now) {
        match decide_status(request, settings) {
            StatusAnswer::HeadOnly(head) => self.answer(whom, &head, b"", now),
            StatusAnswer::Page(head, figures) => {
                let status = self.status(now);
                let body = match figures {
                    Figures::Json => status.to_json(),
                    Figures::Prometheus => status.to_prometheus(),
                };
                self.answer(whom, &head, body.as_bytes(), now);
            }
        }
    }

    fn status(&self, now: Now) -> stream::Status {
        let mut status = stream::Status {
            events: self.counters.events,
            bytes: self.counters.bytes,
            dropped: self.counters.dropped,
            accept_errors: self.counters.accept_errors,
            uptime_seconds: (now.monotonic - self.started.monotonic).as_secs(),
            ..stream::Status::default()
        };
        let names = self.streams.iter().map(|stream| stream.name);
        status.subscribers = names.map(|name| (name, 0)).collect::<BTreeMap<_, _>>();
        for (_, peer) in &self.peers {
            let Some(seat) = &peer.seat else { continue };
            *status.subscribers.entry(peer.request.stream).or_default() += 1;
            status.catching_up += u64::from(seat.is_catching_up());
            status.events += peer.request.events;
            status.bytes += peer.request.bytes;
            let age = now.monotonic.saturating_sub(seat.opened_at());
            status.oldest_seconds = status.oldest_seconds.max(age.as_secs());
        }
        status
    }

    /// A whole answer.
    pub(super) fn answer(&mut self, whom: Whom, head: &Head, body: &[u8], now: Now) {
        let mut bytes = Framing::Parsed.write(head, &clock::http_date());
        bytes.extend_from_slice(body);
        if let Some(peer) = peer(&mut self.peers, whom) {
            peer.push_stdout(&bytes);
        }
        self.end(whom, "answered", now);
    }

    /// The client learns that something is wrong, and the log what.
    fn refuse_setting(&mut self, whom: Whom, error: &SettingError, now: Now) {
        self.say(whom, Level::Error, &error.to_string());
        let body = match self.label(whom).method() {
            "HEAD" => "",
            _ => WRONG_SETTING,
        };
        self.answer(whom, &Head::wrong_setting(), body.as_bytes(), now);
    }

    /// Writes a line that names the request, to our log and to the web server's.
    pub(super) fn say(&mut self, whom: Whom, level: Level, text: &str) {
        let log = self.log_for(whom);
        log.line(level, text);
        self.pass_on(whom, &log.take_copies());
    }

    /// The log of a peer's request.
    pub(super) fn log_for(&mut self, whom: Whom) -> Log {
        let label = self.label(whom);
        self.log.for_web_server(&label)
    }

    /// The world as a peer's source sees it.
    pub(super) fn world_for(&mut self, whom: Whom) -> Rc<dyn World> {
        let label = self.label(whom);
        self.machine.for_request(&label)
    }

    fn label(&mut self, whom: Whom) -> Label {
        let peer = self.peer(whom);
        peer.map(|peer| peer.request.label.clone())
            .unwrap_or_default()
    }

    /// Lines for the web server's log.
    pub(super) fn pass_on(&mut self, whom: Whom, lines: &[String]) {
        let Some(peer) = peer(&mut self.peers, whom) else {
            return;
        };
        let id = peer.connection.request_id();
        let id = id.unwrap_or(super::peer::SHARED_ID);
        for line in lines {
            let mut records = Vec::new();
            fastcgi::stderr(id, format!("sse-cgi: {line}\n").as_bytes(), &mut records);
            peer.push(&records);
        }
    }
}
