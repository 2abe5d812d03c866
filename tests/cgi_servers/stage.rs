//! A folder with the installed programs, and a server of CGI programs for it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::servers::answer::Answer;
use crate::servers::daemon::{Daemon, all_logs, start_on_free_port};
use crate::servers::processes::{kill_running_from, running_from};
use crate::servers::request::Request;
use crate::support::folder::Folder;
use crate::support::wait::wait_until;

/// A running server; it ends when dropped, and so do its programs.
pub struct Site {
    pub folder: Folder,
    pub port: u16,
    daemon: Daemon,
}

/// The settings file, in the folder of the programs.
pub const SETTINGS_FILE: &str = "pages/cgi-bin/.htsse";

impl Site {
    /// Installs the programs into `pages/cgi-bin` beside a settings file with this text, and
    /// starts a server whose command `configure` gives.
    #[track_caller]
    pub fn start(settings: &str, mut configure: impl FnMut(&Folder, u16) -> Vec<String>) -> Self {
        let folder = Folder::new();
        folder.make("run");
        folder.make_public("logs");
        folder.make_public("data");
        install(&folder.make("pages/cgi-bin"));
        let root = folder.display().to_string();
        folder.write(SETTINGS_FILE, settings.replace("{root}", &root));
        let (daemon, port) = start_on_free_port(&folder, &[], |port| configure(&folder, port));
        Self {
            folder,
            port,
            daemon,
        }
    }

    /// A GET of what lies beside the programs.
    pub fn get(&self, name: &str) -> Request {
        Request::new(self.port, "GET", &format!("/cgi-bin/{name}"))
    }

    /// Appends lines to data/app.log, whose stream this is and which has one line, `1`: each
    /// arrives at once, a client resumes by its last id, and the programs of clients that have
    /// left end.
    #[track_caller]
    pub fn delivers_at_once_and_resumes(&self, mut stream: Answer) {
        let last_id = stream.parser.last_id.clone();
        for number in 2..7 {
            let written = Instant::now();
            self.folder.append("data/app.log", format!("{number}\n"));
            let event = stream.event();
            assert_eq!(event.data, number.to_string());
            assert!(event.arrived - written < Duration::from_secs(1));
        }
        let mut again = self.get("tail.cgi").field("Last-Event-ID", &last_id).send();
        assert_eq!(again.data_of(2), ["2", "3"]);
        drop((stream, again));
        let folder = self.folder.join("pages/cgi-bin");
        wait_until("no program is left", Duration::from_millis(4500), || {
            running_from(&folder).is_empty()
        });
    }

    pub fn logs(&self) -> String {
        all_logs(&self.folder)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        kill_running_from(&self.folder);
        self.daemon.end();
        kill_running_from(&self.folder);
    }
}

#[track_caller]
fn install(cgi_bin: &Path) {
    let built = Path::new(env!("CARGO_BIN_EXE_nph-clock"))
        .parent()
        .expect("a program lies in a folder");
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/install"))
        .arg("--cgi-bin")
        .arg(cgi_bin)
        .arg("--from")
        .arg(built)
        .arg("--link")
        .output()
        .expect("bash runs scripts/install");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/install: {said}");
    // The server's user can read it, but not write it.
    assert!(fs::metadata(cgi_bin).is_ok());
}
