//! Files with holes, and files that are padded with NULs.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::stage::Tail;
use crate::support::folder::{Folder, append};

fn grow(file: &Path, size_bytes: u64) {
    let file = OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(size_bytes).unwrap();
}

#[test]
fn a_line_that_is_written_over_padding_comes_at_once() {
    let folder = Folder::new();
    let file = folder.join("a.log");
    for padding in [100, 65_536, 3 << 20] {
        let mut bytes = b"one\n".to_vec();
        bytes.resize(padding, 0);
        fs::write(&file, bytes).unwrap();
        let mut follower = Tail::of(&file).start();
        follower.says(&["one"]);
        let id = follower.id().to_owned();
        let writer = OpenOptions::new().write(true).open(&file).unwrap();
        writer.write_all_at(b"two\n", 4).unwrap();
        follower.says(&["two"]);
        writer.write_all_at(b"thr", 8).unwrap();
        writer.write_all_at(b"ee\nfour\n", 11).unwrap();
        follower.says(&["three", "four"]);
        let mut again = Tail::of(&file).last_id(&id).start();
        again.says(&["two", "three", "four"]);
        let mut first_time = Tail::of(&file).set("SSE_BACKLOG", "2").start();
        first_time.says(&["three", "four"]);
        writer.write_all_at(b"five\n", 19).unwrap();
        for mut client in [follower, again, first_time] {
            client.says(&["five"]);
        }
    }
}

#[test]
fn a_hole_before_a_line_is_neither_an_event_nor_a_gap() {
    let folder = Folder::new();
    for size in [3 << 20, 3 << 30] {
        let file = folder.join("a.log");
        fs::write(&file, "one\n").unwrap();
        let mut follower = Tail::of(&file).start();
        follower.says(&["one"]);
        let before = follower.id().to_owned();
        let start = Instant::now();
        grow(&file, size);
        append(&file, "NEW\n");
        follower.says(&["NEW"]);
        let after = follower.id().to_owned();
        assert!(after.starts_with(&format!("{}-", size + 4)), "{after}");
        append(&file, "next\n");
        follower.says(&["next"]);
        // No part of it counts as what is sent again.
        let tail = Tail::of(&file).set("SSE_REPLAY", "1K");
        tail.clone().start().says(&["one", "NEW", "next"]);
        tail.clone()
            .set("SSE_BACKLOG", "2")
            .start()
            .says(&["NEW", "next"]);
        tail.clone().last_id(&before).start().says(&["NEW", "next"]);
        tail.clone().last_id(&after).start().says(&["next"]);
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
    }
}

#[test]
fn an_unfinished_line_ends_at_a_hole() {
    let folder = Folder::new();
    let file = folder.join("a.log");
    fs::write(&file, "one\npart").unwrap();
    let mut follower = Tail::of(&file).start();
    follower.says(&["one"]);
    grow(&file, 3 << 20);
    append(&file, "NEW\n");
    follower.says(&["part"]);
    let id = follower.id().to_owned();
    follower.says(&["NEW"]);
    Tail::of(&file).last_id(&id).start().says(&["NEW"]);
    Tail::of(&file).start().says(&["one", "part", "NEW"]);
}

#[test]
fn a_jsonl_record_after_a_hole_is_valid() {
    let folder = Folder::new();
    let file = folder.join("a.jsonl");
    fs::write(&file, "").unwrap();
    let mut follower = Tail::of(&file).start();
    grow(&file, 1 << 20);
    append(&file, "{\"event\":\"x\",\"data\":\"1\"}\n");
    let event = follower.event();
    assert_eq!((&event.name[..], &event.data[..]), ("x", "1"));
    let event = Tail::of(&file).start().event();
    assert_eq!((&event.name[..], &event.data[..]), ("x", "1"));
}

/// A writer without O_APPEND goes on where it was, so that what was truncated is a hole.
#[test]
fn a_log_that_is_truncated_under_a_writer_with_a_place_of_its_own_loses_nothing() {
    let folder = Folder::new();
    for is_copied in [true, false] {
        let file = folder.join("a.log");
        let copy = folder.join("a.log.1");
        let _ = fs::remove_file(&copy);
        let mut writer = File::create(&file).unwrap();
        for number in 0..1_000 {
            writeln!(writer, "line {number}").unwrap();
        }
        let mut follower = Tail::of(&file).start();
        let expected: Vec<String> = (990..1_000).map(|n| format!("line {n}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        follower.says(&expected);
        let away = follower.id().to_owned();
        writeln!(writer, "last").unwrap();
        follower.says(&["last"]);
        if is_copied {
            fs::copy(&file, &copy).unwrap();
        }
        grow(&file, 0);
        writeln!(writer, "NEW").unwrap();
        if !is_copied {
            assert_eq!(follower.event().name, "gap");
        }
        follower.says(&["NEW"]);
        writeln!(writer, "next").unwrap();
        follower.says(&["next"]);
        let mut again = Tail::of(&file).last_id(&away).start();
        match is_copied {
            true => again.says(&["last", "NEW", "next"]),
            false => {
                assert_eq!(again.event().name, "gap");
                again.says(&["NEW", "next"]);
            }
        }
    }
}
