//! A system that gives little: no inotify, few watches, few descriptors.

use std::fs;
use std::time::Duration;

use crate::stage::{Client, Tail};
use crate::support::folder::{Folder, append};

/// A look a second, and the time that this machine takes.
const SOON: Duration = Duration::from_millis(2_500);

/// In a user namespace of its own, whose limits are set by `script`.
fn limited(tail: Tail, script: &str) -> Tail {
    let script = format!("{script} && exec \"$0\"");
    tail.by(&["unshare", "--user", "--map-root-user", "sh", "-c", &script])
}

/// Lines, rotations, a removal and a folder that is made again, all seen soon.
fn lives_through_everything(script: &str) {
    let folder = Folder::new();
    folder.make("logs");
    let path = folder.join("logs/app.log");
    fs::write(&path, "0\n").unwrap();
    let mut follower = limited(Tail::of(&path), script).start();
    follower.says(&["0"]);
    append(&path, "1\n");
    follower.says_within(SOON, "1");
    fs::rename(&path, folder.join("logs/app.log.1")).unwrap();
    append(&folder.join("logs/app.log.1"), "2\n");
    fs::write(&path, "3\n").unwrap();
    follower.says_within(SOON, "2");
    follower.says_within(SOON, "3");
    append(&path, "4\n");
    follower.says_within(SOON, "4");
    fs::remove_dir_all(folder.join("logs")).unwrap();
    folder.make("logs");
    fs::write(&path, "5\n").unwrap();
    follower.says_within(SOON, "5");
    append(&path, "6\n");
    follower.says_within(SOON, "6");
}

#[test]
fn everything_is_seen_whatever_number_of_watches_is_left() {
    std::thread::scope(|scope| {
        for watches in 0..9 {
            let script = format!("echo {watches} >/proc/sys/user/max_inotify_watches");
            scope.spawn(move || lives_through_everything(&script));
        }
    });
}

#[test]
fn everything_is_seen_without_any_inotify_instance() {
    lives_through_everything("echo 0 >/proc/sys/user/max_inotify_instances");
}

#[test]
fn a_state_is_followed_without_any_inotify_instance() {
    let folder = Folder::new();
    let path = folder.join("status");
    let tail = Tail::of(&path).set("SSE_FORMAT", "state");
    let none = "echo 0 >/proc/sys/user/max_inotify_instances";
    let mut follower = limited(tail, none).start().idle();
    for number in 0..5 {
        let text = number.to_string();
        if number % 2 == 0 {
            fs::write(&path, &text).unwrap();
        } else {
            fs::write(folder.join("new"), &text).unwrap();
            fs::rename(folder.join("new"), &path).unwrap();
        }
        follower.says_within(SOON, &text);
    }
    fs::remove_file(&path).unwrap();
    follower.says_within(SOON, "removed: ");
}

#[test]
fn few_descriptors_lose_nothing_in_silence() {
    let folder = Folder::new();
    let path = folder.join("app.log");
    fs::write(&path, "line 0\n").unwrap();
    let tail = Tail::of(&path).by(&["prlimit", "--nofile=13"]);
    let mut client = Client::new(tail);
    client.until("line 0");
    client.come().pause();
    let mut written = vec!["line 0".to_owned()];
    for round in 1..=12 {
        for number in (1..round).rev() {
            let name = |number: usize| folder.join(format!("app.log.{number}"));
            fs::rename(name(number), name(number + 1)).unwrap();
        }
        fs::rename(&path, folder.join("app.log.1")).unwrap();
        fs::write(&path, format!("line {round}\n")).unwrap();
        written.push(format!("line {round}"));
    }
    client.come().go_on();
    client.until("line 12");
    crate::rotation::nothing_is_missing_in_silence(&client, &written);
}
