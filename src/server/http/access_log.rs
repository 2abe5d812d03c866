//! The access log: a line for each response over HTTP.

use std::io;
use std::time::Duration;

use crate::gateway::http::{AccessFormat, AccessRequest, AccessResponse, AccessStream, ReceivedAt};
use crate::request::MetaVariables;
use crate::server::connection::{Connection, Report};
use crate::server::event_loop::Server;
use crate::server::options::AccessLogOption;
use crate::server::token::{ConnectionId, Token};
use crate::source::Now;
use crate::system::clock;
use crate::system::log::lines::{LineFile, LineTarget};
use crate::system::log::{Level, Log};

/// How long the end of a process waits for the last lines to be written.
const PATIENCE: Duration = Duration::from_secs(1);

/// How soon after a line it is checked whether it could be written.
const CHECK_AFTER: Duration = Duration::from_secs(1);

/// How often the log says what could not be written.
const TELL_EVERY: Duration = Duration::from_secs(60);

fn name_of(option: &AccessLogOption) -> String {
    match &option.target {
        LineTarget::Stdout => "--access-log -".to_owned(),
        LineTarget::File(path) => format!("--access-log {}", path.display()),
    }
}

fn unopened(option: &AccessLogOption, error: &io::Error) -> io::Error {
    let name = name_of(option);
    let text = format!("{name}: {error}; name a file that this user can append to");
    io::Error::new(error.kind(), text)
}

/// The access log of a process.
pub(in crate::server) struct AccessLog {
    lines: LineFile,
    format: AccessFormat,
    /// Its name in messages.
    name: String,
    /// The deadline of a check has been set.
    awaits_check: bool,
    told_at: Option<Duration>,
    /// What has not been told yet.
    error: Option<String>,
    lost: u64,
}

impl AccessLog {
    /// Opens it. Signals are blocked already, for its thread.
    ///
    /// # Errors
    /// A line with the problem and the remedy.
    pub(in crate::server) fn open(option: &AccessLogOption) -> io::Result<Self> {
        let name = name_of(option);
        let lines = LineFile::open(option.target.clone());
        let lines = lines.map_err(|error| unopened(option, &error))?;
        Ok(Self {
            lines,
            format: option.format,
            name,
            awaits_check: false,
            told_at: None,
            error: None,
            lost: 0,
        })
    }

    /// Whether it can be opened.
    ///
    /// # Errors
    /// As of [`AccessLog::open`].
    pub(in crate::server) fn check(option: &AccessLogOption) -> io::Result<()> {
        (option.target.check()).map_err(|error| unopened(option, &error))
    }

    /// Opens its file anew.
    pub(in crate::server) fn reopen(&self) {
        self.lines.reopen();
    }

    fn is_in_trouble(&self) -> bool {
        self.error.is_some() || self.lost > 0
    }

    /// What went wrong, once a minute at most; at the end of the process in any case.
    fn trouble(&mut self, now: Option<Now>) -> Option<String> {
        if let Some(trouble) = self.lines.take_trouble() {
            self.error = trouble.error.or(self.error.take());
            self.lost += trouble.lost;
        }
        if !self.is_in_trouble() {
            return None;
        }
        if let Some(now) = now {
            let is_soon = |told: Duration| now.monotonic < told + TELL_EVERY;
            if self.told_at.is_some_and(is_soon) {
                return None;
            }
            self.told_at = Some(now.monotonic);
        }
        let lost = std::mem::take(&mut self.lost);
        let name = &self.name;
        Some(match self.error.take() {
            Some(error) => {
                format!("{name}: {error}; lines lost so far: {lost}; free space, or read it")
            }
            None => format!(
                "{name}: written too slowly; lines lost: {lost}; use a faster disk or reader"
            ),
        })
    }
}

impl Server {
    /// A request over HTTP has been received: the access log gets it, once it has a response.
    pub(in crate::server) fn note_access(
        &mut self,
        id: ConnectionId,
        meta: &MetaVariables,
        now: Now,
    ) {
        let Some(access_log) = &self.access_log else {
            return;
        };
        let request = AccessRequest::of(access_log.format, meta, received_at(now));
        if let Some(connection) = self.connections.get_mut(id) {
            connection.set_access(request, now);
        }
    }

    /// The same for a request that was rejected. (Part of one that is served may be rejected.)
    pub(in crate::server) fn note_rejected(&mut self, id: ConnectionId, now: Now) {
        let (Some(access_log), Some(connection)) = (&self.access_log, self.connections.get_mut(id))
        else {
            return;
        };
        if let Some((client, line)) = connection.rejected().filter(|_| !connection.has_access()) {
            let at = received_at(now);
            let request = AccessRequest::rejected(access_log.format, &client, line, at);
            connection.set_access(request, now);
        }
    }

    /// All of a response that will be sent has been sent.
    pub(in crate::server) fn log_response(
        &mut self,
        id: ConnectionId,
        report: Option<&Report>,
        now: Now,
    ) {
        let Some(access_log) = &mut self.access_log else {
            return;
        };
        if let Some(connection) = self.connections.get_mut(id) {
            access_log.write(connection, report, now);
        }
        if !std::mem::replace(&mut access_log.awaits_check, true) {
            let at = now.monotonic + CHECK_AFTER;
            self.schedule.set(at, Token::Upkeep);
        }
    }

    /// Says what could not be written to the access log.
    pub(in crate::server) fn check_access_log(&mut self, now: Now) {
        if let Some(access_log) = &mut self.access_log {
            if let Some(text) = access_log.trouble(Some(now)) {
                self.log.line(Level::Error, &text);
            }
            // What has not been told yet is told later, also if no further line comes.
            let later = access_log.told_at.filter(|_| access_log.is_in_trouble());
            access_log.awaits_check = later.is_some();
            if let Some(told_at) = later {
                self.schedule.set(told_at + TELL_EVERY, Token::Upkeep);
            }
        }
    }

    /// Writes the lines of what ends with the process.
    pub(in crate::server) fn close_access_log(&mut self, now: Now) {
        let Some(mut access_log) = self.access_log.take() else {
            return;
        };
        let all: Vec<ConnectionId> = self.connections.iter().map(|(id, _)| id).collect();
        for id in all {
            if let Some(connection) = self.connections.get_mut(id) {
                let age = connection.subscriber().map(|s| s.opened_at());
                let report = age.map(|opened| Report {
                    reason: "ended with the process",
                    age: now.monotonic.saturating_sub(opened),
                });
                access_log.write(connection, report.as_ref(), now);
            }
        }
        close(&mut access_log, &self.log);
    }
}

fn close(access_log: &mut AccessLog, log: &Log) {
    access_log.lines.close(PATIENCE);
    if let Some(text) = access_log.trouble(None) {
        log.line(Level::Error, &text);
    }
}

impl AccessLog {
    fn write(&self, connection: &mut Connection, report: Option<&Report>, now: Now) {
        let Some(access) = connection.take_access() else {
            return;
        };
        let request = &connection.request;
        let stream = report.map(|report| AccessStream {
            name: request.stream,
            events: request.events,
            reason: report.reason,
        });
        let response = AccessResponse {
            status: access.status.map_or(0, |status| status.code()),
            body_bytes: request.bytes.saturating_sub(access.head_bytes),
            took: now.monotonic.saturating_sub(access.began),
            stream,
        };
        self.lines.push(&access.request.line(&response));
    }
}

fn received_at(now: Now) -> ReceivedAt {
    ReceivedAt {
        unix_ms: now.unix_ms,
        offset_seconds: clock::utc_offset_seconds(now.unix_ms),
    }
}
