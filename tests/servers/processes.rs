//! The running programs of a folder, which a test counts to check that no process is left
//! behind.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: Pid,
    /// The file name of its executable.
    pub name: String,
}

/// All processes whose executable lies inside `folder`.
///
/// By /proc/PID/exe, which a process cannot change and which is valid even if its file was
/// replaced. A zombie has none and does not count.
pub fn running_from(folder: &Path) -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let executable = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
            let inside = executable.strip_prefix(folder).ok()?;
            let name = inside.file_name()?.to_str()?.to_owned();
            Some(Process {
                pid: Pid::from_raw(pid),
                name,
            })
        })
        .collect()
}

/// The processes that `parent` started itself and that still run.
pub fn children_of(parent: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{parent}/task"))
        .into_iter()
        .flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .flat_map(|list| {
            let pids = list.split_whitespace();
            pids.filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
        })
        .map(Pid::from_raw)
        .collect()
}

/// Kills the processes that still run from `folder`.
pub fn kill_running_from(folder: &Path) {
    for process in running_from(folder) {
        let _ = kill(process.pid, Signal::SIGKILL);
    }
}
