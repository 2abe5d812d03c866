//! The response to a request for the status page.

use super::head::{Head, Status};
use super::policy::with_cors;
use super::{Method, Request, Settings};

/// The format of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusFormat {
    /// A JSON object.
    Json,
    /// Prometheus's text format.
    Prometheus,
}

/// The response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusAnswer {
    /// This head, and then the metrics.
    Page(Head, StatusFormat),
    /// This head only.
    HeadOnly(Head),
}

/// Decides by method, `Accept` and the query's `format`.
#[must_use]
pub fn decide_status(request: &Request, settings: &Settings) -> StatusAnswer {
    const ALLOW: &str = "GET, HEAD, OPTIONS";
    let cors = |head| with_cors(head, request, settings);
    match request.method {
        Method::Options => {
            let head = Head::new(Status::NoContent).with("Allow", ALLOW);
            return StatusAnswer::HeadOnly(cors(head));
        }
        Method::Get | Method::Head => {}
        _ => {
            let head = Head::new(Status::MethodNotAllowed).with("Allow", ALLOW);
            return StatusAnswer::HeadOnly(cors(head));
        }
    }
    let accept = request.accept.as_deref().unwrap_or_default();
    let by_accept = if asks_for_text(accept) {
        StatusFormat::Prometheus
    } else {
        StatusFormat::Json
    };
    let figures = request.query.figures.unwrap_or(by_accept);
    let media_type = match figures {
        StatusFormat::Json => "application/json",
        StatusFormat::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
    };
    let head = Head::new(Status::Ok)
        .with("Content-Type", media_type)
        .with("Cache-Control", "no-cache");
    match request.method {
        Method::Head => StatusAnswer::HeadOnly(cors(head)),
        _ => StatusAnswer::Page(cors(head), figures),
    }
}

/// Whether an `Accept` field lists plain text, as Prometheus does, and not JSON.
fn asks_for_text(accept: &[u8]) -> bool {
    let names = |media: &[u8]| {
        let mut ranges = accept.split(|b| *b == b',');
        ranges.any(|range| {
            let named = range.split(|b| *b == b';').next().unwrap_or_default();
            named.trim_ascii().eq_ignore_ascii_case(media)
        })
    };
    names(b"text/plain") && !names(b"application/json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Lifetime, MetaVariables};

    fn check(pairs: &[(&str, &str)], expected: &str) {
        let meta = MetaVariables::of(pairs);
        let settings = Settings::parse(&meta, Lifetime::Unlimited).unwrap().0;
        let got = match decide_status(&Request::from_meta(&meta), &settings) {
            StatusAnswer::Page(head, figures) => format!("{} {figures:?}", head.status.as_str()),
            StatusAnswer::HeadOnly(head) => head.status.as_str().to_owned(),
        };
        assert_eq!(got, expected, "{pairs:?}");
    }

    #[test]
    fn figures_come_in_the_form_that_is_asked_for() {
        check(&[], "200 OK Json");
        check(&[("HTTP_ACCEPT", "*/*")], "200 OK Json");
        check(&[("HTTP_ACCEPT", "text/event-stream")], "200 OK Json");
        check(&[("HTTP_ACCEPT", "text/plain")], "200 OK Prometheus");
        let prometheus = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5,*/*;q=0.1";
        check(&[("HTTP_ACCEPT", prometheus)], "200 OK Prometheus");
        let axios = "application/json, text/plain, */*";
        check(&[("HTTP_ACCEPT", axios)], "200 OK Json");
        check(
            &[("QUERY_STRING", "format=prometheus")],
            "200 OK Prometheus",
        );
        let both = [
            ("QUERY_STRING", "format=json"),
            ("HTTP_ACCEPT", "text/plain"),
        ];
        check(&both, "200 OK Json");
    }

    #[test]
    fn nothing_but_reading_is_allowed() {
        check(&[("REQUEST_METHOD", "HEAD")], "200 OK");
        check(&[("REQUEST_METHOD", "POST")], "405 Method Not Allowed");
        check(&[("REQUEST_METHOD", "OPTIONS")], "204 No Content");
    }
}
