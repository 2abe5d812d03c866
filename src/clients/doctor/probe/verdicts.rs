//! The checks of the probe. Pure: answers → outcomes.

use super::super::message::Head;
use super::super::observation::StreamSeen;
use super::questions::{Answers, ORIGIN};

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Kept,
    /// Something that the standard requires is not so.
    Broken,
    /// Something that it recommends, or that clients need in practice, is not so.
    Discouraged,
    /// The stream did not show it.
    NotSeen,
}

impl Verdict {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kept => "ok",
            Self::Broken => "not ok",
            Self::Discouraged => "todo",
            Self::NotSeen => "skip",
        }
    }
}

/// One check.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) check: &'static str,
    /// Section of WHATWG HTML, or an RFC.
    pub(super) source: &'static str,
    pub(super) verdict: Verdict,
    pub(super) seen: String,
}

use Verdict::{Broken, Discouraged, Kept, NotSeen};

struct Checks(Vec<Outcome>);

impl Checks {
    fn add(
        &mut self,
        source: &'static str,
        check: &'static str,
        (verdict, seen): (Verdict, String),
    ) {
        self.0.push(Outcome {
            check,
            source,
            verdict,
            seen,
        });
    }
}

/// `ok`, or else this verdict with what was seen.
fn unless(is_kept: bool, verdict: Verdict, seen: impl Into<String>) -> (Verdict, String) {
    match is_kept {
        true => (Kept, String::new()),
        false => (verdict, seen.into()),
    }
}

fn status_of(head: Option<&Head>) -> String {
    match head {
        Some(head) => {
            let media = head.media_type().unwrap_or_else(|| "no type".into());
            format!("{} {media}", head.status)
        }
        None => "no response".into(),
    }
}

/// Whether a client of EventSource stays: a stream, or 204.
fn is_fine(seen: &StreamSeen) -> bool {
    seen.head
        .as_ref()
        .is_some_and(|head| head.is_stream() || head.status == 204)
}

fn stays(seen: &StreamSeen, verdict: Verdict) -> (Verdict, String) {
    unless(is_fine(seen), verdict, status_of(seen.head.as_ref()))
}

/// All checks.
pub(super) fn judge(answers: &Answers) -> Vec<Outcome> {
    let mut checks = Checks(Vec::new());
    let stream = &answers.stream;
    let record = &stream.record;
    let head = stream.head.as_ref();
    let is_stream = head.is_some_and(Head::is_stream);
    checks.add(
        "9.2.3",
        "GET is answered by 200 or 204",
        unless(
            head.is_some_and(|head| matches!(head.status, 200 | 204)),
            Broken,
            status_of(head),
        ),
    );
    checks.add(
        "9.2.3",
        "the type is text/event-stream",
        unless(is_stream, Broken, status_of(head)),
    );
    if !is_stream {
        return checks.0;
    }
    let field = |name: &str| {
        head.and_then(|head| head.field(name))
            .unwrap_or_default()
            .to_owned()
    };
    let content_type = field("content-type").to_ascii_lowercase();
    let charset = content_type
        .split_once("charset=")
        .map(|(_, charset)| charset.trim_matches('"').to_owned());
    checks.add(
        "9.2.7",
        "no charset but utf-8 is declared",
        unless(
            charset
                .as_deref()
                .is_none_or(|charset| charset.starts_with("utf-8")),
            Broken,
            content_type,
        ),
    );
    let cache = field("cache-control").to_ascii_lowercase();
    checks.add(
        "9.2.7",
        "caches do not keep it (Cache-Control: no-store or no-cache)",
        unless(
            cache.contains("no-store") || cache.contains("no-cache"),
            Discouraged,
            format!("{cache:?}"),
        ),
    );
    checks.add(
        "RFC 9110 §8.6",
        "there is no Content-Length",
        unless(
            field("content-length").is_empty(),
            Discouraged,
            field("content-length"),
        ),
    );
    let has_bytes = record.byte_count > 0;
    let of_bytes = |outcome: (Verdict, String)| {
        if has_bytes {
            outcome
        } else {
            (NotSeen, "no byte arrived".into())
        }
    };
    checks.add(
        "9.2.5",
        "the stream is UTF-8",
        of_bytes(unless(
            record.bad_text_lines == 0,
            Broken,
            format!("{} lines are not", record.bad_text_lines),
        )),
    );
    checks.add(
        "9.2.5",
        "every line is a comment or has a field that is known",
        of_bytes(unless(
            record.unknown_lines == 0,
            Broken,
            format!("{} have not", record.unknown_lines),
        )),
    );
    checks.add(
        "9.2.5",
        "the stream begins without a byte order mark",
        of_bytes(unless(
            !record.has_bom,
            Discouraged,
            "one, which is allowed, and which simple clients do not know",
        )),
    );
    checks.add(
        "9.2.6",
        "retry is a number that a client can use (0.1 s to 1 h)",
        match record.retry {
            None => (NotSeen, "none was sent".into()),
            Some(retry) => unless(
                (100..=3_600_000).contains(&retry.as_millis()),
                Discouraged,
                format!("{retry:?}"),
            ),
        },
    );
    let silence = record
        .longest_silence()
        .map(|(length, _)| length)
        .unwrap_or_default();
    let to_end = stream
        .watched
        .saturating_sub(record.last_at().unwrap_or(stream.head_after));
    let silence = if stream.end.is_none() {
        silence.max(to_end)
    } else {
        silence
    };
    checks.add(
        "9.2.7",
        "a line is sent at least every 15 s or so",
        if stream.watched.as_secs() < 15 {
            (NotSeen, format!("read for {:?} only", stream.watched))
        } else {
            unless(
                silence.as_millis() <= 15_900,
                Discouraged,
                format!("{:.0} s of silence", silence.as_secs_f64()),
            )
        },
    );
    let some = |outcome| {
        if record.event_count > 0 {
            outcome
        } else {
            (NotSeen, "no event arrived".into())
        }
    };
    let has_ids = record.events.iter().any(|event| !event.id.is_empty());
    checks.add(
        "9.2.1",
        "events have ids, so that a client can resume",
        some(unless(has_ids, Discouraged, "none")),
    );
    let is_visible = |id: &str| {
        !id.is_empty() && id.len() <= 256 && id.bytes().all(|byte| (b'!'..=b'~').contains(&byte))
    };
    let odd = record
        .events
        .iter()
        .find(|event| !event.id.is_empty() && !is_visible(&event.id));
    checks.add(
        "RFC 9110 §5.5",
        "ids survive as the value of a field",
        some(match (has_ids, odd) {
            (false, _) => (NotSeen, "no ids".into()),
            (_, None) => (Kept, String::new()),
            (_, Some(event)) => (Discouraged, format!("{:?}", &*event.id)),
        }),
    );
    checks.add(
        "9.2.4",
        "a client that sends Last-Event-ID stays connected",
        match &answers.resumed {
            None => (NotSeen, "no id arrived".into()),
            Some(resumed) => stays(resumed, Broken),
        },
    );
    checks.add(
        "9.2.4",
        "it does not get the event of that id again",
        match &answers.resumed {
            None => (NotSeen, "no id arrived".into()),
            Some(resumed) => {
                let sent = resumed.sent_id.as_deref().unwrap_or_default();
                let repeated = resumed
                    .record
                    .events
                    .iter()
                    .filter(|event| event.name != "gap")
                    .any(|event| &*event.id == sent);
                unless(!repeated, Discouraged, format!("{sent:?} came again"))
            }
        },
    );
    checks.add(
        "9.2.4",
        "it gets the events after that id",
        match &answers.resumed {
            None => (NotSeen, "no id arrived".into()),
            Some(resumed) => after(record, resumed),
        },
    );
    checks.add(
        "9.2.4",
        "an unknown Last-Event-ID does not end the EventSource",
        stays(&answers.unknown_id, Broken),
    );
    checks.add(
        "9.2.4",
        "a Last-Event-ID in UTF-8 does not end it",
        stays(&answers.utf8_id, Broken),
    );
    checks.add(
        "9.2.4",
        "a Last-Event-ID of 2000 bytes does not end it",
        stays(&answers.long_id, Discouraged),
    );
    checks.add(
        "RFC 9110 §9.3.2",
        "HEAD has the type of GET",
        match &answers.head {
            None => (Discouraged, "no response".into()),
            Some(head) => unless(head.is_stream(), Discouraged, status_of(Some(head))),
        },
    );
    checks.add(
        "RFC 9110 §9.3.2",
        "HEAD has no body",
        match &answers.head {
            None => (NotSeen, "no response".into()),
            Some(_) => unless(
                answers.bytes_after_head == 0,
                Broken,
                format!("{} bytes", answers.bytes_after_head),
            ),
        },
    );
    checks.add(
        "RFC 9110 §12.5.1",
        "without Accept it is the same",
        stays(&answers.no_accept, Discouraged),
    );
    let other = answers.other_accept.head.as_ref();
    checks.add(
        "RFC 9110 §15.5.7",
        "with Accept: image/png it is 406 or the same",
        unless(
            other.is_some_and(|head| head.status == 406 || head.is_stream()),
            Discouraged,
            status_of(other),
        ),
    );
    checks.add(
        "9.2.2",
        "a query that it does not know changes nothing",
        stays(&answers.query, Discouraged),
    );
    let foreign = answers.foreign.head.as_ref();
    let allowed = foreign.and_then(|head| head.field("access-control-allow-origin"));
    let credentials = foreign.and_then(|head| head.field("access-control-allow-credentials"));
    checks.add(
        "Fetch 3.3.3",
        "any origin and credentials are not allowed together",
        unless(
            !(allowed == Some("*") && credentials == Some("true")),
            Broken,
            "both are",
        ),
    );
    let varies = foreign.is_some_and(|head| {
        head.all("vary")
            .any(|value| value.to_ascii_lowercase().contains("origin"))
    });
    checks.add(
        "Fetch 3.3.4",
        "an origin that is allowed by name is in Vary",
        match allowed {
            Some(value) if value == ORIGIN => unless(varies, Discouraged, "no Vary: Origin"),
            _ => (NotSeen, "a foreign origin is not allowed by name".into()),
        },
    );
    checks.add("9.2.7", "compression does not hold the stream back", {
        let compressed = &answers.compressed;
        let begins = stream
            .record
            .pieces
            .first()
            .is_some_and(|piece| piece.at.as_millis() < 500);
        match compressed.head.as_ref() {
            _ if !begins => (NotSeen, "nothing arrived at once without it, either".into()),
            Some(head) if head.is_stream() => unless(
                !compressed.record.pieces.is_empty(),
                Discouraged,
                "no byte in 1.5 s",
            ),
            head => (Broken, status_of(head)),
        }
    });
    checks.0
}

/// Whether what follows the id is what followed it at first.
fn after(first: &super::super::record::Record, resumed: &StreamSeen) -> (Verdict, String) {
    let sent = resumed.sent_id.as_deref().unwrap_or_default();
    // A clock replays nothing: past times are of no use.
    if first.events.iter().any(|event| event.made_ms.is_some()) {
        return (NotSeen, "a clock replays nothing".into());
    }
    let content = |name: &str| !["gap", "place", "heartbeat", "unavailable"].contains(&name);
    let mut rest = first.events.iter().skip_while(|event| &*event.id != sent);
    let expected = rest.find(|event| &*event.id != sent && content(&event.name));
    let got = resumed
        .record
        .events
        .iter()
        .find(|event| content(&event.name));
    match (expected, got) {
        (None, _) => (NotSeen, "nothing came after it at first".into()),
        (Some(expected), Some(got)) => unless(
            expected.id == got.id,
            Discouraged,
            format!("{:?} instead of {:?}", &*got.id, &*expected.id),
        ),
        (Some(expected), None) => (Discouraged, format!("{:?} did not come", &*expected.id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn seen(text: &str, body: &str) -> StreamSeen {
        let text = format!("HTTP/1.1 {text}\r\n\r\n");
        let mut seen = StreamSeen {
            head: Some(Head::parse(text.as_bytes()).unwrap().unwrap().0),
            watched: Duration::from_secs(16),
            ..StreamSeen::default()
        };
        if !body.is_empty() {
            seen.record.take(Duration::from_millis(1), body.as_bytes());
            seen.record.take(Duration::from_secs(15), b":\n");
        }
        seen
    }

    const GOOD: &str = "200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store";
    const BODY: &str = "retry: 3000\nid: 1\ndata: a\n\nid: 2\ndata: b\n\n";

    fn answers() -> Answers {
        let mut resumed = seen(GOOD, "id: 2\ndata: b\n\n");
        resumed.sent_id = Some("1".into());
        Answers {
            stream: seen(GOOD, BODY),
            head: seen(GOOD, "").head,
            bytes_after_head: 0,
            resumed: Some(resumed),
            unknown_id: seen(GOOD, BODY),
            utf8_id: seen(GOOD, BODY),
            long_id: seen(GOOD, BODY),
            foreign: seen(GOOD, BODY),
            no_accept: seen(GOOD, BODY),
            other_accept: seen("406 Not Acceptable", ""),
            query: seen(GOOD, BODY),
            compressed: seen(GOOD, BODY),
        }
    }

    /// The checks that are not kept.
    fn wrong(answers: &Answers) -> Vec<(&'static str, Verdict)> {
        let outcomes = judge(answers).into_iter();
        let wrong = outcomes.filter(|own| matches!(own.verdict, Broken | Discouraged));
        wrong.map(|own| (own.check, own.verdict)).collect()
    }

    #[test]
    fn a_good_server_keeps_everything() {
        assert_eq!(wrong(&answers()), []);
    }

    #[test]
    fn each_deviation_is_one_check() {
        let check = |change: fn(&mut Answers), expected: &str, verdict| {
            let mut answers = answers();
            change(&mut answers);
            let found = wrong(&answers);
            assert!(
                found.len() == 1 && found[0].0.contains(expected) && found[0].1 == verdict,
                "{found:?}"
            );
        };
        check(
            |a| a.stream = seen(GOOD, &format!("{BODY}hello\n")),
            "every line",
            Broken,
        );
        check(
            |a| a.stream = seen(GOOD, &format!("\u{FEFF}{BODY}")),
            "byte order mark",
            Discouraged,
        );
        check(
            |a| a.stream = seen(&GOOD.replace("stream\r", "stream; charset=latin1\r"), BODY),
            "charset",
            Broken,
        );
        check(
            |a| a.stream = seen(&GOOD.replace("no-store", "public"), BODY),
            "caches",
            Discouraged,
        );
        check(|a| a.bytes_after_head = 9, "HEAD has no body", Broken);
        check(
            |a| a.unknown_id = seen("400 Bad Request", ""),
            "unknown Last-Event-ID",
            Broken,
        );
        check(|a| a.utf8_id = seen("500 Oops", ""), "UTF-8", Broken);
        check(
            |a| {
                a.foreign = seen(
                    &format!(
                        "{GOOD}\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true"
                    ),
                    BODY,
                )
            },
            "together",
            Broken,
        );
        check(
            |a| a.other_accept = seen("500 Oops", ""),
            "image/png",
            Discouraged,
        );
        check(
            |a| a.compressed = seen(GOOD, ""),
            "compression",
            Discouraged,
        );
    }

    #[test]
    fn what_is_no_stream_is_not_asked_more() {
        let page = Answers {
            stream: seen("200 OK\r\nContent-Type: text/html", "<html>"),
            ..Answers::default()
        };
        assert_eq!(judge(&page).len(), 2);
    }
}
