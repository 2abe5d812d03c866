//! Watch: one stream, kept open, and a line of its state.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::{Duration, Instant};

use super::super::exit::Exit;
use super::super::pace::{self, RETRY_DEFAULT};
use super::connection::Connection;
use super::exchange::{Exchange, Step, request};
use super::message::{Expect, Head};
use super::options::{OutputForm, Plan};
use super::record::Record;

/// How often a terminal's line is written, and a line of other output.
const ON_TERMINAL: Duration = Duration::from_secs(1);
const ELSEWHERE: Duration = Duration::from_secs(60);

/// A stream that is silent for longer is shown as silent.
const SILENT: Duration = Duration::from_secs(30);

/// A head that does not come within this time is a failure.
const RESPONSE_WAIT: Duration = Duration::from_secs(12);

/// What is shown.
#[derive(Debug)]
pub(super) struct State {
    pub(super) status: String,
    pub(super) is_open: bool,
    pub(super) open_for: Duration,
    pub(super) events: u64,
    pub(super) comments: u64,
    pub(super) silent_for: Duration,
    pub(super) longest_silence: Duration,
    pub(super) reconnects: u64,
}

impl State {
    /// `ok       open 2m05s, 125 events, 8 comments, last 0.3 s ago, …`
    pub(super) fn line(&self) -> String {
        let mark = match self.is_open {
            false => "DOWN",
            true if self.silent_for > SILENT => "silent",
            true => "ok",
        };
        let open = if self.is_open {
            format!("open {}", clock(self.open_for))
        } else {
            self.status.clone()
        };
        format!(
            "{mark:<7} {open}, {} events, {} comments, last {:.1} s ago, longest silence {:.1} s, {} reconnects",
            self.events,
            self.comments,
            self.silent_for.as_secs_f64(),
            self.longest_silence.as_secs_f64(),
            self.reconnects,
        )
    }

    fn json(&self) -> String {
        serde_json::json!({
            "open": self.is_open,
            "status": self.status,
            "open_seconds": self.open_for.as_secs(),
            "events": self.events,
            "comments": self.comments,
            "silent_seconds": self.silent_for.as_secs_f64(),
            "longest_silence_seconds": self.longest_silence.as_secs_f64(),
            "reconnects": self.reconnects,
        })
        .to_string()
    }
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

struct Watch<'a> {
    plan: &'a Plan,
    started: Instant,
    shown_at: Option<Instant>,
    is_terminal: bool,
    state: State,
    last_byte: Instant,
    last_id: String,
    retry: Duration,
}

/// Watches until the end of `--for`, or until the process is ended.
pub(super) fn run(plan: &Plan) -> Exit {
    let now = Instant::now();
    let mut watch = Watch {
        plan,
        started: now,
        shown_at: None,
        is_terminal: stdout().is_terminal() && plan.form == OutputForm::Text,
        state: State {
            status: "connecting".into(),
            is_open: false,
            open_for: Duration::ZERO,
            events: 0,
            comments: 0,
            silent_for: Duration::ZERO,
            longest_silence: Duration::ZERO,
            reconnects: 0,
        },
        last_byte: now,
        last_id: String::new(),
        retry: RETRY_DEFAULT,
    };
    let mut failures = 0;
    while watch.started.elapsed() < plan.duration {
        if watch.attempt() {
            failures = 0;
        } else {
            failures += 1;
        }
        watch.state.is_open = false;
        if watch.show(true).is_err() {
            return Exit::Done;
        }
        let wait = pace::wait(watch.retry, failures, None, fastrand::f64());
        let until = Instant::now() + wait;
        let end = watch.started.checked_add(plan.duration);
        while Instant::now() < until && end.is_none_or(|end| Instant::now() < end) {
            std::thread::sleep(Duration::from_millis(50));
        }
        watch.state.reconnects += 1;
    }
    let ended_open = watch.state.status == "open";
    if watch.is_terminal {
        let _ = writeln!(stdout());
    }
    if ended_open { Exit::Done } else { Exit::Faulty }
}

impl Watch<'_> {
    /// One connection; true: it was a stream.
    fn attempt(&mut self) -> bool {
        let url = &self.plan.endpoint.url;
        let connection = match Connection::open(url, &["http/1.1"]) {
            Ok(connection) => connection,
            Err(why) => {
                self.state.status = why.0;
                return false;
            }
        };
        let mut fields = vec![
            ("Accept", "text/event-stream"),
            ("Cache-Control", "no-cache"),
        ];
        if !self.last_id.is_empty() {
            fields.push(("Last-Event-ID", &self.last_id));
        }
        let text = request("GET", url, &self.plan.endpoint, &fields, b"");
        let mut exchange = Exchange::begin(connection, &text, Expect::Body);
        let opened = Instant::now();
        let mut record = Record::default();
        let (mut events, mut comments) = (0, 0);
        loop {
            let end = self.started.checked_add(self.plan.duration);
            let slice = Instant::now() + Duration::from_millis(200);
            let step = exchange.step(end.map_or(slice, |end| end.min(slice)));
            let now = Instant::now();
            match step {
                Step::Head if exchange.head.as_ref().is_some_and(Head::is_stream) => {
                    self.state.is_open = true;
                    self.state.status = "open".into();
                    self.last_byte = now;
                }
                Step::Head => {
                    let status = exchange.head.as_ref().map_or(0, |head| head.status);
                    self.state.status = format!("status {status}, no stream");
                    return false;
                }
                Step::Bytes(bytes) => {
                    record.take(opened.elapsed(), &bytes);
                    self.last_byte = now;
                    if let Some(event) = record.events.last() {
                        if event.id.bytes().all(|byte| byte >= b' ' && byte != 0x7f) {
                            self.last_id = event.id.to_string();
                        }
                    }
                    self.state.events += record.event_count - events;
                    self.state.comments += record.comment_count - comments;
                    (events, comments) = (record.event_count, record.comment_count);
                    self.retry = record.retry.unwrap_or(self.retry);
                    record.events.clear();
                    record.pieces.clear();
                }
                Step::Ended(kind) => {
                    self.state.status = format!("ended ({kind:?})").to_lowercase();
                    return self.state.is_open;
                }
                Step::Late if !self.state.is_open && opened.elapsed() > RESPONSE_WAIT => {
                    self.state.status = "no response".into();
                    return false;
                }
                Step::Late => {}
            }
            if end.is_some_and(|end| now >= end) {
                return self.state.is_open;
            }
            self.state.open_for = opened.elapsed();
            if self.show(false).is_err() {
                // The reader has left.
                std::process::exit(i32::from(Exit::Done.number()));
            }
        }
    }

    /// Shows the state, if it is time or `is_change`.
    fn show(&mut self, is_change: bool) -> std::io::Result<()> {
        let now = Instant::now();
        self.state.silent_for = now - self.last_byte;
        if self.state.is_open {
            self.state.longest_silence = self.state.longest_silence.max(self.state.silent_for);
        }
        let every = if self.is_terminal {
            ON_TERMINAL
        } else {
            ELSEWHERE
        };
        let is_due = self.shown_at.is_none_or(|shown| now - shown >= every);
        if !is_due && !is_change {
            return Ok(());
        }
        self.shown_at = Some(now);
        let line = match self.plan.form {
            OutputForm::Text => super::printable(&self.state.line()),
            OutputForm::Json => self.state.json(),
        };
        let mut out = stdout().lock();
        if self.is_terminal {
            // The rest of a longer line is erased.
            write!(out, "\r{line}\x1b[K")?;
        } else {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_is_so() {
        let mut state = State {
            status: "open".into(),
            is_open: true,
            open_for: Duration::from_secs(125),
            events: 7,
            comments: 2,
            silent_for: Duration::from_millis(300),
            longest_silence: Duration::from_secs(15),
            reconnects: 1,
        };
        let rest = "7 events, 2 comments, last 0.3 s ago, longest silence 15.0 s, 1 reconnects";
        assert_eq!(state.line(), format!("ok      open 2m05s, {rest}"));
        state.is_open = false;
        state.status = "status 502, no stream".into();
        assert_eq!(
            state.line(),
            format!("DOWN    status 502, no stream, {rest}")
        );
    }
}
