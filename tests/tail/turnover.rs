//! Which file comes after which: rotations in every order and under every name, editors,
//! and files that are alike.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::stage::{Follower, Tail, shown};
use crate::support::folder::{Folder, append};

const GAP: &str = "gap: {\"reason\":\"rotated\"}";
const UNKNOWN: &str = "gap: {\"reason\":\"unknown-id\"}";

fn write(folder: &Folder, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
}

fn rename(folder: &Folder, from: &str, to: &str) {
    fs::rename(folder.join(from), folder.join(to)).unwrap();
}

fn tail(folder: &Folder) -> Tail {
    Tail::of(&folder.join("a.log")).set("SSE_BACKLOG", "1000000")
}

fn script(folder: &Folder, text: &str) {
    let mut command = Command::new("sh");
    let status = command.arg("-ec").arg(text).current_dir(folder).status();
    assert!(status.unwrap().success(), "{text}");
}

/// All events that a client with this id gets, up to a line that is appended here.
fn rest(folder: &Folder, id: &str) -> Vec<String> {
    append(&folder.join("a.log"), "END\n");
    let mut follower = tail(folder).last_id(id).start();
    let mut all = Vec::new();
    loop {
        let event = shown(&follower.event());
        if event == "END" {
            return all;
        }
        all.push(event);
    }
}

/// A place in an empty file, or wherever a stream is that has nothing to say.
fn place(folder: &Folder) -> String {
    let follower = tail(folder).start().idle();
    follower.id().to_owned()
}

#[test]
fn a_rotation_that_counts_upwards_delivers_no_old_file_again() {
    let folder = Folder::new();
    write(&folder, "a.log", "old\n");
    rename(&folder, "a.log", "a.log.1");
    folder.tick();
    write(&folder, "a.log", "b\n");
    let mut follower = tail(&folder).start();
    follower.says(&["b"]);
    for number in 2..12 {
        rename(&folder, "a.log", &format!("a.log.{number}"));
        write(&folder, "a.log", &format!("of {number}\n"));
        follower.says(&[&format!("of {number}")]);
        folder.tick();
    }
}

/// Ways of naming rotated files, oldest first.
const NAMES: [[&str; 4]; 9] = [
    ["a.log.1", "a.log.2", "a.log.3", "a.log.4"],
    ["a.log.8", "a.log.9", "a.log.10", "a.log.11"],
    ["a.log.4", "a.log.3", "a.log.2", "a.log.1"],
    [
        "a.log.29-11-2026",
        "a.log.30-11-2026",
        "a.log.01-12-2026",
        "a.log.02-12-2026",
    ],
    [
        "a.log.2026-11-28.8",
        "a.log.2026-11-28.9",
        "a.log.2026-11-28.10",
        "a.log.2026-11-29.1",
    ],
    [
        "a-2026-11-28.log",
        "a-2026-11-29.log",
        "a-2026-11-30.log",
        "a-2026-12-01.log",
    ],
    ["a.4.log", "a.3.log", "a.2.log", "a.1.log"],
    ["a-1.log", "a-2.log", "a-3.log", "a-4.log"],
    [
        "a.log.2026-11-28.log",
        "a.log.2026-11-29.log",
        "a.log.2026-11-30.log",
        "a.log.2026-12-01.log",
    ],
];

#[test]
fn a_client_that_was_away_gets_every_file_once_however_they_are_named() {
    for names in NAMES {
        let folder = Folder::new();
        let mut id = String::new();
        for (number, name) in names.iter().enumerate() {
            write(&folder, "a.log", &format!("{number}\n"));
            if number == 1 {
                let mut follower = tail(&folder).start();
                follower.says(&["1"]);
                follower.id().clone_into(&mut id);
            }
            append(&folder.join("a.log"), &format!("{number} more\n"));
            rename(&folder, "a.log", name);
            folder.tick();
        }
        write(&folder, "a.log", "now\n");
        let expected = ["1 more", "2", "2 more", "3", "3 more", "now"];
        assert_eq!(rest(&folder, &id), expected, "{names:?}");
    }
}

#[test]
fn a_follower_that_is_held_up_gets_every_file_once_however_they_are_named() {
    for names in NAMES {
        let folder = Folder::new();
        write(&folder, "a.log", "0\n");
        rename(&folder, "a.log", names[0]);
        folder.tick();
        write(&folder, "a.log", "1\n");
        let mut follower = tail(&folder).start();
        follower.says(&["1"]);
        follower.pause();
        for (number, name) in names.iter().enumerate().skip(1) {
            rename(&folder, "a.log", name);
            folder.tick();
            write(&folder, "a.log", &format!("{}\n", number + 1));
        }
        follower.go_on();
        follower.says(&["2", "3", "4"]);
    }
}

#[test]
fn another_log_with_a_number_in_its_name_is_no_part_of_this_one() {
    let folder = Folder::new();
    write(&folder, "a-error.log", "error\n");
    write(&folder, "a-2.log", "second\n");
    write(&folder, "a.log", "1\n");
    let mut follower = tail(&folder).start();
    follower.says(&["1"]);
    follower.pause();
    folder.tick();
    write(&folder, "a-3.log", "third\n");
    rename(&folder, "a.log", "a.log.1");
    write(&folder, "a.log", "2\n");
    follower.go_on();
    follower.says(&["2"]);
}

#[test]
fn a_file_that_was_renamed_to_an_unknown_name_is_followed_by_a_gap() {
    for name in ["saved", "a.log.bak", "a.log.gz.tmp"] {
        let folder = Folder::new();
        write(&folder, "a.log", "1\n");
        let mut follower = tail(&folder).start();
        follower.says(&["1"]);
        append(&folder.join("a.log"), "2\n");
        rename(&folder, "a.log", name);
        write(&folder, "a.log", "3\n");
        follower.says(&["2", GAP, "3"]);
    }
}

#[test]
fn a_place_in_one_of_two_files_of_identical_lines_loses_no_line_in_silence() {
    let folder = Folder::new();
    write(&folder, "a.log", &"ping\n".repeat(1000));
    let mut follower = tail(&folder).start();
    follower.says(&["ping"; 1000]);
    let id = follower.id().to_owned();
    drop(follower);
    rename(&folder, "a.log", "a.log.1");
    folder.tick();
    write(&folder, "a.log", &"ping\n".repeat(1500));
    let rest = rest(&folder, &id);
    assert_eq!(rest[0], GAP);
    assert_eq!(rest.len(), 1501);
}

#[test]
fn a_log_of_identical_lines_that_is_rotated_under_a_follower_loses_none() {
    for name in ["a.log.1", "a.1.log", "a.log-20261128"] {
        let folder = Folder::new();
        write(&folder, "a.log", &"ping\n".repeat(100));
        let mut follower = tail(&folder).start();
        follower.says(&["ping"; 100]);
        follower.pause();
        rename(&folder, "a.log", name);
        write(&folder, "a.log", &"ping\n".repeat(150));
        append(&folder.join("a.log"), "END\n");
        follower.go_on();
        follower.says(&["ping"; 150]);
        follower.says(&["END"]);
    }
}

#[test]
fn identical_lines_that_are_truncated_away_are_not_looked_for_in_an_old_file() {
    let folder = Folder::new();
    write(&folder, "a.log", &"ping\n".repeat(150));
    rename(&folder, "a.log", "a.log.1");
    folder.tick();
    write(&folder, "a.log", &"ping\n".repeat(100));
    let mut follower = tail(&folder).start();
    follower.says(&["ping"; 100]);
    fs::File::options()
        .write(true)
        .open(folder.join("a.log"))
        .unwrap()
        .set_len(0)
        .unwrap();
    follower.says(&["gap: {\"reason\":\"truncated\"}"]);
    append(&folder.join("a.log"), "END\n");
    follower.says(&["END"]);
}

#[test]
fn a_line_of_an_empty_file_that_was_moved_to_an_unknown_name_is_not_lost_in_silence() {
    let folder = Folder::new();
    write(&folder, "a.log", "");
    let id = place(&folder);
    append(&folder.join("a.log"), "lost\n");
    rename(&folder, "a.log", "saved");
    folder.tick();
    write(&folder, "a.log", "");
    assert_eq!(rest(&folder, &id), [UNKNOWN]);
}

#[test]
fn a_place_in_an_empty_file_is_found_in_it_wherever_it_is_now() {
    let folder = Folder::new();
    write(&folder, "a.log", "");
    let id = place(&folder);
    assert_eq!(rest(&folder, &id), [""; 0]);
    write(&folder, "a.log", "");
    append(&folder.join("a.log"), "1\n");
    assert_eq!(rest(&folder, &id), ["1"]);
    rename(&folder, "a.log", "a.log.1");
    write(&folder, "a.log", "2\n");
    assert_eq!(rest(&folder, &id), ["1"]);
}

/// A follower that has delivered 1 to 3.
fn edited(folder: &Folder) -> Follower {
    write(folder, "a.log", "1\n2\n3\n");
    let mut follower = tail(folder).set("SSE_HEARTBEAT", "1s").start();
    follower.says(&["1", "2", "3"]);
    follower
}

#[test]
fn an_editor_that_adds_a_line_repeats_none() {
    for edit in [
        "sed -i '$a 4' a.log",
        "sed -i.bak '$a 4' a.log",
        // vim, with and without a backup that is kept.
        "mv a.log a.log~; printf '1\\n2\\n3\\n4\\n' >a.log; rm a.log~",
        "mv a.log a.log~; printf '1\\n2\\n3\\n4\\n' >a.log",
        "cp a.log new; echo 4 >>new; mv new a.log",
        "cp -p a.log .a.log.Xq; echo 4 >>.a.log.Xq; mv .a.log.Xq a.log",
        "cp a.log a.log.old; echo 4 >>a.log",
        "ln a.log hard; cp a.log new; echo 4 >>new; mv new a.log",
        "cp a.log new; echo 4 >>new; rm a.log; mv new a.log",
    ] {
        let folder = Folder::new();
        let mut follower = edited(&folder);
        script(&folder, edit);
        assert_eq!(shown(&follower.event()), "4", "{edit}");
        append(&folder.join("a.log"), "5\n");
        follower.says(&["5"]);
    }
}

#[test]
fn an_editor_that_changes_what_was_delivered_is_a_gap_first() {
    for edit in [
        "sed -i 's/2/two/' a.log",
        "sed -i.bak 's/2/two/' a.log",
        "sed -i 's/^/x/' a.log",
        "sed -i.bak 's/^/x/' a.log",
        // A backup whose name looks like a rotation.
        "sed -i.old 2d a.log",
        "sed -i.1 2d a.log",
        "sed -i '$d' a.log",
        "mv a.log a.log~; printf '1\\n2\\nthree\\n' >a.log; rm a.log~",
        "printf '1\\ntwo\\n3\\n' >new; rm a.log; cp new a.log",
    ] {
        let folder = Folder::new();
        let mut follower = edited(&folder);
        script(&folder, edit);
        assert_eq!(shown(&follower.event()), GAP, "{edit}");
        let text = fs::read_to_string(folder.join("a.log")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        follower.says(&lines);
    }
}

#[test]
fn a_file_that_was_edited_while_its_client_was_away_is_a_gap_first() {
    for edit in [
        "sed -i 2d a.log",
        "sed -i.old 2d a.log",
        "sed -i.1 2d a.log",
    ] {
        let folder = Folder::new();
        let id = edited(&folder).id().to_owned();
        script(&folder, edit);
        let rest = rest(&folder, &id);
        assert!(rest[0].starts_with("gap: "), "{edit}: {rest:?}");
        assert_eq!(rest[1..], ["1", "3"], "{edit}");
    }
}

#[test]
fn a_file_that_is_replaced_in_part_is_the_same_once_it_is_whole() {
    // A machine that is busy elsewhere may take longer than the second that the follower gives
    // an editor: then it has to be tried again.
    for _ in 0..20 {
        let folder = Folder::new();
        let mut follower = edited(&folder);
        let start = Instant::now();
        script(&folder, "mv a.log a.log~; printf '1\\n2\\n' >a.log");
        std::thread::sleep(Duration::from_millis(100));
        append(&folder.join("a.log"), "3\n4\n");
        if start.elapsed() < Duration::from_millis(800) {
            return follower.says(&["4"]);
        }
    }
    panic!("this machine is too slow");
}

#[test]
fn of_an_edited_file_no_more_is_sent_again_than_may_be_replayed() {
    let folder = Folder::new();
    let lines: Vec<String> = (0..2000)
        .map(|number| format!("line {number:05}"))
        .collect();
    write(&folder, "a.log", &(lines.join("\n") + "\n"));
    let mut follower = tail(&folder).set("SSE_REPLAY", "1K").start();
    while follower.event().data != lines[1999] {}
    script(&folder, "sed -i '1s/line/LINE/' a.log");
    follower.says(&[GAP]);
    let first = follower.event();
    let number: usize = first.data["line ".len()..].parse().unwrap();
    assert!((1900..1999).contains(&number), "{first:?}");
    for line in &lines[number + 1..] {
        follower.says(&[line]);
    }
}

#[test]
fn a_file_that_was_restored_beside_the_log_is_not_taken_for_a_new_one() {
    let folder = Folder::new();
    write(&folder, "a.log", "old\n");
    rename(&folder, "a.log", "a.log.2.away");
    folder.tick();
    let mut follower = edited(&folder);
    folder.tick();
    // As `gunzip` does: a new file with the old time.
    script(&folder, "cp -p a.log.2.away a.log.2");
    rename(&folder, "a.log", "a.log.1");
    write(&folder, "a.log", "now\n");
    follower.says(&["now"]);
    follower.beats();
}
