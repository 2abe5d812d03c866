//! The user of a responder, and how names of users and groups are found.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::{Group, User, geteuid};

use super::peer::{Folder, Place, Request, Responder, Start, wait_for};

/// Whether this test can run; otherwise prints the reason.
fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can become another user");
    }
    is_root
}

fn nobody() -> User {
    let user = User::from_name("nobody").unwrap();
    user.expect("every system has a user nobody")
}

/// A line of /proc/PID/status, as words.
fn status_line(responder: &Responder, field: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{}/status", responder.pid())).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    let words = line.split_whitespace().skip(1);
    words.map(str::to_owned).collect()
}

#[test]
fn root_without_a_user_is_refused_and_told_what_to_write() {
    if !is_root() {
        return;
    }
    let folder = Folder::in_memory();
    let refuse = |start: Start| {
        let (code, said) = start.refusing_root().run();
        assert_eq!(code, 100, "{said}");
        for words in ["serve as root", "--user www-data", "--allow-root"] {
            assert!(said.contains(words), "{said}");
        }
    };
    refuse(Start::at_socket(&folder));
    assert!(!folder.path("socket").exists());
    refuse(Start::at_socket(&folder).argument("--user=root"));
    refuse(Start::at_socket(&folder).argument("--user=0:100"));
    // An inherited socket makes no difference.
    let listener = std::os::unix::net::UnixListener::bind(folder.path("inherited")).unwrap();
    let start = Start::bare(&folder, Place::Unix(folder.path("inherited")));
    refuse(start.stdin(std::os::fd::OwnedFd::from(listener)));
}

#[test]
fn with_a_user_it_binds_as_root_and_serves_with_that_users_rights_only() {
    if !is_root() {
        return;
    }
    let folder = Folder::in_memory();
    let nobody = nobody();
    let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
    let logs = folder.path("logs");
    fs::create_dir(&logs).unwrap();
    chown(&logs, Some(uid), None).unwrap();
    let secret = folder.write("secret", "secret\n");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let public = folder.write("public", "public\n");
    // Its folder is also created, and belongs to the user.
    let socket = folder.path("run/socket");
    let mut responder = Start::bare(&folder, Place::Unix(socket.clone()))
        .refusing_root()
        .argument("--socket")
        .argument(&socket)
        .argument("--user=nobody")
        .set("SSE_LOG", logs.join("log"))
        .start();
    let four = |id: u32| vec![id.to_string(); 4];
    assert_eq!(status_line(&responder, "Uid:"), four(uid));
    assert_eq!(status_line(&responder, "Gid:"), four(gid));
    assert_eq!(status_line(&responder, "Groups:"), Vec::<String>::new());
    assert_eq!(status_line(&responder, "CapEff:"), ["0000000000000000"]);
    assert_eq!(status_line(&responder, "CapPrm:"), ["0000000000000000"]);
    let metadata = fs::metadata(&socket).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (uid, gid));
    assert_eq!(metadata.mode() & 0o777, 0o660);
    assert_eq!(
        responder.ask(&Request::tail(&public)).event().data,
        "public"
    );
    let mut client =
        responder.ask(&Request::of("script").set("SSE_FILE", secret.to_str().unwrap()));
    client.whole();
    assert!(!String::from_utf8_lossy(&client.body).contains("secret"));
    // The log belongs to this user, so it can be reopened.
    wait_for("the log", || logs.join("log").exists().then_some(()));
    assert_eq!(fs::metadata(logs.join("log")).unwrap().uid(), uid);
    fs::rename(logs.join("log"), logs.join("log.1")).unwrap();
    responder.signal(Signal::SIGHUP);
    wait_for("the log again", || logs.join("log").exists().then_some(()));
    responder.signal(Signal::SIGTERM);
    assert_eq!(responder.code(), 0);
    assert!(!socket.exists());
}

#[test]
fn a_user_comes_with_its_groups_and_a_number_is_a_user_too() {
    if !is_root() {
        return;
    }
    let folder = Folder::in_memory();
    let passwd = "#comment\nbroken\nroot:x:0:0:root:/root:/bin/sh\n\
                  feed:x:4711:4712:Feed:/srv/feed:/bin/false\n+::::::\n";
    let group =
        "root:x:0:\nadm:x:4:syslog,feed\nfeed:x:4712:feed\nlate:x:4713:feed\nno:x:4714:feeder\n";
    let passwd = folder.write("passwd", passwd);
    let group = folder.write("group", group);
    let mounts = format!(
        "mount --bind {} /etc/passwd && mount --bind {} /etc/group && exec \"$@\"",
        passwd.display(),
        group.display()
    );
    let start = |user: &str| {
        let start = Start::at_socket(&folder).refusing_root();
        let start = start.argument("--user").argument(user);
        let words = ["unshare", "-m", "sh", "-c", &mounts, "sh"];
        start
            .by(&words)
            .argument("--allow-commands")
            .set("HOME", "/root")
            .start()
    };
    let ids = |responder: &Responder| {
        let first = |field: &str| status_line(responder, field)[0].clone();
        let mut groups = status_line(responder, "Groups:");
        groups.sort();
        (first("Uid:"), first("Gid:"), groups.join(" "))
    };
    let check = |responder: &Responder, uid: &str, gid: &str, groups: &str| {
        // The socket is bound before the rights are dropped.
        let expected = (uid.into(), gid.into(), groups.into());
        wait_for("its ids", || (ids(responder) == expected).then_some(()));
    };
    let responder = start("feed");
    check(&responder, "4711", "4712", "4 4713");
    // A program finds that user's home, not root's.
    let command = Request::of("command").set("SSE_COMMAND", "sh -c 'echo $HOME $USER'");
    assert_eq!(responder.ask(&command).event().data, "/srv/feed feed");
    drop(responder);
    check(&start("4711"), "4711", "4712", "4 4713");
    check(&start("feed:adm"), "4711", "4", "4712 4713");
    check(&start("4711:99"), "4711", "99", "4 4712 4713");
    check(&start("4999"), "4999", "4999", "");
}

#[test]
fn names_that_only_nss_knows_are_refused_and_numbers_are_asked_for() {
    let folder = Folder::in_memory();
    let nsswitch = folder.write(
        "nsswitch.conf",
        "passwd: systemd\ngroup: systemd\ninitgroups: systemd\nhosts: mymachines dns\n",
    );
    let mount = format!(
        "mount --bind {} /etc/nsswitch.conf && exec \"$@\"",
        nsswitch.display()
    );
    let by = ["unshare", "-m", "sh", "-c", &mount, "sh"];
    let has_mounts = geteuid().is_root()
        && Command::new("unshare")
            .args(["-m", "true"])
            .status()
            .is_ok_and(|status| status.success());
    if !has_mounts {
        eprintln!("without another nsswitch.conf: unshare -m needs root");
    }
    let start = || {
        let start = Start::at_socket(&folder);
        if has_mounts { start.by(&by) } else { start }
    };
    for (option, kind, file) in [
        ("--owner", "user", "/etc/passwd"),
        ("--group", "group", "/etc/group"),
        ("--user", "user", "/etc/passwd"),
    ] {
        let (code, said) = start().argument(option).argument("nosuch").run();
        assert_eq!(code, 100, "{said}");
        let expected = format!("{option} nosuch: no such {kind} in {file}; ");
        assert!(
            said.contains(&expected) && said.contains("number"),
            "{said}"
        );
    }
    // A user in the file is found whatever nsswitch.conf contains.
    let own = User::from_uid(geteuid())
        .unwrap()
        .expect("the own user is listed");
    let group = Group::from_gid(own.gid)
        .unwrap()
        .expect("the own group is listed");
    let start = start().argument("--owner").argument(&own.name);
    let responder = start.argument("--group").argument(&group.name).start();
    let metadata = fs::metadata(folder.path("socket")).unwrap();
    assert_eq!(
        (metadata.uid(), metadata.gid()),
        (own.uid.as_raw(), own.gid.as_raw())
    );
    drop(responder);
}

#[test]
fn a_client_looks_up_a_host_name_whatever_nsswitch_says() {
    if !is_root() {
        return;
    }
    let folder = Folder::in_memory();
    let nsswitch = folder.write("nsswitch.conf", "passwd: systemd\nhosts: mymachines dns\n");
    let script = format!(
        "mount --bind {} /etc/nsswitch.conf && exec \"$@\"",
        nsswitch.display()
    );
    let client = Path::new(env!("CARGO_BIN_EXE_sse-fcgi")).with_file_name("sse-publish");
    if !client.exists() {
        println!("skipped: sse-publish was not built");
        return;
    }
    let mut command = Command::new("timeout");
    command.args(["30", "unshare", "-m", "sh", "-c", &script, "sh"]);
    command
        .arg(client)
        .args(["http://no-such-host.invalid/", "text"]);
    let output = command.output().unwrap();
    // It ends with an error of its own, and not by a signal, which a shell shows as 128 or
    // more.
    assert_eq!(output.status.code(), Some(111), "{output:?}");
}

/// For these, a static glibc loads shared objects, and crashes. scripts/build links the
/// programs that look up host names dynamically.
#[test]
fn no_program_that_is_linked_statically_can_ask_nss() {
    const NSS: [&str; 9] = [
        "getaddrinfo",
        "gethostby",
        "getnameinfo",
        "getpwnam",
        "getpwuid",
        "getpwent",
        "getgrnam",
        "getgrgid",
        "initgroups",
    ];
    let own = Path::new(env!("CARGO_BIN_EXE_sse-fcgi"));
    let script = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/build")).unwrap();
    let line = script
        .lines()
        .find_map(|line| line.strip_prefix("dynamic=("))
        .expect("a list of programs");
    let dynamic: Vec<&str> = line.trim_end_matches(')').split_whitespace().collect();
    let bins = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin")).unwrap();
    let mut seen = 0;
    for bin in bins {
        let name = bin
            .unwrap()
            .path()
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let program = own.with_file_name(&name);
        if dynamic.contains(&name.as_str()) || !program.exists() {
            continue;
        }
        // (binutils come with every C compiler.)
        let imports = Command::new("nm")
            .args(["-D", "--undefined-only"])
            .arg(&program)
            .output();
        let imports = String::from_utf8(imports.expect("nm runs").stdout).unwrap();
        for symbol in NSS {
            assert!(!imports.contains(symbol), "{name} uses {symbol}");
        }
        seen += 1;
    }
    assert!(seen >= 8, "{seen} programs");
}
