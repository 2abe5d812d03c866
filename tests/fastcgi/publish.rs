//! Publishing: a record that is posted to one location is read from another.

use crate::servers::gateway::{Gateway, Site};
use crate::servers::request::Request;
use crate::support::wait::PATIENCE;

behind_all!(
    what_is_posted_comes_down_with_the_id_that_its_publisher_was_told,
    a_body_in_chunks_is_published_whole,
    nobody_publishes_unless_it_is_configured,
    only_who_has_a_token_publishes,
    a_body_beyond_the_limit_is_refused,
    a_page_of_the_same_origin_publishes_on_another_port_than_80,
);

const TARGET: &str = "/events/publish";

fn post(site: &Site, kind: &str) -> Request {
    site.request("POST", TARGET)
        .field("Connection", "close")
        .field("Content-Type", kind)
}

#[track_caller]
fn published_id(request: &Request) -> String {
    let answer = request.send();
    assert_eq!(answer.head.status, 201, "{}", answer.head.raw);
    assert_eq!(answer.head.field("Content-Type"), Some("application/json"));
    let body = answer.text();
    let id = body
        .trim()
        .strip_prefix("{\"id\":\"")
        .and_then(|rest| rest.strip_suffix("\"}"));
    id.unwrap_or_else(|| panic!("no id: {body:?}")).to_owned()
}

fn what_is_posted_comes_down_with_the_id_that_its_publisher_was_told(gateway: Gateway) {
    let site = Site::with(gateway)
        .set("SSE_PUBLISH_ALLOW", "anyone")
        .start();
    let mut stream = site.get("/events/tail").send();
    stream.wait_for_comments(1, PATIENCE);
    let cases: [(&str, &[u8], &str, &str); 3] = [
        (
            "application/json",
            br#"{"event":"update","data":{"flight":"I768"}}"#,
            "update",
            r#"{"flight":"I768"}"#,
        ),
        ("text/plain", b"two\nlines", "message", "two\nlines"),
        (
            "application/x-www-form-urlencoded",
            b"event=say&data=%C3%A9+%26",
            "say",
            "\u{e9} &",
        ),
    ];
    for (kind, body, name, data) in cases {
        let id = published_id(&post(&site, kind).body(body));
        let event = stream.event();
        assert_eq!(
            (event.id, event.name.as_str(), event.data.as_str()),
            (id, name, data)
        );
    }
}

fn a_body_in_chunks_is_published_whole(gateway: Gateway) {
    let site = Site::with(gateway)
        .set("SSE_PUBLISH_ALLOW", "anyone")
        .start();
    // HAProxy collects it in a buffer of 16 KiB.
    let long = match gateway {
        Gateway::Haproxy => "x".repeat(10_000),
        _ => "x".repeat(20_000),
    };
    let request = post(&site, "text/plain").chunked(&[b"first ", long.as_bytes(), b" last"]);
    let id = published_id(&request);
    let event = site.get("/events/tail").send().event();
    assert_eq!((event.id, event.data), (id, format!("first {long} last")));
}

fn nobody_publishes_unless_it_is_configured(gateway: Gateway) {
    let site = Site::with(gateway).start();
    let request = post(&site, "text/plain").field("Origin", "http://localhost");
    let request = request.field("Sec-Fetch-Site", "same-origin");
    assert_eq!(request.body(b"hello").send().head.status, 403);
    assert!(!site.tail_file().exists());
    let answer = site.get(TARGET).field("Connection", "close").send();
    assert_eq!(answer.head.status, 405);
}

fn only_who_has_a_token_publishes(gateway: Gateway) {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let site = Site::with(gateway)
        .set("SSE_PUBLISH_ALLOW", "token")
        .set("SSE_PUBLISH_TOKEN_FILE", "{root}/data/tokens")
        .start();
    std::fs::write(site.path("data/tokens"), format!("{TOKEN}\n")).expect("a folder of ours");
    let with = |authorization: Option<&str>| {
        let request = post(&site, "text/plain");
        let request = match authorization {
            Some(value) => request.field("Authorization", value),
            None => request,
        };
        request.body(b"hello")
    };
    let nameless = with(None).send();
    assert_eq!(nameless.head.status, 401, "{}", site.logs());
    let asked = nameless.head.field("WWW-Authenticate").unwrap_or_default();
    assert!(asked.starts_with("Bearer"), "{asked}");
    assert_eq!(with(Some("Bearer wrong")).send().head.status, 403);
    published_id(&with(Some(&format!("Bearer {TOKEN}"))));
    assert_eq!(site.get("/events/tail").send().event().data, "hello");
}

fn a_body_beyond_the_limit_is_refused(gateway: Gateway) {
    let site = Site::with(gateway)
        .set("SSE_PUBLISH_ALLOW", "anyone")
        .start();
    let body = vec![b'x'; 70_000];
    let status = post(&site, "text/plain").body(&body).send().head.status;
    assert_eq!(status, 413);
    assert!(!site.tail_file().exists());
}

fn a_page_of_the_same_origin_publishes_on_another_port_than_80(gateway: Gateway) {
    let site = Site::with(gateway).set("SSE_PUBLISH_ALLOW", "same-origin");
    only_the_same_origin_publishes(&site.start());
}

#[test]
fn a_page_of_the_same_origin_publishes_where_nginx_passes_the_host_with_its_port() {
    let params = "include fastcgi_params;";
    let with_port = format!("{params}\nfastcgi_param HTTP_HOST $http_host;");
    let site = Site::with(Gateway::Nginx)
        .edit_snippet(params, &with_port)
        .set("SSE_PUBLISH_ALLOW", "same-origin");
    only_the_same_origin_publishes(&site.start());
}

#[track_caller]
fn only_the_same_origin_publishes(site: &Site) {
    let port = site.port();
    let host = format!("localhost:{port}");
    let status = |name: &str, value: &str| {
        let request = site.request("POST", TARGET).field("Connection", "close");
        let request = request.field("Content-Type", "text/plain");
        let request = request.field("Host", &host).field(name, value);
        request.body(b"hello").send().head.status
    };
    assert_eq!(
        status("Origin", &format!("http://{host}")),
        201,
        "{}",
        site.logs()
    );
    assert_eq!(status("Referer", &format!("http://{host}/page")), 201);
    assert_eq!(status("Sec-Fetch-Site", "same-origin"), 201);
    for origin in [
        "http://localhost".to_owned(),
        format!("http://localhost:{}", port ^ 1),
        format!("http://evil.example:{port}"),
        format!("http://localhost:{port}.evil.example"),
        "null".to_owned(),
    ] {
        assert_eq!(status("Origin", &origin), 403, "{origin}");
        assert_eq!(
            status("Referer", &format!("{origin}/page")),
            403,
            "{origin}"
        );
    }
}
