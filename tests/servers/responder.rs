//! FastCGI responders: ours, and the one on the crate `fastcgi`, which is its
//! independent peer.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::daemon::Daemon;
use super::folder::Folder;

/// Which responder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Responder {
    /// `sse-fcgi`.
    Ours,
    /// `examples/fastcgi_crate.rs`.
    FastcgiCrate,
}

impl Default for Responder {
    fn default() -> Self {
        if built().join("sse-fcgi").exists() {
            Responder::Ours
        } else {
            Responder::FastcgiCrate
        }
    }
}

impl Responder {
    /// The program.
    #[track_caller]
    pub fn program(self) -> PathBuf {
        let path = match self {
            Responder::Ours => built().join("sse-fcgi"),
            Responder::FastcgiCrate => built().join("examples/fastcgi_crate"),
        };
        assert!(
            path.exists(),
            "{} is missing: cargo build --bins --examples",
            path.display()
        );
        path
    }

    /// Starts it on the socket `folder`/responder.sock, which it inherits as descriptor
    /// 0, as spawn-fcgi and lighttpd start one.
    #[track_caller]
    pub fn start(self, folder: &Folder, environment: &[(String, String)]) -> Daemon {
        self.start_on(folder, listen(&socket(folder)), environment)
    }

    /// The same on a socket that listens already.
    #[track_caller]
    pub fn start_on(
        self,
        folder: &Folder,
        socket: UnixListener,
        environment: &[(String, String)],
    ) -> Daemon {
        let program = self.program();
        let command = [program.to_str().expect("the path is text")];
        Daemon::start(folder, &command, Some(OwnedFd::from(socket)), environment)
    }
}

/// The folder of the programs that cargo built.
fn built() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_nph-clock"))
        .parent()
        .expect("a program lies in a folder")
}

/// Where the responder of a test listens.
pub fn socket(folder: &Folder) -> PathBuf {
    folder.join("responder.sock")
}

/// A socket that every user may connect to: the server may be another one.
#[track_caller]
pub fn listen(path: &Path) -> UnixListener {
    let listener =
        UnixListener::bind(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("it was made just now");
    listener
}

/// How many sockets a process has open.
pub fn sockets_of(pid: nix::unistd::Pid) -> usize {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let sockets = targets.filter(|target| target.to_string_lossy().starts_with("socket:"));
    sockets.collect::<BTreeSet<_>>().len()
}
