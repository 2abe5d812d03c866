//! Small servers, with no configuration but the folder, and no wrapper around the programs.

use std::io::Write as _;
use std::net::TcpStream;

use crate::servers::daemon::{SERVER_USER, becomes_server_user, require};
use crate::servers::request::Request;
use crate::stage::{SETTINGS_FILE, Site};
use crate::support::folder::Folder;
use crate::support::wait::{PATIENCE, wait_until};

const SETTINGS: &str = "\
SSE_LOG = {root}/logs/programs.jsonl

[nph-tail.cgi tail.cgi]
SSE_FILE = {root}/data/app.log
SSE_BACKLOG = 1

[publish.cgi]
SSE_FILE = {root}/data/posted.jsonl
SSE_PUBLISH_ALLOW = anyone
";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Small {
    MiniHttpd,
    Busybox,
    Lighttpd,
}

impl Small {
    #[track_caller]
    fn command(self, folder: &Folder, port: u16) -> Vec<String> {
        let pages = folder.path("pages").display().to_string();
        let port = port.to_string();
        let user: &[&str] = match becomes_server_user() {
            true => &["-u", SERVER_USER],
            false => &[],
        };
        let address = format!("127.0.0.1:{port}");
        let words: Vec<&str> = match self {
            Self::MiniHttpd => {
                require("/usr/sbin/mini_httpd", "mini-httpd");
                vec![
                    "mini_httpd",
                    "-D",
                    "-h",
                    "127.0.0.1",
                    "-p",
                    &port,
                    "-d",
                    &pages,
                    "-c",
                    "cgi-bin/*",
                ]
            }
            Self::Busybox => {
                require("/usr/bin/busybox", "busybox");
                vec!["busybox", "httpd", "-f", "-p", &address, "-h", &pages]
            }
            Self::Lighttpd => {
                require("/usr/sbin/lighttpd", "lighttpd");
                let file = folder.write("lighttpd.conf", lighttpd(folder, &port));
                let file = file.display().to_string();
                return ["/usr/sbin/lighttpd", "-D", "-f", &file]
                    .map(str::to_owned)
                    .into();
            }
        };
        [&words[..], user]
            .concat()
            .iter()
            .map(|word| word.to_string())
            .collect()
    }

    #[track_caller]
    fn start(self, settings: &str) -> Site {
        Site::start(settings, |folder, port| self.command(folder, port))
    }
}

fn lighttpd(folder: &Folder, port: &str) -> String {
    let root = folder.display();
    let user = match becomes_server_user() {
        true => {
            format!("server.username = \"{SERVER_USER}\"\nserver.groupname = \"{SERVER_USER}\"\n")
        }
        false => String::new(),
    };
    format!(
        "server.modules = ( \"mod_access\", \"mod_cgi\" )\n\
         server.document-root = \"{root}/pages\"\n\
         server.bind = \"127.0.0.1\"\nserver.port = {port}\n\
         server.errorlog = \"{root}/logs/server.log\"\n{user}\
         cgi.assign = ( \".cgi\" => \"\" )\n\
         server.stream-response-body = 2\n\
         # Only Apache hides it by itself.\n\
         url.access-deny = ( \"~\", \".inc\", \".htsse\" )\n"
    )
}

/// Makes each function a test under each server.
macro_rules! under_each {
    ($($name:ident),+ $(,)?) => {
        mod mini_httpd {
            $(#[test] fn $name() { super::$name(super::Small::MiniHttpd) })+
        }
        mod busybox {
            $(#[test] fn $name() { super::$name(super::Small::Busybox) })+
        }
        mod lighttpd {
            $(#[test] fn $name() { super::$name(super::Small::Lighttpd) })+
        }
    };
}

under_each!(
    programs_work_by_the_settings_file_and_without_a_wrapper,
    what_is_wrong_in_the_settings_file_is_a_500_and_in_the_log,
    nobody_is_shown_the_settings_file,
);

fn programs_work_by_the_settings_file_and_without_a_wrapper(server: Small) {
    let site = server.start(SETTINGS);
    site.folder.write("data/app.log", "before\nlast\n");
    for program in ["nph-tail.cgi", "tail.cgi"] {
        let mut stream = site.get(program).send();
        assert_eq!(stream.head.status, 200, "{program}");
        assert_eq!(stream.event().data, "last");
        site.folder.append("data/app.log", "now\n");
        assert_eq!(stream.event().data, "now");
        drop(stream);
        site.folder.write("data/app.log", "before\nlast\n");
    }
    let posted = || site.folder.read("data/posted.jsonl").contains("\"hello\"");
    if server == Small::MiniHttpd {
        // Version 1.30 closes the connection before a program can respond to a POST.
        let mut socket = TcpStream::connect(("127.0.0.1", site.port)).unwrap();
        let head = "POST /cgi-bin/publish.cgi HTTP/1.0\r\nContent-Type: text/plain\r\n";
        write!(socket, "{head}Content-Length: 5\r\n\r\nhello").unwrap();
        wait_until("the record is in the file", PATIENCE, posted);
    } else {
        let request = Request::new(site.port, "POST", "/cgi-bin/publish.cgi");
        let request = request.field("Content-Type", "text/plain").body(b"hello");
        assert_eq!(request.send().head.status, 201);
        assert!(posted());
    }
}

fn what_is_wrong_in_the_settings_file_is_a_500_and_in_the_log(server: Small) {
    let site = server.start("SSE_LOG = {root}/logs/programs.jsonl\nSSE_FLIE = /x\n");
    for program in ["nph-tail.cgi", "tail.cgi"] {
        let answer = site.get(program).field("Connection", "close").send();
        assert_eq!(answer.head.status, 500, "{program}");
        assert!(!answer.text().contains("SSE_FLIE"), "{program}");
    }
    let log = site.folder.read("logs/programs.jsonl");
    let expected = format!("{SETTINGS_FILE}:2: SSE_FLIE=/x: no such setting; did you mean");
    assert!(log.contains(&expected), "{log}");
}

fn nobody_is_shown_the_settings_file(server: Small) {
    let site = server.start(SETTINGS);
    let answer = site.get(".htsse").field("Connection", "close").send();
    assert_ne!(answer.head.status, 200);
    assert!(!answer.text().contains("SSE_"));
}
