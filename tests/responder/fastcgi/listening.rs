//! The listening address of a responder.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use nix::unistd::{Group, User, geteuid};

use super::peer::{Folder, Place, Request, Responder, Start, wait_for};

fn serves(responder: &Responder) {
    let mut client = responder.ask(&Request::of("clock"));
    client.event();
}

/// An address without a listener.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

#[test]
fn a_socket_has_the_mode_and_owner_that_were_asked_for() {
    let folder = Folder::in_memory();
    let mode = || {
        fs::metadata(folder.path("socket"))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    let responder = Responder::start(&folder);
    assert_eq!(mode(), 0o660);
    drop(responder);
    let responder = Start::at_socket(&folder).argument("--mode=0600").start();
    assert_eq!(mode(), 0o600);
    serves(&responder);
    drop(responder);
    let (user, group) = if geteuid().is_root() {
        ("nobody".into(), "daemon".into())
    } else {
        // A user other than root can only keep it.
        let user = User::from_uid(geteuid()).unwrap().unwrap();
        (user.name, Group::from_gid(user.gid).unwrap().unwrap().name)
    };
    let start = Start::at_socket(&folder)
        .argument("--owner")
        .argument(&user);
    let responder = start.argument("--group").argument(&group).start();
    let metadata = fs::metadata(folder.path("socket")).unwrap();
    let uid = User::from_name(&user).unwrap().unwrap().uid.as_raw();
    let gid = Group::from_name(&group).unwrap().unwrap().gid.as_raw();
    assert_eq!((metadata.uid(), metadata.gid()), (uid, gid));
    serves(&responder);
    drop(responder);
    let start = Start::at_socket(&folder).argument("--owner=no-such-user");
    let (code, said) = start.run();
    assert_eq!(code, 100);
    assert!(
        said.contains("--owner no-such-user: no such user"),
        "{said}"
    );
}

#[test]
fn a_stale_socket_is_replaced() {
    let folder = Folder::in_memory();
    drop(UnixListener::bind(folder.path("socket")).unwrap());
    let mut responder = Responder::start(&folder);
    serves(&responder);
    // Also one that a crash has left.
    responder.kill();
    assert!(folder.path("socket").exists());
    serves(&Responder::start(&folder));
}

#[test]
fn a_socket_that_somebody_listens_at_is_left_alone() {
    let folder = Folder::in_memory();
    let responder = Responder::start(&folder);
    let (code, said) = Start::at_socket(&folder).run();
    assert_eq!(code, 111);
    for words in ["--socket ", "somebody is listening there", "stop that one"] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(said.lines().count(), 1, "{said}");
    serves(&responder);
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let folder = Folder::in_memory();
    let path = folder.write("socket", "precious");
    let (code, said) = Start::at_socket(&folder).run();
    assert_eq!(code, 111);
    for words in [
        "--socket ",
        "is no socket",
        "remove it, or name another path",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(fs::read(path).unwrap(), b"precious");
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = Folder::in_memory();
    let path = folder.path("none/socket");
    let start = Start::bare(&folder, Place::Unix(path.clone()));
    let (code, said) = start.argument("--socket").argument(&path).run();
    assert_eq!(code, 111);
    assert!(said.contains(path.to_str().unwrap()), "{said}");
}

#[test]
fn nothing_to_listen_at_is_said_with_what_to_do() {
    let folder = Folder::in_memory();
    let nowhere = Place::Unix(folder.path("none"));
    let (code, said) = Start::bare(&folder, nowhere).run();
    assert_eq!(code, 100);
    assert!(said.contains("--socket PATH"), "{said}");
}

#[test]
fn descriptor_zero_can_be_the_socket() {
    let folder = Folder::in_memory();
    let path = folder.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let start = Start::bare(&folder, Place::Unix(path.clone()));
    let mut responder = start.stdin(OwnedFd::from(listener)).start();
    serves(&responder);
    responder.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(responder.code(), 0);
    // It was not created by this process, so it stays.
    assert!(path.exists());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::Tcp(listener.local_addr().unwrap());
    serves(
        &Start::bare(&folder, place)
            .stdin(OwnedFd::from(listener))
            .start(),
    );
}

#[test]
fn systemd_can_open_the_socket() {
    let folder = Folder::in_memory();
    let path = folder.path("socket");
    let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
    let listener = UnixListener::bind(&path).unwrap();
    let start = Start::bare(&folder, Place::Unix(path)).by(&["sh", "-c", script, "sh"]);
    serves(&start.stdin(OwnedFd::from(listener)).start());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::Tcp(listener.local_addr().unwrap());
    let start = Start::bare(&folder, place).by(&["sh", "-c", script, "sh"]);
    serves(&start.stdin(OwnedFd::from(listener)).start());
}

#[test]
fn more_sockets_than_one_are_refused_since_nobody_would_be_served_at_the_others() {
    let folder = Folder::in_memory();
    let path = folder.path("socket");
    let script = "exec 3<&0 4<&0 </dev/null; LISTEN_FDS=2 LISTEN_PID=$$ exec \"$@\"";
    let listener = UnixListener::bind(&path).unwrap();
    let start = Start::bare(&folder, Place::Unix(path)).by(&["sh", "-c", script, "sh"]);
    let (code, said) = start.stdin(OwnedFd::from(listener)).run();
    assert_eq!(code, 100);
    assert!(said.contains("one ListenStream="), "{said}");
}

#[test]
fn an_address_can_be_listened_at() {
    let folder = Folder::in_memory();
    let address = free_address();
    let start = || {
        let start = Start::bare(&folder, Place::Tcp(address));
        start.argument("--listen").argument(address.to_string())
    };
    let responder = start().start();
    serves(&responder);
    let (code, said) = start().run();
    assert_eq!(code, 111);
    assert!(said.contains(&format!("--listen {address}")), "{said}");
}

#[test]
fn only_the_listed_web_servers_may_connect() {
    let folder = Folder::in_memory();
    let start = |allowed: &str| {
        let address = free_address();
        let start = Start::bare(&folder, Place::Tcp(address));
        let start = start.argument("--listen").argument(address.to_string());
        start.set("FCGI_WEB_SERVER_ADDRS", allowed)
    };
    serves(&start("10.0.0.1, 127.0.0.1,::1").start());
    let responder = start("10.0.0.1").start();
    for _ in 0..5 {
        let mut client = responder.connect();
        client.may_break();
        client.is_closed_soon();
    }
    let said = wait_for("a line", || responder.warnings().pop());
    assert_eq!(responder.warnings().len(), 1, "{said}");
    assert!(
        said.contains("127.0.0.1: not one of FCGI_WEB_SERVER_ADDRS"),
        "{said}"
    );
    let (code, said) = start("localhost").run();
    assert_eq!(code, 100);
    assert!(
        said.contains("FCGI_WEB_SERVER_ADDRS: localhost: no IP address"),
        "{said}"
    );
    // A socket file is protected by its permissions.
    let folder = Folder::in_memory();
    serves(
        &Start::at_socket(&folder)
            .set("FCGI_WEB_SERVER_ADDRS", "10.0.0.1")
            .start(),
    );
}

#[test]
fn a_subscriber_over_tcp_gets_events_as_they_come() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "");
    let address = free_address();
    let start = Start::bare(&folder, Place::Tcp(address));
    let responder = start
        .argument("--listen")
        .argument(address.to_string())
        .start();
    let mut client = responder.ask(&Request::tail(&file)).opened();
    let start = std::time::Instant::now();
    for number in 0..20 {
        folder.append("log", format!("{number}\n"));
        client.says(&[&number.to_string()]);
    }
    // With Nagle's algorithm each would wait 40 ms for the acknowledgement of the previous one.
    assert!(
        start.elapsed() < Duration::from_millis(700),
        "{:?}",
        start.elapsed()
    );
}
