//! The state of a process, from /proc.

use std::fmt::Display;
use std::fs;
use std::time::{Duration, Instant};

use super::wait::wait_for;

fn stat(pid: impl Display) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself contain spaces and parentheses.
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.to_owned())
}

/// Whether the process runs. A zombie does not.
pub fn runs(pid: impl Display) -> bool {
    stat(pid).is_some_and(|fields| !fields.starts_with(['Z', 'X']))
}

/// Its CPU time, in ticks of 10 ms.
#[track_caller]
pub fn processor_ticks(pid: impl Display) -> u64 {
    let fields = stat(pid).expect("a process that runs");
    let times = fields.split_whitespace().skip(11).take(2);
    times.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// A field of /proc/PID/`file`, such as `VmHWM` of `status`, as a number.
#[track_caller]
pub fn field(pid: impl Display, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let word = value.and_then(|value| value.split_whitespace().next());
    word.expect(name).parse().unwrap()
}

/// Waits until the process has not been scheduled for `while_for`: it is idle or blocked.
#[track_caller]
pub fn wait_until_asleep(pid: impl Display, while_for: Duration) {
    let mut last = (u64::MAX, Instant::now());
    wait_for("a process that sleeps", || {
        let count = field(&pid, "status", "voluntary_ctxt_switches");
        if count != last.0 {
            last = (count, Instant::now());
        }
        (last.1.elapsed() > while_for).then_some(())
    });
}
