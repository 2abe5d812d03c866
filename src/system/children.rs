//! The children of this process: those that it has started, and those that it has inherited as
//! process 1 or as a subreaper.
//!
//! An inherited child that ends stays a zombie until its parent waits for it, and a zombie
//! keeps its process group alive.

use std::fs;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, getpid};

/// How long a program may take to end after SIGTERM.
pub(crate) const GRACE: Duration = Duration::from_millis(300);

/// How long to wait after SIGKILL: the kernel cannot end a process that waits for a disk.
const KILLED: Duration = Duration::from_secs(2);

/// Held by a thread that starts a child and waits for its end.
static WAITED_FOR: RwLock<()> = RwLock::new(());

/// Runs a command to its end. Any thread may do so: meanwhile [`reap_orphans`] reaps nothing.
pub(crate) fn status_of(command: &mut Command) -> io::Result<ExitStatus> {
    let _waited_for = WAITED_FOR.read().unwrap_or_else(PoisonError::into_inner);
    command.status()
}

/// The process group whose leader a child is.
pub(crate) fn group_of(leader: &Child) -> Pid {
    Pid::from_raw(leader.id() as i32)
}

/// A child's exit code, or 128 plus the number of the signal that ended it, as in a shell;
/// `None` while it runs. The child is not reaped, so its number and that of its group cannot be
/// reused yet.
pub(crate) fn exit_code(child: &Child) -> Option<i32> {
    let how = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::Pid(group_of(child)), how) {
        Ok(WaitStatus::Exited(_, code)) => Some(code),
        Ok(WaitStatus::Signaled(_, signal, _)) => Some(128 + signal as i32),
        Ok(_) => None,
        Err(_) => Some(-1),
    }
}

/// Whether processes without a parent become children of this process.
pub(crate) fn inherits_orphans() -> bool {
    getpid() == Pid::from_raw(1) || prctl::get_child_subreaper().unwrap_or(false)
}

/// Reaps every child that has ended, except those that are `own`: the code that started them
/// waits for them.
pub(crate) fn reap_orphans(own: impl Fn(Pid) -> bool) {
    // They are reaped the next time.
    let Ok(_alone) = WAITED_FOR.try_write() else {
        return;
    };
    let how = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        match waitid(Id::All, how).map(|status| status.pid()) {
            Ok(Some(pid)) if !own(pid) => {
                let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            }
            // waitid reports only this one of the children that have ended.
            Ok(Some(_)) => break,
            Ok(None) | Err(_) => return,
        }
    }
    for pid in all() {
        if !own(pid) {
            let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        }
    }
}

/// Ends a program of this process, and all other children: SIGTERM, and after a grace SIGKILL.
/// If this process is a subreaper, the orphans of its children become its own children, and are
/// ended as well.
pub(crate) fn end_all(leader: &Child) {
    let start = Instant::now();
    let mut asked: Vec<Pid> = Vec::new();
    loop {
        let took = start.elapsed();
        let signal = match took < GRACE {
            true => Signal::SIGTERM,
            false => Signal::SIGKILL,
        };
        let group = group_of(leader);
        if signal == Signal::SIGKILL || !asked.contains(&group) {
            // As long as the leader is not reaped, the group's number cannot be reused.
            let _ = killpg(group, signal);
            asked.push(group);
        }
        let children: Vec<Pid> = all().into_iter().filter(|pid| *pid != group).collect();
        for &pid in &children {
            if signal == Signal::SIGKILL || !asked.contains(&pid) {
                let _ = kill(pid, signal);
                asked.push(pid);
            }
        }
        reap_orphans(|pid| pid == group);
        let is_alone = all().iter().all(|pid| *pid == group);
        if is_alone && exit_code(leader).is_some() || took >= KILLED {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = waitpid(group_of(leader), Some(WaitPidFlag::WNOHANG));
}

/// The numbers of all children, zombies included.
fn all() -> Vec<Pid> {
    // Each thread has its own children. A kernel without CONFIG_PROC_CHILDREN has no such file.
    let mut threads = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let listed: Option<String> = threads
        .by_ref()
        .map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .collect();
    match listed {
        Some(numbers) => numbers.split_ascii_whitespace().filter_map(pid).collect(),
        None => all_by_parent(),
    }
}

/// The same by the parent of every process.
fn all_by_parent() -> Vec<Pid> {
    let own = getpid().to_string();
    let is_child = |number: &&str| {
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        // The name, in parentheses, may contain any text. State and parent follow it.
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        rest.split(' ').nth(1) == Some(&own)
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let numbers = names.iter().map(String::as_str);
    numbers
        .filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
        .filter(is_child)
        .filter_map(pid)
        .collect()
}

fn pid(number: &str) -> Option<Pid> {
    number.parse().ok().map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_found_with_and_without_the_kernel_s_own_list() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let own = group_of(&child);
        assert!(all().contains(&own));
        assert!(all_by_parent().contains(&own));
        assert!(exit_code(&child).is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!all().contains(&own));
    }
}
