//! What there is too little of is never said to be missing.

use nix::sys::signal::Signal;

use crate::client::Request;
use crate::stage::{Folder, Start};

/// A 404 or a 500 ends an `EventSource` for good; who is asked to come again does.
#[test]
fn who_comes_when_no_descriptor_is_left_for_its_file_is_asked_to_come_again() {
    let folder = Folder::new();
    let root = folder.path("");
    let start = Start::at_socket(&folder).descriptors(64);
    let responder = start.set("SSE_HEARTBEAT", "25s").start();
    let mut clients = Vec::new();
    for number in 0..31 {
        let name = format!("{number}.log");
        folder.write(&name, "1\n");
        let request = Request::of("tail")
            .set("SSE_ROOT", root.to_str().unwrap())
            .set("PATH_INFO", format!("/{name}"));
        let mut client = responder.ask(&request);
        assert_eq!(client.status(), 200, "{number}: {}", client.stderr);
        clients.push(client);
    }
    // Some were told so; when the others have left there is room.
    let asked_again = clients.iter().filter(|client| client.end.is_some()).count();
    assert!(asked_again < clients.len(), "{asked_again}");
    drop(clients);
    let request = Request::of("tail")
        .set("SSE_ROOT", root.to_str().unwrap())
        .set("PATH_INFO", "/30.log");
    let mut client = crate::stage::wait_for("room", || {
        let mut client = responder.ask(&request);
        assert_eq!(client.status(), 200);
        let is_stream = client.next().is_some() && client.end.is_none();
        is_stream.then_some(client)
    });
    client.says(&["1"]);
    responder.signal(Signal::SIGTERM);
}
