//! `scripts/install`, as a user runs it.

mod servers;
mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::folder::{Folder, read};

const NAMES: [&str; 13] = [
    "clock",
    "command",
    "countdown",
    "flights",
    "publish",
    "publish-redis",
    "redis",
    "room",
    "script",
    "session",
    "streams",
    "tail",
    "timers",
];

/// Runs it with small stand-ins for the programs; `{}` is the test's folder.
fn install(folder: &Folder, arguments: &[&str]) -> Output {
    let built = folder.make("built");
    for name in [
        "nph-clock",
        "nph-command",
        "nph-countdown",
        "nph-redis",
        "nph-room",
        "nph-script",
        "nph-session",
        "nph-streams",
        "nph-tail",
        "publish",
        "publish-redis",
        "sse-cat",
        "sse-doctor",
        "sse-fcgi",
        "sse-httpd",
        "sse-publish",
    ] {
        let file = built.join(name);
        if !file.exists() {
            fs::write(&file, format!("#!/bin/sh\necho {name}; cat >/dev/null\n")).expect("written");
        }
    }
    let root = folder
        .to_str()
        .expect("the name of a temporary folder is text");
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/install"))
        .arg("--from")
        .arg(built)
        .args(
            arguments
                .iter()
                .map(|argument| argument.replace("{}", root)),
        )
        .output()
        .expect("bash runs scripts/install")
}

#[track_caller]
fn said(output: &Output, exit_code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit_code), "{text}");
    text
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .expect("the folder was made")
        .map(|entry| {
            entry
                .expect("it can be read")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    names.sort();
    names
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path)
        .expect("it was installed")
        .permissions()
        .mode()
        & 0o7777
}

#[test]
fn each_program_gets_both_names_and_each_file_its_mode() {
    let folder = Folder::new();
    let output = install(
        &folder,
        &["--cgi-bin", "{}/a/cgi-bin", "--data", "{}/b/data"],
    );
    let text = said(&output, 0);
    assert!(text.contains("28 written, 0 up to date, 0 kept"), "{text}");
    let mut expected: Vec<_> = NAMES
        .iter()
        .flat_map(|name| [format!("nph-{name}.cgi"), format!("{name}.cgi")])
        .collect();
    expected.sort();
    assert_eq!(names_in(&folder.join("a/cgi-bin")), expected);
    for name in expected {
        assert_eq!(mode_of(&folder.join("a/cgi-bin").join(name)), 0o755);
    }
    assert_eq!(
        names_in(&folder.join("b/data")),
        ["flights.jsonl", "timers.jsonl"]
    );
    assert_eq!(mode_of(&folder.join("b/data/timers.jsonl")), 0o644);
    assert_eq!(mode_of(&folder.join("b/data")), 0o755);
    for name in ["nph-flights.cgi", "timers.cgi", "script.cgi"] {
        assert_eq!(
            read(&folder.join("a/cgi-bin").join(name)),
            read(&folder.join("built/nph-script")),
        );
    }
}

#[test]
fn a_second_run_changes_nothing() {
    let folder = Folder::new();
    for link in [&["--link"][..], &[]] {
        let arguments = [&["--cgi-bin", "{}/cgi-bin", "--data", "{}/data"], link].concat();
        said(&install(&folder, &arguments), 0);
        let before: Vec<_> = names_in(&folder.join("cgi-bin"))
            .iter()
            .map(|name| {
                fs::metadata(folder.join("cgi-bin").join(name))
                    .expect("there")
                    .ino()
            })
            .collect();
        let text = said(&install(&folder, &arguments), 0);
        assert!(text.contains("0 written, 28 up to date, 0 kept"), "{text}");
        let after: Vec<_> = names_in(&folder.join("cgi-bin"))
            .iter()
            .map(|name| {
                fs::metadata(folder.join("cgi-bin").join(name))
                    .expect("there")
                    .ino()
            })
            .collect();
        assert_eq!(before, after);
    }
}

#[test]
fn with_link_all_names_of_a_program_are_one_file_and_without_it_none_are() {
    let folder = Folder::new();
    let inode = |name: &str| {
        fs::metadata(folder.join("cgi-bin").join(name))
            .expect("it was installed")
            .ino()
    };
    said(&install(&folder, &["--cgi-bin", "{}/cgi-bin", "--link"]), 0);
    assert_eq!(inode("nph-script.cgi"), inode("timers.cgi"));
    assert_ne!(inode("nph-script.cgi"), inode("tail.cgi"));
    said(&install(&folder, &["--cgi-bin", "{}/cgi-bin"]), 0);
    assert_ne!(inode("nph-script.cgi"), inode("timers.cgi"));
    assert_eq!(names_in(&folder.join("cgi-bin")).len(), 26);
}

#[test]
fn a_program_that_runs_is_replaced_and_goes_on() {
    let folder = Folder::new();
    // A real executable, because the kernel refuses writes to one that runs.
    fs::create_dir(folder.join("built")).expect("a new folder");
    let built = folder.join("built/nph-tail");
    fs::copy("/bin/cat", &built).expect("there is a cat");
    said(&install(&folder, &["--cgi-bin", "{}/cgi-bin"]), 0);
    let mut running = Command::new(folder.join("cgi-bin/nph-tail.cgi"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it was installed");
    fs::write(&built, "#!/bin/sh\necho the new one\n").expect("written");
    let text = said(&install(&folder, &["--cgi-bin", "{}/cgi-bin"]), 0);
    assert!(text.contains("2 written, 24 up to date"), "{text}");
    assert!(
        running.try_wait().expect("a child").is_none(),
        "the old one ended"
    );
    drop(running.stdin.take());
    assert!(running.wait().expect("a child").success());
    let new = Command::new(folder.join("cgi-bin/nph-tail.cgi"))
        .output()
        .expect("it runs");
    assert_eq!(new.stdout, b"the new one\n");
    // Nothing unfinished is left behind.
    assert_eq!(names_in(&folder.join("cgi-bin")).len(), 26);
}

#[test]
fn what_people_changed_is_kept() {
    let folder = Folder::new();
    let arguments = [
        "--cgi-bin",
        "{}/events",
        "--data",
        "{}/events",
        "--htaccess",
    ];
    said(&install(&folder, &arguments), 0);
    let shipped = read(Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/apache/htaccess"
    )));
    assert_eq!(read(&folder.join("events/.htaccess")), shipped);
    fs::write(folder.join("events/.htaccess"), "# mine\n").expect("written");
    fs::write(folder.join("events/flights.jsonl"), "{}\n").expect("written");
    let text = said(&install(&folder, &arguments), 0);
    assert!(text.contains("0 written, 28 up to date, 2 kept"), "{text}");
    assert_eq!(read(&folder.join("events/.htaccess")), "# mine\n");
    assert_eq!(read(&folder.join("events/flights.jsonl")), "{}\n");
}

#[test]
fn the_responder_is_installed_alone_or_with_the_rest() {
    let folder = Folder::new();
    let text = said(&install(&folder, &["--responder", "{}/bin"]), 0);
    assert!(text.contains("1 written, 0 up to date, 0 kept"), "{text}");
    assert_eq!(names_in(&folder.join("bin")), ["sse-fcgi"]);
    assert_eq!(mode_of(&folder.join("bin/sse-fcgi")), 0o755);
    assert!(!folder.join("cgi-bin").exists());
    let both = ["--cgi-bin", "{}/cgi-bin", "--responder", "{}/bin"];
    let text = said(&install(&folder, &both), 0);
    assert!(text.contains("26 written, 1 up to date, 0 kept"), "{text}");
}

#[test]
fn the_tools_are_installed_alone_or_with_the_rest() {
    let folder = Folder::new();
    let text = said(&install(&folder, &["--tools", "{}/bin"]), 0);
    assert!(text.contains("3 written, 0 up to date, 0 kept"), "{text}");
    assert!(!text.contains("Next"), "nothing is left to do: {text}");
    assert_eq!(
        names_in(&folder.join("bin")),
        ["sse-cat", "sse-doctor", "sse-publish"]
    );
    assert_eq!(mode_of(&folder.join("bin/sse-cat")), 0o755);
    let all = ["--tools", "{}/bin", "--responder", "{}/bin"];
    let text = said(&install(&folder, &all), 0);
    assert!(text.contains("1 written, 3 up to date, 0 kept"), "{text}");
}

/// A copy of the project's scripts, without programs, and their output for root with a PATH
/// that does not contain rustc.
fn without_rustc(folder: &Folder, arguments: &[&str]) -> Output {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    folder.make("project/scripts");
    for name in ["Cargo.toml", "scripts/build", "scripts/install"] {
        fs::copy(project.join(name), folder.join("project").join(name)).expect("copied");
    }
    Command::new(folder.join("project/scripts/install"))
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("SUDO_USER", "ann")
        .output()
        .expect("bash runs scripts/install")
}

#[test]
fn root_need_not_have_rustc_to_install_what_was_built() {
    if ["/usr/bin/rustc", "/bin/rustc"]
        .iter()
        .any(|path| Path::new(path).exists())
    {
        println!("skipped: rustc is in every PATH here");
        return;
    }
    let folder = Folder::new();
    let target = folder.join("bin").display().to_string();
    let text = said(&without_rustc(&folder, &["--responder", &target]), 111);
    assert!(!text.contains("command not found"), "{text}");
    assert!(
        text.contains("scripts/build") && text.contains("a user who has cargo"),
        "{text}"
    );
    if nix::unistd::geteuid().is_root() {
        assert!(text.contains("sudo -iu ann "), "{text}");
    }
    // The programs that another user has built.
    folder.make("project/target/some-host/release");
    let built = folder.join("project/target/some-host/release/sse-fcgi");
    fs::write(built, "#!/bin/sh\n").expect("written");
    said(&without_rustc(&folder, &["--responder", &target]), 0);
    assert_eq!(names_in(&folder.join("bin")), ["sse-fcgi"]);
}

#[test]
fn the_units_run_sse_httpd_where_it_was_put() {
    let folder = Folder::new();
    let arguments = ["--httpd", "{}/bin", "--systemd", "{}/units"];
    let text = said(&install(&folder, &arguments), 0);
    assert!(text.contains("3 written, 0 up to date, 0 kept"), "{text}");
    let units = folder.join("units");
    assert_eq!(names_in(&units), ["sse-httpd.service", "sse-httpd.socket"]);
    let service = read(&units.join("sse-httpd.service"));
    let expected = format!("\nExecStart={}/bin/sse-httpd ", folder.display());
    assert!(service.contains(&expected), "{service}");
    assert!(
        !service.contains("/usr/local/bin/sse-httpd --"),
        "{service}"
    );
}

#[test]
fn the_units_run_the_responder_where_it_was_put() {
    let folder = Folder::new();
    let arguments = ["--responder", "{}/bin", "--systemd", "{}/units"];
    let text = said(&install(&folder, &arguments), 0);
    assert!(text.contains("3 written, 0 up to date, 0 kept"), "{text}");
    let units = folder.join("units");
    assert_eq!(names_in(&units), ["sse-fcgi.service", "sse-fcgi.socket"]);
    let service = read(&units.join("sse-fcgi.service"));
    let program = folder.join("bin/sse-fcgi");
    let expected = format!("\nExecStart={} ", program.display());
    assert!(service.contains(&expected), "{service}");
    assert!(!service.contains("/usr/local/bin/sse-fcgi"), "{service}");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/sse-fcgi.socket");
    assert_eq!(read(&units.join("sse-fcgi.socket")), read(&shipped));
    let text = said(&install(&folder, &arguments), 0);
    assert!(text.contains("0 written, 3 up to date, 0 kept"), "{text}");
    // An administrator's changes are kept.
    fs::write(units.join("sse-fcgi.service"), "# mine\n").expect("written");
    let text = said(&install(&folder, &arguments), 0);
    assert!(text.contains("0 written, 2 up to date, 1 kept"), "{text}");
    assert_eq!(read(&units.join("sse-fcgi.service")), "# mine\n");
}

#[test]
fn another_sites_folder_is_not_taken_for_the_pages() {
    let folder = Folder::new();
    fs::create_dir(folder.join("html")).expect("a new folder");
    fs::write(folder.join("html/index.html"), "It works!\n").expect("written");
    let arguments = ["--cgi-bin", "{}/cgi-bin", "--web", "{}/html"];
    let text = said(&install(&folder, &arguments), 111);
    assert!(text.contains("another site"), "{text}");
    assert_eq!(read(&folder.join("html/index.html")), "It works!\n");
    // Refused before anything was changed.
    assert!(!folder.join("cgi-bin").exists());
}

#[test]
fn the_pages_are_installed_with_their_folders() {
    let folder = Folder::new();
    said(
        &install(&folder, &["--cgi-bin", "{}/cgi-bin", "--web", "{}/html"]),
        0,
    );
    for page in ["index.html", "sse.js"] {
        assert_eq!(mode_of(&folder.join("html").join(page)), 0o644);
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("web").join(page);
        assert_eq!(read(&folder.join("html").join(page)), read(&shipped));
    }
}

#[test]
fn the_archive_for_shared_hosting_has_programs_settings_and_pages_and_no_owner() {
    let folder = Folder::new();
    let from = folder.make("from");
    for name in [
        "clock",
        "command",
        "countdown",
        "redis",
        "room",
        "script",
        "session",
        "streams",
        "tail",
    ] {
        fs::write(from.join(format!("nph-{name}")), name).expect("written");
    }
    for name in ["publish", "publish-redis"] {
        fs::write(from.join(name), name).expect("written");
    }
    let archive = folder.join("sse.tar.gz");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/package-static");
    let mut command = Command::new(script);
    command
        .arg("--from")
        .arg(&from)
        .arg("--output")
        .arg(&archive);
    said(&command.output().expect("bash runs it"), 0);
    let mut command = Command::new("tar");
    command
        .arg("--list")
        .arg("--verbose")
        .arg("--file")
        .arg(&archive);
    let list = said(&command.output().expect("tar is installed"), 0);
    for line in [
        "drwxr-xr-x 0/0",
        "sse-cgi/cgi-bin/.htaccess",
        "sse-cgi/cgi-bin/.htsse",
        "sse-cgi/cgi-bin/nph-tail.cgi",
        "sse-cgi/cgi-bin/publish.cgi",
        "sse-cgi/cgi-bin/flights.jsonl",
        "sse-cgi/sse/check.html",
        "sse-cgi/sse/sse.js",
    ] {
        assert!(list.contains(line), "{line}: {list}");
    }
}

#[test]
fn wrong_use_says_what_is_wrong() {
    let folder = Folder::new();
    for (arguments, expected) in [
        (&[][..], "--cgi-bin DIR is missing"),
        (&["--cgi-bin"], "--cgi-bin needs a folder"),
        (&["--cgi-bin", "--link"], "--cgi-bin needs a folder"),
        (
            &["--cgi-bin", "{}/x", "--verbose"],
            "unknown argument: --verbose",
        ),
        (
            &["--responder", "{}/x", "--htaccess"],
            "--link and --htaccess belong to --cgi-bin",
        ),
        (
            &["--cgi-bin", "{}/x", "--systemd", "{}/y"],
            "--systemd needs --responder",
        ),
    ] {
        let text = said(&install(&folder, arguments), 100);
        assert!(text.contains(expected), "{text}");
    }
    let text = said(&install(&folder, &["--help"]), 0);
    assert!(text.starts_with("usage: scripts/install"), "{text}");
    let text = said(
        &install(&folder, &["--cgi-bin", "{}/x", "--from", "{}"]),
        111,
    );
    assert!(text.contains("no nph-clock in"), "{text}");
    let text = said(
        &install(&folder, &["--responder", "{}/x", "--from", "{}"]),
        111,
    );
    assert!(text.contains("no sse-fcgi in"), "{text}");
    let spaced = ["--responder", "{}/a b", "--systemd", "{}/y"];
    let text = said(&install(&folder, &spaced), 111);
    assert!(text.contains("that a unit can name"), "{text}");
    assert!(!folder.join("a b").exists());
}
