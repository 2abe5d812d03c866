//! How the responder gets its socket, behind nginx.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::servers::answer::Next;
use crate::servers::daemon::{SERVER_USER, becomes_server_user, free_port, require};
use crate::servers::gateway::{Gateway, Site};
use crate::support::wait::{PATIENCE, wait_until};

/// Until the responder listens, nginx asks the client to reconnect.
#[track_caller]
fn wait_for_events(site: &Site) {
    wait_until("a stream has events", PATIENCE, || {
        let mut stream = site.get("/events/clock").send();
        matches!(
            stream.wait(std::time::Instant::now() + Duration::from_secs(2)),
            Next::Event(event) if event.name == "message"
        )
    });
}

#[test]
fn it_makes_a_socket_for_the_servers_group_alone() {
    let site = Site::with(Gateway::Nginx).without_responder().start();
    let mut command = vec![
        "{program}",
        "--allow-root",
        "--socket",
        "{socket}",
        "--mode",
        "0660",
    ];
    if becomes_server_user() {
        command.extend(["--group", SERVER_USER]);
    }
    let mut responder = site.run(&command, None);
    wait_for_events(&site);
    let socket = site.path("sockets/responder.sock");
    let mode = std::fs::metadata(&socket).expect("it is there").mode();
    assert_eq!(mode & 0o777, 0o660);

    // A responder that was killed leaves its socket behind.
    responder.signal(Signal::SIGKILL);
    responder.wait_until_ended(PATIENCE);
    assert!(socket.exists());
    let mut responder = site.run(&command, None);
    wait_for_events(&site);

    // A second responder does not affect the first.
    let mut second = site.run(&command, None);
    second.wait_until_ended(PATIENCE);
    assert!(second.ended().is_some_and(|status| !status.success()));
    assert!(responder.ended().is_none());
    wait_for_events(&site);
}

#[test]
fn it_listens_on_a_tcp_port() {
    let port = free_port();
    let site = Site::with(Gateway::Nginx)
        .edit("server unix:", &format!("server 127.0.0.1:{port}; #"))
        .without_responder()
        .start();
    let address = format!("127.0.0.1:{port}");
    let _responder = site.run(&["{program}", "--allow-root", "--listen", &address], None);
    wait_for_events(&site);
}

#[test]
fn it_inherits_a_tcp_socket_as_descriptor_0() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("this machine has a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let site = Site::with(Gateway::Nginx)
        .edit("server unix:", &format!("server 127.0.0.1:{port}; #"))
        .without_responder()
        .start();
    let _responder = site.run(
        &["{program}", "--allow-root"],
        Some(OwnedFd::from(listener)),
    );
    wait_for_events(&site);
}

#[test]
fn it_takes_the_socket_that_systemd_passes() {
    let mut site = Site::with(Gateway::Nginx).without_responder().start();
    let listener = site.hold_socket();
    // Like systemd: descriptor 3, and the variables name the process.
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" --allow-root 3<&0 0</dev/null";
    let command = ["sh", "-c", script, "{program}"];
    let _responder = site.run(&command, Some(OwnedFd::from(listener)));
    wait_for_events(&site);
}

#[test]
fn spawn_fcgi_starts_it() {
    require("/usr/bin/spawn-fcgi", "spawn-fcgi");
    let site = Site::with(Gateway::Nginx).without_responder().start();
    let command = [
        "spawn-fcgi",
        "-n",
        "-M",
        "0777",
        "-s",
        "{socket}",
        "--",
        "{program}",
        "--allow-root",
    ];
    let _responder = site.run(&command, None);
    wait_for_events(&site);
}
