//! Whether an `Accept` field permits `text/event-stream` (RFC 9110 §12.5.1).

/// Whether the field accepts `text/event-stream`.
///
/// The most specific matching range decides, by its `q`. A malformed field accepts everything:
/// a refusal would end an `EventSource` permanently.
pub(super) fn accepts_event_stream(field: &[u8]) -> bool {
    let mut best: Option<(u8, bool)> = None;
    let mut readable = false;
    for range in field.split(|&b| b == b',') {
        let mut parts = range.split(|&b| b == b';').map(<[u8]>::trim_ascii);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        if !media.contains(&b'/') && media != b"*" {
            continue;
        }
        readable = true;
        let specificity = match &media[..] {
            b"text/event-stream" => 3,
            b"text/*" => 2,
            b"*/*" | b"*" => 1,
            _ => continue,
        };
        let wanted = !parts.any(is_zero_weight);
        if best.is_none_or(|(known, _)| specificity > known) {
            best = Some((specificity, wanted));
        }
    }
    best.map_or(!readable, |(_, wanted)| wanted)
}

/// Whether a parameter is `q=0`, `q=0.`, `q=0.000`.
fn is_zero_weight(parameter: &[u8]) -> bool {
    let Some(equals) = parameter.iter().position(|&b| b == b'=') else {
        return false;
    };
    let (name, value) = (
        parameter[..equals].trim_ascii(),
        parameter[equals + 1..].trim_ascii(),
    );
    name.eq_ignore_ascii_case(b"q")
        && value.first() == Some(&b'0')
        && value[1..].iter().all(|&b| b == b'.' || b == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_field_that_excludes_the_type_is_refused() {
        for (field, expected) in [
            ("text/event-stream", true),
            ("TEXT/Event-Stream; charset=utf-8", true),
            ("*/*", true),
            ("*", true),
            ("text/*;q=0.1", true),
            ("text/html, */*;q=0.8", true),
            ("application/json, text/event-stream;q=0.5", true),
            ("", true),
            (" , ", true),
            ("nonsense", true),
            ("text/html", false),
            ("application/json", false),
            ("text/event-stream;q=0, */*", false),
            ("text/event-stream ; q = 0.000", false),
            ("text/*;q=0, */*", false),
            ("*/*;q=0", false),
        ] {
            assert_eq!(accepts_event_stream(field.as_bytes()), expected, "{field}");
        }
    }
}
