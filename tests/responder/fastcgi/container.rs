//! The responder as the first process of a container, which inherits every orphan, or below a
//! process that never reaps any.

use std::fs;

use super::peer::{Folder, Request, Start, wait_for};
use crate::support::root::can;

const CONTAINER: [&str; 4] = ["unshare", "-pf", "--mount-proc", "--kill-child"];

fn can_make_containers() -> bool {
    can("a container", &[&CONTAINER[..], &["true"]].concat())
}

/// Leaves two orphans behind: one in its process group, and one in a session of its own.
const LEAVES_ORPHANS: &str = "(sleep 0.01 >/dev/null 2>&1 &)
(setsid sleep 0.01 >/dev/null 2>&1 &)
echo ran";

#[test]
fn as_process_1_of_a_container_orphans_do_not_count_as_running_programs() {
    if !can_make_containers() {
        return;
    }
    // The second is between it and process 1, which reaps nothing.
    let idle = "\"$@\" & read forever <\"$0\"";
    for below in [false, true] {
        let folder = Folder::in_memory();
        let fifo = folder.path("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut by = CONTAINER.to_vec();
        if below {
            by.extend(["bash", "-c", idle, fifo.to_str().unwrap()]);
        }
        let responder = Start::at_socket(&folder)
            .allowing_commands()
            .by(&by)
            .start();
        let request = Request::of("command").set("SSE_COMMAND_MAX", "3").set(
            "SSE_COMMAND",
            shlex::try_join(["sh", "-c", LEAVES_ORPHANS]).unwrap(),
        );
        for run in 0..24 {
            // The previous ones may take a moment to end.
            wait_for("a place for a program", || {
                let mut client = responder.ask(&request);
                let events = client.rest();
                let has_run = events.iter().any(|event| event.data == "ran");
                assert!(run > 0 || has_run, "{}", responder.stderr());
                has_run.then_some(())
            });
        }
        if below {
            continue;
        }
        wait_for("no zombie", || {
            // The child of unshare is process 1 of the container.
            let children = format!("/proc/{0}/task/{0}/children", responder.pid());
            let first = fs::read_to_string(children).unwrap();
            let first = first.trim();
            let left = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap();
            // It reaps them at the next request.
            responder.figures();
            left.trim().is_empty().then_some(())
        });
    }
}
