//! Apache, started from the project's own apache/ files.
//!
//! Only the configuration that Debian's apache2.conf would contain is generated here: modules,
//! user and port. Everything about streams comes from `apache/sse-cgi.conf` or
//! `apache/htaccess`, and `scripts/install` installs the programs, so that the tests run what a
//! user gets.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use super::apache_base::{Base, command, require_apache};
use super::configured::configured;
use super::daemon::{Daemon, all_logs, start_on_free_port};
use super::processes::{Process, children_of, kill_running_from, running_from};
use super::request::Request;
use crate::support::folder::Folder;
use crate::support::wait::wait_until;

pub use super::apache_base::Mpm;

/// The project's file that makes the folder a folder of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SettingsFile {
    /// `apache/sse-cgi.conf`, included.
    Site,
    /// `apache/htaccess`, installed as `.htaccess` below the document root.
    Htaccess,
}

/// What to start.
pub struct Builder {
    mpm: Mpm,
    settings_file: SettingsFile,
    protocols: &'static str,
    workers: u32,
    pages: Pages,
    directives: Vec<String>,
    edits: Vec<(String, String)>,
}

/// Whether the project's pages are in the folder of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pages {
    Installed,
    None,
}

impl Builder {
    /// Installs the pages, too.
    pub fn with_pages(mut self) -> Builder {
        self.pages = Pages::Installed;
        self
    }

    /// Uses `apache/htaccess` in `/events/` instead of `apache/sse-cgi.conf`.
    pub fn with_htaccess(mut self) -> Builder {
        self.settings_file = SettingsFile::Htaccess;
        self
    }

    /// Lets clients speak HTTP/2 without TLS, too.
    pub fn with_http2(mut self) -> Builder {
        self.protocols = "h2c http/1.1";
        self
    }

    /// How many requests may be served at a time; the default is 10.
    pub fn workers(mut self, workers: u32) -> Builder {
        self.workers = workers;
        self
    }

    /// Sets a variable for every program.
    pub fn set(self, name: &str, value: &str) -> Builder {
        self.directive(&format!("SetEnv {name} \"{value}\""))
    }

    /// A line of the server's configuration before the project's file.
    pub fn directive(mut self, line: &str) -> Builder {
        self.directives.push(line.to_owned());
        self
    }

    /// Edits `apache/sse-cgi.conf` as a user would; `from` must be there.
    pub fn edit(mut self, from: &str, to: &str) -> Builder {
        self.edits.push((from.to_owned(), to.to_owned()));
        self
    }

    /// Installs the programs, starts the server and waits until it answers.
    #[track_caller]
    pub fn start(self) -> Apache {
        require_apache(&[]);
        let folder = Folder::new();
        for name in ["run", "logs"] {
            folder.make(name);
        }
        folder.make_public("data");
        let pages = folder.make("pages");
        let cgi_bin = match self.settings_file {
            SettingsFile::Site => folder.make("cgi-bin"),
            SettingsFile::Htaccess => folder.make("pages/events"),
        };
        let web = (self.pages == Pages::Installed).then_some(pages.as_path());
        install(&cgi_bin, &folder.join("data"), web, self.settings_file);
        let (daemon, port) = start_on_free_port(&folder, &[], |port| {
            command(&folder, &self.configuration(&folder, port))
        });
        Apache {
            folder,
            port,
            daemon,
            settings_file: self.settings_file,
        }
    }

    fn configuration(&self, folder: &Folder, port: u16) -> String {
        let root = folder.display();
        let mut text = Base {
            mpm: self.mpm,
            modules: &[],
            workers: self.workers,
            directives: &self.directives,
        }
        .text(folder, port);
        match self.settings_file {
            SettingsFile::Site => {
                let edits = self.edits.iter();
                let edits: Vec<_> = edits.map(|(from, to)| (&**from, &**to)).collect();
                let site = configured("apache/sse-cgi.conf", &edits);
                folder.write("site.conf", site);
                text.push_str(&format!(
                    "Define EVENTS_PORT {port}\n\
                 Define EVENTS_PROTOCOLS \"{}\"\n\
                 Define EVENTS_PAGES {root}/pages\n\
                 Define EVENTS_CGI_BIN {root}/cgi-bin\n\
                 Define EVENTS_DATA {root}/data\n\
                 Define EVENTS_TAIL_FILE {root}/data/tail.txt\n\
                 Define EVENTS_LOGS {root}/logs\n\
                 Include {root}/site.conf\n",
                    self.protocols,
                ))
            }
            // A host's own settings, with the overrides that the file asks for.
            SettingsFile::Htaccess => text.push_str(&format!(
                "DocumentRoot {root}/pages\n\
                 <Directory {root}/pages>\n  Require all granted\n  \
                 Options Indexes FollowSymLinks\n  \
                 AllowOverride Options FileInfo AuthConfig\n</Directory>\n",
            )),
        }
        text
    }
}

/// A running Apache; killed when dropped, with every program it started.
pub struct Apache {
    folder: Folder,
    port: u16,
    daemon: Daemon,
    settings_file: SettingsFile,
}

impl Apache {
    pub fn with(mpm: Mpm) -> Builder {
        Builder {
            mpm,
            settings_file: SettingsFile::Site,
            protocols: "http/1.1",
            workers: 10,
            pages: Pages::None,
            directives: Vec::new(),
            edits: Vec::new(),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A GET of the installed program, which may be followed by a query.
    pub fn get(&self, program: &str) -> Request {
        self.request("GET", program)
    }

    pub fn request(&self, method: &str, program: &str) -> Request {
        Request::new(self.port, method, &self.target(program))
    }

    /// The URL's path of an installed program.
    pub fn target(&self, program: &str) -> String {
        match self.settings_file {
            SettingsFile::Site => format!("/cgi-bin/{program}"),
            SettingsFile::Htaccess => format!("/events/{program}"),
        }
    }

    /// A GET of any other path.
    pub fn get_path(&self, path: &str) -> Request {
        Request::new(self.port, "GET", path)
    }

    /// A path inside the server's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The file that tail.cgi follows; it is missing until a test writes it.
    pub fn tail_file(&self) -> PathBuf {
        match self.settings_file {
            SettingsFile::Site => self.path("data/tail.txt"),
            SettingsFile::Htaccess => self.path("pages/events/events.jsonl"),
        }
    }

    /// Everything that was logged: by the site, by the server, and on its terminal.
    pub fn logs(&self) -> String {
        all_logs(&self.folder)
    }

    /// The running programs of this server.
    pub fn programs(&self) -> Vec<Process> {
        running_from(&self.folder)
    }

    /// Waits until no program is left and returns how long that took.
    #[track_caller]
    pub fn wait_until_no_program_runs(&self, limit: Duration) -> Duration {
        wait_until("no program is left", limit, || self.programs().is_empty())
    }

    /// What `apachectl` sends: SIGUSR1 is graceful, SIGTERM is stop.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.daemon.signal(signal);
    }

    /// Kills the server's own processes, like a crash or the kernel, and none of the programs.
    pub fn crash(&self) {
        let mut pids = children_of(self.daemon.pid());
        pids.push(self.daemon.pid());
        for pid in pids {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// Waits until the server itself has ended.
    #[track_caller]
    pub fn wait_until_ended(&mut self, limit: Duration) {
        self.daemon.wait_until_ended(limit);
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        // Their threads wait for the programs; without programs Apache ends at once.
        kill_running_from(&self.folder);
        self.daemon.end();
        kill_running_from(&self.folder);
    }
}

fn install(cgi_bin: &Path, data: &Path, web: Option<&Path>, settings_file: SettingsFile) {
    let built = Path::new(env!("CARGO_BIN_EXE_nph-clock"))
        .parent()
        .expect("a program lies in a folder");
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/install"));
    command
        .arg("--cgi-bin")
        .arg(cgi_bin)
        .arg("--from")
        .arg(built);
    // Debug builds are large, and a test installs six names of each.
    command.arg("--link");
    if let Some(web) = web {
        command.arg("--web").arg(web);
    }
    match settings_file {
        SettingsFile::Site => command.arg("--data").arg(data),
        // On a shared host the data is beside the programs.
        SettingsFile::Htaccess => command.arg("--data").arg(cgi_bin).arg("--htaccess"),
    };
    let output = command.output().expect("bash runs scripts/install");
    assert!(
        output.status.success(),
        "scripts/install: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
