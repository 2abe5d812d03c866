//! Files on other mounts, and file systems that change without a hint.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::stage::{Follower, Tail};
use crate::support::folder::{Folder, append};

/// A look a second, and the time that this machine takes.
const SOON: Duration = Duration::from_millis(2_500);

/// In a mount namespace of its own, set up by `script`.
fn mounted(tail: Tail, script: &str) -> Tail {
    let script = format!("{script} && exec \"$0\"");
    let unshare = ["unshare", "--user", "--map-root-user", "--mount"];
    tail.by(&[&unshare[..], &["sh", "-c", &script]].concat())
}

/// A path as the follower sees it.
fn seen_by(follower: &Follower, path: &Path) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{}/root", follower.pid()));
    root.join(path.strip_prefix("/").unwrap())
}

/// Runs a command where the follower lives.
fn beside(follower: &Follower, words: &[&str]) {
    let pid = follower.pid().to_string();
    let status = Command::new("nsenter")
        .args([
            "--preserve-credentials",
            "--user",
            "--mount",
            "--target",
            &pid,
        ])
        .args(words)
        .status();
    assert!(status.unwrap().success(), "{words:?}");
}

/// As a network file system, an overlay whose lower layer somebody else writes to
/// changes without any hint.
#[test]
fn a_file_system_that_gives_no_hints_is_looked_at() {
    let folder = Folder::new();
    for name in ["lower", "upper", "work", "merged"] {
        folder.make(name);
    }
    let lower = folder.join("lower/app.log");
    fs::write(&lower, "0\n").unwrap();
    let root = folder.display();
    let script = format!(
        "mount -t overlay overlay -o lowerdir={root}/lower,upperdir={root}/upper,\
         workdir={root}/work {root}/merged"
    );
    let path = folder.join("merged/app.log");
    let mut follower = mounted(Tail::of(&path), &script).start();
    follower.says(&["0"]);
    for number in 1..4 {
        append(&lower, &format!("{number}\n"));
        follower.says_within(SOON, &number.to_string());
    }
    // From inside: the file is copied up and goes on as another one.
    let inside = seen_by(&follower, &path);
    append(&inside, "4\n");
    follower.says_within(SOON, "4");
    fs::rename(&inside, inside.with_extension("log.1")).unwrap();
    fs::write(&inside, "5\n").unwrap();
    follower.says_within(SOON, "5");
}

#[test]
fn a_folder_on_another_mount_is_followed_like_any_other() {
    let folder = Folder::new();
    folder.make("bound");
    folder.make("real");
    fs::write(folder.join("real/app.log"), "0\n").unwrap();
    let root = folder.display();
    for script in [
        format!("mount --bind {root}/real {root}/bound"),
        format!("mount -t tmpfs tmpfs {root}/bound && echo 0 >{root}/bound/app.log"),
    ] {
        let path = folder.join("bound/app.log");
        let mut follower = mounted(Tail::of(&path), &script).start();
        follower.says(&["0"]);
        let inside = seen_by(&follower, &path);
        append(&inside, "1\n");
        follower.says_within(SOON, "1");
        fs::rename(&inside, inside.with_extension("log.1")).unwrap();
        fs::write(&inside, "2\n").unwrap();
        follower.says_within(SOON, "2");
        append(&inside, "3\n");
        follower.says_within(SOON, "3");
    }
}

#[test]
fn a_file_that_is_a_mount_of_its_own_is_followed() {
    let folder = Folder::new();
    folder.make("dir");
    fs::write(folder.join("app.log"), "0\n").unwrap();
    fs::write(folder.join("dir/app.log"), "").unwrap();
    let root = folder.display();
    let script = format!("mount --bind {root}/app.log {root}/dir/app.log");
    let mut follower = mounted(Tail::of(&folder.join("dir/app.log")), &script).start();
    follower.says(&["0"]);
    append(&folder.join("app.log"), "1\n");
    follower.says_within(SOON, "1");
}

/// No hint tells of a mount: the next heartbeat finds it.
#[test]
fn what_is_mounted_over_a_followed_folder_is_found_by_a_heartbeat() {
    let folder = Folder::new();
    folder.make("logs");
    folder.make("other");
    fs::write(folder.join("logs/app.log"), "below 0\n").unwrap();
    fs::write(folder.join("other/app.log"), "above 0\n").unwrap();
    let path = folder.join("logs/app.log");
    let tail = Tail::of(&path).set("SSE_HEARTBEAT", "2s");
    let mut follower = mounted(tail, "true").start();
    follower.says(&["below 0"]);
    let (over, under) = (folder.join("other"), folder.join("logs"));
    let words = [
        "mount",
        "--bind",
        over.to_str().unwrap(),
        under.to_str().unwrap(),
    ];
    beside(&follower, &words);
    follower.says_within(Duration::from_secs(5), "above 0");
    // From here on it is watched like any other, without a heartbeat.
    append(&folder.join("other/app.log"), "above 1\n");
    follower.says_within(Duration::from_millis(1_500), "above 1");
    fs::rename(folder.join("other/app.log"), folder.join("other/app.log.1")).unwrap();
    fs::write(folder.join("other/app.log"), "above 2\n").unwrap();
    follower.says_within(Duration::from_millis(1_500), "above 2");
}
