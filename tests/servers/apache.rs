//! Apache, started from the project's own apache/ files.
//!
//! What is generated here is only what Debian's apache2.conf would say: which
//! modules, which user, which port. Everything about streams comes from
//! `apache/sse-cgi.conf` or `apache/htaccess`, and the programs are put in
//! place by `scripts/install`, so that the tests run what a user gets.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, Uid, User};

use super::folder::{Folder, read};
use super::patience::{PATIENCE, wait_until};
use super::processes::{Process, children_of, kill_running_from, running_from};
use super::request::Request;

const APACHE: &str = "/usr/sbin/apache2";
const MODULES: &str = "/usr/lib/apache2/modules";
/// The user that Debian's Apache serves as.
pub const SERVER_USER: &str = "www-data";

/// Which of Apache's process models, and its module for running programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mpm {
    EventWithCgid,
    PreforkWithCgi,
}

/// Which of the project's files makes the folder of programs one.
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
}

/// Whether the folder of pages holds the project's.
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

    /// How many requests may be served at a time; 10 unless said.
    pub fn workers(mut self, workers: u32) -> Builder {
        self.workers = workers;
        self
    }

    /// Sets a variable for every program.
    pub fn set(self, name: &str, value: &str) -> Builder {
        self.directive(&format!("SetEnv {name} \"{value}\""))
    }

    /// A line of the server's configuration, before the project's file is read.
    pub fn directive(mut self, line: &str) -> Builder {
        self.directives.push(line.to_owned());
        self
    }

    /// Installs the programs, starts the server and waits until it answers.
    #[track_caller]
    pub fn start(self) -> Apache {
        for (file, package) in [(APACHE, "apache2"), (MODULES, "apache2-bin")] {
            assert!(
                Path::new(file).exists(),
                "{file} is missing: apt-get install {package}"
            );
        }
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
        let mark = format!("{}-{:?}", std::process::id(), Instant::now());
        fs::write(pages.join("mark.txt"), &mark).expect("the new folder can be written");

        // Another process may take the free port before Apache does.
        for _ in 0..5 {
            let port = free_port();
            fs::write(
                folder.join("apache.conf"),
                self.configuration(&folder, port),
            )
            .expect("the new folder can be written");
            let mut child = spawn(&folder);
            let deadline = Instant::now() + PATIENCE;
            loop {
                if let Some(status) = child.try_wait().expect("a child can be waited for") {
                    let log = all_logs(&folder);
                    assert!(
                        log.contains("Address already in use"),
                        "Apache: {status}\n{log}"
                    );
                    break;
                }
                if std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
                    && Request::new(port, "GET", "/mark.txt")
                        .field("Connection", "close")
                        .send()
                        .text()
                        == mark
                {
                    return Apache {
                        folder,
                        port,
                        child,
                        settings_file: self.settings_file,
                    };
                }
                if Instant::now() > deadline {
                    end(&mut child);
                    panic!("Apache does not answer\n{}", all_logs(&folder));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("five free ports were taken by others");
    }

    fn configuration(&self, folder: &Folder, port: u16) -> String {
        let root = folder.path().display();
        let project = env!("CARGO_MANIFEST_DIR");
        let workers = self.workers;
        // What Debian enables by default and could meddle with streams is here
        // too: compression and request timeouts.
        let mut modules = vec![
            "alias",
            "authz_core",
            "authz_host",
            "autoindex",
            "deflate",
            "dir",
            "env",
            "filter",
            "http2",
            "mime",
            "reqtimeout",
            "setenvif",
        ];
        let processes = match self.mpm {
            Mpm::EventWithCgid => {
                modules.extend(["mpm_event", "cgid"]);
                // Many at once need few processes, with as many threads as a process may have.
                let per_child = workers.min(if workers > 1_000 { 256 } else { 100 });
                let children = workers.div_ceil(per_child);
                // After a graceful restart the old children keep their places
                // until their streams end, hence twice as many.
                format!(
                    "StartServers 1\nServerLimit {}\nThreadLimit {per_child}\n\
                     ThreadsPerChild {per_child}\nMinSpareThreads 1\n\
                     MaxSpareThreads {workers}\nMaxRequestWorkers {}\n",
                    2 * children,
                    children * per_child,
                )
            }
            Mpm::PreforkWithCgi => {
                modules.extend(["mpm_prefork", "cgi"]);
                // All at once, since it makes more only once a second.
                format!(
                    "StartServers {workers}\nServerLimit {workers}\nMinSpareServers 1\n\
                     MaxSpareServers {workers}\nMaxRequestWorkers {workers}\n",
                )
            }
        };
        let mut text = String::new();
        for module in modules {
            text.push_str(&format!(
                "LoadModule {module}_module {MODULES}/mod_{module}.so\n"
            ));
        }
        if Uid::effective().is_root() {
            text.push_str(&format!("User {SERVER_USER}\nGroup {SERVER_USER}\n"));
        }
        text.push_str(&format!(
            "ServerRoot {root}\n\
             DefaultRuntimeDir {root}/run\n\
             PidFile {root}/run/apache.pid\n\
             ErrorLog {root}/logs/server.log\n\
             ServerName localhost\n\
             Listen 127.0.0.1:{port}\n\
             {processes}\
             Timeout 300\n\
             TypesConfig /etc/mime.types\n\
             LogFormat \"%h %l %u %t \\\"%r\\\" %>s %O\" combined\n\
             <Directory />\n  Options FollowSymLinks\n  AllowOverride None\n  \
             Require all denied\n</Directory>\n\
             AddOutputFilterByType DEFLATE text/html text/plain text/css text/javascript\n\
             RequestReadTimeout header=20-40,minrate=500 body=10,minrate=500\n",
        ));
        for line in &self.directives {
            text.push_str(&line.replace("{root}", &root.to_string()));
            text.push('\n');
        }
        match self.settings_file {
            SettingsFile::Site => text.push_str(&format!(
                "Define EVENTS_PORT {port}\n\
                 Define EVENTS_PROTOCOLS \"{}\"\n\
                 Define EVENTS_PAGES {root}/pages\n\
                 Define EVENTS_CGI_BIN {root}/cgi-bin\n\
                 Define EVENTS_DATA {root}/data\n\
                 Define EVENTS_TAIL_FILE {root}/data/tail.txt\n\
                 Define EVENTS_LOGS {root}/logs\n\
                 Include {project}/apache/sse-cgi.conf\n",
                self.protocols,
            )),
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
    child: Child,
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

    /// The file that tail.cgi follows; not there until a test writes it.
    pub fn tail_file(&self) -> PathBuf {
        match self.settings_file {
            SettingsFile::Site => self.path("data/tail.txt"),
            SettingsFile::Htaccess => self.path("pages/events/events.jsonl"),
        }
    }

    /// All that was logged: by the site, by the server, and on its terminal.
    pub fn logs(&self) -> String {
        all_logs(&self.folder)
    }

    /// The programs that this server has running.
    pub fn programs(&self) -> Vec<Process> {
        running_from(self.folder.path())
    }

    /// Waits until no program is left and returns how long that took.
    #[track_caller]
    pub fn wait_until_no_program_runs(&self, limit: Duration) -> Duration {
        wait_until("no program is left", limit, || self.programs().is_empty())
    }

    /// What `apachectl` sends: SIGUSR1 is graceful, SIGTERM is stop.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the server runs");
    }

    /// Kills the server's own processes, as a crash or the kernel would, and none of
    /// the programs.
    pub fn crash(&self) {
        let mut pids = children_of(self.pid());
        pids.push(self.pid());
        for pid in pids {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// Waits until the server itself has ended.
    #[track_caller]
    pub fn wait_until_ended(&mut self, limit: Duration) {
        let child = &mut self.child;
        wait_until("Apache has ended", limit, || {
            child
                .try_wait()
                .expect("a child can be waited for")
                .is_some()
        });
    }

    fn pid(&self) -> Pid {
        pid_of(&self.child)
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        // Their threads wait for the programs; without them Apache ends at once.
        kill_running_from(self.folder.path());
        end(&mut self.child);
        kill_running_from(self.folder.path());
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
        // On a shared host the data lie beside the programs.
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

fn spawn(folder: &Folder) -> Child {
    if Uid::effective().is_root() {
        let user = User::from_name(SERVER_USER).ok().flatten();
        assert!(
            user.is_some(),
            "no user {SERVER_USER}: apt-get install apache2"
        );
    }
    let output =
        fs::File::create(folder.join("logs/terminal.log")).expect("the new folder can be written");
    // Ends with the thread that started it, also when that is killed.
    Command::new("setpriv")
        .args(["--pdeathsig", "TERM", APACHE, "-DFOREGROUND", "-f"])
        .arg(folder.join("apache.conf"))
        .stdin(Stdio::null())
        .stdout(
            output
                .try_clone()
                .expect("a file's descriptor can be copied"),
        )
        .stderr(output)
        // A group of its own, so that all of it can be ended at once.
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("setpriv: {error}: apt-get install util-linux"))
}

/// Ends the server: politely, so that it collects its children, then not.
fn end(child: &mut Child) {
    let pid = pid_of(child);
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut running = || child.try_wait().is_ok_and(|status| status.is_none());
    if running() {
        let _ = kill(pid, Signal::SIGTERM);
    }
    while running() {
        if Instant::now() > deadline {
            let _ = killpg(pid, Signal::SIGKILL);
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.wait();
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a process id fits"))
}

fn all_logs(folder: &Folder) -> String {
    [
        "logs/terminal.log",
        "logs/server.log",
        "logs/sse-cgi-error.log",
    ]
    .map(|name| read(&folder.join(name)))
    .concat()
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("this machine has a free port")
        .port()
}
