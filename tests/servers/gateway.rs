//! A web server with a FastCGI responder behind it, set up from the project's files.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::answer::Answer;
use super::apache_fastcgi::{self, By};
use super::caddy;
use super::curl::{curl, get_over_http2};
use super::daemon::{Daemon, all_logs, free_port, start_on_free_port};
use super::h2o;
use super::haproxy;
use super::lighttpd;
use super::links::install_pages;
use super::nginx::{self, Edits};
use super::processes::kill_running_from;
use super::request::Request;
use super::responder::{self, Responder, connections_below, listen, socket};
use crate::support::folder::Folder;
use crate::support::wait::wait_until;

/// The server, and its protocol to a responder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    Nginx,
    ApacheProxy,
    ApacheFcgid,
    Lighttpd,
    H2o,
    Caddy,
    Haproxy,
}

/// What to start.
pub struct Builder {
    gateway: Gateway,
    responder: Responder,
    starts_responder: bool,
    environment: Vec<(String, String)>,
    directives: Vec<String>,
    edits: Edits,
    tls: bool,
    http2: bool,
    has_pages: bool,
}

impl Builder {
    /// Installs the pages and the examples, too.
    pub fn with_pages(mut self) -> Builder {
        self.has_pages = true;
        self
    }

    /// Uses another responder instead of ours.
    pub fn responder(mut self, responder: Responder) -> Builder {
        self.responder = responder;
        self
    }

    /// Sets a variable in the responder's environment, so for all its streams; `{root}`
    /// stands for the site's folder.
    pub fn set(mut self, name: &str, value: &str) -> Builder {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts none, because the server does.
    pub fn without_responder(mut self) -> Builder {
        self.starts_responder = false;
        self
    }

    /// A line of the server's configuration before the project's file (nginx: in the `http`
    /// block; Apache; a global option of Caddy and HAProxy).
    pub fn directive(mut self, line: &str) -> Builder {
        self.directives.push(line.to_owned());
        self.edits.http.push(line.to_owned());
        self
    }

    /// Edits the project's file as a user would; `from` must be there.
    pub fn edit(mut self, from: &str, to: &str) -> Builder {
        self.edits.site.push((from.to_owned(), to.to_owned()));
        self
    }

    /// Edits nginx's snippet.
    pub fn edit_snippet(mut self, from: &str, to: &str) -> Builder {
        self.edits.snippet.push((from.to_owned(), to.to_owned()));
        self
    }

    /// Enables the lines for TLS and HTTP/2 that nginx's site has as comments.
    pub fn with_tls(mut self) -> Builder {
        self.tls = true;
        self
    }

    /// Lets clients use HTTP/2: nginx over TLS, with the site's own lines, the others without.
    pub fn with_http2(mut self) -> Builder {
        self.http2 = true;
        self.tls |= self.gateway == Gateway::Nginx;
        match self.gateway {
            Gateway::Caddy => self.directive("servers {\n\t\tprotocols h1 h2c\n\t}"),
            _ => self,
        }
    }

    /// Starts the responder and the server and waits until the server responds.
    #[track_caller]
    pub fn start(mut self) -> Site {
        let folder = Folder::new();
        folder.make("run");
        // lighttpd opens its log as the user of the server.
        folder.make_public("logs");
        folder.make_public("data");
        folder.make_public("data/logs");
        if self.has_pages {
            install_pages(&folder);
        }
        let tls_port = free_port();
        if self.tls {
            nginx::make_certificate(&folder);
            let listen = format!("listen 127.0.0.1:{tls_port} ssl http2;");
            let cert = "/etc/ssl/certs/ssl-cert-snakeoil.pem;";
            let key = "/etc/ssl/private/ssl-cert-snakeoil.key;";
            self = self
                .edit("#listen 443 ssl http2;", &listen)
                .edit(
                    &format!("#ssl_certificate     {cert}"),
                    "ssl_certificate {root}/cert.pem;",
                )
                .edit(
                    &format!("#ssl_certificate_key {key}"),
                    "ssl_certificate_key {root}/key.pem;",
                );
        }
        let root = folder.display().to_string();
        for (_, value) in &mut self.environment {
            *value = value.replace("{root}", &root);
        }
        self.responder.install(&folder);
        let mut held = None;
        if self.starts_responder && self.gateway != Gateway::ApacheFcgid {
            held = Some(listen(&socket(&folder)));
        }
        let responder = held.as_ref().map(|held| {
            let listener = held.try_clone().expect("a descriptor can be copied");
            responder::start(&folder, listener, &self.environment)
        });
        let (server, port) = start_on_free_port(&folder, &[], |port| match self.gateway {
            Gateway::Nginx => nginx::configure(&folder, port, &self.edits),
            Gateway::ApacheProxy => self.configure_apache(&folder, port, By::Proxy),
            Gateway::ApacheFcgid => self.configure_apache(&folder, port, By::Fcgid),
            Gateway::Lighttpd => lighttpd::configure(&folder, port, &self.edits.site),
            Gateway::H2o => h2o::configure(&folder, port, &self.edits.site),
            Gateway::Caddy => caddy::configure(&folder, port, &self.edits.site, &self.directives),
            Gateway::Haproxy => {
                haproxy::configure(&folder, port, &self.edits.site, &self.directives)
            }
        });
        Site {
            gateway: self.gateway,
            environment: self.environment,
            responder,
            held,
            server,
            port,
            tls_port,
            folder,
        }
    }
}

impl Builder {
    #[track_caller]
    fn configure_apache(&self, folder: &Folder, port: u16, by: By) -> Vec<String> {
        let protocols = if self.http2 {
            "h2c http/1.1"
        } else {
            "http/1.1"
        };
        let (environment, directives) = (&self.environment, &self.directives);
        let edits = &self.edits.site;
        apache_fastcgi::configure(folder, port, by, protocols, environment, directives, edits)
    }
}

/// A running server and its responder; both end when it is dropped.
pub struct Site {
    pub gateway: Gateway,
    environment: Vec<(String, String)>,
    responder: Option<Daemon>,
    /// The socket that the responder inherited.
    held: Option<UnixListener>,
    server: Daemon,
    port: u16,
    tls_port: u16,
    folder: Folder,
}

impl Site {
    pub fn with(gateway: Gateway) -> Builder {
        Builder {
            gateway,
            responder: Responder::Ours,
            starts_responder: true,
            environment: Vec::new(),
            directives: Vec::new(),
            edits: Edits::default(),
            tls: false,
            http2: false,
            has_pages: false,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port for TLS; the certificate is for localhost, and `ca.pem` in the folder its authority.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// A GET over TLS, by curl with these arguments.
    #[track_caller]
    pub fn get_over_tls(&self, arguments: &[&str], target: &str) -> Answer {
        let certificate = self.path("ca.pem");
        let port = self.tls_port;
        let resolve = format!("localhost:{port}:127.0.0.1");
        let mut all = vec!["--resolve", &resolve, "--cacert"];
        all.push(certificate.to_str().expect("the path is text"));
        all.extend(arguments);
        curl(&all, &format!("https://localhost:{port}{target}"))
    }

    /// A GET over HTTP/2; each field is `Name: value`.
    #[track_caller]
    pub fn get_over_http2(&self, target: &str, fields: &[&str]) -> Answer {
        if self.gateway != Gateway::Nginx {
            return get_over_http2(self.port, target, fields);
        }
        let mut arguments = vec!["--http2"];
        for field in fields {
            arguments.extend(["--header", field]);
        }
        self.get_over_tls(&arguments, target)
    }

    pub fn get(&self, target: &str) -> Request {
        self.request("GET", target)
    }

    pub fn request(&self, method: &str, target: &str) -> Request {
        Request::new(self.port, method, target)
    }

    /// A path inside the site's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The file that /events/tail follows; it is missing until a test writes it.
    pub fn tail_file(&self) -> PathBuf {
        self.path("data/events.jsonl")
    }

    pub fn logs(&self) -> String {
        all_logs(&self.folder)
    }

    /// Starts a responder with a command of the test; in its words `{program}` is the installed
    /// program and `{socket}` the socket to which the server connects.
    #[track_caller]
    pub fn run(&self, command: &[&str], stdin: Option<OwnedFd>) -> Daemon {
        let program = responder::program_in(&self.folder).display().to_string();
        let socket = socket(&self.folder).display().to_string();
        let words: Vec<String> = command
            .iter()
            .map(|word| word.replace("{program}", &program))
            .map(|word| word.replace("{socket}", &socket))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Daemon::start(&self.folder, &words, stdin, &self.environment)
    }

    /// Sends the server a signal.
    #[track_caller]
    pub fn signal_server(&self, signal: Signal) {
        self.server.signal(signal);
    }

    /// Sends the responder a signal.
    ///
    /// # Panics
    /// When the server starts its own.
    #[track_caller]
    pub fn signal_responder(&self, signal: Signal) {
        let responder = self.responder.as_ref();
        responder.expect("a responder of our own").signal(signal);
    }

    /// Waits until the responder has ended.
    #[track_caller]
    pub fn wait_until_responder_ended(&mut self, limit: Duration) {
        let responder = self.responder.as_mut();
        responder
            .expect("a responder of our own")
            .wait_until_ended(limit);
    }

    /// Starts another responder on the same socket, which was held open meanwhile, as systemd
    /// does.
    #[track_caller]
    pub fn start_responder(&mut self) {
        let held = self.held.as_ref().expect("a socket is held");
        let listener = held.try_clone().expect("a descriptor can be copied");
        let responder = responder::start(&self.folder, listener, &self.environment);
        self.responder = Some(responder);
    }

    /// Closes the socket, so that connections are refused.
    pub fn let_socket_go(&mut self) {
        self.held = None;
        let _ = fs::remove_file(socket(&self.folder));
    }

    /// Opens a new socket of the same name, and returns a copy of it.
    pub fn hold_socket(&mut self) -> UnixListener {
        let held = self.held.insert(listen(&socket(&self.folder)));
        held.try_clone().expect("a descriptor can be copied")
    }

    /// The connections between the server and its responders.
    pub fn connections(&self) -> usize {
        connections_below(&self.folder)
    }

    /// Waits until a connection is in the queue of the listening socket.
    #[track_caller]
    pub fn wait_for_connections_waiting(&self, limit: Duration) {
        let held = self.held.as_ref().expect("a socket is held");
        let timeout = PollTimeout::try_from(limit).expect("some seconds");
        let mut readable = [PollFd::new(held.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut readable, timeout).expect("a socket can be waited for");
        assert!(ready > 0, "nobody connected within {limit:?}");
    }

    /// A figure of the status page, such as `subscribers`.
    #[track_caller]
    pub fn status(&self, figure: &str) -> u64 {
        let page = self.get("/events/status").field("Connection", "close");
        let page = page.send().text();
        let value = page.split(&format!("\"{figure}\":")).nth(1);
        let digits = value.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        digits
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_else(|| panic!("no {figure} in {page}"))
    }

    /// Waits until there are as many and returns how long that took.
    #[track_caller]
    pub fn wait_for_connections(&self, count: usize, limit: Duration) -> Duration {
        wait_until(&format!("{count} connections"), limit, || {
            self.connections() == count
        })
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?}\n{}", self.gateway, self.logs());
        }
        // When its streams have ended, the server ends at once.
        if let Some(responder) = &mut self.responder {
            responder.end();
        }
        kill_running_from(&self.folder);
        self.server.end();
        kill_running_from(&self.folder);
    }
}
