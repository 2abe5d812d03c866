//! Accounts of this machine that a test makes and removes, for servers that run each user's
//! programs as that user.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Uid, User};

use crate::support::wait::{PATIENCE, wait_until};

/// Where the settings of Debian's apache2-suexec-custom are, one file for each user that a
/// server serves as.
const SUEXEC: &str = "/etc/apache2/suexec";

/// What their names begin with; the number of the test's process follows.
const PREFIX: &str = "sse-t";

/// Whether a test may make accounts; says so where it may not.
pub fn can_make_accounts() -> bool {
    let can = Uid::effective().is_root();
    if !can {
        eprintln!("skipped: only root can make accounts, and start programs as them");
    }
    can
}

/// An account; removed when dropped.
pub struct Account {
    pub name: String,
    pub uid: u32,
    gid: u32,
    /// Its home, which the test makes.
    pub home: PathBuf,
}

impl Account {
    /// Makes one with a home below `homes`, and a group of its own unless one is given.
    #[track_caller]
    pub fn new(letter: char, homes: &Path, group: Option<&str>) -> Self {
        remove_those_of_killed_tests();
        let name = format!("{PREFIX}{}-{letter}", std::process::id());
        let home = homes.join(letter.to_string());
        let mut command = Command::new("useradd");
        command.args(["--no-create-home", "--shell", "/usr/sbin/nologin"]);
        command.arg("--home-dir").arg(&home);
        match group {
            Some(group) => command.args(["--gid", group]),
            None => command.arg("--user-group"),
        };
        command.arg(&name);
        // Another test may hold the lock of the list.
        wait_until("an account is made", PATIENCE, || {
            command.output().expect("useradd runs").status.success()
        });
        let user = User::from_name(&name).ok().flatten().expect("just made");
        let account = Self {
            name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home,
        };
        fs::create_dir_all(&account.home).expect("the test's folder can be written");
        account.owns(&account.home);
        account
    }

    /// Gives a file or a folder to it.
    #[track_caller]
    pub fn owns(&self, path: &Path) {
        chown(path, Some(self.uid), Some(self.gid))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Lets a server that serves as it start programs below `root` as other accounts; those
    /// of `~user` below `suffix` of a home.
    #[track_caller]
    pub fn may_use_suexec(&self, root: &Path, suffix: &str) {
        let text = format!("{}\n{suffix}\n", root.display());
        fs::write(format!("{SUEXEC}/{}", self.name), text)
            .unwrap_or_else(|error| panic!("{SUEXEC}: {error}"));
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

fn remove(name: &str) {
    let _ = fs::remove_file(format!("{SUEXEC}/{name}"));
    wait_until("an account is removed", PATIENCE, || {
        let _ = Command::new("userdel").args(["--force", name]).output();
        !matches!(User::from_name(name), Ok(Some(_)))
    });
}

fn remove_those_of_killed_tests() {
    let list = fs::read_to_string("/etc/passwd").unwrap_or_default();
    for name in list.lines().filter_map(|line| line.split(':').next()) {
        let process = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('-'))
            .map(|(process, _)| process);
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            let _ = fs::remove_file(format!("{SUEXEC}/{name}"));
            let _ = Command::new("userdel").args(["--force", name]).output();
        }
    }
}
