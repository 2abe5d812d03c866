//! Its configuration, and the parts of a request that never reach it.

use crate::family::{Family, nph, script};
use crate::stage::{Folder, Program};

#[test]
fn nothing_that_a_client_sent_reaches_it() {
    let folder = Folder::new();
    let text =
        "env; echo \"args $# $*\"; cat; echo end of input; ls -l /proc/$$/fd | grep -c socket";
    let evil = "$(touch owned) `id` ;'\"";
    let mut program = nph(&folder, text)
        .query("?--evil+$(id)&SSE_COMMAND=id")
        .arguments(&["--evil", "evil"])
        .last_id("evil");
    for name in [
        "HTTP_COOKIE",
        "HTTP_SSE_COMMAND",
        "HTTP_PROXY",
        "PATH_INFO",
        "REMOTE_USER",
    ] {
        program = program.set(name, format!("evil {evil}"));
    }
    let events = program.start().rest();
    let lines: Vec<&str> = events.iter().map(|event| event.data.as_str()).collect();
    for line in &lines {
        assert!(
            !line.contains("evil") && !line.contains("HTTP"),
            "{lines:?}"
        );
        assert!(
            !line.contains("SSE_") && !line.contains("SCRIPT"),
            "{lines:?}"
        );
    }
    assert!(lines.contains(&"PATH=/usr/bin:/bin"), "{lines:?}");
    // Its input is at its end, and it does not inherit the client's socket.
    assert_eq!(
        lines[lines.len() - 4..],
        ["args 0 ", "end of input", "0", "1"]
    );
}

#[test]
fn a_wrong_command_is_a_500_whose_log_line_names_the_setting_and_the_remedy() {
    let folder = Folder::new();
    let no_program = folder.write("no-program", "echo hi\n");
    let executable = folder.write("garbage", "\u{0}\u{1}garbage\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&executable, mode).unwrap();
    for (command, expected) in [
        ("", "SSE_COMMAND: not set; set SSE_COMMAND to the program"),
        ("no-such-program -x", "SSE_COMMAND=no-such-program: "),
        (
            no_program.to_str().unwrap(),
            "name a program that this user can run",
        ),
        (
            executable.to_str().unwrap(),
            "name a program that this user can run",
        ),
        ("/dev/null/x", "name a program that this user can run"),
        ("echo 'unclosed", "with quotes closed"),
    ] {
        let program = Program::nph("command").set("SSE_COMMAND", command);
        let mut stream = program.start();
        let head = stream.head();
        assert!(head.starts_with("HTTP/1.1 500 "), "{command}: {head}");
        assert_eq!((stream.next(), stream.code()), (None, 100));
        let said = stream.stderr();
        assert!(said.contains(expected), "{command}: {said}");
    }
}

#[test]
fn a_question_for_the_head_runs_nothing() {
    let folder = Folder::new();
    for method in ["HEAD", "OPTIONS", "POST", "DELETE"] {
        let program = nph(&folder, "touch \"$0.ran\"; echo ran");
        let (_, _, items) = program.set("REQUEST_METHOD", method).run();
        assert_eq!(items, [], "{method}");
        assert!(!folder.path("pids").exists(), "{method} ran it");
    }
}

#[test]
fn it_runs_with_no_signal_blocked_or_ignored_in_a_group_of_its_own() {
    let folder = Folder::new();
    let text = "grep -E '^Sig(Blk|Ign):' /proc/self/status; ps -o pgid= -p $$ | tr -d ' '; echo $$";
    // Servers block and ignore signals, and the processes that they start inherit that.
    let env = ["env", "--ignore-signal=TERM", "--block-signal=TERM,USR1"];
    let program = Program::nph("command").set("SSE_COMMAND", script(&folder, text));
    let events = program.by(&env).start().rest();
    let lines: Vec<&str> = events.iter().map(|event| event.data.as_str()).collect();
    for (line, name) in lines.iter().zip(["SigBlk:\t", "SigIgn:\t"]) {
        let signals = line.strip_prefix(name).unwrap();
        let signals = u64::from_str_radix(signals, 16).unwrap();
        // (32 and 33 belong to the C library.)
        assert_eq!(signals & 0x7fff_ffff, 0, "{line}");
    }
    assert_eq!(lines[2], lines[3]);
    Family::of(&folder, 1).is_gone_soon();
}
