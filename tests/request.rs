//! Any variables of a gateway make a request with a meaning, and no unchecked bytes of the
//! client get into the head of a response.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sse_cgi::gateway::Framing;
use sse_cgi::request::{
    Decision, Head, LastId, Lifetime, MetaVariables, Request, Settings, Value, decide,
};

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Meta-variables that a client can influence.
const CLIENTS: &[&str] = &[
    "REQUEST_METHOD",
    "QUERY_STRING",
    "HTTP_ACCEPT",
    "HTTP_ORIGIN",
    "HTTP_LAST_EVENT_ID",
    "SERVER_PROTOCOL",
    "PATH_INFO",
    "REQUEST_URI",
    "HTTP_PROXY",
    "HTTP_SSE_FILE",
    "CONTENT_LENGTH",
    "REMOTE_USER",
];

/// Those that the administrator sets, or should.
const SETTINGS: &[&str] = &[
    "SSE_FILE",
    "SSE_FORMAT",
    "SSE_EVENT",
    "SSE_BACKLOG",
    "SSE_REPLAY",
    "SSE_MAX_LINE",
    "SSE_INTERVAL",
    "SSE_COUNT",
    "SSE_HEARTBEAT",
    "SSE_RETRY",
    "SSE_SEND_TIMEOUT",
    "SSE_MAX_AGE",
    "SSE_ALLOW_ORIGIN",
    "SSE_LOG",
    "SSE_NONSENSE",
    "SSE_",
    "SCRIPT_NAME",
    "SCRIPT_FILENAME",
    "GATEWAY_INTERFACE",
];

fn value() -> impl Strategy<Value = Vec<u8>> {
    let word = select(vec![
        "GET",
        "HEAD",
        "OPTIONS",
        "get",
        "POST",
        "5, 6",
        "text/event-stream;q=0",
        "*/*",
        "text/html",
        "lastEventId=%00&padding=true",
        "evs_preamble=99999999999999999999",
        "&&=&%&%2",
        "lastEventId",
        "https://a.example",
        "null",
        "*",
        "HTTP/2.0",
        "HTTP/",
        "15s",
        "99999999999999999999h",
        "1G",
        "-1",
        "0",
        "lines",
        "\r\nSet-Cookie: x=1",
        "a\r\n\r\nb",
        "CGI/1.1",
        "/cgi-bin/nph-tail.cgi",
        ";q=",
    ]);
    prop_oneof![
        1 => Just(Vec::new()),
        4 => vec(any::<u8>(), 1..30),
        4 => word.prop_map(|text| text.as_bytes().to_vec()),
        2 => ".{0,20}".prop_map(String::into_bytes),
        1 => any::<u8>().prop_map(|byte| vec![byte; 10_000]),
        1 => ".{0,8}".prop_map(|text| text.repeat(1_300).into_bytes()),
    ]
}

/// None to three values for each of some names.
fn pairs(names: &'static [&'static str], most: usize) -> impl Strategy<Value = Pairs> {
    vec((select(names), value()), 0..most).prop_map(|pairs| {
        pairs
            .into_iter()
            .map(|(n, v)| (n.as_bytes().to_vec(), v))
            .collect()
    })
}

fn head(answer: &Decision) -> &Head {
    match answer {
        Decision::Stream(head) | Decision::HeadOnly(head) | Decision::Refuse(head) => head,
    }
}

const DATE: &str = "Sat, 21 Nov 2026 08:00:00 GMT";

/// Lines that end in CRLF, one empty one, and that at the end.
fn lines(head: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(head).expect("a head is text");
    let body = text
        .strip_suffix("\r\n\r\n")
        .expect("a head ends in an empty line");
    let lines: Vec<String> = body.split("\r\n").map(str::to_owned).collect();
    for line in &lines {
        assert!(
            !line.is_empty() && !line.contains(['\r', '\n', '\0']),
            "{line:?}"
        );
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_comes_is_a_panic(clients in pairs(CLIENTS, 12), settings in pairs(SETTINGS, 6)) {
        let meta = MetaVariables::new([clients, settings].concat());
        let request = Request::from_meta(&meta);
        let framing = Framing::of(&meta, "nph-tail".as_ref());
        for lifetime in [Lifetime::Hour, Lifetime::Unlimited] {
            match Settings::parse(&meta, lifetime) {
                Ok((settings, notices)) => {
                    let answer = decide(&request, &settings);
                    for framing in [framing, Framing::NonParsed, Framing::Parsed] {
                        if framing != Framing::Bare {
                            lines(&framing.write(head(&answer), DATE));
                        }
                    }
                    for notice in notices {
                        let notice = notice.to_string();
                        prop_assert!(!notice.contains(['\r', '\n']) && notice.len() < 2_000, "{}", notice);
                    }
                }
                Err(error) => {
                    let error = error.to_string();
                    prop_assert!(!error.contains(['\r', '\n']) && error.len() < 2_000, "{}", error);
                    prop_assert!(error.starts_with("SSE_") && error.contains("write "), "{}", error);
                }
            }
        }
        prop_assert!(request.query.preamble_bytes <= 4096);
    }

    #[test]
    fn a_head_says_nothing_that_the_client_said(clients in pairs(CLIENTS, 12), any_origin in any::<bool>()) {
        let allowed = if any_origin { "https://a.example *" } else { "https://a.example https://*.b.example" };
        let allow = (b"SSE_ALLOW_ORIGIN".to_vec(), allowed.as_bytes().to_vec());
        let meta = MetaVariables::new([clients, vec![allow]].concat());
        let settings = Settings::parse(&meta, Lifetime::Hour).unwrap().0;
        let written = Framing::NonParsed.write(head(&decide(&Request::from_meta(&meta), &settings)), DATE);
        const KNOWN: &[&str] = &[
            "HTTP/1.1 200 OK",
            "HTTP/1.1 204 No Content",
            "HTTP/1.1 405 Method Not Allowed",
            "HTTP/1.1 406 Not Acceptable",
            "Date: Sat, 21 Nov 2026 08:00:00 GMT",
            "Content-Type: text/event-stream; charset=utf-8",
            "Cache-Control: no-cache, no-transform",
            "X-Accel-Buffering: no",
            "Content-Length: 0",
            "Connection: close",
            "Allow: GET, HEAD, OPTIONS",
            "Vary: Origin",
            "Access-Control-Allow-Origin: *",
            "Access-Control-Allow-Origin: null",
            "Access-Control-Allow-Origin: https://a.example",
            "Access-Control-Allow-Credentials: true",
            "Access-Control-Allow-Methods: GET, HEAD, OPTIONS",
            "Access-Control-Allow-Headers: Accept, Authorization, Cache-Control, Content-Type, \
             Last-Event-ID, X-Requested-With",
            "Access-Control-Max-Age: 7200",
        ];
        let lines = lines(&written);
        for line in &lines {
            prop_assert!(KNOWN.contains(&line.as_str()), "{}", line);
        }
        let any = lines.contains(&"Access-Control-Allow-Origin: *".to_owned());
        let credentials = lines.contains(&"Access-Control-Allow-Credentials: true".to_owned());
        prop_assert!(!(any && credentials));
    }

    #[test]
    fn a_client_can_set_nothing(clients in pairs(CLIENTS, 12)) {
        let (settings, notices) = Settings::parse(&MetaVariables::new(clients), Lifetime::Hour).unwrap();
        let unset = Settings::parse(&MetaVariables::default(), Lifetime::Hour).unwrap().0;
        prop_assert_eq!((settings, notices.len()), (unset, 0));
    }

    #[test]
    fn a_bad_last_id_is_never_an_error(ids in vec(value(), 0..3), in_query in any::<bool>()) {
        let pairs: Pairs = ids
            .iter()
            .map(|id| match in_query {
                false => (b"HTTP_LAST_EVENT_ID".to_vec(), id.clone()),
                true => (b"QUERY_STRING".to_vec(), [b"last_event_id=", &id[..]].concat()),
            })
            .collect();
        let meta = MetaVariables::new(pairs);
        let request = Request::from_meta(&meta);
        let settings = Settings::parse(&meta, Lifetime::Hour).unwrap().0;
        prop_assert!(matches!(decide(&request, &settings), Decision::Stream(_)));
        if !in_query {
            let given: Vec<&Vec<u8>> = ids.iter().filter(|id| !id.is_empty()).collect();
            let is_id = |id: &[u8]| id.len() <= 256 && id.iter().all(u8::is_ascii_graphic);
            match (&given[..], &request.last_id) {
                ([], LastId::None) => {}
                ([one], LastId::Given(id)) => prop_assert!(is_id(one) && id.as_str().as_bytes() == &one[..]),
                ([one], LastId::Malformed) => prop_assert!(!is_id(one)),
                ([_, _, ..], LastId::Malformed) => {}
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    #[test]
    fn the_last_of_several_settings_counts(values in vec("[0-9]{1,3}s", 1..4)) {
        let pairs = values.iter().map(|v| (b"SSE_INTERVAL".to_vec(), v.clone().into_bytes())).collect();
        let meta = MetaVariables::new(pairs);
        prop_assert_eq!(meta.get("SSE_INTERVAL").last(), values.last().map(String::as_bytes));
        prop_assert_eq!(matches!(meta.get("SSE_INTERVAL"), Value::Repeated(_)), values.len() > 1);
        prop_assert!(Settings::parse(&meta, Lifetime::Hour).is_ok());
    }
}
