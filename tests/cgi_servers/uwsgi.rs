//! uWSGI with its CGI plugin, started from the project's own uwsgi/ file.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::servers::configured::configured;
use crate::servers::daemon::{becomes_server_user, require};
use crate::stage::Site;
use crate::support::wait::PATIENCE;

const UWSGI: &str = "/usr/bin/uwsgi-core";

#[test]
fn uwsgi_streams_by_the_plain_names_alone() {
    require(UWSGI, "uwsgi-core");
    let settings = "SSE_HEARTBEAT = 1s\n[nph-tail.cgi tail.cgi]\nSSE_FILE = {root}/data/app.log\n";
    let site = Site::start(settings, |folder, port| {
        let root = folder.display();
        let pages = "/sse=/var/www/sse-cgi";
        let mut edits = vec![
            ("= :8080", format!("= 127.0.0.1:{port}")),
            (
                "/usr/local/lib/sse-cgi/cgi-bin",
                format!("{root}/pages/cgi-bin"),
            ),
            // Where a test looks whether the server has started.
            (pages, format!("/mark.txt={root}/pages/mark.txt")),
        ];
        if !becomes_server_user() {
            edits.push(("uid = www-data\ngid = www-data\n", String::new()));
        }
        let edits: Vec<(&str, &str)> = edits.iter().map(|(a, b)| (*a, b.as_str())).collect();
        let file = folder.write("uwsgi.ini", configured("uwsgi/sse-cgi.ini", &edits));
        let file = file.display().to_string();
        [UWSGI, "--ini", &file].map(str::to_owned).into()
    });
    site.folder.write("data/app.log", "1\n");
    let mut stream = site.get("tail.cgi").send();
    assert_eq!(stream.event().data, "1");
    site.delivers_at_once_and_resumes(stream);
    let hidden = site.get(".htsse").field("Connection", "close").send();
    assert_eq!(hidden.head.status, 403);

    // It closes the connection without an answer.
    let mut client = TcpStream::connect(("127.0.0.1", site.port)).expect("it listens");
    client
        .set_read_timeout(Some(PATIENCE))
        .expect("a time limit that is not zero is accepted");
    client
        .write_all(b"GET /cgi-bin/nph-tail.cgi HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("it reads");
    let mut answer = Vec::new();
    let end = client.read_to_end(&mut answer);
    assert!(end.is_ok() && answer.is_empty(), "{end:?} {answer:?}");
}
