//! From a request to a stream, or to the response that refuses it.

mod permits;

use std::rc::Rc;

use super::configuration::{Resolved, unknown_stream};
use super::connection::{Action, Connection, RequestLog, State};
use super::event_loop::Server;
use super::http::{Routed, Site, no_such_stream};
use super::token::{ConnectionId, Token};
use crate::event::{Batch, Unavailable};
use crate::publish::Replies;
use crate::request::{
    Decision, Head, Label, Lifetime, MetaVariables, Method, Notice, Purpose, Request,
    RequestedStream, SettingError, Settings, Status, StatusAnswer, StatusFormat, WRONG_SETTING,
    carries_secret, decide, decide_status, misplaced, path_below, refuse_access,
};
use crate::source::{Now, Recipients, Stream, several};
use crate::store::key_file::AccessError;
use crate::store::key_file::selecting::{Asker, select};

use crate::stream::open::{Answered, open};
use crate::stream::{Delivery, ReopenParams, StreamParams, Subscriber, Subscription, Watching};
use crate::system::clock;
use crate::system::log::{Level, Log};
pub(super) use permits::permit_path;
use permits::{permit_files, permit_selection};

/// The service of a location.
enum Service {
    Stream(&'static Stream),
    Publish,
    Status,
}

/// Whether a stream uses `SSE_COMMAND`.
fn runs_commands(stream: &Stream) -> bool {
    stream.reads("SSE_COMMAND")
}

/// Whether a request for a path below that of its section names nothing: the stream is at one
/// path only, unless it takes the name of a file below `SSE_ROOT`, or of a key after
/// `SSE_STREAM_KEY_PREFIX`.
fn names_nothing(meta: &MetaVariables) -> bool {
    let is_at_root = meta.get("SCRIPT_NAME").last().is_none();
    let below = meta.get("PATH_INFO").last().unwrap_or_default();
    let is_own = below.is_empty() || (is_at_root && below == b"/");
    let takes_name = |setting| meta.get(setting).last().is_some();
    !is_own && !takes_name("SSE_ROOT") && !takes_name("SSE_STREAM_KEY_PREFIX")
}

/// Whether a connection of a stream brings several.
fn brings_several(stream: &Stream) -> bool {
    stream.name == several::STREAM.name
}

/// The body of a stream that has nothing now and asks the client to reconnect.
fn come_again(params: StreamParams, reason: Unavailable) -> Vec<u8> {
    let mut batch = Batch::new();
    batch.come_again(reason, params.retry_ms.into());
    batch.as_bytes().to_vec()
}

impl Server {
    /// Begins to serve a request.
    pub(super) fn begin(&mut self, id: ConnectionId, params: MetaVariables, now: Now) -> Action {
        self.counters.requests += 1;
        let number = self.counters.requests;
        let Some(connection) = self.connections.get_mut(id) else {
            return Action::Wait;
        };
        connection.request = RequestLog {
            number,
            label: Label::of(&params),
            has_secret: carries_secret(&params),
            ..RequestLog::default()
        };
        let params = match self.site.clone() {
            None => params,
            Some(site) => match self.route(id, &site, params, now) {
                Ok(params) => params,
                Err(action) => return action,
            },
        };
        let misplaced = misplaced(&params, self.configuration.process());
        let Resolved {
            meta,
            is_unlisted,
            has_section,
        } = self.configuration.resolve(params);
        if let Some(connection) = self.connections.get_mut(id) {
            connection.request.label = Label::of(&meta);
        }
        let (settings, notices) = match Settings::parse(&meta, Lifetime::Unlimited) {
            Ok(parsed) => parsed,
            Err(error) => return self.refuse_setting(id, &error),
        };
        for notice in misplaced.into_iter().chain(self.new_notices(notices)) {
            self.say(id, Level::Warning, &notice.to_string());
        }
        let service = match self.service(&meta, &settings) {
            Ok(Some(service)) if !is_unlisted || !settings.streams.is_empty() => service,
            Ok(_) => {
                let text = match is_unlisted {
                    true => {
                        "no section of the settings file is for this path; add one, or set \
                             SSE_STREAM for this location"
                    }
                    false => {
                        "SSE_STREAM: not set, and the path names no stream; set it for \
                              this location, to tail for example"
                    }
                };
                // Clients can invent paths.
                let log = self.log_for(id);
                log.rate_limited(Level::Error, "no stream", text);
                self.pass_on(id, &log.take_copies());
                return self.respond(id, &Head::new(Status::NotFound), b"");
            }
            Err(error) => return self.refuse_setting(id, &error),
        };
        if let Err(error) = self.permit(&service, &settings) {
            return self.refuse_setting(id, &error);
        }
        let mut request = Request::from_meta(&meta);
        request.path_info = path_below(&meta);
        let publishes = match &service {
            Service::Publish => true,
            Service::Stream(stream) => {
                request.method == Method::Post && Recipients::of(stream).is_some()
            }
            Service::Status => false,
        };
        let purpose = match publishes {
            true => Purpose::Publish,
            false => Purpose::Read,
        };
        // This precedes everything that tells whether the stream exists. A preflight cannot
        // bring a link's cookie or token.
        if matches!(&service, Service::Stream(stream) if brings_several(stream)) {
            let named = |name: &str| self.configuration.named(name);
            let asker = match has_section {
                true => Asker::ClientAtLocation,
                false => Asker::Client,
            };
            let selected = select(
                &self.key_files,
                &meta,
                &settings,
                &mut request,
                named,
                asker,
                now,
            );
            if let Err(error) = selected {
                return self.refuse_access(id, &request, &settings, purpose, error);
            }
            if let Some(Err(error)) = request.selection.as_deref().map(permit_selection) {
                return self.refuse_setting(id, &error);
            }
        } else if request.method != Method::Options {
            match self.key_files.admit(&meta, &settings.access, purpose, now) {
                Ok(admission) => request.admission = admission,
                Err(error) => return self.refuse_access(id, &request, &settings, purpose, error),
            }
        }
        // Behind a web server, that decides which paths lead here.
        let is_section_s = has_section || self.configuration.path().is_none();
        if self.site.is_some() && is_section_s && names_nothing(&meta) {
            let (head, body) = no_such_stream();
            return self.respond(id, &head, &body);
        }
        match service {
            Service::Publish => self.begin_post(id, None, &meta, &request, settings, now),
            Service::Status => self.respond_status(id, &request, &settings, now),
            Service::Stream(stream)
                if request.method == Method::Post && Recipients::of(stream).is_some() =>
            {
                let recipients = Recipients::of(stream);
                self.begin_post(id, recipients, &meta, &request, settings, now)
            }
            Service::Stream(stream) => self.open(id, stream, &request, &settings, now),
        }
    }

    /// A client has no access, or that cannot be decided.
    fn refuse_access(
        &mut self,
        id: ConnectionId,
        request: &Request,
        settings: &Settings,
        purpose: Purpose,
        error: AccessError,
    ) -> Action {
        match (error, purpose) {
            (AccessError::Refused(refusal), _) => {
                // Clients can invent paths.
                let log = self.log_for(id);
                let text = refusal.as_str();
                log.rate_limited(Level::Warning, text, text);
                self.pass_on(id, &log.take_copies());
                match purpose {
                    Purpose::Publish => self.reply(id, &Replies::to(request, settings).forbidden()),
                    Purpose::Read => self.respond(id, &refuse_access(request, settings), b""),
                }
            }
            (AccessError::Setting(error), Purpose::Publish) => {
                self.refuse_post(id, request, &error)
            }
            (AccessError::Setting(error), Purpose::Read) => self.refuse_setting(id, &error),
            (AccessError::Temporary(text), Purpose::Publish) => {
                self.say(id, Level::Warning, &text);
                self.reply(id, &Replies::to(request, settings).unavailable())
            }
            (AccessError::Temporary(text), Purpose::Read) => {
                self.say(id, Level::Warning, &text);
                match decide(request, settings) {
                    Decision::Stream(head) => {
                        let jitter = fastrand::f64();
                        let params =
                            StreamParams::new(request, settings, Delivery::Immediate, jitter);
                        self.respond(id, &head, &come_again(params, Unavailable::Restarting))
                    }
                    _ => self.respond(id, &Head::new(Status::ServiceUnavailable), b""),
                }
            }
        }
    }

    /// Finds where a request over HTTP leads; an error is the action after its response.
    fn route(
        &mut self,
        id: ConnectionId,
        site: &Site,
        mut params: MetaVariables,
        now: Now,
    ) -> Result<MetaVariables, Action> {
        let refused = site.receive(&mut params);
        self.note_access(id, &params, now);
        let routed = match refused {
            Some((head, body)) => Routed::Response(head, body),
            None => site.route(params),
        };
        match routed {
            Routed::Section(params) => Ok(params),
            Routed::Response(head, body) => Err(self.respond(id, &head, &body)),
        }
    }

    /// The notices about the request only: those about the process's settings are at the
    /// beginning of the log.
    pub(super) fn new_notices(&self, mut notices: Vec<Notice>) -> Vec<Notice> {
        notices.retain(|notice| !self.configuration.notices().contains(notice));
        notices
    }

    fn service(
        &self,
        meta: &MetaVariables,
        settings: &Settings,
    ) -> Result<Option<Service>, SettingError> {
        // A program with one stream of its own serves it everywhere.
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
        if !settings.streams.is_empty() {
            self.configuration.check_streams(&settings.streams)?;
            return Ok(find(several::STREAM.name));
        }
        match RequestedStream::of(meta) {
            // Web servers restrict access to the figures by path, so only a location whose
            // settings name them serves them.
            RequestedStream::Named(name) if name == "status" => Ok(None),
            RequestedStream::Named(name) => Ok(find(&name)),
            RequestedStream::Set(name) => {
                let unknown = || unknown_stream(&name, self.streams);
                find(&name).map(Some).ok_or_else(unknown)
            }
        }
    }

    /// Whether a request may use what its settings name: every client of the socket determines
    /// the settings of its requests.
    fn permit(&self, service: &Service, settings: &Settings) -> Result<(), SettingError> {
        permit_files(settings)?;
        match service {
            Service::Stream(stream) if runs_commands(stream) => {
                self.configuration.commands().permit(&settings.command)
            }
            _ => Ok(()),
        }
    }

    fn open(
        &mut self,
        id: ConnectionId,
        stream: &'static Stream,
        request: &Request,
        settings: &Settings,
        now: Now,
    ) -> Action {
        // This precedes everything that is opened or started for it.
        let has_no_place = self.subscribers >= self.acceptor.subscribers_max
            || !self.may_open_stream(id)
            || !self.take_place();
        if has_no_place || self.shutdown.has_begun() {
            if let Decision::Stream(head) = decide(request, settings) {
                return self.turn_away(id, &head, request, settings);
            }
        }
        let log = Rc::new(self.log_for(id));
        let key: Option<Rc<[u8]>> = stream.share_key(settings, request).map(Rc::from);
        // If a channel watches the file already, a subscriber that catches up need not. (One
        // with a size limit reads by itself to the end.)
        let has_channel = key.as_ref().is_some_and(|key| self.channels.contains(key));
        let watching = if has_channel && request.query.size_limit_bytes.is_none() {
            Watching::ByChannel
        } else {
            Watching::Own
        };
        let live = key.as_ref().and_then(|key| self.channels.position(key));
        self.host.programs.set_limit(settings.commands_max);
        let host = self.host.for_request(&log, watching);
        let opening = crate::source::Opening {
            settings,
            request,
            now,
            host: &host,
            live: live.as_deref(),
        };
        let answered = open(stream, &opening, Delivery::Immediate, fastrand::f64());
        self.pass_on(id, &log.take_last_copies());
        let (head, source, gap, params) = match answered {
            Answered::End(head) => return self.respond(id, &head, b""),
            Answered::Mistaken(error) => return self.refuse_setting(id, &error),
            Answered::Later {
                head,
                params,
                reason,
                trouble,
            } => {
                self.say(id, Level::Warning, &trouble);
                return self.respond(id, &head, &come_again(params, reason));
            }
            Answered::HeadLater { head, trouble } => {
                self.say(id, Level::Warning, &trouble);
                return self.respond(id, &head, b"");
            }
            Answered::Stream {
                head,
                source,
                gap,
                params,
            } => (head, source, gap, params),
        };
        let subscription = Subscription::new(source, gap, params, now);
        // Only a subscriber of a channel may have to read by itself again.
        let share = key.map(|key| {
            let params = ReopenParams::new(stream, settings, request);
            (key, Rc::new(params))
        });
        let Some(connection) = self.connections.get_mut(id) else {
            return Action::Wait;
        };
        let head = connection.stream_head(&head, &clock::http_date());
        let subscriber = Subscriber::new(share, subscription, watching, &head, now);
        let changes = subscriber.changes();
        connection.set_send_timeout(settings.send_timeout);
        connection.request.stream = stream.name;
        connection.state = State::Streaming {
            subscriber: Box::new(subscriber),
            is_waiting: false,
        };
        self.subscribers += 1;
        self.count_stream(stream.name, 1);
        self.route_changes(Token::Change(id), changes.as_ref());
        Action::Serve
    }

    /// The limit of streams is reached: asks the client to reconnect later.
    fn turn_away(
        &mut self,
        id: ConnectionId,
        head: &Head,
        request: &Request,
        settings: &Settings,
    ) -> Action {
        if !self.shutdown.has_begun() {
            let (count, limit) = (self.subscribers, self.acceptor.descriptors.limit);
            let text = format!(
                "{count} subscribers are served already, with {limit} descriptors; others are \
                 asked to come again; see SSE_MAX_SUBSCRIBERS and LimitNOFILE"
            );
            self.log.rate_limited(Level::Warning, "full house", &text);
        }
        let params = StreamParams::new(request, settings, Delivery::Immediate, fastrand::f64());
        let reason = if self.shutdown.has_begun() {
            Unavailable::Restarting
        } else {
            Unavailable::Full
        };
        self.respond(id, head, &come_again(params, reason))
    }

    fn respond_status(
        &mut self,
        id: ConnectionId,
        request: &Request,
        settings: &Settings,
        now: Now,
    ) -> Action {
        match decide_status(request, settings) {
            StatusAnswer::HeadOnly(head) => self.respond(id, &head, b""),
            StatusAnswer::Page(head, figures) => {
                let status = self.status(now);
                let body = match figures {
                    StatusFormat::Json => status.to_json(),
                    StatusFormat::Prometheus => status.to_prometheus(),
                };
                self.respond(id, &head, body.as_bytes())
            }
        }
    }

    /// Sends a complete response.
    pub(super) fn respond(&mut self, id: ConnectionId, head: &Head, body: &[u8]) -> Action {
        let is_draining = self.shutdown.has_begun();
        if let Some(connection) = self.connections.get_mut(id) {
            if is_draining {
                connection.keep_no_longer();
            }
            connection.push_response(head, &clock::http_date(), body);
        }
        Action::Finish("answered")
    }

    /// A setting is wrong: the client gets a 500, and the log the reason.
    fn refuse_setting(&mut self, id: ConnectionId, error: &SettingError) -> Action {
        self.say(id, Level::Error, &error.to_string());
        let body = match self.label(id).method() {
            "HEAD" => "",
            _ => WRONG_SETTING,
        };
        self.respond(id, &Head::wrong_setting(), body.as_bytes())
    }

    /// Logs a line that names the request, in the process's log and the web server's.
    pub(super) fn say(&mut self, id: ConnectionId, level: Level, text: &str) {
        let log = self.log_for(id);
        log.line(level, text);
        self.pass_on(id, &log.take_copies());
    }

    /// The log of a connection's request.
    pub(super) fn log_for(&self, id: ConnectionId) -> Log {
        let label = self.label(id);
        let connection = self.connections.get(id);
        match connection.is_none_or(Connection::takes_log_lines) {
            true => self.log.for_web_server(&label),
            false => self.log.for_request(&label),
        }
    }

    pub(super) fn label(&self, id: ConnectionId) -> Label {
        let connection = self.connections.get(id);
        connection
            .map(|connection| connection.request.label.clone())
            .unwrap_or_default()
    }

    /// Sends lines to the web server's log.
    pub(super) fn pass_on(&mut self, id: ConnectionId, lines: &[String]) {
        if let Some(connection) = self.connections.get_mut(id) {
            for line in lines {
                connection.push_log_line(&format!("sse-cgi: {line}\n"));
            }
        }
    }
}
