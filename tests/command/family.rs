//! A shell script as the program, and the processes that it has started.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use crate::stage::{Folder, ONE_SECOND, Program, Running, wait_for};
use crate::support::process::runs;

/// The line that a script prints when all its processes are running.
pub const READY: &str = "ready";

/// A command that runs this script by a shell. In it `$0` is a file to which it writes the
/// numbers of processes.
pub fn script(folder: &Folder, text: &str) -> String {
    let pids = folder.path("pids");
    let script = format!("echo $$ >>\"$0\"\n{text}");
    let words = ["sh", "-c", &script, pids.to_str().unwrap()];
    shlex::try_join(words).unwrap()
}

/// A program whose heartbeats are too late to matter: output arrives because of a notification.
pub fn quiet(program: Program, command: &str) -> Program {
    program
        .set("SSE_COMMAND", command)
        .set("SSE_HEARTBEAT", "25s")
}

/// `nph-command.cgi` running this script.
pub fn nph(folder: &Folder, text: &str) -> Program {
    quiet(Program::nph("command"), &script(folder, text))
}

/// The processes of a script, however they were started.
pub struct Family(Vec<u32>);

impl Family {
    /// The numbers in its file, `count` of them.
    pub fn of(folder: &Folder, count: usize) -> Self {
        let path: PathBuf = folder.path("pids");
        Self(wait_for("the numbers of processes", || {
            let text = fs::read_to_string(&path).ok()?;
            let lines = text.strip_suffix('\n')?.lines();
            let pids: Vec<u32> = lines.map(|line| line.trim().parse().unwrap()).collect();
            (pids.len() == count).then_some(pids)
        }))
    }

    pub fn runs(&self) {
        for pid in &self.0 {
            assert!(runs(*pid), "{pid} has ended");
        }
    }

    pub fn is_gone_soon(&self) {
        wait_for("the end of all processes", || {
            self.0.iter().all(|pid| !runs(*pid)).then_some(())
        });
    }

    /// Checks that all of it ends within a second of `cause`.
    pub fn is_gone_after(&self, stream: &mut Running, cause: impl FnOnce(&mut Running)) {
        self.runs();
        let start = Instant::now();
        cause(stream);
        self.is_gone_soon();
        let took = start.elapsed();
        assert!(took <= ONE_SECOND, "took {took:?}");
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for pid in &self.0 {
                let pid = nix::unistd::Pid::from_raw(*pid as i32);
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
}
