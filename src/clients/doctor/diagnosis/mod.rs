//! Diagnosis: observations → checks. Pure.
//!
//! ```text
//!   answer      status, type, redirects, HEAD, fields, CORS
//!   flow        whether events arrive when they were sent; compression; HTTP/2
//!   endurance   heartbeat, the limits that end a stream, the departure of a client
//!   resumption  ids, Last-Event-ID, retry
//! ```

mod answer;
mod endurance;
mod flow;
mod resumption;

use super::message::Head;
use super::observation::{HeadSeen, Observations};
use super::servers::{Server, recognise};

/// The result of a check, in the order of how bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// As it should be.
    Good,
    /// A fact, without a judgement.
    Note,
    /// It could not be checked, and why.
    Unknown,
    /// It works, and could be better or fails at times.
    Warning,
    /// Events are late or lost, or browsers give up.
    Fault,
}

impl Verdict {
    /// Its name in output.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Fault => "FAULT",
        }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// A stable name, for monitoring.
    pub(super) code: &'static str,
    pub(super) verdict: Verdict,
    /// What was observed.
    pub(super) text: String,
    /// The component that causes it.
    pub(super) culprit: Option<String>,
    /// What to write, one remedy each.
    pub(super) fixes: Vec<String>,
}

impl Check {
    fn new(code: &'static str, verdict: Verdict, text: impl Into<String>) -> Self {
        Self {
            code,
            verdict,
            text: text.into(),
            culprit: None,
            fixes: Vec::new(),
        }
    }

    pub(in super::super) fn good(code: &'static str, text: impl Into<String>) -> Self {
        Self::new(code, Verdict::Good, text)
    }

    pub(in super::super) fn note(code: &'static str, text: impl Into<String>) -> Self {
        Self::new(code, Verdict::Note, text)
    }

    fn unknown(code: &'static str, text: impl Into<String>) -> Self {
        Self::new(code, Verdict::Unknown, text)
    }

    fn warning(code: &'static str, text: impl Into<String>) -> Self {
        Self::new(code, Verdict::Warning, text)
    }

    pub(in super::super) fn fault(code: &'static str, text: impl Into<String>) -> Self {
        Self::new(code, Verdict::Fault, text)
    }

    pub(in super::super) fn by(mut self, culprit: impl Into<String>) -> Self {
        self.culprit = Some(culprit.into());
        self
    }

    pub(in super::super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fixes.push(fix.into());
        self
    }

    /// Adds what the servers of the chain must change; `remedies` returns that of one. The
    /// culprit is the first one that has a remedy.
    fn blame(
        mut self,
        chain: &[&'static Server],
        remedies: impl Fn(&'static Server) -> Vec<String>,
    ) -> Self {
        let mut names = Vec::new();
        for server in chain {
            let fixes = remedies(server);
            if !fixes.is_empty() {
                names.push(server.name);
                let mark = if chain.len() > 1 {
                    format!("{}: ", server.name)
                } else {
                    String::new()
                };
                self.fixes
                    .extend(fixes.into_iter().map(|fix| format!("{mark}{fix}")));
            }
        }
        if !names.is_empty() {
            self.culprit = Some(names.join(", or behind it "));
        }
        self
    }
}

/// The whole diagnosis.
#[derive(Debug)]
pub(super) struct Diagnosis {
    /// The servers that were recognised, from the client inwards.
    pub(super) chain: Vec<&'static Server>,
    pub(super) checks: Vec<Check>,
}

impl Diagnosis {
    /// The worst verdict.
    pub(super) fn worst(&self) -> Verdict {
        let verdicts = self.checks.iter().map(|check| check.verdict);
        verdicts.max().unwrap_or(Verdict::Good)
    }
}

/// Diagnoses what was observed.
pub(super) fn diagnose(seen: &Observations) -> Diagnosis {
    let chain = recognise(heads(seen));
    let mut checks = Vec::new();
    if let Some(unreachable) = &seen.unreachable {
        checks.push(Check::fault("connect", unreachable.0.clone()));
        return Diagnosis { chain, checks };
    }
    answer::redirects(seen, &mut checks);
    let is_stream = answer::status_and_type(seen, &chain, &mut checks);
    if is_stream {
        flow::delivery(seen, &chain, &mut checks);
        flow::published(seen, &mut checks);
        flow::compression(seen, &chain, &mut checks);
        endurance::heartbeat(seen, &mut checks);
        endurance::end(seen, &chain, &mut checks);
        resumption::last_event_id(seen, &mut checks);
        resumption::retry(seen, &mut checks);
        answer::text(seen, &mut checks);
        answer::fields(seen, &mut checks);
        answer::origin(seen, &mut checks);
        endurance::departure(seen, &mut checks);
    } else if seen.stream.head.is_none() && seen.stream.malformed.is_none() {
        flow::no_response(seen, &chain, &mut checks);
    }
    answer::head_request(seen, &chain, &mut checks);
    if is_stream {
        flow::http2(seen, &chain, &mut checks);
    }
    Diagnosis { chain, checks }
}

/// Every head that was received.
fn heads(seen: &Observations) -> impl Iterator<Item = &Head> {
    let of_head = match &seen.head {
        Some(HeadSeen::Answered(head, _)) => Some(head),
        _ => None,
    };
    let others = [&seen.compressed, &seen.again];
    let others = others
        .into_iter()
        .flatten()
        .filter_map(|stream| stream.head.as_ref());
    let streams = of_head.into_iter().chain(&seen.stream.head).chain(others);
    streams.chain(&seen.neighbour)
}

/// Seconds for people: `0.3 s`, `12 s`.
fn seconds(time: std::time::Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 9.95 => format!("{seconds:.1} s"),
        seconds => format!("{seconds:.0} s"),
    }
}

/// The names of the servers, or words for an unknown one.
fn names(chain: &[&'static Server]) -> String {
    if chain.is_empty() {
        return "an unknown server".into();
    }
    let names: Vec<_> = chain.iter().map(|server| server.name).collect();
    names.join(" in front of ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::connection::Unreachable;
    use super::super::observation::{EndKind, Ended, Http2Seen, StreamSeen};
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn head(text: &str) -> Head {
        let text = format!("HTTP/1.1 {text}\r\n\r\n");
        Head::parse(text.as_bytes()).unwrap().unwrap().0
    }

    const STREAM: &str = "200 OK\r\nContent-Type: text/event-stream\r\nServer: nginx";

    /// What was seen of a stream whose pieces arrived at these times.
    fn seen(fields: &str, pieces: &[(u64, &str)], watched_ms: u64) -> Observations {
        let mut stream = StreamSeen {
            head: Some(head(fields)),
            watched: ms(watched_ms),
            ..StreamSeen::default()
        };
        for (at, text) in pieces {
            stream.record.take(ms(*at), text.as_bytes());
        }
        Observations {
            stream,
            ..Observations::default()
        }
    }

    #[track_caller]
    fn check(seen: &Observations, code: &str, verdict: Verdict) -> Check {
        let diagnosis = diagnose(seen);
        let mut found = diagnosis
            .checks
            .into_iter()
            .filter(|check| check.code == code);
        let check = found.next().unwrap_or_else(|| panic!("no check {code}"));
        assert_eq!(check.verdict, verdict, "{check:?}");
        check
    }

    fn tick(at: u64) -> String {
        format!("id: {at}\ndata: {{\"epoch_ms\":{}}}\n\n", 1_000_000 + at)
    }

    #[test]
    fn a_clock_that_arrives_as_it_was_sent_is_good_whatever_the_clocks_say() {
        let ticks: Vec<_> = (0..10).map(|n| (n * 500 + 7, tick(n * 500))).collect();
        let pieces: Vec<_> = ticks
            .iter()
            .map(|(at, text)| (*at, text.as_str()))
            .collect();
        check(&seen(STREAM, &pieces, 5000), "delivery", Verdict::Good);
    }

    #[test]
    fn events_of_different_times_that_arrive_together_were_held_back() {
        let lump: String = (0..8).map(|n| tick(n * 500)).collect();
        let seen = seen(STREAM, &[(3600, &lump)], 5000);
        let check = check(&seen, "delivery", Verdict::Fault);
        assert_eq!(check.culprit.as_deref(), Some("nginx"));
        assert!(
            check.fixes[0].starts_with("fastcgi_buffering off;"),
            "{check:?}"
        );
    }

    #[test]
    fn a_foreign_stream_is_judged_by_its_pattern_only() {
        let three = "data: a\n\ndata: b\n\ndata: c\n\n";
        let lumps = [
            (0, ": open\n"),
            (4000, three),
            (8000, three),
            (12_000, three),
        ];
        check(&seen(STREAM, &lumps, 13_000), "delivery", Verdict::Warning);
        let single = [
            (0, ": open\n"),
            (4000, "data: a\n\n"),
            (4100, "data: b\n\n"),
        ];
        check(&seen(STREAM, &single, 13_000), "delivery", Verdict::Good);
        check(
            &seen(STREAM, &[(0, ": open\n")], 13_000),
            "delivery",
            Verdict::Unknown,
        );
        check(&seen(STREAM, &[], 13_000), "delivery", Verdict::Warning);
        let heartbeats = [(0, ": open\n"), (30_000, ":\n:\n:\n")];
        check(
            &seen(STREAM, &heartbeats, 31_000),
            "delivery",
            Verdict::Fault,
        );
    }

    #[test]
    fn what_ends_a_stream_is_told_by_the_silence_before() {
        let end = |pieces: &[(u64, &str)], at, kind| {
            let mut seen = seen(STREAM, pieces, at);
            seen.stream.end = Some(Ended { at: ms(at), kind });
            seen
        };
        let quiet = end(&[(0, "data: a\n\n")], 60_010, EndKind::Cut);
        let found = check(&quiet, "timeout", Verdict::Fault);
        assert!(
            found.fixes[0].starts_with("fastcgi_read_timeout"),
            "{found:?}"
        );
        let busy = end(
            &[(0, "data: a\n\n"), (9900, "data: b\n\n")],
            10_000,
            EndKind::Cut,
        );
        check(&busy, "age", Verdict::Fault);
        let own = end(
            &[(0, "data: a\n\n"), (9900, "event: close\ndata:\n\n")],
            10_000,
            EndKind::Complete,
        );
        check(&own, "open", Verdict::Note);
        let away = "event: unavailable\ndata: {}\nretry: 3000\n\n";
        check(
            &end(&[(0, away)], 10, EndKind::Complete),
            "open",
            Verdict::Fault,
        );
    }

    #[test]
    fn silence_without_heartbeats_is_a_warning() {
        check(
            &seen(STREAM, &[(0, "data: a\n\n")], 35_000),
            "heartbeat",
            Verdict::Warning,
        );
        let with = [(0, "data: a\n\n"), (15_000, ":\n"), (30_000, ":\n")];
        check(&seen(STREAM, &with, 35_000), "heartbeat", Verdict::Good);
    }

    #[test]
    fn a_client_that_returns_gets_what_follows_its_id() {
        let first = [
            (0, "id: 1\ndata: a\n\nid: 2\ndata: b\n\n"),
            (50, "id: 3\ndata: c\n\n"),
        ];
        let returned = |sent: &str, text: &str| {
            let mut seen = seen(STREAM, &first, 5000);
            let mut again = StreamSeen {
                head: Some(head(STREAM)),
                sent_id: Some(sent.to_owned()),
                began: ms(1000),
                watched: ms(2000),
                ..StreamSeen::default()
            };
            again.record.take(ms(10), text.as_bytes());
            seen.again = Some(again);
            seen
        };
        let right = returned("1", "id: 2\ndata: b\n\nid: 3\ndata: c\n\n");
        check(&right, "last-event-id", Verdict::Good);
        let ignored = returned("1", "id: 1\ndata: a\n\nid: 2\ndata: b\n\n");
        check(&ignored, "last-event-id", Verdict::Fault);
        check(
            &returned("1", "id: 3\ndata: c\n\n"),
            "last-event-id",
            Verdict::Fault,
        );
        check(
            &returned("1", ": nothing\n"),
            "last-event-id",
            Verdict::Fault,
        );
        check(
            &returned("3", ": nothing\n"),
            "last-event-id",
            Verdict::Good,
        );
        let gap = returned("1", "event: gap\ndata: {\"reason\":\"expired\"}\n\n");
        check(&gap, "last-event-id", Verdict::Note);
    }

    #[test]
    fn an_answer_that_is_no_stream_is_told_from_the_others() {
        for (fields, code) in [
            ("502 Bad Gateway\r\nServer: nginx", "status"),
            ("401 Unauthorized", "status"),
            ("404 Not Found", "status"),
            ("200 OK\r\nContent-Type: text/html", "wrong-type"),
            ("200 OK\r\nContent-Type: text/plain", "wrong-type"),
            ("200 OK", "wrong-type"),
            (
                "200 OK\r\nContent-Type: text/event-stream; charset=iso-8859-1",
                "type",
            ),
        ] {
            check(&seen(fields, &[], 100), code, Verdict::Fault);
        }
        let mut login = seen("200 OK\r\nContent-Type: text/html", &[], 100);
        login.redirects = vec![(302, "/login".into())];
        check(&login, "login-page", Verdict::Fault);
        check(&seen("204 No Content", &[], 100), "status", Verdict::Note);
        let nobody = Observations {
            unreachable: Some(Unreachable("refused".into())),
            ..Observations::default()
        };
        check(&nobody, "connect", Verdict::Fault);
    }

    #[test]
    fn a_head_that_comes_and_a_get_that_does_not_is_a_response_that_is_held() {
        let mut held = Observations {
            head: Some(HeadSeen::Answered(head(STREAM), ms(5))),
            ..Observations::default()
        };
        held.stream.watched = ms(12_000);
        assert_eq!(
            check(&held, "delivery", Verdict::Fault).culprit.as_deref(),
            Some("nginx")
        );
        held.head = Some(HeadSeen::Late(ms(5000)));
        check(&held, "status", Verdict::Fault);
    }

    #[test]
    fn compression_is_a_fault_only_when_it_holds_events_back() {
        let pieces: Vec<_> = (0..8).map(|n| (n * 500, "data: x\n\n")).collect();
        let with = |count: usize| {
            let mut seen = seen(STREAM, &pieces, 4000);
            let mut compressed = StreamSeen {
                head: Some(head(&format!("{STREAM}\r\nContent-Encoding: gzip"))),
                watched: ms(4000),
                ..StreamSeen::default()
            };
            for number in 0..count as u64 {
                compressed.record.take(ms(number * 500), b"\x1f\x8b");
            }
            seen.compressed = Some(compressed);
            seen
        };
        check(&with(8), "compression", Verdict::Note);
        check(&with(1), "compression", Verdict::Fault);
    }

    #[test]
    fn nph_programs_over_http_2_have_a_name_without_nph() {
        let pieces: Vec<_> = (0..8).map(|n| (n * 500, "data: x\n\n")).collect();
        let mut seen = seen(STREAM, &pieces, 4000);
        seen.name = "nph-tail.cgi".into();
        seen.http2 = Some(Http2Seen {
            is_offered: true,
            watched: ms(4000),
            ..Http2Seen::default()
        });
        let found = check(&seen, "http2", Verdict::Fault);
        assert_eq!(found.fixes[0], "use the name tail.cgi");
    }
}
