//! Signals: the shutdown of the server, and the reload of its settings.

use std::cell::RefCell;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, recv};

use super::configuration::{Configuration, Remarks};
use super::connection::{Action, Connection, State};
use super::event_loop::Server;
use super::notify::Notify;
use super::token::{ConnectionId, Token};
use super::workers::Order;
use crate::request::Settings;
use crate::source::{Now, Stream};
use crate::store::settings_file;
use crate::system::log::{Level, Log};

/// How long the first request of a connection may take to arrive after shutdown has begun. The
/// client has connected a moment ago, so its request is on the way.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// Whether the server is shutting down.
pub(super) struct Shutdown {
    notify: Notify,
    /// How long streams may take to end.
    drain: Duration,
    /// The time by which they must have ended, once shutdown has begun.
    until: Option<Duration>,
    /// The time by which a connection without a request is closed.
    first_request_until: Option<Duration>,
    /// The signal that caused it, and how many streams it ended.
    asked_by: Option<(Signal, usize)>,
}

impl Shutdown {
    pub(super) fn new(notify: Notify, drain: Duration) -> Self {
        Self {
            notify,
            drain,
            until: None,
            first_request_until: None,
            asked_by: None,
        }
    }

    /// Notifies the service manager that requests are served.
    pub(super) fn notify_ready(&self) {
        self.notify.say("READY=1");
    }

    pub(super) fn has_begun(&self) -> bool {
        self.until.is_some()
    }

    /// The time by which a connection without a request is closed, once shutdown has begun.
    pub(super) fn first_request_until(&self) -> Option<Duration> {
        self.first_request_until
    }

    /// Whether the process must exit.
    pub(super) fn is_complete(&self, has_no_connections: bool, now: Now) -> bool {
        self.until
            .is_some_and(|until| has_no_connections || now.monotonic >= until)
    }

    fn begin(&mut self, now: Now) -> Duration {
        self.notify.say("STOPPING=1");
        let until = now.monotonic + self.drain;
        self.until = Some(until);
        self.first_request_until = Some(now.monotonic + self.drain.min(FIRST_REQUEST));
        until
    }
}

/// Reads the settings file again, for workers: its bytes, if it is to be used. The log says what
/// came of it.
pub(super) fn read_for_workers(
    configuration: &RefCell<Configuration>,
    log: &Log,
    streams: &[&'static Stream],
) -> Option<Vec<u8>> {
    let path = configuration.borrow().path()?.to_owned();
    let name = path.display().to_string();
    let bytes = settings_file::read_bytes(&path).map_err(|error| vec![error.to_string()]);
    let read = bytes.and_then(|(_, bytes)| {
        let read = configuration.borrow().with_bytes(&bytes, streams)?;
        Ok((read, bytes))
    });
    match read {
        Ok(((read, remarks), bytes)) => {
            say_read(log, &name, &read, &remarks);
            *configuration.borrow_mut() = read;
            Some(bytes)
        }
        Err(problems) => {
            say_unread(log, &name, &problems);
            None
        }
    }
}

fn say_read(log: &Log, name: &str, read: &Configuration, remarks: &Remarks) {
    for remark in &remarks.0 {
        log.line(Level::Warning, remark);
    }
    let text = format!("{name}: read again; sections: {}", read.sections());
    log.line(Level::Info, &text);
}

fn say_unread(log: &Log, name: &str, problems: &[String]) {
    for problem in problems {
        log.line(Level::Error, problem);
    }
    let text = format!("{name}: not used; the settings from before stay");
    log.line(Level::Error, &text);
}

impl Server {
    /// Writes the first line of a process.
    pub(super) fn log_start(&self) {
        if self.worker.is_some() {
            // The supervisor writes it.
            return;
        }
        let text = format!(
            "sse-cgi {} listens on {}; it serves at most {} subscribers, with {} descriptors",
            env!("CARGO_PKG_VERSION"),
            self.acceptor.address(),
            self.acceptor.subscribers_max,
            self.acceptor.descriptors.limit,
        );
        self.log.line(Level::Info, &text);
    }

    /// Writes the last line of a process.
    pub(super) fn log_end_of_process(&self, now: Now) {
        let Some((signal, streams)) = self.shutdown.asked_by else {
            return;
        };
        let uptime = now.monotonic - self.started.monotonic;
        // Streams that did not end in time end with the process.
        let ended = self.counters.ended + self.subscribers as u64;
        let seconds = uptime.as_secs_f64();
        let text = format!(
            "ended by {signal} after {seconds:.1} s; {ended} streams ended, {streams} of them now"
        );
        self.log.line(Level::Info, &text);
    }

    /// Handles signals; returns whether to exit at once.
    pub(super) fn handle_signals(&mut self, now: Now) -> bool {
        while let Some(signal) = self.signals.next() {
            if signal == Signal::SIGHUP {
                self.reload();
            } else if self.shutdown.asked_by.is_some() {
                return true;
            } else {
                self.shutdown.asked_by = Some((signal, self.subscribers));
                // The supervisor may have got the same signal, and ordered it already.
                if !self.shutdown.has_begun() {
                    self.drain(now);
                }
            }
        }
        false
    }

    /// Opens the logs anew, and reads the settings file again: all of it or nothing. Streams
    /// that are open keep their settings.
    fn reload(&mut self) {
        self.reopen_logs();
        let Some(path) = self.configuration.path() else {
            return;
        };
        if self.worker.is_some() {
            // The supervisor sends it, so that all workers have the same.
            return;
        }
        let name = path.display().to_string();
        match self.configuration.read_again(self.streams) {
            Ok((read, remarks)) => {
                self.use_settings(read);
                say_read(&self.log, &name, &self.configuration, &remarks);
            }
            Err(problems) => say_unread(&self.log, &name, &problems),
        }
    }

    /// Does what the supervisor orders; returns whether to exit at once.
    pub(super) fn obey(&mut self, now: Now) -> bool {
        let Some(worker) = &self.worker else {
            return false;
        };
        let (mut orders, is_alone) = worker.orders();
        if is_alone {
            let _ = self.poller.delete(&worker.control);
            let text = "the process that supervises the workers has ended; this one ends, too";
            self.log.line(Level::Error, text);
            orders.push(Order::Drain);
        }
        for order in orders {
            match order {
                Order::Configure(file) => {
                    self.reopen_logs();
                    let bytes = file.as_deref().unwrap_or_default();
                    match self.configuration.with_bytes(bytes, self.streams) {
                        Ok((read, _)) => self.use_settings(read),
                        // The supervisor has used the same bytes.
                        Err(problems) => {
                            for problem in problems {
                                self.log.line(Level::Error, &problem);
                            }
                        }
                    }
                }
                Order::Reopen => self.reopen_logs(),
                Order::Drain if self.shutdown.has_begun() => {}
                Order::Drain => self.drain(now),
                Order::End => return true,
            }
        }
        false
    }

    fn reopen_logs(&self) {
        self.log.reopen();
        if let Some(access_log) = &self.access_log {
            access_log.reopen();
        }
    }

    /// Takes new settings of the whole process, and the defaults of requests.
    fn use_settings(&mut self, read: Configuration) {
        let log = Settings::log(read.process());
        if log != Settings::log(self.configuration.process()) {
            if let Some(path) = log {
                self.log.open(&path);
            }
        }
        self.acceptor.limit_subscribers(read.subscribers_max());
        self.configuration = read;
    }

    /// Stops accepting connections, and ends every stream after its current event. Requests that
    /// have arrived are answered, also those of clients that have connected just now.
    fn drain(&mut self, now: Now) {
        // Closing a socket of ours resets the connections that wait at it.
        self.accept(now);
        let until = self.shutdown.begin(now);
        self.acceptor.close(&self.poller);
        self.schedule.set(until, Token::Housekeeping);
        let all: Vec<ConnectionId> = self.connections.iter().map(|(id, _)| id).collect();
        for id in all {
            let Some(connection) = self.connections.get(id) else {
                continue;
            };
            match connection.state {
                State::Streaming { .. } => {
                    let action = self.end_for_restart(id);
                    self.perform(id, action, now);
                }
                // A request has arrived that has not been read: it is answered.
                State::Reading { .. } if connection.is_incomplete() || has_input(connection) => {}
                State::Reading { .. } => match self.shutdown.first_request_until() {
                    Some(at) if connection.request.number == 0 => self.wake_at(id, at),
                    _ => self.close(id, "drained", now),
                },
                _ => {}
            }
        }
    }

    /// Ends a stream, and tells its client when to reconnect.
    pub(super) fn end_for_restart(&mut self, id: ConnectionId) -> Action {
        let Some(connection) = self.connections.get_mut(id) else {
            return Action::Wait;
        };
        if let Some(subscriber) = connection.subscriber() {
            let retry = format!("retry: {}\n", subscriber.params().retry_ms);
            connection.push_body(retry.as_bytes());
        }
        Action::Finish("drained")
    }
}

/// Whether a peer has sent bytes that have not been read.
fn has_input(connection: &Connection) -> bool {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    recv(connection.as_fd().as_raw_fd(), &mut [0], flags).is_ok_and(|count| count > 0)
}
