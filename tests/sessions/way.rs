//! Real servers with a session and a room: Apache with the CGI programs, nginx with the
//! responder, `sse-httpd` alone, or two of them with a Redis.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::httpd::Httpd;
use crate::servers::answer::Answer;
use crate::servers::apache::{Apache, Mpm};
use crate::servers::gateway::{Gateway, Site};
use crate::servers::request::Request;
use crate::spool::json;
use crate::stage::Folder;
use crate::support::redis::Redis;

/// The protocol between the server and the programs.
pub enum Way {
    Apache(Apache),
    Nginx(Box<Site>),
    Httpd(Box<Httpd>),
    Redis(Box<Nodes>),
}

/// Two responders whose sessions and rooms are in one Redis. Requests go to them by turns.
pub struct Nodes {
    nodes: [Httpd; 2],
    turn: AtomicUsize,
    _redis: Redis,
    folder: Folder,
}

impl Nodes {
    fn next_port(&self) -> u16 {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.nodes[turn % 2].port
    }
}

/// Repeats its message, line by line.
const COMMAND: &str = "sed -u s/^/said:/";

const LOCATIONS: &str = "location = /events/session {
        include snippets/sse-cgi.conf;
        fastcgi_param SSE_STREAM session;
        fastcgi_param SSE_SPOOL {root}/data/spool;
        fastcgi_param SSE_PUBLISH_ALLOW anyone;
    }
    location = /events/clock {";

/// The site's own room permits its visitors sixty messages a minute. Here anyone may send any
/// number.
const ROOM: [&str; 2] = [
    "fastcgi_param SSE_PUBLISH_ALLOW same-origin;
        fastcgi_param SSE_PUBLISH_RATE  60/m;",
    "fastcgi_param SSE_PUBLISH_ALLOW anyone;",
];

/// The same for Apache: a Location takes precedence.
const APACHE_ROOM: &str = "<LocationMatch \"/(nph-)?room[.]cgi$\">
    SetEnv SSE_PUBLISH_ALLOW anyone
    SetEnv SSE_PUBLISH_RATE \"\"
</LocationMatch>";

impl Way {
    /// Every gateway process is a separate one: the stream, and each POST.
    pub fn apache(mpm: Mpm, workers: u32) -> Self {
        let apache = Apache::with(mpm)
            .workers(workers)
            .set("SSE_SPOOL", "{root}/data/spool")
            .set("SSE_FILE", "{root}/data/room.jsonl")
            .set("SSE_PUBLISH_ALLOW", "anyone")
            .directive(APACHE_ROOM);
        Self::Apache(apache.start())
    }

    /// The same, and a command responds to messages to a session.
    pub fn answering_apache(mpm: Mpm) -> Self {
        let apache = Apache::with(mpm)
            .workers(12)
            .set("SSE_SPOOL", "{root}/data/spool")
            .set("SSE_COMMAND", COMMAND)
            .set("SSE_PUBLISH_ALLOW", "anyone");
        Self::Apache(apache.start())
    }

    /// One responder for all, and the same command.
    pub fn answering_nginx() -> Self {
        let answering = LOCATIONS.replacen(
            "fastcgi_param SSE_SPOOL",
            &format!("fastcgi_param SSE_COMMAND \"{COMMAND}\";\n        fastcgi_param SSE_SPOOL"),
            1,
        );
        let site = Site::with(Gateway::Nginx)
            .edit("location = /events/clock {", &answering)
            .edit(ROOM[0], ROOM[1]);
        Self::Nginx(Box::new(site.start()))
    }

    /// One responder for all.
    pub fn nginx() -> Self {
        let site = Site::with(Gateway::Nginx)
            .edit("location = /events/clock {", LOCATIONS)
            .edit(ROOM[0], ROOM[1]);
        Self::Nginx(Box::new(site.start()))
    }

    /// The responder without nginx.
    pub fn httpd() -> Self {
        Self::Httpd(Box::new(Httpd::start("")))
    }

    /// Two of them, and no file.
    pub fn redis() -> Self {
        let folder = Folder::new();
        let redis = Redis::start(&folder, &[]);
        let nodes = [Httpd::node(&redis), Httpd::node(&redis)];
        Self::Redis(Box::new(Nodes {
            nodes,
            turn: AtomicUsize::new(0),
            _redis: redis,
            folder,
        }))
    }

    /// The same, and the same command.
    pub fn answering_httpd() -> Self {
        Self::Httpd(Box::new(Httpd::start(COMMAND)))
    }

    fn request(&self, method: &str, stream: &str, query: &str) -> Request {
        match self {
            // nph speaks HTTP/1.1 itself; the plain program can respond to a POST as well.
            Self::Apache(apache) => match method {
                "GET" => apache.request(method, &format!("nph-{stream}.cgi?{query}")),
                _ => apache.request(method, &format!("{stream}.cgi?{query}")),
            },
            Self::Nginx(site) => site.request(method, &format!("/events/{stream}?{query}")),
            Self::Httpd(httpd) => {
                Request::new(httpd.port, method, &format!("/events/{stream}?{query}"))
            }
            Self::Redis(nodes) => {
                let port = nodes.next_port();
                Request::new(port, method, &format!("/events/{stream}?{query}"))
            }
        }
    }

    /// Opens a stream, with `last_id` if the client has one.
    #[track_caller]
    pub fn open(&self, stream: &str, query: &str, last_id: &str) -> Answer {
        let request = self.request("GET", stream, query);
        let answer = match last_id {
            "" => request.send(),
            _ => request.field("Last-Event-ID", last_id).send(),
        };
        assert_eq!(answer.head.status, 200, "{}", answer.head.raw);
        answer
    }

    /// Another method on a stream's address.
    #[track_caller]
    pub fn asks(&self, method: &str, stream: &str) -> Answer {
        self.request(method, stream, "").send()
    }

    /// Sends text by a session: the status and the response.
    #[track_caller]
    pub fn post(&self, stream: &str, session: &str, text: &str) -> (u16, Value) {
        let request = self
            .request("POST", stream, "")
            .field("Content-Type", "text/plain")
            .field("X-Session-ID", session)
            .field("Connection", "close")
            .body(text.as_bytes());
        let answer = request.send();
        let status = answer.head.status;
        (status, json(&answer.text()))
    }

    /// The id of a message.
    #[track_caller]
    pub fn created(&self, stream: &str, session: &str, text: &str) -> String {
        let (status, body) = self.post(stream, session, text);
        assert_eq!(status, 201, "{body}");
        body["id"].as_str().expect("an id").to_owned()
    }

    /// A path inside the server's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Apache(apache) => apache.path(name),
            Self::Nginx(site) => site.path(name),
            Self::Httpd(httpd) => httpd.path(name),
            Self::Redis(nodes) => nodes.folder.path(name),
        }
    }

    /// Ends every process with a stream, like an upgrade.
    pub fn restart(&mut self) {
        match self {
            Self::Apache(apache) => {
                for program in apache.programs() {
                    let _ = nix::sys::signal::kill(program.pid, Signal::SIGTERM);
                }
                apache.wait_until_no_program_runs(Duration::from_secs(10));
            }
            Self::Nginx(site) => {
                site.signal_responder(Signal::SIGTERM);
                site.wait_until_responder_ended(Duration::from_secs(10));
                site.start_responder();
            }
            Self::Httpd(httpd) => httpd.restart(),
            Self::Redis(nodes) => nodes.nodes.iter_mut().for_each(Httpd::restart),
        }
    }
}

/// The session in a stream's first event.
#[track_caller]
pub fn welcome(stream: &mut Answer) -> String {
    let event = stream.event();
    assert_eq!(event.name, "welcome", "{event:?}");
    let data = json(&event.data);
    data["session"].as_str().expect("a session").to_owned()
}
