//! `sse-httpd` behind real proxies, which are started from the project's files.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::servers::answer::Answer;
use crate::servers::curl::curl;
use crate::servers::daemon::{Daemon, all_logs, free_port, start_until};
use crate::servers::nginx::{self, Edits, InFrontOf};
use crate::servers::request::Request;
use crate::servers::{apache_fastcgi, caddy, haproxy};
use crate::stage::{Httpd, Start};
use crate::support::folder::{Folder, append};
use crate::support::wait::{PATIENCE, wait_until};

/// Above the time that a busy machine takes; far below a heartbeat.
const AT_ONCE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proxy {
    Nginx,
    Caddy,
    Haproxy,
    /// With `send-proxy-v2`.
    HaproxyV2,
    Apache,
}

/// Makes each function a test behind every proxy.
macro_rules! behind_all {
    ($($name:ident),+ $(,)?) => {
        behind_all!(@ behind_nginx Nginx $($name)+);
        behind_all!(@ behind_caddy Caddy $($name)+);
        behind_all!(@ behind_haproxy Haproxy $($name)+);
        behind_all!(@ behind_haproxy_with_the_proxy_protocol HaproxyV2 $($name)+);
        behind_all!(@ behind_apache Apache $($name)+);
    };
    (@ $module:ident $proxy:ident $($name:ident)+) => {
        mod $module {
            $(#[test] fn $name() { super::$name(super::Proxy::$proxy) })+
        }
    };
}

behind_all!(
    events_arrive_at_once_and_ids_and_posts_get_through,
    the_client_is_who_the_proxy_says_and_not_who_the_client_says,
    a_client_that_left_is_noticed_and_silence_is_filled,
    a_drain_ends_streams_cleanly_and_then_a_stream_asks_to_return,
);

/// An `sse-httpd` with a proxy in front.
struct Site {
    // Ended first, so that sse-httpd has no clients.
    _proxy: Daemon,
    port: u16,
    httpd: Httpd,
    folder: Folder,
}

impl Site {
    #[track_caller]
    fn start(proxy: Proxy, settings: &str) -> Self {
        let folder = Folder::new();
        folder.make("run");
        folder.make_public("logs");
        let mark = format!("/events/mark-{}-{:?}", std::process::id(), Instant::now());
        let mark = mark.replace(|c: char| !c.is_ascii_alphanumeric() && c != '/', "-");
        let file = folder.path("events.jsonl").display().to_string();
        let text = format!(
            "SSE_LOG = {}\n{settings}\n\
             [/events/tail]\nSSE_STREAM = tail\nSSE_FILE = {file}\n\
             [{mark}]\nSSE_STREAM = clock\n\
             [/events/publish]\nSSE_STREAM = publish\nSSE_FILE = {file}\n\
             SSE_PUBLISH_ALLOW = same-origin\n\
             [/events/status]\nSSE_STREAM = status\n",
            folder.path("log").display(),
        );
        folder.write("streams.conf", text);
        let start = Start::new(&folder)
            .argument("--trusted-proxy")
            .argument("127.0.0.1")
            .argument("--config")
            .argument(folder.path("streams.conf"));
        let start = match proxy {
            Proxy::HaproxyV2 => start.argument("--proxy-protocol"),
            _ => start,
        };
        let httpd = start.start();
        let behind = httpd.address().port();
        let mut edits = Edits::default();
        if let Proxy::Haproxy | Proxy::HaproxyV2 = proxy {
            // By default it tries to connect for three seconds.
            let timeout = "    timeout connect 3s\n";
            let faster = format!("{timeout}    retries 0\n");
            edits.site.push((timeout.into(), faster));
        }
        if proxy == Proxy::HaproxyV2 {
            let line = format!("server httpd 127.0.0.1:{behind} pool-purge-delay 5s");
            let with = format!("{line} send-proxy-v2");
            edits.site.push((format!("    {line}\n"), String::new()));
            edits.site.push((format!("#{with}"), with));
        }
        let configure = |port: u16| match proxy {
            Proxy::Nginx => {
                nginx::configure_in_front(&folder, port, InFrontOf::Httpd, behind, &edits)
            }
            Proxy::Caddy => {
                caddy::configure_in_front(&folder, port, InFrontOf::Httpd, behind, &edits)
            }
            Proxy::Haproxy | Proxy::HaproxyV2 => {
                haproxy::configure_in_front(&folder, port, behind, &edits)
            }
            Proxy::Apache => apache_fastcgi::configure_in_front(&folder, port, behind),
        };
        let (daemon, port) = start_until(&folder, &[], configure, |port| {
            let request = Request::new(port, "HEAD", &mark).field("Connection", "close");
            request.send().head.status == 200
        });
        Self {
            _proxy: daemon,
            port,
            httpd,
            folder,
        }
    }

    fn request(&self, method: &str, target: &str) -> Request {
        Request::new(self.port, method, target)
    }

    fn stream(&self) -> Answer {
        self.request("GET", "/events/tail").send()
    }

    fn append(&self, text: &str) {
        append(&self.folder.path("events.jsonl"), text);
    }

    /// The clients of the streams that have ended, according to the log.
    fn clients_that_ended(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path("log")).unwrap_or_default();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"));
        let ended = lines.filter(|line: &Value| line["message"] == "stream ended");
        ended
            .map(|line| line["client"].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", all_logs(&self.folder));
        }
    }
}

fn events_arrive_at_once_and_ids_and_posts_get_through(proxy: Proxy) {
    let site = Site::start(proxy, "");
    site.append("{\"data\":\"from before\"}\n");
    let mut stream = site.stream();
    assert_eq!(stream.head.status, 200);
    assert_eq!(stream.event().data, "from before");
    let last_id = stream.parser.last_id.clone();
    for number in 0..5 {
        let written = Instant::now();
        site.append(&format!("{{\"data\":{number}}}\n"));
        let event = stream.event();
        assert_eq!(event.data, number.to_string());
        let delay = event.arrived - written;
        assert!(delay < AT_ONCE, "took {delay:?}");
    }
    let again = site.request("GET", "/events/tail");
    let mut again = again.field("Last-Event-ID", &last_id).send();
    assert_eq!(again.data_of(5), ["0", "1", "2", "3", "4"]);

    let head = site.request("HEAD", "/events/tail");
    let head = head.field("Connection", "close").send();
    assert_eq!(head.head.status, 200);
    assert_eq!(
        head.head.field("Content-Type"),
        Some("text/event-stream; charset=utf-8")
    );
    assert_eq!(head.bytes_until_close(), "");

    // With its port, as browsers send it.
    let host = format!("localhost:{}", site.port);
    let post = |origin: &str| {
        let request = site.request("POST", "/events/publish").field("Host", &host);
        let request = request.field("Connection", "close");
        let request = request.field("Content-Type", "text/plain");
        let request = request.field("Origin", origin);
        let chunked = request.clone().chunked(&[b"in ", b"chunks"]).send();
        let whole = request.body(b"whole").send();
        [chunked.head.status, whole.head.status]
    };
    assert_eq!(post(&format!("http://{host}")), [201, 201]);
    assert_eq!(post("http://evil.example"), [403, 403]);
    for data in ["in chunks", "whole"] {
        assert!(stream.event().data.contains(data), "{data}");
    }
}

fn the_client_is_who_the_proxy_says_and_not_who_the_client_says(proxy: Proxy) {
    let site = Site::start(proxy, "");
    site.append("{\"data\":\"one\"}\n");
    // Of another address than the proxy's.
    let mut arguments = vec!["--raw", "--interface", "127.0.0.2"];
    for field in [
        "Forwarded: for=198.51.100.7;proto=https;host=evil",
        "X-Forwarded-For: 198.51.100.8",
        "X-Forwarded-Host: evil.example",
    ] {
        arguments.extend(["--header", field]);
    }
    let url = format!("http://127.0.0.1:{}/events/tail", site.port);
    let mut stream = curl(&arguments, &url);
    assert_eq!(stream.event().data, "one");
    drop(stream);
    wait_until("the line of the stream", PATIENCE, || {
        // Some notice only at a second write that the client has left.
        site.append("{\"data\":\"more\"}\n");
        !site.clients_that_ended().is_empty()
    });
    assert_eq!(site.clients_that_ended(), ["127.0.0.2"]);
}

fn a_client_that_left_is_noticed_and_silence_is_filled(proxy: Proxy) {
    let site = Site::start(proxy, "SSE_HEARTBEAT = 1s");
    let mut stream = site.stream();
    stream.wait_for_comments(2, PATIENCE);
    assert!(site.clients_that_ended().is_empty());
    drop(stream);
    let limit = match proxy {
        Proxy::Nginx | Proxy::Haproxy | Proxy::HaproxyV2 => AT_ONCE,
        // At a heartbeat, the second one at the latest.
        Proxy::Caddy | Proxy::Apache => Duration::from_millis(3500),
    };
    wait_until("the end of the stream", limit, || {
        !site.clients_that_ended().is_empty()
    });
}

fn a_drain_ends_streams_cleanly_and_then_a_stream_asks_to_return(proxy: Proxy) {
    let mut site = Site::start(proxy, "");
    site.append("{\"data\":\"one\"}\n");
    let mut stream = site.stream();
    assert_eq!(stream.event().data, "one");
    site.httpd.signal(Signal::SIGTERM);
    assert!(stream.events_to_end(PATIENCE).is_empty());
    assert!(!stream.cut, "the end of the body is missing");
    assert_eq!(site.httpd.code(), 0);
    if proxy == Proxy::Apache {
        // The shipped file for Apache configures no page for a server that is down.
        return;
    }
    let close = |request: Request| request.field("Connection", "close").send();
    let mut stream = close(site.request("GET", "/events/tail"));
    assert_eq!(stream.head.status, 200);
    assert_eq!(stream.event().name, "unavailable");
    assert!(stream.events_to_end(PATIENCE).is_empty());
    assert!(stream.parser.retry.is_some());
    assert_eq!(close(site.request("HEAD", "/events/tail")).head.status, 503);
}

#[test]
fn two_lines_of_a_caddyfile_are_enough_for_tls() {
    let folder = Folder::new();
    folder.make("run");
    folder.make_public("logs");
    folder.write("app.log", "one\n");
    let httpd = Start::new(&folder)
        .argument("--host")
        .argument("logs.example.org")
        .argument(folder.path("app.log"))
        .start();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/without-a-web-server.md");
    let page = fs::read_to_string(page).unwrap();
    let lines = "logs.example.org\nreverse_proxy 127.0.0.1:8080\n";
    assert!(page.contains(lines), "the two lines are gone");
    let lines = lines.replace("8080", &httpd.address().port().to_string());
    let http = free_port();
    let configure = |port: u16| {
        // Instead of the ports 80 and 443, and of a certificate of a public authority.
        let options = [
            format!("http_port {http}"),
            format!("https_port {port}"),
            "default_bind 127.0.0.1".into(),
            "local_certs".into(),
            "skip_install_trust".into(),
        ];
        caddy::command(&folder, &lines, &options)
    };
    let get = |port: u16, arguments: &[&str]| {
        let resolve = format!("logs.example.org:{port}:127.0.0.1");
        let all = [&["--insecure", "--resolve", &resolve], arguments].concat();
        curl(
            &all,
            &format!("https://logs.example.org:{port}/events/app.log"),
        )
    };
    let is_it = |port: u16| {
        let resolve = format!("logs.example.org:{port}:127.0.0.1");
        let address = format!("https://logs.example.org:{port}/");
        let ended = std::process::Command::new("curl")
            .args(["--silent", "--insecure", "--fail", "--output", "/dev/null"])
            .args(["--max-time", "10", "--resolve", &resolve, &address])
            .status();
        // The certificate may still be made.
        ended.is_ok_and(|status| status.success())
    };
    let (_caddy, port) = start_until(&folder, &[], configure, is_it);
    for arguments in [&["--http1.1", "--raw"][..], &["--http2"]] {
        let mut stream = get(port, arguments);
        assert_eq!(stream.head.status, 200, "{arguments:?}");
        assert_eq!(stream.event().data, "one", "{arguments:?}");
        append(&folder.path("app.log"), "one\n");
        assert_eq!(stream.event().data, "one", "{arguments:?}");
    }
}
