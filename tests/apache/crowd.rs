//! More followers than a user may have inotify instances (128 by default): those without an
//! instance use other means, without a visible difference.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{Uid, User};

use crate::servers::answer::{Answer, Next};
use crate::servers::apache::{Apache, Mpm};
use crate::servers::daemon::SERVER_USER;
use crate::support::folder::append;

under_both!(
    every_one_of_500_followers_gets_every_line,
    followers_get_every_line_when_another_program_holds_all_inotify_instances,
);

/// The interval of polling, once a second, which is used if nothing better is available, and
/// the time that this machine needs for so many.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Starts `count` followers of one growing file, and checks that each gets each line; then that
/// none is left after all clients have disconnected.
fn follow_in_a_crowd(apache: &Apache, count: usize, limit: Duration) {
    append(&apache.tail_file(), "from before\n");
    let mut followers: Vec<Answer> = (0..count)
        .map(|_| apache.get("nph-tail.cgi").send())
        .collect();
    let mut expect = |line: &str| {
        let deadline = Instant::now() + AT_ONCE;
        for (number, follower) in followers.iter_mut().enumerate() {
            match follower.wait(deadline) {
                Next::Event(event) => {
                    let got = (event.name.as_str(), event.data.as_str());
                    assert_eq!(got, ("message", line), "follower {number}");
                }
                other => panic!("follower {number} waits for {line:?}: {other:?}"),
            }
        }
    };
    expect("from before");
    for line in ["one", "two", "three"] {
        append(&apache.tail_file(), &format!("{line}\n"));
        expect(line);
    }
    // Many at once, and none is lost between two checks of the file.
    let burst: Vec<_> = (0..50).map(|number| format!("burst {number}")).collect();
    append(&apache.tail_file(), &(burst.join("\n") + "\n"));
    for line in &burst {
        expect(line);
    }
    assert_eq!(apache.programs().len(), count);
    drop(followers);
    apache.wait_until_no_program_runs(limit);
}

fn every_one_of_500_followers_gets_every_line(mpm: Mpm) {
    let apache = Apache::with(mpm)
        .workers(520)
        .set("SSE_HEARTBEAT", "2s")
        .start();
    follow_in_a_crowd(&apache, 500, Duration::from_secs(60));
}

fn followers_get_every_line_when_another_program_holds_all_inotify_instances(mpm: Mpm) {
    let apache = Apache::with(mpm)
        .workers(30)
        .set("SSE_HEARTBEAT", "1s")
        .start();
    let _holder = Holder::of_all_instances();
    follow_in_a_crowd(&apache, 20, Duration::from_secs(20));
}

/// A program of the server's user that holds every inotify instance it can get.
struct Holder(Child);

impl Holder {
    /// Starts it and waits until it has all of them.
    fn of_all_instances() -> Holder {
        // Perl, since every Debian has it; 294 and 26 are inotify_init1.
        let number = if cfg!(target_arch = "x86_64") {
            294
        } else {
            26
        };
        let script = format!(
            "my $n = 0; $n++ while syscall({number}, 0) >= 0; \
             $| = 1; print \"$!{{EMFILE}} $n\\n\"; sleep 600"
        );
        let mut command = Command::new("perl");
        command.args(["-MErrno", "-e", &script]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        if Uid::effective().is_root() {
            let user = User::from_name(SERVER_USER).ok().flatten();
            let user = user.unwrap_or_else(|| panic!("no user {SERVER_USER}"));
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("perl: {error}: apt-get install perl"));
        let output = child.stdout.take().expect("its output is a pipe");
        let mut line = String::new();
        BufReader::new(output)
            .read_line(&mut line)
            .expect("perl tells what it did");
        assert!(
            !line.starts_with('0') && line.trim() != "",
            "no EMFILE: {line:?}"
        );
        Holder(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
