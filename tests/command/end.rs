//! However a stream ends, no process of its program is left a second later.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::family::{Family, READY, nph, quiet, script};
use crate::stage::{EVERY_WAY, Folder, Over, Program};

/// A program, a child of it, and one in the background without output; all of them ignore
/// SIGTERM.
const DEAF: &str = "trap '' TERM HUP INT
sh -c 'echo $$ >>\"$0\"; while :; do sleep 0.1; done' \"$0\" &
sh -c 'echo $$ >>\"$0\"; while :; do sleep 0.1; done' \"$0\" >/dev/null 2>&1 </dev/null &
while test $(wc -l <\"$0\") -lt 3; do sleep 0.01; done
echo ready
while :; do sleep 0.1; done";

/// It ends at SIGTERM, like most programs.
const POLITE: &str = "sleep 600 & echo $! >>\"$0\"; sleep 600 & echo $! >>\"$0\"
echo ready; wait";

#[test]
fn the_whole_group_is_gone_when_the_client_leaves() {
    for over in EVERY_WAY {
        for text in [DEAF, POLITE] {
            let folder = Folder::new();
            // Only pipes and heartbeats show that a client has disconnected.
            let program = nph(&folder, text).over(over);
            let mut stream = program.set("SSE_HEARTBEAT", "1s").start();
            stream.says(&[READY]);
            let family = Family::of(&folder, 3);
            if over == Over::Pipe {
                family.is_gone_after(&mut stream, |stream| stream.leave());
            } else {
                stream.leave();
                family.is_gone_soon();
            }
            assert_eq!(stream.code(), 0);
        }
    }
}

#[test]
fn the_whole_group_is_gone_after_a_signal_for_us() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        for text in [DEAF, POLITE] {
            let folder = Folder::new();
            let mut stream = nph(&folder, text).start();
            stream.says(&[READY]);
            let family = Family::of(&folder, 3);
            family.is_gone_after(&mut stream, |stream| stream.signal(signal));
            assert_eq!(stream.code(), 0);
            assert_eq!(stream.rest(), []);
        }
    }
}

#[test]
fn the_whole_group_is_gone_after_a_signal_for_us_while_the_client_takes_nothing() {
    let folder = Folder::new();
    let mut stream = nph(&folder, "trap '' TERM; yes").start();
    stream.head();
    let family = Family::of(&folder, 1);
    family.is_gone_after(&mut stream, |stream| stream.signal(Signal::SIGTERM));
}

#[test]
fn the_whole_group_is_gone_at_the_age_of_the_stream_and_after_the_programs_own_time() {
    for (name, end) in [
        ("SSE_MAX_AGE", None),
        ("SSE_COMMAND_TIMEOUT", Some("close: timeout")),
    ] {
        let folder = Folder::new();
        let mut stream = nph(&folder, DEAF).set(name, "1s").start();
        stream.says(&[READY]);
        let family = Family::of(&folder, 3);
        if let Some(end) = end {
            stream.says(&[end]);
        }
        assert_eq!(stream.rest(), []);
        family.is_gone_soon();
        assert_eq!(stream.code(), 0);
    }
}

#[test]
fn what_it_left_in_the_background_ends_with_it() {
    let folder = Folder::new();
    let text = "sh -c 'trap \"\" TERM; echo $$ >>\"$0\"; while :; do sleep 0.1; done' \"$0\" >/dev/null 2>&1 &
while test $(wc -l <\"$0\") -lt 2; do sleep 0.01; done; exit 3";
    let mut stream = nph(&folder, text).start();
    stream.says(&["close: 3"]);
    let family = Family::of(&folder, 2);
    family.is_gone_soon();
}

#[test]
fn a_program_that_has_ended_is_not_waited_for() {
    // The grace for processes that continue is 300 ms: of ten, one may be slow for other
    // reasons.
    let folder = Folder::new();
    let times = (0..10).map(|_| {
        let program = nph(&folder, "exit 0");
        let start = std::time::Instant::now();
        assert_eq!(program.run().0, 0);
        start.elapsed()
    });
    let quickest = times.min().unwrap();
    assert!(quickest < Duration::from_millis(250), "{quickest:?}");
}

#[test]
fn too_much_output_ends_it() {
    let folder = Folder::new();
    let program = nph(&folder, "trap '' PIPE; while :; do echo x; done");
    let mut stream = program.set("SSE_COMMAND_OUTPUT", "1K").start();
    let events = stream.rest();
    let last = events.last().unwrap();
    assert_eq!(events.len(), 513);
    assert_eq!(
        (last.name.as_str(), last.data.as_str()),
        ("close", "too much output")
    );
    Family::of(&folder, 1).is_gone_soon();
}

#[test]
fn who_returns_after_the_end_is_told_to_stay_away_and_who_missed_something_is_told_so() {
    let folder = Folder::new();
    let mut stream = nph(&folder, "echo one; exit 2").start();
    let ids: Vec<String> = stream.rest().into_iter().map(|event| event.id).collect();
    let [in_the_middle, end] = ids.try_into().unwrap();
    let (_, head, items) = nph(&folder, "echo again").last_id(&end).run();
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    assert_eq!(items, []);
    let mut stream = nph(&folder, "echo again").last_id(&in_the_middle).start();
    stream.says(&["gap: {\"reason\":\"unknown-id\"}", "again", "close: 0"]);
    let mut stream = nph(&folder, "echo again").last_id("x y").start();
    stream.says(&["gap: {\"reason\":\"bad-id\"}", "again", "close: 0"]);
}

#[test]
fn where_output_is_held_back_it_runs_to_its_end_and_not_again_for_every_line() {
    // Over HTTP/2, Apache forwards the output of an nph program when it has ended.
    let folder = Folder::new();
    let command = script(&folder, "echo one; sleep 0.3; echo two; exit 1");
    let program = quiet(Program::nph("command"), &command).set("HTTP2", "on");
    let mut stream = program.set("SERVER_PROTOCOL", "HTTP/2.0").start();
    stream.says(&["one", "two", "close: 1"]);
    Family::of(&folder, 1).is_gone_soon();
}

#[test]
fn when_we_are_killed_who_writes_on_ends_by_it_and_a_silent_one_by_setpriv_if_asked() {
    // No process of ours is left that could end it: the system does this.
    let folder = Folder::new();
    let writes = script(&folder, "while :; do echo more; sleep 0.05; done");
    let silent = script(&folder, "echo more; exec sleep 600");
    for command in [writes, format!("setpriv --pdeathsig KILL -- {silent}")] {
        let _ = std::fs::remove_file(folder.path("pids"));
        let mut stream = quiet(Program::nph("command"), &command).start();
        stream.says(&["more"]);
        let family = Family::of(&folder, 1);
        family.runs();
        stream.signal(Signal::SIGKILL);
        family.is_gone_soon();
    }
}
