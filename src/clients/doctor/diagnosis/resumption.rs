//! Whether a client that returns misses nothing.

use std::time::Duration;

use super::super::observation::Observations;
use super::super::record::SeenEvent;
use super::Check;

/// Events about the stream itself, which have no place in its order.
const OWN_NAMES: [&str; 4] = ["gap", "place", "heartbeat", "unavailable"];

fn content(events: &[SeenEvent]) -> impl Iterator<Item = &SeenEvent> {
    events
        .iter()
        .filter(|event| !OWN_NAMES.contains(&event.name.as_str()))
}

/// Whether Last-Event-ID gets through.
pub(super) fn last_event_id(seen: &Observations, checks: &mut Vec<Check>) {
    let first = &seen.stream.record;
    let has_ids = first.events.iter().any(|event| !event.id.is_empty());
    let Some(again) = &seen.again else {
        if first.event_count > 0 && !has_ids {
            checks.push(no_ids());
        }
        return;
    };
    let is_compressed = again
        .head
        .as_ref()
        .is_some_and(|head| head.field("content-encoding").is_some());
    let Some(sent) = again.sent_id.as_deref() else {
        checks.push(if first.event_count == 0 {
            Check::unknown(
                "last-event-id",
                "no event has arrived, so there is no id to continue after",
            )
        } else if has_ids {
            Check::unknown(
                "last-event-id",
                "the first id came too late to continue after it; --for 90s",
            )
        } else {
            no_ids()
        });
        return;
    };
    if is_compressed {
        checks.push(Check::unknown(
            "last-event-id",
            "the second stream is compressed, so its ids were not read",
        ));
        return;
    }
    if let Some(gap) = again.record.events.iter().find(|event| event.name == "gap") {
        checks.push(Check::note(
            "last-event-id",
            format!("it arrives; the stream reports a gap: {}", gap.data),
        ));
        return;
    }
    // The same moment may be an event of both streams.
    let repeated = content(&again.record.events).any(|event| &*event.id == sent);
    if repeated {
        checks.push(
            Check::fault("last-event-id", format!("the event with the id {sent} is sent again to a client that has it"))
                .by("a proxy that drops Last-Event-ID, or a program that ignores it")
                .fix("nginx: fastcgi_pass_request_headers on (proxy_pass_request_headers); fastcgi_param HTTP_LAST_EVENT_ID $http_last_event_id;")
                .fix("a server that drops it (mini-httpd): the query lastEventId does the same"),
        );
        return;
    }
    let mut after = content(&first.events)
        .skip_while(|event| &*event.id != sent)
        .skip(1);
    let expected = after.find(|event| event.at < again.began + again.watched);
    let next = content(&again.record.events).next();
    // A clock's ids are times: two streams of it have none in common, and it repeats nothing.
    let is_clock = first.events.iter().any(|event| event.made_ms.is_some());
    checks.push(match (expected, next) {
        _ if is_clock => Check::good("last-event-id", "a clock continues with the present time"),
        (Some(expected), Some(next)) if expected.id == next.id => Check::good(
            "last-event-id",
            format!(
                "it arrives: after {sent} the stream continues with {}",
                next.id
            ),
        ),
        (Some(expected), Some(next)) => Check::fault(
            "last-event-id",
            format!(
                "after the id {sent} the stream continues with {}, not {}: events are missed",
                next.id, expected.id
            ),
        )
        .by("a proxy that drops Last-Event-ID, or a program that does not replay"),
        (Some(expected), None) => Check::fault(
            "last-event-id",
            format!("after the id {sent} the event {} is missing", expected.id),
        )
        .by("a program that does not replay, or something that collects output"),
        (None, _) => Check::good(
            "last-event-id",
            format!("a client that continues after {sent} gets nothing twice"),
        ),
    });
}

fn no_ids() -> Check {
    Check::warning(
        "last-event-id",
        "events have no ids: a client that reconnects misses what was sent meanwhile",
    )
    .fix("send id: with each event (sse-cgi does)")
}

/// The time before a client returns.
pub(super) fn retry(seen: &Observations, checks: &mut Vec<Check>) {
    checks.push(match seen.stream.record.retry {
        None => Check::note(
            "retry",
            "none: browsers return after 3 s or so, all at the same time",
        ),
        Some(retry) if retry < Duration::from_secs(1) => Check::warning(
            "retry",
            format!(
                "{} ms: after a restart every client comes back at once, again and again",
                retry.as_millis()
            ),
        )
        .fix("retry: 3000"),
        Some(retry) if retry > Duration::from_secs(600) => Check::warning(
            "retry",
            format!(
                "{} s: a client stays away that long after any interruption",
                retry.as_secs()
            ),
        ),
        Some(retry) => Check::good("retry", format!("{} ms", retry.as_millis())),
    });
}
