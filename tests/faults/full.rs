//! A disk that becomes full.

use std::fs;
use std::path::Path;

use crate::post::Post;
use crate::spool::Place;
use crate::stage::Program;
use crate::support::disk::Disk;
use crate::support::root::can;

/// Checks that a file contains only complete records, and their number.
#[track_caller]
fn holds_whole_records(file: &Path, count: usize) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "half a record");
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    assert_eq!(text.lines().count(), count);
}

#[test]
fn a_disk_that_becomes_full_leaves_no_half_record() {
    for disk in Disk::every_kind() {
        let file = disk.path("a.jsonl");
        let large = Post::text(&file, &"x".repeat(20_000));
        let small = Post::text(&file, "y");
        small.created();
        disk.leave_blocks(2);
        let answer = large.send();
        answer.is_error("503 Service Unavailable");
        assert!(answer.errors.contains("No space left"), "{answer:?}");
        holds_whole_records(&file, 1);
        // A record that still fits is appended.
        small.created();
        disk.free();
        large.created();
        holds_whole_records(&file, 3);
        let mut reader = Program::tail(&file).start();
        let lengths: Vec<usize> = reader.events(3).iter().map(|e| e.data.len()).collect();
        assert_eq!(lengths, [1, 1, 20_000], "{}", disk.kind);
    }
}

#[test]
fn a_full_disk_is_no_end_of_publishing_with_rotation() {
    for disk in Disk::every_kind() {
        let file = disk.path("a.jsonl");
        let post = Post::text(&file, &"x".repeat(3_000));
        let post = post.set("SSE_FILE_MAX", "4K").set("SSE_FILE_KEEP", "2");
        for _ in 0..2 {
            post.created();
        }
        disk.leave_blocks(0);
        for _ in 0..3 {
            post.send().is_error("503 Service Unavailable");
        }
        disk.free();
        for _ in 0..3 {
            post.created();
        }
        for name in ["a.jsonl", "a.jsonl.1", "a.jsonl.2"] {
            holds_whole_records(&disk.path(name), 1);
        }
    }
}

#[test]
fn a_session_that_has_no_room_for_its_welcome_is_not_made() {
    for disk in Disk::every_kind() {
        let spool = disk.path("spool");
        let place = Place::new();
        let get = || place.get("session").set("SSE_SPOOL", &spool);
        // Create the folders that sessions share, which later need no space.
        get().start().event();
        fs::remove_dir_all(&spool).unwrap();
        disk.leave_blocks(if disk.kind == "ext4" { 3 } else { 0 });
        let (_, head, _) = get().run();
        assert!(head.starts_with("Status: 200"), "{head}");
        let left = std::process::Command::new("find")
            .arg(&spool)
            .args(["-name", "events.jsonl"])
            .output();
        assert_eq!(String::from_utf8_lossy(&left.unwrap().stdout), "");
        disk.free();
        get().start().event();
    }
}

#[test]
fn who_comes_to_a_room_on_a_full_disk_leaves_no_half_line() {
    for disk in Disk::every_kind() {
        let history = disk.path("room.jsonl");
        // The next line crosses the end of its block.
        let first = format!("{{\"data\":\"{}\"}}\n", "x".repeat(4096 - 12 - 20));
        fs::write(&history, &first).unwrap();
        disk.leave_blocks(0);
        let place = Place::new();
        let mut stream = place.get("room").set("SSE_FILE", &history).start();
        assert_eq!(stream.event().name, "welcome");
        assert_eq!(stream.event().data.len(), 4096 - 32);
        assert_eq!(
            fs::read_to_string(&history).unwrap(),
            first,
            "{}",
            disk.kind
        );
    }
}

#[test]
fn where_no_space_can_be_reserved_a_torn_record_is_a_line_of_its_own() {
    let strace = "strace -f -qq -o /dev/null -e inject=fallocate:error=EOPNOTSUPP";
    let strace: Vec<&str> = strace.split(' ').collect();
    if !can("strace", &[&strace[..], &["true"]].concat()) {
        return;
    }
    if let Some(disk) = Disk::of("tmpfs") {
        let file = disk.path("a.jsonl");
        Post::text(&file, "first").created();
        disk.leave_blocks(1);
        let large = Post::text(&file, &"x".repeat(20_000)).by(&strace);
        large.send().is_error("503 Service Unavailable");
        let torn = fs::read_to_string(&file).unwrap();
        assert_eq!(torn.len(), 8192, "the test is to tear a record");
        disk.free();
        let id = Post::text(&file, "there is room again")
            .by(&strace)
            .created();
        let mut reader = Program::tail(&file).start();
        let events = reader.events(3);
        assert_eq!(
            (&events[0].data[..], &events[1].name[..]),
            ("first", "invalid")
        );
        assert_eq!(
            (&events[2].data[..], &events[2].id),
            ("there is room again", &id)
        );
    }
}
