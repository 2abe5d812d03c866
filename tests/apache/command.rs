//! A program's output through Apache: its errors in the error log, its end at the client, and
//! no process left behind.

use std::fs;
use std::time::Duration;

use crate::servers::apache::{Apache, Mpm};
use crate::support::wait::wait_until;

under_both!(
    a_program_says_its_lines_to_the_client_and_its_errors_to_the_error_log,
    nothing_of_a_program_is_left_once_its_client_has,
);

const NAMES: [&str; 2] = ["nph-command.cgi", "command.cgi"];

const LIMIT: Duration = Duration::from_secs(15);

fn a_program_says_its_lines_to_the_client_and_its_errors_to_the_error_log(mpm: Mpm) {
    let command = "sh -c 'echo oh no >&2; echo one; sleep 0.2; echo two; exit 3'";
    let apache = Apache::with(mpm).set("SSE_COMMAND", command).start();
    for (number, name) in NAMES.iter().enumerate() {
        let mut stream = apache.get(name).send();
        assert_eq!(stream.head.status, 200, "{name}\n{}", apache.logs());
        let events = stream.events_to_end(LIMIT);
        let data: Vec<&str> = events.iter().map(|event| event.data.as_str()).collect();
        assert_eq!(data, ["one", "two", "3"], "{name}");
        assert_eq!(events[2].name, "close");
        assert!(events[1].arrived - events[0].arrived > Duration::from_millis(100));
        wait_until("the error in the log", LIMIT, || {
            apache.logs().matches("sh: oh no").count() == number + 1
        });
    }
}

fn nothing_of_a_program_is_left_once_its_client_has(mpm: Mpm) {
    // Apache notices at its next writes, sends SIGTERM, and SIGKILL 3 s later.
    let command = "sh -c 'trap : TERM; sleep 600 & echo $!; while :; do echo $$; sleep 0.1; done'";
    let apache = Apache::with(mpm).set("SSE_COMMAND", command).start();
    for name in NAMES {
        let mut stream = apache.get(name).send();
        let pids: Vec<String> = (0..2).map(|_| stream.event().data).collect();
        let stat = |pid: &String| fs::read_to_string(format!("/proc/{pid}/stat"));
        for pid in &pids {
            assert!(stat(pid).is_ok(), "{pid} has ended");
        }
        drop(stream);
        wait_until("the end of the program", LIMIT, || {
            // (A zombie is a process that has not been reaped yet.)
            pids.iter()
                .all(|pid| stat(pid).map_or(true, |stat| stat.contains(") Z ")))
        });
    }
}
