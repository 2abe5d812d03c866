//! The file, and its possible errors.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use crate::post::Post;
use crate::stage::{Folder, Program};

#[test]
fn a_new_file_is_for_its_owner_and_group_alone() {
    let folder = Folder::new();
    let file = folder.path("a.jsonl");
    Post::text(&file, "x")
        .by(&["sh", "-c", "umask 0; exec \"$0\""])
        .created();
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o640
    );
}

#[test]
fn a_record_begins_a_new_line_where_somebody_left_one_unfinished() {
    let folder = Folder::new();
    let file = folder.write("a.jsonl", "{\"data\":\"whole\"}\n{\"data\":\"to");
    let id = Post::text(&file, "ours").created();
    folder.append("a.jsonl", "{\"data\":\"after\"}\n");
    let text = "{\"data\":\"whole\"}\n{\"data\":\"to\n{\"data\":\"ours\"}\n{\"data\":\"after\"}\n";
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    let mut reader = Program::tail(&file).start();
    reader.says(&["whole", "invalid: {\"data\":\"to"]);
    let event = reader.event();
    assert_eq!((&event.data[..], &event.id), ("ours", &id));
    reader.says(&["after"]);
}

#[test]
fn a_limit_on_the_size_of_files_costs_a_503_and_leaves_no_half_record() {
    let folder = Folder::new();
    let line = format!("{{\"data\":\"{}\"}}\n", "o".repeat(489));
    let file = folder.write("a.jsonl", &line);
    // One block of 512.
    let full = Post::text(&file, &"x".repeat(600))
        .by(&["sh", "-c", "ulimit -f 1; exec \"$0\""])
        .send();
    full.is_error("503 Service Unavailable");
    assert!(full.field("Retry-After").is_some());
    assert!(full.errors.contains("a.jsonl: "), "{full:?}");
    assert_eq!(full.code, Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), line);
    let id = Post::text(&file, "there is room again").created();
    let mut reader = Program::tail(&file).start();
    let events = reader.events(2);
    assert_eq!(events[0].data.len(), 489);
    assert_eq!(
        (&events[1].data[..], &events[1].id),
        ("there is room again", &id)
    );
}

#[test]
fn a_file_that_cannot_be_written_to_is_a_503() {
    let folder = Folder::new();
    let file = folder.write("a.jsonl", "");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    let copy = folder.path("publish");
    // By another process: an open copy would keep the program busy (ETXTBSY).
    let mut cp = std::process::Command::new("cp");
    let copied = cp.arg(env!("CARGO_BIN_EXE_publish")).arg(&copy).status();
    assert!(copied.unwrap().success());
    fs::set_permissions(folder.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let mut post = Post::text(&file, "x").binary(copy);
    if nix::unistd::geteuid().is_root() {
        post = post.by(&["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"]);
    }
    let answer = post.send();
    answer.is_error("503 Service Unavailable");
    assert!(answer.errors.contains("ermission denied"), "{answer:?}");
    assert!(!answer.body.contains("ermission"), "{answer:?}");
    let missing = Post::text(&folder.path("no/folder/a.jsonl"), "x");
    missing.send().is_error("503 Service Unavailable");
}

#[test]
fn what_is_no_file_is_a_503_and_no_wait() {
    let folder = Folder::new();
    let fifo = folder.path("fifo.jsonl");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    Post::text(&fifo, "x")
        .send()
        .is_error("503 Service Unavailable");
    fs::create_dir(folder.path("folder.jsonl")).unwrap();
    let to_folder = Post::text(&folder.path("folder.jsonl"), "x");
    to_folder.send().is_error("503 Service Unavailable");
}

#[test]
fn the_administrators_link_is_followed() {
    let folder = Folder::new();
    let file = folder.write("real.jsonl", "");
    symlink("real.jsonl", folder.path("link.jsonl")).unwrap();
    Post::text(&folder.path("link.jsonl"), "x").created();
    assert_eq!(fs::read_to_string(&file).unwrap(), "{\"data\":\"x\"}\n");
    assert!(folder.path("link.jsonl").is_symlink());
}

#[test]
fn a_publisher_that_is_stopped_holds_others_up_for_no_longer_than_their_timeout() {
    let folder = Folder::new();
    let file = folder.write("a.jsonl", "");
    let held = Flock::lock(fs::File::open(&file).unwrap(), FlockArg::LockExclusive).unwrap();
    let post = Post::text(&file, "x").set("SSE_PUBLISH_TIMEOUT", "200ms");
    let start = Instant::now();
    let answer = post.send();
    answer.is_error("503 Service Unavailable");
    assert!(answer.errors.contains("lock"), "{answer:?}");
    assert!(start.elapsed() < Duration::from_secs(5));
    let posting = post.set("SSE_PUBLISH_TIMEOUT", "10s").start();
    std::thread::scope(|scope| {
        use std::io::Write as _;
        let mut body = posting.ours.try_clone().unwrap();
        body.write_all(b"x").unwrap();
        let waits = scope.spawn(|| posting.answer());
        drop(held);
        waits.join().unwrap().id();
    });
}

#[test]
fn a_record_can_wait_for_the_disk() {
    let folder = Folder::new();
    let file = folder.path("a.jsonl");
    let post = Post::text(&file, "x").set("SSE_PUBLISH_SYNC", "yes");
    post.created();
    post.set("SSE_FILE_MAX", "1K")
        .body("text/plain", "x".repeat(1100))
        .created();
    assert_eq!(
        fs::read_to_string(folder.path("a.jsonl.1")).unwrap(),
        "{\"data\":\"x\"}\n"
    );
}

#[test]
fn a_file_that_cannot_be_written_is_named_with_user_and_remedy_and_no_time_to_come_again() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("folder.jsonl")).unwrap();
    for name in ["folder.jsonl", "missing/a.jsonl"] {
        let path = folder.path(name);
        let answer = Post::text(&path, "x").send();
        answer.is_error("503 Service Unavailable");
        assert_eq!(answer.field("Retry-After"), None, "{answer:?}");
        for part in [path.to_str().unwrap(), "this process runs as ", "uid "] {
            assert!(answer.errors.contains(part), "{part} in {answer:?}");
        }
    }
}
