//! FastCGI responders: ours, and the independent peer on the crate `fastcgi`.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::daemon::Daemon;
use crate::support::folder::Folder;

/// Which responder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Responder {
    /// `sse-fcgi`.
    Ours,
    /// `examples/fastcgi_crate.rs`.
    FastcgiCrate,
}

impl Responder {
    /// Copies the program to `folder`/bin: other users may not reach it elsewhere, and a test
    /// recognises it by its path.
    #[track_caller]
    pub fn install(self, folder: &Folder) -> PathBuf {
        folder.make("bin");
        let program = program_in(folder);
        let built = self.built();
        if fs::hard_link(&built, &program).is_err() {
            // By another process: a program that is open for writing here, and so in what
            // another thread of ours has just forked, cannot be started.
            let copied = Command::new("cp").arg(&built).arg(&program).status();
            assert!(copied.is_ok_and(|status| status.success()), "cp");
        }
        program
    }

    #[track_caller]
    fn built(self) -> PathBuf {
        let path = match self {
            Responder::Ours => env!("CARGO_BIN_EXE_sse-fcgi").into(),
            Responder::FastcgiCrate => {
                let ours = Path::new(env!("CARGO_BIN_EXE_sse-fcgi"));
                ours.with_file_name("examples").join("fastcgi_crate")
            }
        };
        assert!(
            path.exists(),
            "{} is missing: cargo build --bins --examples",
            path.display()
        );
        path
    }
}

/// Starts the program that was installed on a socket that listens, which it inherits as
/// descriptor 0, as spawn-fcgi and lighttpd start one.
#[track_caller]
pub fn start(folder: &Folder, socket: UnixListener, environment: &[(String, String)]) -> Daemon {
    let program = program_in(folder);
    let program = program.to_str().expect("the path is text");
    // (The program on the crate reads no arguments.)
    let command = [program, "--allow-root", "--allow-commands"];
    Daemon::start(folder, &command, Some(OwnedFd::from(socket)), environment)
}

/// The folder of a test's responder.
pub fn program_in(folder: &Folder) -> PathBuf {
    folder.join("bin/responder")
}

/// The socket of a test's responder.
pub fn socket(folder: &Folder) -> PathBuf {
    folder.make_public("sockets").join("responder.sock")
}

/// A socket that every user may connect to, since the server may be another user.
#[track_caller]
pub fn listen(path: &Path) -> UnixListener {
    let listener =
        UnixListener::bind(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("it was made just now");
    listener
}

/// How many connections are open at sockets below `folder`, according to the kernel: one that
/// only the server has closed counts until the responder has closed it too.
pub fn connections_below(folder: &Folder) -> usize {
    let list = fs::read_to_string("/proc/net/unix").expect("/proc is mounted");
    let folder = format!("{}/", folder.display());
    let ours = list.lines().filter(|line| {
        let mut words = line.split_whitespace();
        // Num, RefCount, Protocol, Flags (the bit of a listener), Type, St, Inode, Path.
        let listens = words.nth(3).is_none_or(|flags| flags == "00010000");
        let path = words.nth(3).unwrap_or_default();
        !listens && path.starts_with(&folder)
    });
    ours.count()
}
