//! TLS: the certificates that `sse-cat` accepts. The peer is OpenSSL's.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use crate::stage::{Folder, cat_trusting, wait_for};

/// `openssl s_server`, which sends the requested file as the complete response.
struct Server {
    child: Child,
    port: String,
}

impl Server {
    fn start(folder: &Folder) -> Self {
        let made = openssl(folder)
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-keyout", "key.pem", "-out", "cert.pem"])
            .stderr(Stdio::null())
            .status();
        let made = made.unwrap_or_else(|error| panic!("openssl: {error}: apt-get install openssl"));
        assert!(made.success());
        let child = openssl(folder)
            .args(["s_server", "-accept", "127.0.0.1:0", "-HTTP"])
            .args(["-cert", "cert.pem", "-key", "key.pem"])
            .stdout(File::create(folder.join("log")).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self {
            child,
            port: String::new(),
        };
        server.port = wait_for("the port", || {
            let log = folder.read("log");
            let (_, rest) = log.split_once("ACCEPT 127.0.0.1:")?;
            let (port, _) = rest.split_once('\n')?;
            Some(port.to_owned())
        });
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn openssl(folder: &Folder) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(&**folder).stdin(Stdio::null());
    command
}

#[test]
fn a_certificate_is_believed_where_the_system_does_and_the_name_is_right() {
    let folder = Folder::new();
    let head = "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    folder.write(
        "stream",
        &format!("{head}data: a\n\nevent: close\ndata\n\n"),
    );
    let server = Server::start(&folder);
    let url = |host: &str| format!("https://{host}:{}/stream", server.port);
    let trusted = folder.file("cert.pem");

    let read = cat_trusting(&trusted, [url("localhost")]).end();
    assert_eq!(read.with(0), "a\n");
    let said = cat_trusting(&trusted, [url("127.0.0.1")]).end().failed(111);
    assert!(said.contains("not valid for name"), "{said}");
    let said = cat_trusting("/dev/null", [url("localhost")])
        .end()
        .failed(111);
    assert!(said.starts_with("sse-cat: https://localhost:"), "{said}");
    assert!(said.contains("no secure connection: "), "{said}");
}
