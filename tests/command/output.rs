//! A program's output, and who receives it.

use std::fs;
use std::time::{Duration, Instant};

use crate::family::{Family, nph, quiet, script};
use crate::stage::{DEADLINE, EVERY_WAY, Folder, ONE_SECOND, Over, Program, shown, wait_for};
use crate::support::event_stream::Item;
use crate::support::process::processor_ticks;

/// Waits for the file of this name, checking a hundred times a second.
fn until(folder: &Folder, name: &str) -> String {
    let path = folder.path(name);
    format!("while ! test -e '{}'; do sleep 0.01; done", path.display())
}

#[test]
fn each_line_comes_when_it_is_said_and_the_end_tells_the_exit_code() {
    for over in EVERY_WAY {
        let folder = Folder::new();
        let go = until(&folder, "go");
        let text = format!("echo one; printf 'tw'; {go}; printf 'o\\r\\nthree'; exit 7");
        for program in [Program::nph("command"), Program::plain("command")] {
            let _ = fs::remove_file(folder.path("go"));
            let program = quiet(program, &script(&folder, &text)).over(over);
            let mut stream = program.start().opened();
            stream.says(&["one"]);
            folder.write("go", "");
            stream.says(&["two", "three", "close: 7"]);
            assert!(stream.last_id().ends_with("-end"), "{}", stream.last_id());
            assert_eq!(stream.next(), None);
            assert_eq!(stream.code(), 0);
        }
    }
}

#[test]
fn typed_the_command_is_an_argument() {
    let (code, _, items) = Program::typed("command", &["printf '%s\\n' 'a b' c"]).run();
    let events: Vec<String> = items
        .iter()
        .filter_map(|item| match item {
            Item::Event(event) => Some(shown(event)),
            _ => None,
        })
        .collect();
    assert_eq!(
        (code, events),
        (0, ["a b", "c", "close: 0"].map(String::from).to_vec())
    );
}

#[test]
fn a_signal_that_ended_it_is_an_exit_code_as_a_shell_tells_it() {
    for (signal, code) in [("TERM", 143), ("KILL", 137), ("SEGV", 139)] {
        let folder = Folder::new();
        let mut stream = nph(&folder, &format!("kill -{signal} $$")).start();
        stream.says(&[&format!("close: {code}")]);
    }
}

#[test]
fn jsonl_says_what_the_events_are() {
    let folder = Folder::new();
    let text = r#"echo '{"event":"piece","data":{"a":1}}'; echo nonsense"#;
    let mut stream = nph(&folder, text).set("SSE_FORMAT", "jsonl").start();
    stream.says(&["piece: {\"a\":1}", "invalid: nonsense", "close: 0"]);
}

#[test]
fn a_line_that_is_too_long_is_cut_and_said_to_be() {
    let folder = Folder::new();
    let text = "printf '%01000000d\\n' 5; echo short";
    let mut stream = nph(&folder, text).set("SSE_MAX_LINE", "1K").start();
    let zeros = "0".repeat(1024);
    stream.says(&[
        &zeros,
        "gap: {\"reason\":\"cut\",\"bytes\":998976}",
        "short",
        "close: 0",
    ]);
}

#[test]
fn who_says_nothing_for_long_has_heartbeats() {
    let folder = Folder::new();
    let go = until(&folder, "go");
    let command = script(&folder, &format!("{go}; echo said"));
    let program = Program::nph("command").set("SSE_COMMAND", command);
    let mut stream = program.set("SSE_HEARTBEAT", "1s").start().opened();
    stream.beat();
    stream.beat();
    folder.write("go", "");
    stream.says(&["said", "close: 0"]);
}

#[test]
fn errors_go_to_the_log_and_never_to_the_client() {
    let text = "echo out; echo oh no >&2; printf 'not whole' >&2";
    for over in EVERY_WAY {
        // The server's log.
        let folder = Folder::new();
        let mut stream = nph(&folder, text).over(over).start();
        stream.says(&["out", "close: 0"]);
        stream.code();
        let said = stream.stderr();
        assert!(said.contains(": sh: oh no\n"), "{said}");
        assert!(said.contains(": sh: not whole\n"), "{said}");
        // stderr is the client.
        let program = nph(&folder, text).over(over).stderr_is_the_reader();
        let (_, _, items) = program.run();
        for item in items {
            assert!(!matches!(item, Item::Ignored(_)), "{item:?}");
        }
        // The process's own log.
        let log = folder.path("log");
        let program = nph(&folder, text).set("SSE_LOG", &log).over(over);
        program.stderr_is_the_reader().run();
        let said = fs::read_to_string(log).unwrap();
        assert!(
            said.contains("sh: oh no") && said.contains("sh: not whole"),
            "{said}"
        );
    }
}

#[test]
fn a_program_that_only_complains_is_never_kept_waiting_and_neither_are_we() {
    // The server reads nothing of stderr: it holds 64 KiB, and this is 4 MB.
    let folder = Folder::new();
    let fifo = folder.path("errors");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let text = "i=0; while test $i -lt 4000; do printf '%01000d\\n' $i >&2; i=$((i+1)); done";
    let command = script(&folder, &format!("{text}; echo done"));
    // (By a shell that puts the pipe in place of stderr, and keeps it open for reading.)
    let open = format!("exec 3<>'{}'; exec \"$@\" 2>&3", fifo.display());
    let program = quiet(Program::nph("command"), &command).by(&["sh", "-c", &open, "sh"]);
    let mut stream = program.start();
    stream.says(&["done", "close: 0"]);
}

#[test]
fn a_program_that_closes_its_output_is_waited_for() {
    let folder = Folder::new();
    let go = until(&folder, "go");
    let text = format!("echo one; exec >&-; {go}; exit 5");
    let mut stream = nph(&folder, &text).start();
    stream.says(&["one"]);
    Family::of(&folder, 1).runs();
    folder.write("go", "");
    let start = Instant::now();
    stream.says(&["close: 5"]);
    assert!(start.elapsed() < ONE_SECOND);
}

#[test]
fn a_slow_reader_makes_the_program_wait_and_costs_no_memory() {
    let folder = Folder::new();
    // 100 MB, and a count of what has been written.
    let done = folder.path("done");
    let text = format!(
        "yes 0123456789012345678901234567890123456789012345678 | head -c 100000000; touch '{}'",
        done.display()
    );
    let program = nph(&folder, &text).set("SSE_COMMAND_OUTPUT", "1G");
    let mut stream = program.over(Over::Pipe).start();
    stream.head();
    asleep(stream.pid());
    assert!(!done.exists());
    let before = stream.status("VmHWM");
    let mut bytes = 0;
    let start = Instant::now();
    let mut most = 0;
    loop {
        let count = stream.read(1 << 16).len();
        if count == 0 {
            break;
        }
        if bytes / 10_000_000 != (bytes + count) / 10_000_000 {
            most = most.max(stream.status("VmHWM"));
        }
        bytes += count;
        assert!(
            start.elapsed() < 3 * DEADLINE,
            "{bytes} bytes after {:?}",
            start.elapsed()
        );
    }
    // 2 000 000 lines of 50 bytes, and the bytes that events add.
    assert!(bytes > 100_000_000, "{bytes}");
    assert!(done.exists());
    assert!(most < before + 2_000 && most < 20_000, "{most} kB");
}

/// Waits until it is idle, because its reader has no room.
fn asleep(pid: u32) {
    let mut last = u64::MAX;
    let mut since = Instant::now();
    wait_for("a program that waits", || {
        let ticks = processor_ticks(pid);
        if ticks != last {
            (last, since) = (ticks, Instant::now());
        }
        (since.elapsed() > Duration::from_millis(200)).then_some(())
    });
}
