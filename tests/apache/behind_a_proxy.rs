//! Apache's programs behind nginx and behind Caddy, both from the files that
//! docs/behind-a-proxy.md names, which says what is observed here.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use crate::servers::answer::Answer;
use crate::servers::apache::{Apache, Builder, Mpm};
use crate::servers::caddy;
use crate::servers::daemon::{Daemon, all_logs, start_on_free_port};
use crate::servers::nginx::{self, Edits, InFrontOf};
use crate::servers::request::Request;
use crate::support::folder::{Folder, append};
use crate::support::wait::PATIENCE;

/// Above the time that a busy machine takes; far below a heartbeat.
const AT_ONCE: Duration = Duration::from_secs(1);

const BOTH: [&str; 2] = ["nph-tail.cgi", "tail.cgi"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proxy {
    Nginx,
    Caddy,
}

/// An Apache with a proxy in front.
struct Site {
    // Ended first, so that Apache has no clients.
    _proxy: Daemon,
    proxy_folder: Folder,
    port: u16,
    apache: Apache,
}

impl Site {
    #[track_caller]
    fn start(proxy: Proxy, apache: Builder, edits: &Edits) -> Self {
        let apache = apache.start();
        let folder = Folder::new();
        folder.make("run");
        folder.make_public("logs");
        // The page by which a starting server is known is Apache's.
        symlink(apache.path("pages"), folder.join("pages")).expect("a new folder");
        let configure = match proxy {
            Proxy::Nginx => nginx::configure_in_front,
            Proxy::Caddy => caddy::configure_in_front,
        };
        let (daemon, port) = start_on_free_port(&folder, &[], |port| {
            configure(&folder, port, InFrontOf::Cgi, apache.port(), edits)
        });
        Self {
            _proxy: daemon,
            proxy_folder: folder,
            port,
            apache,
        }
    }

    fn request(&self, method: &str, program: &str) -> Request {
        Request::new(self.port, method, &format!("/cgi-bin/{program}"))
    }

    fn get(&self, program: &str) -> Request {
        self.request("GET", program)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", all_logs(&self.proxy_folder));
        }
    }
}

fn apache() -> Builder {
    Apache::with(Mpm::EventWithCgid)
}

/// Appends a line at a time, the next only when the last has arrived.
#[track_caller]
fn write_and_await(site: &Site, stream: &mut Answer) {
    for number in 0..5 {
        let written = Instant::now();
        append(&site.apache.tail_file(), &format!("{number}\n"));
        let event = stream.event();
        assert_eq!(event.data, number.to_string());
        let delay = event.arrived - written;
        assert!(delay < AT_ONCE, "took {delay:?}");
    }
}

#[track_caller]
fn streams_flow(proxy: Proxy, edits: &Edits) {
    let site = Site::start(proxy, apache(), edits);
    for program in BOTH {
        let _ = std::fs::remove_file(site.apache.tail_file());
        append(&site.apache.tail_file(), &format!("{}\n", "x".repeat(600)));
        let mut stream = site.get(program).field("Accept-Encoding", "gzip").send();
        assert_eq!(stream.head.status, 200, "{program}");
        assert_eq!(stream.event().data.len(), 600, "{program}");
        let last_id = stream.parser.last_id.clone();
        write_and_await(&site, &mut stream);
        let mut again = site.get(program).field("Last-Event-ID", &last_id).send();
        assert_eq!(again.data_of(5), ["0", "1", "2", "3", "4"], "{program}");
    }
}

#[test]
fn nginx_passes_events_on_at_once_and_ids_back() {
    streams_flow(Proxy::Nginx, &Edits::default());
}

#[test]
fn caddy_passes_events_on_at_once_and_ids_back() {
    streams_flow(Proxy::Caddy, &Edits::default());
}

#[test]
fn nginx_without_the_line_heeds_what_the_programs_ask_for_unless_it_is_told_not_to() {
    let mut edits = Edits::default();
    let line = "proxy_buffering off;";
    edits.site.push((line.into(), String::new()));
    streams_flow(Proxy::Nginx, &edits);
    edits.site[0].1 = "proxy_ignore_headers X-Accel-Buffering;".into();
    let site = Site::start(Proxy::Nginx, apache(), &edits);
    append(&site.apache.tail_file(), "from before\n");
    // Of an nph- program not even the head arrives.
    let mut client = TcpStream::connect(("127.0.0.1", site.port)).expect("it listens");
    let soon = Some(Duration::from_millis(700));
    client.set_read_timeout(soon).expect("not zero");
    client
        .write_all(b"GET /cgi-bin/nph-tail.cgi HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("it reads");
    let got = client.read(&mut [0; 100]);
    assert!(got.is_err(), "{got:?}");
    // The chunks of the plain name are passed on.
    let mut stream = site.get("tail.cgi").send();
    assert_eq!(stream.event().data, "from before");
    write_and_await(&site, &mut stream);
}

#[test]
fn a_client_that_left_is_noticed_by_the_second_heartbeat_behind_nginx_and_the_fifth_behind_caddy() {
    for (proxy, limit) in [(Proxy::Nginx, 3500), (Proxy::Caddy, 6500)] {
        let apache = apache().set("SSE_HEARTBEAT", "1s");
        let site = Site::start(proxy, apache, &Edits::default());
        let mut stream = site.get("tail.cgi").send();
        stream.wait_for_comments(1, PATIENCE);
        assert_eq!(site.apache.programs().len(), 1);
        drop(stream);
        let limit = Duration::from_millis(limit);
        site.apache.wait_until_no_program_runs(limit);
    }
}

#[test]
fn a_page_of_the_same_origin_publishes_through_either_proxy() {
    for proxy in [Proxy::Nginx, Proxy::Caddy] {
        let apache = apache()
            .set("SSE_PUBLISH_ALLOW", "same-origin")
            .set("SSE_FILE", "{root}/data/published.jsonl");
        let site = Site::start(proxy, apache, &Edits::default());
        let host = format!("localhost:{}", site.port);
        let status = |origin: &str| {
            let request = site.request("POST", "publish.cgi").field("Host", &host);
            let request = request.field("Connection", "close");
            let request = request.field("Content-Type", "text/plain");
            request
                .field("Origin", origin)
                .body(b"up")
                .send()
                .head
                .status
        };
        let own = status(&format!("http://{host}"));
        assert_eq!(own, 201, "{proxy:?} {}", site.apache.logs());
        assert_eq!(status("http://evil.example"), 403, "{proxy:?}");
    }
}

#[test]
fn while_apache_is_away_a_stream_asks_to_return_and_monitoring_gets_503() {
    for proxy in [Proxy::Nginx, Proxy::Caddy] {
        let mut site = Site::start(proxy, apache(), &Edits::default());
        site.apache.signal(nix::sys::signal::Signal::SIGTERM);
        site.apache.wait_until_ended(PATIENCE);
        let close = |request: Request| request.field("Connection", "close").send();
        let mut stream = close(site.get("tail.cgi"));
        assert_eq!(stream.head.status, 200, "{proxy:?}");
        assert_eq!(stream.event().name, "unavailable", "{proxy:?}");
        assert!(stream.events_to_end(PATIENCE).is_empty());
        assert!(stream.parser.retry.is_some(), "{proxy:?}");
        assert_eq!(close(site.request("HEAD", "tail.cgi")).head.status, 503);
    }
}
