//! `sse-fcgi --workers N`: several responders on one socket.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::Request;
use crate::stage::{Folder, Start, wait_for};

#[test]
fn several_responders_share_a_socket_and_its_figures() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let responder = Start::at_socket(&folder)
        .argument("--workers")
        .argument("2")
        .start();
    let children = || {
        let pid = responder.pid();
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let numbers = text.split_whitespace();
        numbers.map(|number| number.parse().unwrap()).collect::<Vec<i32>>()
    };
    let mut clients: Vec<_> = (0..20)
        .map(|_| responder.ask(&Request::tail(&file)))
        .collect();
    for client in &mut clients {
        client.says(&["1"]);
    }
    wait_for("all of them", || {
        (responder.figure("subscribers") == 20).then_some(())
    });
    folder.append("log", "2\n");
    for client in &mut clients {
        client.says(&["2"]);
    }
    for pid in children() {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    drop(clients);
    wait_for("none of them", || {
        (responder.figure("subscribers") == 0).then_some(())
    });
    assert!(responder.figure("events") >= 40);
    responder.ask(&Request::tail(&file)).says(&["1", "2"]);
}
