//! How long a stream lives: heartbeat, the limits that end it, and clients that leave.

use std::time::Duration;

use super::super::observation::{Departure, EndKind, Observations, Subscribers};
use super::super::record::Record;
use super::super::servers::{Limit, Server};
use super::{Check, names, seconds};

/// The smallest limit of a server by default is 30 s (h2o); two heartbeats must fit.
const SILENCE_SAFE: Duration = Duration::from_secs(26);

/// A limit is recognised by the silence before the end, to this accuracy.
const ACCURACY: Duration = Duration::from_millis(1500);

/// A shorter silence before the end proves nothing.
const SILENCE_MIN: Duration = Duration::from_millis(900);

/// Whether the stream is never silent for too long.
pub(super) fn heartbeat(seen: &Observations, checks: &mut Vec<Check>) {
    let stream = &seen.stream;
    let record = &stream.record;
    let open_end = stream
        .watched
        .saturating_sub(record.last_at().unwrap_or_default());
    let longest = record
        .longest_silence()
        .map(|(length, _)| length)
        .unwrap_or_default();
    let longest = if stream.end.is_none() {
        longest.max(open_end)
    } else {
        longest
    };
    if stream.watched < SILENCE_SAFE {
        if stream.end.is_none() {
            let text = format!(
                "read for {} only: --for 90s shows heartbeats and limits of silence",
                seconds(stream.watched)
            );
            checks.push(Check::unknown("heartbeat", text));
        }
        return;
    }
    checks.push(if longest > SILENCE_SAFE {
        Check::warning(
            "heartbeat",
            format!(
                "silent for {}: servers end silent streams after 30 s (h2o), 60 s (nginx) or more",
                seconds(longest)
            ),
        )
        .fix("a comment line at least every 15 s (SSE_HEARTBEAT=15s)")
    } else if record.comment_count > 1 {
        Check::good(
            "heartbeat",
            format!(
                "{} comments; never silent for more than {}",
                record.comment_count,
                seconds(longest)
            ),
        )
    } else {
        Check::good(
            "heartbeat",
            format!("never silent for more than {}", seconds(longest)),
        )
    });
}

/// Whether the program ended the stream itself, between two events.
fn is_by_program(record: &Record) -> bool {
    record.has_event("close")
        || record.has_event("unavailable")
        || record.last_line.starts_with("retry")
}

/// Why the stream ended, if it did.
pub(super) fn end(seen: &Observations, chain: &[&'static Server], checks: &mut Vec<Check>) {
    let stream = &seen.stream;
    let record = &stream.record;
    let Some(end) = stream.end else {
        checks.push(Check::good(
            "open",
            format!("open after {}", seconds(stream.watched)),
        ));
        return;
    };
    let last_at = record.before_html.or(record.last_at());
    let silence = end.at.saturating_sub(last_at.unwrap_or(stream.head_after));
    if is_by_program(record) {
        let unavailable = record
            .events
            .iter()
            .find(|event| event.name == "unavailable");
        checks.push(match unavailable {
            Some(event) => Check::fault("open", format!("the stream is unavailable and asks clients to return: {}", event.data))
                .by("the program, its limits, or the web server while the responder is away")
                .fix("the log of the responder or of the web server has the reason; systemctl status sse-fcgi"),
            None => Check::note("open", format!("the program ended the stream after {}; clients return and continue", seconds(end.at))),
        });
        return;
    }
    let how = match end.kind {
        EndKind::Complete => "ended",
        EndKind::Cut => "was cut",
        EndKind::Reset => "was reset",
        EndKind::Malformed => "became malformed",
    };
    if silence >= SILENCE_MIN {
        let text = format!(
            "the stream {how} after {} of silence, {} after its start",
            seconds(silence),
            seconds(end.at)
        );
        let check =
            Check::fault("timeout", text).blame(chain, |server| limits(server.silence, silence));
        let check = if check.culprit.is_none() {
            check.by(format!("{}, or the program", names(chain)))
        } else {
            check
        };
        checks.push(check.fix(
            "the limit must stand for two heartbeats; SSE_HEARTBEAT is 15s by default, 1s at least",
        ));
        return;
    }
    let text = format!(
        "the stream {how} after {} while events flowed",
        seconds(end.at)
    );
    let is_cut = end.kind != EndKind::Complete || !record.ends_at_line_end || record.html.is_some();
    let check = if is_cut {
        Check::fault("age", text)
    } else {
        Check::warning("age", text)
    };
    let check = check.blame(chain, |server| limits(server.age, end.at));
    let check = if check.culprit.is_none() {
        check.by(format!(
            "{}: a restart, a limit on the length of a response, or the program",
            names(chain)
        ))
    } else {
        check
    };
    checks.push(check.fix("clients reconnect; with ids they miss nothing"));
}

/// The remedies of a server's limits: those whose default fits, else all.
fn limits(limits: &'static [Limit], time: Duration) -> Vec<String> {
    let fits = |limit: &&Limit| {
        let mut defaults = limit.defaults_s.iter();
        defaults.any(|default| Duration::from_secs(*default).abs_diff(time) <= ACCURACY)
    };
    let text = |limit: &Limit| format!("{} — instead of {}", limit.fix, limit.directive);
    let fitting: Vec<_> = limits.iter().filter(fits).map(text).collect();
    if fitting.is_empty() {
        return limits.iter().map(text).collect();
    }
    fitting
}

/// Whether the server notices a client that leaves.
pub(super) fn departure(seen: &Observations, checks: &mut Vec<Check>) {
    match &seen.subscribers {
        Some(Subscribers::Fewer(time)) => {
            checks.push(Check::good(
                "departure",
                format!("a client that left was noticed after {}", seconds(*time)),
            ));
            return;
        }
        Some(Subscribers::Same(time)) => {
            checks.push(
                Check::warning("departure", format!("a client that left still counts as a subscriber after {}", seconds(*time)))
                    .fix("a shorter SSE_HEARTBEAT: most servers notice at the second write; nginx: fastcgi_ignore_client_abort off"),
            );
            return;
        }
        Some(Subscribers::Unknown(why)) => {
            checks.push(Check::unknown("departure", format!("--status: {why}")));
            return;
        }
        None => {}
    }
    match seen.departure {
        Some(Departure::Closed(time)) => checks.push(Check::good(
            "departure",
            format!("the server closed the connection {} after the client closed its side", seconds(time)),
        )),
        Some(Departure::NotClosed(_)) => checks.push(Check::unknown(
            "departure",
            "the server keeps a connection whose client has closed its side; it notices at a heartbeat (--status URL of the status page shows when)",
        )),
        None => {}
    }
}
