//! The scenarios of GNU tail's own tests for following by name, for our follower.
//! docs/tail-compared.md tells how the two differ in each.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;

use crate::stage::{Follower, PROGRAM, Tail, random, wait_for};
use crate::support::folder::{Folder, append};
use crate::support::pipe::pipe;

/// Well below the 15 seconds after which a heartbeat finds what no hint told.
const SOON: Duration = Duration::from_millis(2_500);

fn tail(folder: &Folder, name: &str) -> Tail {
    Tail::of(&folder.join(name))
}

fn rename(folder: &Folder, from: &str, to: &str) {
    fs::rename(folder.join(from), folder.join(to)).unwrap();
}

fn write(folder: &Folder, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
}

/// F-vs-rename.
#[test]
fn a_file_that_is_renamed_over_the_followed_one_is_followed() {
    let folder = Folder::new();
    write(&folder, "a", "of a\n");
    write(&folder, "b", "of b\n");
    let (mut a, mut b) = (tail(&folder, "a").start(), tail(&folder, "b").start());
    a.says_within(SOON, "of a");
    b.says_within(SOON, "of b");
    rename(&folder, "a", "b");
    b.says_within(SOON, "of a");
    write(&folder, "a", "x\n");
    // Other files of that name may have been renamed so as well.
    a.says_within(SOON, "gap: {\"reason\":\"rotated\"}");
    a.says_within(SOON, "x");
    append(&folder.join("a"), "y\n");
    a.says_within(SOON, "y");
    append(&folder.join("b"), "z\n");
    b.says_within(SOON, "z");
    // What was a's file a moment ago may still be written to by who had it open.
    a.says_within(SOON, "z");
}

/// F-vs-missing.
#[test]
fn a_file_in_a_folder_that_is_not_there_yet_is_awaited() {
    let folder = Folder::new();
    let mut follower = tail(&folder, "missing/deep/file").start().idle();
    folder.make("missing");
    folder.make("missing/deep");
    write(&folder, "missing/deep/file", "x\n");
    follower.says_within(SOON, "x");
    append(&folder.join("missing/deep/file"), "y\n");
    follower.says_within(SOON, "y");
}

/// follow-name, retry, assert.
#[test]
fn a_file_that_comes_and_goes_is_followed_each_time() {
    let folder = Folder::new();
    let mut follower = tail(&folder, "file").start().idle();
    for round in 0..4 {
        write(&folder, "file", &format!("{round}\n"));
        follower.says_within(SOON, &round.to_string());
        append(&folder.join("file"), "more\n");
        follower.says_within(SOON, "more");
        fs::remove_file(folder.join("file")).unwrap();
    }
}

/// retry, with what can stand in a file's place.
#[test]
fn what_is_no_regular_file_is_refused_at_first_and_waited_out_later() {
    let folder = Folder::new();
    folder.make("folder");
    nix::unistd::mkfifo(&folder.join("fifo"), Mode::S_IRWXU).unwrap();
    symlink("/dev/null", folder.join("link")).unwrap();
    for (name, what) in [
        ("folder", "a folder"),
        ("fifo", "no regular"),
        ("link", "no regular"),
    ] {
        let (head, stderr) = tail(&folder, name).answer();
        assert!(head.starts_with("HTTP/1.1 500 "), "{name}: {head}");
        assert!(
            stderr.contains("SSE_FILE=") && stderr.contains(what),
            "{stderr}"
        );
    }
    write(&folder, "file", "1\n");
    let mut follower = tail(&folder, "file").start();
    follower.says(&["1"]);
    for (number, name) in ["folder", "fifo", "link"].iter().enumerate() {
        rename(&folder, "file", "old");
        rename(&folder, name, "file");
        // The one that was followed is still read.
        append(&folder.join("old"), &format!("late {number}\n"));
        follower.says_within(SOON, &format!("late {number}"));
        rename(&folder, "file", name);
        write(&folder, "file", &format!("back {number}\n"));
        follower.says_within(SOON, "gap: {\"reason\":\"rotated\"}");
        follower.says_within(SOON, &format!("back {number}"));
    }
}

/// inotify-only-regular: a FIFO must not be waited for when it is opened, either.
#[test]
fn a_fifo_below_a_root_looks_like_what_is_missing() {
    let folder = Folder::new();
    nix::unistd::mkfifo(&folder.join("fifo"), Mode::S_IRWXU).unwrap();
    let asked = |name: &str| Tail::below(&folder, name).answer();
    assert_eq!(asked("/fifo"), asked("/missing"));
}

/// inotify-rotate.
#[test]
fn fifty_quick_rotations_lose_nothing() {
    let folder = Folder::new();
    write(&folder, "k", "0\n");
    let mut follower = tail(&folder, "k").start();
    follower.says(&["0"]);
    for round in 1..=50 {
        rename(&folder, "k", "k.1");
        // Between the rename and the new file there is no file.
        write(&folder, "k", &format!("{round}\n"));
        follower.says_within(SOON, &round.to_string());
    }
}

/// inotify-rotate-resources.
#[test]
fn rotations_leave_no_watches_and_no_descriptors_behind() {
    let folder = Folder::new();
    write(&folder, "k", "0\n");
    let mut follower = tail(&folder, "k").start();
    follower.says(&["0"]);
    for round in 1..=40 {
        for number in (1..round).rev() {
            rename(
                &folder,
                &format!("k.{number}"),
                &format!("k.{}", number + 1),
            );
        }
        rename(&folder, "k", "k.1");
        write(&folder, "k", &format!("{round}\n"));
        follower.says_within(SOON, &round.to_string());
    }
    let (files, watches) = held(&follower);
    // The file, a few that were just left, and what every follower has.
    assert!(files < 20, "{files} descriptors");
    // Folders from the root on, and the files.
    assert!(watches < 16, "{watches} watches");
}

/// How many descriptors and inotify watches a follower has.
fn held(follower: &Follower) -> (usize, usize) {
    let folder = format!("/proc/{}/fdinfo", follower.pid());
    let infos = fs::read_dir(folder).unwrap();
    let texts: Vec<String> = infos
        .filter_map(|info| fs::read_to_string(info.ok()?.path()).ok())
        .collect();
    let watches = texts.iter().map(|text| text.matches("inotify wd:").count());
    (texts.len(), watches.sum())
}

/// Coming back with an id that matches no file tries them all, and leaves no watch.
#[test]
fn files_that_were_only_looked_into_are_not_watched() {
    let folder = Folder::new();
    for number in 1..=16 {
        write(&folder, &format!("k.{number}"), "x\n");
    }
    write(&folder, "k", "line\n");
    let mut follower = tail(&folder, "k").last_id("5-0123456789abcdef").start();
    follower.says(&["gap: {\"reason\":\"unknown-id\"}", "line"]);
    let (_, watches) = held(&follower);
    assert!(watches < 10, "{watches} watches");
}

/// inotify-race, inotify-race2: whatever happens while the follower starts.
#[test]
fn nothing_that_happens_while_a_follower_starts_is_missed() {
    let mut random = random();
    for round in 0..60 {
        let folder = Folder::new();
        if random.bool() {
            write(&folder, "file", "before\n");
        }
        let mut follower = tail(&folder, "file").start();
        std::thread::sleep(Duration::from_micros(random.u64(0..6_000)));
        match random.u8(0..4) {
            0 => append(&folder.join("file"), "last\n"),
            1 => {
                let _ = fs::rename(folder.join("file"), folder.join("file.1"));
                write(&folder, "file", "last\n");
            }
            2 => {
                write(&folder, "other", "last\n");
                rename(&folder, "other", "file");
            }
            _ => {
                let _ = fs::remove_file(folder.join("file"));
                write(&folder, "file", "last\n");
            }
        }
        let start = Instant::now();
        while follower.event_within(SOON).data != "last" {
            assert!(start.elapsed() < SOON, "round {round}");
        }
    }
}

/// inotify-hash-abuse.
#[test]
fn a_file_that_is_renamed_away_and_back_is_the_same_file() {
    let folder = Folder::new();
    write(&folder, "file", "0\n");
    let mut follower = tail(&folder, "file").start();
    follower.says(&["0"]);
    for round in 1..20 {
        rename(&folder, "file", "away");
        rename(&folder, "away", "file");
        append(&folder.join("file"), &format!("{round}\n"));
        follower.says_within(SOON, &round.to_string());
    }
}

/// inotify-dir-recreate.
#[test]
fn a_folder_that_is_removed_and_made_again_is_followed_on() {
    let folder = Folder::new();
    folder.make("dir");
    write(&folder, "dir/file", "0\n");
    let mut follower = tail(&folder, "dir/file").start();
    follower.says(&["0"]);
    for round in 1..5 {
        fs::remove_file(folder.join("dir/file")).unwrap();
        fs::remove_dir(folder.join("dir")).unwrap();
        folder.make("dir");
        write(&folder, "dir/file", &format!("{round}\n"));
        follower.says_within(SOON, &round.to_string());
        append(&folder.join("dir/file"), "more\n");
        follower.says_within(SOON, "more");
    }
}

/// The same while somebody stands in the folder: it is not gone while he does.
#[test]
fn a_folder_that_somebody_stands_in_is_followed_on_when_it_is_made_again() {
    let folder = Folder::new();
    folder.make("dir");
    write(&folder, "dir/file", "0\n");
    let standing = fs::File::open(folder.join("dir")).unwrap();
    let mut follower = tail(&folder, "dir/file").start();
    follower.says(&["0"]);
    fs::remove_file(folder.join("dir/file")).unwrap();
    fs::remove_dir(folder.join("dir")).unwrap();
    folder.make("dir");
    write(&folder, "dir/file", "1\n");
    follower.says_within(SOON, "1");
    append(&folder.join("dir/file"), "2\n");
    follower.says_within(SOON, "2");
    // The new folder is watched as well as the old one was.
    rename(&folder, "dir/file", "dir/file.1");
    write(&folder, "dir/file", "3\n");
    follower.says_within(SOON, "3");
    drop(standing);
}

/// The folder, and each one above it, renamed away and back, or replaced.
#[test]
fn folders_above_the_file_may_be_renamed_and_replaced() {
    let folder = Folder::new();
    for name in ["a/b/c", "other/b/c"] {
        folder.make(name);
        append(&folder.join(name).join("file"), &format!("of {name}\n"));
    }
    let path = folder.join("a/b/c/file");
    for (from, to) in [("a/b/c", "a/b/x"), ("a/b", "a/x"), ("a", "x")] {
        let mut follower = Tail::of(&path).set("SSE_BACKLOG", "1").start();
        let first = follower.event().data;
        rename(&folder, from, to);
        rename(&folder, to, from);
        append(&path, &format!("back {from}\n"));
        follower.says_within(SOON, &format!("back {from}"));
        rename(&folder, from, to);
        folder.make("a/b/c");
        append(&path, "new\n");
        follower.says_within(SOON, "new");
        append(&path, "more\n");
        follower.says_within(SOON, "more");
        fs::remove_dir_all(folder.join(from)).unwrap();
        rename(&folder, to, from);
        follower.says_within(SOON, "of a/b/c");
        assert!(!first.is_empty());
    }
}

#[test]
fn a_root_that_is_removed_and_made_again_is_followed_on() {
    let folder = Folder::new();
    folder.make("root/sub");
    write(&folder, "root/sub/file", "0\n");
    let asked = Tail::below(&folder.join("root"), "/sub/file");
    let mut follower = asked.set("SSE_AWAIT", "yes").start();
    follower.says(&["0"]);
    fs::remove_dir_all(folder.join("root")).unwrap();
    folder.make("root/sub");
    write(&folder, "root/sub/file", "1\n");
    follower.says_within(SOON, "1");
    append(&folder.join("root/sub/file"), "2\n");
    follower.says_within(SOON, "2");
    // As a deployment does it: another folder takes the name.
    folder.make("next/sub");
    write(&folder, "next/sub/file", "3\n");
    rename(&folder, "root", "old");
    rename(&folder, "next", "root");
    follower.says_within(SOON, "3");
}

/// symlink.
#[test]
fn a_link_is_followed_wherever_it_points() {
    let folder = Folder::new();
    let point = |to: &str| {
        symlink(to, folder.join("new")).unwrap();
        rename(&folder, "new", "link");
    };
    point("target");
    let mut follower = tail(&folder, "link").start().idle();
    write(&folder, "target", "0\n");
    follower.says_within(SOON, "0");
    append(&folder.join("target"), "1\n");
    follower.says_within(SOON, "1");
    // Elsewhere, to what is not there, to a folder, through a folder.
    folder.make("dir/deep");
    write(&folder, "dir/deep/file", "2\n");
    point("dir/deep/file");
    follower.says_within(SOON, "2");
    point("nowhere");
    append(&folder.join("dir/deep/file"), "3\n");
    follower.says_within(SOON, "3");
    point("dir");
    append(&folder.join("dir/deep/file"), "4\n");
    follower.says_within(SOON, "4");
    write(&folder, "nowhere", "5\n");
    point("nowhere");
    follower.says_within(SOON, "5");
    // The target is replaced under the link.
    write(&folder, "other", "6\n");
    rename(&folder, "other", "nowhere");
    follower.says_within(SOON, "6");
}

/// truncate.
#[test]
fn a_truncated_file_is_a_gap_and_goes_on() {
    let folder = Folder::new();
    write(&folder, "file", "first\nsecond\n");
    let mut follower = tail(&folder, "file").start();
    follower.says(&["first", "second"]);
    let file = OpenOptions::new()
        .append(true)
        .open(folder.join("file"))
        .unwrap();
    file.set_len(0).unwrap();
    follower.says_within(SOON, "gap: {\"reason\":\"truncated\"}");
    (&file).write_all(b"third\n").unwrap();
    follower.says_within(SOON, "third");
    // Cut in the middle of what was read: what is left is read again.
    (&file).write_all(b"fourth\nfifth\n").unwrap();
    follower.says(&["fourth", "fifth"]);
    file.set_len(6).unwrap();
    follower.says_within(SOON, "gap: {\"reason\":\"truncated\"}");
    follower.says_within(SOON, "third");
    // Grown again past the old end before anybody looked.
    follower.pause();
    write(&folder, "file", "another file altogether\nof two lines\n");
    follower.go_on();
    follower.says_within(SOON, "gap: {\"reason\":\"truncated\"}");
    follower.says(&["another file altogether", "of two lines"]);
}

/// tail-n0f: no backlog is no busy wait.
#[test]
fn a_follower_with_no_backlog_waits_without_using_the_processor() {
    let folder = Folder::new();
    // Not right below the folder for temporary files, where others remove theirs.
    folder.make("logs");
    write(&folder, "logs/file", "old\n");
    write(&folder, "logs/empty", "");
    for name in ["logs/file", "logs/empty", "logs/missing"] {
        let follower = tail(&folder, name)
            .set("SSE_BACKLOG", "0")
            .set("SSE_HEARTBEAT", "2s");
        let mut follower = follower.start().idle();
        let switches = |follower: &Follower| follower.figure("status", "voluntary_ctxt_switches");
        let before = switches(&follower);
        follower.beats();
        let woken = switches(&follower) - before;
        assert!(woken <= 6, "{name}: {woken} wake-ups in two seconds");
        append(&folder.join(name), "new\n");
        follower.says_within(SOON, "new");
    }
}

/// flush-initial, pipe-f: in a terminal the first lines come without waiting for more.
#[test]
fn the_first_lines_are_printed_at_once_without_a_gateway() {
    let folder = Folder::new();
    write(&folder, "file", "line\n");
    let (mut reader, writer) = pipe();
    let mut child = std::process::Command::new(PROGRAM)
        .arg(folder.join("file"))
        .env_clear()
        .stdout(writer)
        .spawn()
        .unwrap();
    let mut text = String::new();
    while !text.contains("data: line\n\n") {
        let mut bytes = [0; 1_000];
        let count = std::io::Read::read(&mut reader, &mut bytes).unwrap();
        assert!(count > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn permit(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn permission_that_is_lost_and_regained_costs_no_line() {
    let folder = Folder::new();
    folder.make("above/dir");
    write(&folder, "above/dir/file", "0\n");
    let file = folder.join("above/dir/file");
    let mut follower = Tail::of(&file).by_nobody().start();
    follower.says(&["0"]);
    // The file is open: its own permission no longer matters.
    permit(&file, 0o000);
    append(&file, "1\n");
    follower.says_within(SOON, "1");
    // Rotated behind the lock of the file, of its folder, and of the one above.
    for (number, locked) in ["above/dir/file", "above/dir", "above"].iter().enumerate() {
        let open = if number == 0 { 0o644 } else { 0o755 };
        permit(&folder.join(locked), 0o000);
        let rotated = format!("above/dir/file.{}", 9 - number);
        rename(&folder, "above/dir/file", &rotated);
        write(&folder, "above/dir/file", &format!("rotated {number}\n"));
        if number == 0 {
            permit(&file, 0o000);
        }
        permit(&folder.join(locked), open);
        follower.says_within(SOON, &format!("rotated {number}"));
    }
}

#[test]
fn a_follower_is_gone_when_its_reader_is_whatever_became_of_the_file() {
    let folder = Folder::new();
    write(&folder, "file", "0\n");
    let mut follower = tail(&folder, "file").start();
    follower.says(&["0"]);
    fs::remove_file(folder.join("file")).unwrap();
    let pid = follower.pid();
    follower.leave();
    wait_for("its end", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}

#[test]
fn a_file_that_is_replaced_by_a_longer_one_of_the_same_beginning_only_grew() {
    let folder = Folder::new();
    write(&folder, "file", "1\n2\n");
    let file = folder.join("file");
    let mut follower = Tail::of(&file).start();
    follower.says(&["1", "2"]);
    write(&folder, "new", "1\n2\n3\n");
    rename(&folder, "new", "file");
    follower.says_within(SOON, "3");
    append(&file, "4\n");
    follower.says_within(SOON, "4");
}
