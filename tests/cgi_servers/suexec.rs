//! A shared host: Debian's Apache with suEXEC, which starts each account's programs as that
//! account, and the archive of scripts/package-static in two of them. docs/shared-hosting.md
//! says what is observed here.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::accounts::{Account, can_make_accounts};
use crate::servers::answer::Answer;
use crate::servers::apache_base::{Base, Mpm, command, require_apache};
use crate::servers::daemon::{Daemon, all_logs, require, start_on_free_port};
use crate::servers::processes::{kill_running_from, running_from};
use crate::servers::request::Request;
use crate::support::folder::{Folder, append, read};
use crate::support::wait::{PATIENCE, wait_until};

/// The name under which suEXEC's log is compiled into it.
const SUEXEC_LOG: &str = "/var/log/apache2/suexec.log";

/// A host with two accounts: `a` has a virtual host, `b` is reached as `~user`.
struct Host {
    a: Account,
    b: Account,
    web: Account,
    folder: Folder,
    port: u16,
    daemon: Daemon,
}

impl Host {
    /// # Panics
    /// When a package is missing.
    #[track_caller]
    fn start(upload_to_a: fn(&Account)) -> Self {
        require("/usr/lib/apache2/suexec-custom", "apache2-suexec-custom");
        require_apache(&[("fcgid", "libapache2-mod-fcgid")]);
        let folder = Folder::new();
        for name in ["run", "pages"] {
            folder.make(name);
        }
        folder.make_public("logs");
        folder.make_public("run/fcgid");
        let homes = folder.make("home");
        let web = Account::new('w', &homes, Some("www-data"));
        let [a, b] = ['a', 'b'].map(|letter| Account::new(letter, &homes, None));
        web.may_use_suexec(&folder, "public_html/cgi-bin");
        upload_to_a(&a);
        upload_one(&b);
        fs::create_dir_all("/var/log/apache2").expect("root makes folders");
        let modules = ["fcgid", "suexec", "userdir"];
        let (daemon, port) = start_on_free_port(&folder, &[], |port| {
            let base = Base {
                mpm: Mpm::EventWithCgid,
                modules: &modules,
                workers: 30,
                directives: &[],
            };
            let root = folder.display();
            let text = format!(
                "{}\
                 User {web}\n\
                 FcgidIPCDir {root}/run/fcgid\n\
                 FcgidProcessTableFile {root}/run/fcgid_shm\n\
                 FcgidOutputBufferSize 0\n\
                 UserDir public_html\n\
                 <Directory {root}/pages>\n  Require all granted\n</Directory>\n\
                 <Directory \"{root}/home/*/public_html\">\n  AllowOverride All\n  \
                 Options SymLinksIfOwnerMatch\n  Require all granted\n</Directory>\n\
                 <VirtualHost *>\n  DocumentRoot {root}/pages\n</VirtualHost>\n\
                 <VirtualHost *>\n  ServerName a.example\n  \
                 DocumentRoot {root}/home/a/public_html\n  SuexecUserGroup {a} {a}\n\
                 </VirtualHost>\n",
                base.text(&folder, port),
                web = web.name,
                a = a.name,
            );
            command(&folder, &text)
        });
        Self {
            a,
            b,
            web,
            folder,
            port,
            daemon,
        }
    }

    /// A request to the virtual host of `a`.
    fn a(&self, method: &str, name: &str) -> Request {
        Request::new(self.port, method, &format!("/{name}")).field("Host", "a.example")
    }

    /// A request to `~b`.
    fn b(&self, name: &str) -> Request {
        let target = format!("/~{}/{name}", self.b.name);
        Request::new(self.port, "GET", &target)
    }

    /// What suEXEC has said of `a`.
    fn suexec_log(&self) -> String {
        let log = read(Path::new(SUEXEC_LOG));
        let ours = self.folder.display().to_string();
        let uid = format!("target uid/gid ({}/", self.a.uid);
        let lines = log.lines();
        let lines = lines.filter(|line| line.contains(&ours) || line.contains(&uid));
        lines.flat_map(|line| [line, "\n"]).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\n{}", all_logs(&self.folder), self.suexec_log());
        }
        // No account may be removed before its programs have ended.
        kill_running_from(&self.folder);
        self.daemon.end();
        kill_running_from(&self.folder);
        let _ = &self.web;
    }
}

/// The folder of an account's programs.
fn cgi_bin(account: &Account) -> PathBuf {
    account.home.join("public_html/cgi-bin")
}

/// Puts there one program, with the settings that it needs.
#[track_caller]
fn upload_one(account: &Account) {
    let folder = cgi_bin(account);
    fs::create_dir_all(&folder).expect("the account's home is new");
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (from, name) in [
        (env!("CARGO_BIN_EXE_nph-tail").into(), "tail.cgi"),
        (project.join("apache/htaccess"), ".htaccess"),
    ] {
        fs::copy(from, folder.join(name)).expect("the account's home is new");
        account.owns(&folder.join(name));
    }
    let settings = folder.join(".htsse");
    append(&settings, "[tail.cgi]\nSSE_FILE = events.jsonl\n");
    account.owns(&settings);
    account.owns(&folder);
}

/// Puts there what the archive has.
#[track_caller]
fn upload(account: &Account) {
    let built = Path::new(env!("CARGO_BIN_EXE_nph-clock"))
        .parent()
        .expect("a program lies in a folder");
    let pages = account.home.join("public_html");
    fs::create_dir(&pages).expect("the account's home is new");
    account.owns(&pages);
    let output = Command::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/scripts/package-static"
    ))
    .arg("--from")
    .arg(built)
    .arg("--folder")
    .arg(&pages)
    .output()
    .expect("bash runs scripts/package-static");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// Edits the settings file of an account.
#[track_caller]
fn edit(account: &Account, from: &str, to: &str) {
    let file = cgi_bin(account).join(".htsse");
    let text = read(&file);
    assert!(text.contains(from), "no {from:?} in {text}");
    fs::write(&file, text.replace(from, to)).expect("root may");
}

/// The id of the session that a stream's first event names.
#[track_caller]
fn session_of(stream: &mut Answer) -> String {
    let event = stream.event();
    assert_eq!(event.name, "welcome", "{event:?}");
    let id = event.data.split("\"session\":\"").nth(1);
    let id = id.and_then(|rest| rest.split('"').next());
    id.unwrap_or_else(|| panic!("no session: {event:?}")).into()
}

#[test]
fn every_stream_works_by_the_uploaded_files_alone_and_as_its_account() {
    if !can_make_accounts() {
        return;
    }
    let host = Host::start(upload);
    let files = cgi_bin(&host.a);
    let get = |name: &str| host.a("GET", &format!("cgi-bin/{name}"));
    let post = |name: &str| {
        let request = host.a("POST", &format!("cgi-bin/{name}"));
        let request = request.field("Content-Type", "text/plain");
        let request = request.field("Connection", "close");
        request.field("Origin", "http://a.example")
    };
    for name in ["nph-clock.cgi", "clock.cgi", "countdown.cgi", "flights.cgi"] {
        let mut stream = get(name).send();
        assert_eq!(stream.head.status, 200, "{name}");
        stream.event();
    }

    // JSON lines, up and down.
    edit(
        &host.a,
        "#SSE_PUBLISH_ALLOW = token",
        "SSE_PUBLISH_ALLOW = same-origin",
    );
    let mut streams = ["nph-tail.cgi", "tail.cgi"].map(|name| get(name).send());
    assert_eq!(post("publish.cgi").body(b"up").send().head.status, 201);
    for stream in &mut streams {
        while stream.event().data != "up" {}
    }
    // The other account has a stream of its own, by `~user`.
    append(
        &cgi_bin(&host.b).join("events.jsonl"),
        "{\"data\":\"of b\"}\n",
    );
    assert_eq!(host.b("cgi-bin/tail.cgi").send().event().data, "of b");

    let [mut first, mut second] = [(); 2].map(|()| get("room.cgi").send());
    let id = session_of(&mut first);
    session_of(&mut second);
    let said = post("room.cgi").field("X-Session-ID", &id).body(b"hello");
    assert_eq!(said.send().head.status, 201);
    while !second.event().data.contains("hello") {}

    let mut private = get("nph-session.cgi").send();
    let id = session_of(&mut private);
    let said = post("session.cgi")
        .field("X-Session-ID", &id)
        .body(b"alone");
    assert_eq!(said.send().head.status, 201);
    assert_eq!(private.event().data, "alone");

    for name in ["events.jsonl", "room.jsonl", "spool", "sessions"] {
        let made = fs::metadata(files.join(name)).expect("a program made it");
        assert_eq!(made.uid(), host.a.uid, "{name}");
    }

    // The other formats of a file.
    let tail = "[nph-tail.cgi tail.cgi]\nSSE_FILE = events.jsonl\n";
    let others = "[tail.cgi]\nSSE_FILE = app.log\n\
                  [nph-tail.cgi]\nSSE_FILE = state.txt\nSSE_FORMAT = state\n";
    edit(&host.a, tail, others);
    append(&files.join("app.log"), "a line\n");
    assert_eq!(get("tail.cgi").send().event().data, "a line");
    append(&files.join("state.txt"), "the whole\nfile");
    assert_eq!(get("nph-tail.cgi").send().event().data, "the whole\nfile");

    for hidden in ["", ".htsse", ".htaccess", "events.jsonl", "spool/"] {
        let answer = get(hidden).field("Connection", "close").send();
        assert_eq!(answer.head.status, 403, "{hidden:?}");
    }
    // The pages find the programs beside them.
    let config = read(&host.a.home.join("public_html/sse/config.js"));
    assert!(config.contains("../cgi-bin/"), "{config}");

    a_file_of_another_account_cannot_be_followed(&host);
    by_mod_fcgid_settings_of_an_htaccess_reach_the_account_s_responder(&host);
}

#[track_caller]
fn a_file_of_another_account_cannot_be_followed(host: &Host) {
    let private = cgi_bin(&host.b).join("private.log");
    append(&private, "a secret\n");
    host.b.owns(&private);
    fs::set_permissions(&private, Permissions::from_mode(0o640)).expect("it is ours");
    symlink(&private, cgi_bin(&host.a).join("linked.log")).expect("a new name");
    for file in [private.to_str().expect("text"), "linked.log"] {
        let from = read(&cgi_bin(&host.a).join(".htsse"));
        let from = from.split("[tail.cgi]\n").nth(1).expect("its section");
        let from = format!("[tail.cgi]\n{}", from.lines().next().unwrap_or_default());
        edit(&host.a, &from, &format!("[tail.cgi]\nSSE_FILE = {file}"));
        let mut stream = host.a("GET", "cgi-bin/tail.cgi").send();
        let event = stream.event();
        assert_eq!(event.name, "unavailable", "{file}: {event:?}");
        assert!(stream.events_to_end(PATIENCE).is_empty(), "{file}");
    }
    wait_until("the log has the reason", PATIENCE, || {
        let reason = format!("this process runs as {} (uid {})", host.a.name, host.a.uid);
        all_logs(&host.folder).contains(&reason)
    });
}

#[track_caller]
fn by_mod_fcgid_settings_of_an_htaccess_reach_the_account_s_responder(host: &Host) {
    let folder = cgi_bin(&host.a);
    let program = folder.join("sse.fcgi");
    fs::copy(env!("CARGO_BIN_EXE_sse-fcgi"), &program).expect("the account's folder");
    let file = folder.join("fcgid.log");
    append(&file, "a line\n");
    append(
        &folder.join(".htaccess"),
        &format!(
            "AddHandler fcgid-script .fcgi\n<Files \"*.fcgi\">\n  Require all granted\n  \
             SetEnv SSE_STREAM tail\n  SetEnv SSE_FILE {}\n</Files>\n",
            file.display()
        ),
    );
    host.a.owns(&program);
    let mut stream = host.a("GET", "cgi-bin/sse.fcgi").send();
    assert_eq!(stream.head.status, 200);
    assert_eq!(stream.event().data, "a line");
    append(&file, "more\n");
    assert_eq!(stream.event().data, "more");
    let processes = running_from(&folder);
    assert!(processes.iter().any(|one| one.name == "sse.fcgi"));
    for process in processes {
        let owner = fs::metadata(format!("/proc/{}", process.pid)).map(|meta| meta.uid());
        // (One may have ended meanwhile.)
        assert_eq!(owner.unwrap_or(host.a.uid), host.a.uid, "{process:?}");
    }
}

#[test]
fn what_suexec_refuses_is_a_500_with_a_line_in_its_log() {
    if !can_make_accounts() {
        return;
    }
    let host = Host::start(upload_one);
    let folder = cgi_bin(&host.a);
    let program = folder.join("tail.cgi");
    let mode = |path: &Path, mode: u32| {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("root may");
    };
    let restore = || {
        for path in [&folder, &program] {
            host.a.owns(path);
            mode(path, 0o755);
        }
    };
    let root_owns = |path: &Path| chown(path, Some(0), Some(0)).expect("root may");
    let cases: [(&str, &dyn Fn()); 7] = [
        ("directory is writable by others", &|| mode(&folder, 0o775)),
        ("file is writable by others", &|| mode(&program, 0o775)),
        ("file has no execute permission", &|| mode(&program, 0o644)),
        ("file is either setuid or setgid", &|| {
            mode(&program, 0o4755)
        }),
        ("mismatch with directory", &|| root_owns(&folder)),
        ("or program (0/0)", &|| root_owns(&program)),
        ("directory is writable by others", &|| mode(&folder, 0o777)),
    ];
    for (reason, spoil) in cases {
        restore();
        let get = || {
            host.a("GET", "cgi-bin/tail.cgi")
                .field("Connection", "close")
        };
        assert_eq!(get().send().head.status, 200, "before: {reason}");
        let count = host.suexec_log().matches(reason).count();
        spoil();
        assert_eq!(get().send().head.status, 500, "{reason}");
        assert_eq!(
            host.suexec_log().matches(reason).count(),
            count + 1,
            "{reason}"
        );
    }
    restore();
    assert!(all_logs(&host.folder).contains("suexec policy violation: see suexec log"));

    // Not suEXEC, but as common after an upload: a settings file that others may write.
    mode(&folder.join(".htsse"), 0o664);
    let refused = host
        .a("GET", "cgi-bin/tail.cgi")
        .field("Connection", "close");
    assert_eq!(refused.send().head.status, 500);
    wait_until("the log has the reason", PATIENCE, || {
        all_logs(&host.folder).contains("others may write it (mode 0664); chmod 644")
    });
}
