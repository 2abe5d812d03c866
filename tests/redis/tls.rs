//! TLS: the server's certificate is verified, and a wrong one is one clear line in the log.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::peer::Request;
use super::support::folder::Folder;
use super::support::redis::{Redis, free_port};
use super::support::wait::wait_for;
use super::{Responder, request};

/// An authority, and a certificate of it for 127.0.0.1.
struct Certificates {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

fn openssl(folder: &Folder, arguments: &[&str]) {
    let done = Command::new("openssl")
        .args(arguments)
        .current_dir(folder.path(""))
        .stdin(Stdio::null())
        .output()
        .expect("openssl is missing; install openssl");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "openssl {arguments:?}: {said}");
}

impl Certificates {
    /// `alternative`: whom the certificate is for, such as `IP:127.0.0.1`.
    fn make(folder: &Folder, name: &str, alternative: &str) -> Self {
        let file = |kind: &str| format!("{name}-{kind}.pem");
        let (ca, ca_key) = (file("ca"), file("ca-key"));
        let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
        let new: Vec<&str> = new.split(' ').collect();
        let subject = format!("/CN={name}");
        let own = ["-subj", &subject, "-out", &ca, "-keyout", &ca_key];
        openssl(folder, &[&new[..], &own].concat());
        let (certificate, key) = (file("own"), file("own-key"));
        let alternative = format!("subjectAltName={alternative}");
        let own = [
            "-subj",
            "/CN=server",
            "-addext",
            &alternative,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-out",
            &certificate,
            "-keyout",
            &key,
        ];
        openssl(folder, &[&new[..], &own].concat());
        Self {
            authority: folder.path(&ca),
            certificate: folder.path(&certificate),
            key: folder.path(&key),
        }
    }

    /// A server with this certificate, which asks for one of its clients if `clients` is `yes`.
    fn serve(&self, folder: &Folder, clients: &str) -> (Redis, u16) {
        let port = free_port();
        let path = |path: &PathBuf| path.display().to_string();
        let options = [
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &path(&self.certificate),
            "--tls-key-file",
            &path(&self.key),
            "--tls-ca-cert-file",
            &path(&self.authority),
            "--tls-auth-clients",
            clients,
        ];
        (Redis::start(folder, &options), port)
    }
}

fn encrypted(redis: &Redis, folder: &Folder, port: u16, ca: &Certificates) -> Request {
    request(redis, folder, "live:a")
        .set("SSE_REDIS", format!("rediss://127.0.0.1:{port}"))
        .set("SSE_REDIS_CA", ca.authority.display().to_string())
}

/// The stream cannot be opened, and the log says why, once.
#[track_caller]
fn refused(responder: &Responder, request: &Request, said: &str) {
    for _ in 0..2 {
        let mut client = responder.ask(request);
        client.says(&["unavailable: {\"reason\":\"not available now\"}"]);
        client.rest();
    }
    wait_for(said, || responder.stderr().contains(said).then_some(()));
    let log = responder.stderr();
    assert_eq!(log.matches(said).count(), 1, "{log}");
}

#[test]
fn an_encrypted_stream_is_the_same_stream() {
    let folder = Folder::in_memory();
    let ca = Certificates::make(&folder, "right", "IP:127.0.0.1");
    let (mut redis, port) = ca.serve(&folder, "no");
    let responder = Responder::start(&folder);
    let request = encrypted(&redis, &folder, port, &ca);
    redis.add("live:a", "one");
    let mut client = responder.ask(&request);
    client.says(&["one"]);
    // More than one record of TLS and one read.
    let long = "x".repeat(300_000);
    redis.add("live:a", &long);
    client.says(&[long.as_str()]);
    // Connections that are lost are made again.
    redis.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    redis.add("live:a", "two");
    client.says(&["two"]);
    assert_eq!(responder.warnings(), Vec::<String>::new());
}

#[test]
fn a_wrong_certificate_is_named_in_the_log() {
    let folder = Folder::in_memory();
    let ca = Certificates::make(&folder, "right", "IP:127.0.0.1");
    let other = Certificates::make(&folder, "other", "DNS:elsewhere.example");
    let (redis, port) = ca.serve(&folder, "no");
    let responder = Responder::start(&folder);
    let request = encrypted(&redis, &folder, port, &other);
    let said = "its certificate is not of an authority that is trusted here; name the authority's \
                certificate in SSE_REDIS_CA";
    refused(&responder, &request, said);
    // The system's authorities have not signed it either.
    let of_system = request.set("SSE_REDIS_CA", "");
    let mut client = responder.ask(&of_system);
    client.says(&["unavailable: {\"reason\":\"not available now\"}"]);
    drop((client, responder));
    // A file without a certificate.
    let no_file = folder.write("no.pem", "nothing");
    let no_file = no_file.display().to_string();
    let responder = Responder::start(&folder);
    refused(
        &responder,
        &encrypted(&redis, &folder, port, &ca).set("SSE_REDIS_CA", no_file),
        "SSE_REDIS_CA: it contains no usable certificate in PEM",
    );
    drop((redis, responder));
    // A certificate of the right authority for another host.
    let (redis, port) = other.serve(&folder, "no");
    let request = encrypted(&redis, &folder, port, &other);
    let responder = Responder::start(&folder);
    refused(&responder, &request, "its certificate is for another host");
}

#[test]
fn an_engine_can_ask_for_a_certificate() {
    let folder = Folder::in_memory();
    let ca = Certificates::make(&folder, "right", "IP:127.0.0.1");
    let (mut redis, port) = ca.serve(&folder, "yes");
    let responder = Responder::start(&folder);
    let request = encrypted(&redis, &folder, port, &ca);
    let said = "it does not accept this client's certificate; set SSE_REDIS_CERT";
    refused(&responder, &request, said);
    let read = |path| std::fs::read_to_string(path).unwrap();
    let both = folder.write("both.pem", read(&ca.certificate) + &read(&ca.key));
    redis.add("live:a", "one");
    let with = request.set("SSE_REDIS_CERT", both.display().to_string());
    responder.ask(&with).says(&["one"]);
}
