//! The resources that a process has used, from /proc.

use std::fs;
use std::time::Duration;

/// Memory and CPU of a process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Memory of its own that is in use: allocations, without files.
    pub memory_bytes: u64,
    /// Time in the program and in the system for it; in steps of 10 ms.
    pub cpu: Duration,
}

impl Usage {
    /// Of a running process.
    pub fn of(pid: u32) -> Self {
        let text = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        let status = text("status");
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:")?.split_whitespace().next())
            .and_then(|number| number.parse::<u64>().ok())
            .expect("a process has memory");
        let stat = text("stat");
        // Its name is in brackets, and can be anything. Field 3 follows.
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks: u64 = fields[11..13]
            .iter()
            .map(|field| field.parse::<u64>().expect("utime and stime are numbers"))
            .sum();
        Self {
            memory_bytes: kilobytes * 1024,
            cpu: Duration::from_millis(ticks * 10),
        }
    }
}
