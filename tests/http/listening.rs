//! Sockets in the file system, and those that another process has opened.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::servers::daemon::{SERVER_USER, becomes_server_user};
use crate::stage::{Folder, Httpd, Start, get, wait_for};

/// One that listens on `socket` alone, before it does.
fn spawn(folder: &Folder, socket: &Path) -> Httpd {
    let mut start = Start::bare(folder)
        .argument("--listen")
        .argument(format!("unix:{}", socket.display()))
        .argument(folder.path("a.log"));
    if becomes_server_user() {
        start = start.argument("--user").argument(SERVER_USER);
    }
    start.spawn()
}

/// Waits until a stream is served on `socket`.
#[track_caller]
fn wait_for_stream(socket: &Path) {
    wait_for("a stream", || {
        let mut client = UnixStream::connect(socket).ok()?;
        client.write_all(get("/events/a.log").as_bytes()).ok()?;
        let mut first = [0; 15];
        client.read_exact(&mut first).ok()?;
        (&first == b"HTTP/1.1 200 OK").then_some(())
    });
}

#[test]
fn a_stale_socket_is_replaced_a_live_one_is_refused_and_the_end_removes_it() {
    let folder = Folder::new();
    folder.write("a.log", "one\n");
    // Its user removes the socket at the end.
    let socket = folder.make_public("run").join("socket");
    let killed = spawn(&folder, &socket);
    wait_for_stream(&socket);
    let metadata = fs::metadata(&socket).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o660);
    if becomes_server_user() {
        let user = nix::unistd::User::from_name(SERVER_USER).unwrap().unwrap();
        assert_eq!(
            (metadata.uid(), metadata.gid()),
            (user.uid.as_raw(), user.gid.as_raw())
        );
    }
    killed.signal(Signal::SIGKILL);
    drop(killed);
    assert!(socket.exists());

    let mut httpd = spawn(&folder, &socket);
    wait_for_stream(&socket);
    let mut second = spawn(&folder, &socket);
    assert_eq!(second.code(), 111);
    wait_for_stream(&socket);
    httpd.signal(Signal::SIGTERM);
    assert_eq!(httpd.code(), 0);
    assert!(!socket.exists());
}

#[test]
fn a_file_that_is_no_socket_is_kept() {
    let folder = Folder::new();
    folder.write("a.log", "");
    let file = folder.write("precious", "text");
    assert_eq!(spawn(&folder, &file).code(), 111);
    assert_eq!(folder.read("precious"), "text");
}

#[test]
fn a_socket_that_another_process_has_opened_is_used() {
    let folder = Folder::new();
    folder.write("a.log", "one\n");
    let socket = folder.path("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut httpd = Start::bare(&folder)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
        .argument(folder.path("a.log"))
        .spawn();
    wait_for_stream(&socket);
    httpd.signal(Signal::SIGTERM);
    assert_eq!(httpd.code(), 0);
    // It is not its own.
    assert!(socket.exists());
}
