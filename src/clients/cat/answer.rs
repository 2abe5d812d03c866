//! ResponseKind: what the head of a response means for a reader.

/// The action for a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseKind {
    /// Read the stream.
    Stream,
    /// The stream is over (204).
    Finished,
    /// A temporary error: try again later.
    Later,
    /// A permanent error, as far as the client can know.
    Refused,
}

/// Classifies a response by its status and `Content-Type`.
///
/// A browser gives up on everything that is not a stream (WHATWG HTML §9.2.3). A script that
/// runs for weeks must also survive a restart of the server: 5xx, 408, 425 and 429 are
/// temporary.
pub(super) fn judge(status: u16, content_type: Option<&str>) -> ResponseKind {
    let media = content_type.and_then(|text| text.split(';').next());
    let is_stream = media.is_some_and(|m| m.trim().eq_ignore_ascii_case("text/event-stream"));
    match status {
        200 if is_stream => ResponseKind::Stream,
        204 => ResponseKind::Finished,
        408 | 425 | 429 | 500..=599 => ResponseKind::Later,
        _ => ResponseKind::Refused,
    }
}

/// Why a 200 is not a stream. `moved_to` is the target of a redirect, if there was one.
pub(super) fn mistaken_for_a_stream(content_type: Option<&str>, moved_to: Option<&str>) -> String {
    let media = content_type.and_then(|text| text.split(';').next());
    let is_page = media.is_some_and(|media| {
        let media = media.trim();
        let is = |other| media.eq_ignore_ascii_case(other);
        is("text/html") || is("application/xhtml+xml")
    });
    let kind = content_type.unwrap_or("nothing that says what it is");
    match (is_page, moved_to) {
        // A client without permission is redirected to a login page.
        (true, Some(url)) => format!(
            "no event stream, but {kind}: a redirect to the login page {url}; \
             see --token-file and --header"
        ),
        (true, None) => format!(
            "no event stream, but {kind}: probably a login page; see --token-file and --header"
        ),
        (false, Some(url)) => format!("no event stream, but {kind} from {url}"),
        (false, None) => format!("no event stream, but {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_200_of_its_type() {
        for (status, content_type, expected) in [
            (200, Some("text/event-stream"), ResponseKind::Stream),
            (
                200,
                Some("Text/Event-Stream ; charset=utf-8"),
                ResponseKind::Stream,
            ),
            (200, Some("text/html"), ResponseKind::Refused),
            (200, Some("text/event-streams"), ResponseKind::Refused),
            (200, None, ResponseKind::Refused),
            (204, None, ResponseKind::Finished),
            (206, Some("text/event-stream"), ResponseKind::Refused),
            (302, None, ResponseKind::Refused),
            (401, None, ResponseKind::Refused),
            (404, Some("text/event-stream"), ResponseKind::Refused),
            (429, None, ResponseKind::Later),
            (500, None, ResponseKind::Later),
            (503, Some("text/html"), ResponseKind::Later),
        ] {
            assert_eq!(judge(status, content_type), expected, "{status}");
        }
    }
}
