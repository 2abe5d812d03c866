//! `nph-tail` while its file changes.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use nix::sys::signal::Signal;

use crate::support::event_stream::Item;

use crate::stage::{Folder, Program, Running};

/// A user that no other test uses.
const USER: u32 = 54_320;

fn follows(file: &Path) -> Running {
    Program::tail(file).start().opened()
}

#[test]
fn an_appended_line_comes_when_its_end_does() {
    let folder = Folder::new();
    let file = folder.write("log", "a\n");
    let mut stream = Program::tail(&file).set("SSE_HEARTBEAT", "1s").start();
    stream.says(&["a"]);
    folder.append("log", "b\nhalf");
    stream.says(&["b"]);
    stream.beat();
    folder.append("log", " and ");
    stream.beat();
    folder.append("log", "half\r");
    stream.beat();
    folder.append("log", "\nc\r\n\r\n\n");
    stream.says(&["half and half", "c", "", ""]);
}

#[test]
fn a_name_that_is_set_is_the_name_of_every_event() {
    let folder = Folder::new();
    let file = folder.write("log", "a\n");
    let mut stream = Program::tail(&file).set("SSE_EVENT", "line").start();
    stream.says(&["line: a"]);
}

#[test]
fn a_truncated_file_is_a_gap_and_then_read_from_its_start() {
    let folder = Folder::new();
    let file = folder.write("log", "first\nsecond\n");
    let mut stream = follows(&file);
    stream.says(&["first", "second"]);
    folder.write("log", "");
    stream.says(&["gap: {\"reason\":\"truncated\"}"]);
    folder.append("log", "third\n");
    stream.says(&["third"]);
    // Shorter, the same length, and longer than what was read, all in one step.
    for text in ["x\n", "y\n", "a line that is longer\n"] {
        folder.write("log", text);
        let gap = stream.event();
        assert_eq!(gap.data, "{\"reason\":\"truncated\"}");
        stream.says(&[text.trim_end()]);
    }
}

#[test]
fn a_rotated_file_is_read_to_its_end_before_the_new_one() {
    let folder = Folder::new();
    let file = folder.write("log", "a\n");
    let mut stream = follows(&file);
    stream.says(&["a"]);
    folder.rename("log", "log.1");
    folder.append("log.1", "late\n");
    stream.says(&["late"]);
    folder.write("log", "b\n");
    stream.says(&["b"]);
    // A daemon that has not noticed the rotation continues to write.
    folder.append("log.1", "very late\n");
    stream.says(&["very late"]);
    let id = stream.last_id().to_owned();
    drop(stream);
    for number in 0..5 {
        folder.append("log", format!("{number}\n"));
        if number < 4 {
            folder.rename("log.1", "log.2");
            folder.rename("log", "log.1");
        }
    }
    let mut again = Program::tail(&file).last_id(&id).start();
    // log.2 was overwritten by a rename, so 0 and 1 are lost with it, and so is the position.
    again.says(&["gap: {\"reason\":\"unknown-id\"}", "4"]);
}

#[test]
fn two_rotations_between_two_looks_lose_nothing() {
    let folder = Folder::new();
    let file = folder.write("log", "a\n");
    let mut stream = follows(&file);
    stream.says(&["a"]);
    stream.signal(nix::sys::signal::Signal::SIGSTOP);
    for number in 0..6 {
        folder.append("log", format!("{number}\n"));
        for old in (1..=number).rev() {
            folder.rename(&format!("log.{old}"), &format!("log.{}", old + 1));
        }
        folder.rename("log", "log.1");
    }
    folder.write("log", "end\n");
    stream.signal(nix::sys::signal::Signal::SIGCONT);
    stream.says(&["0", "1", "2", "3", "4", "5", "end"]);
}

#[test]
fn a_file_whose_folder_is_not_there_yet_is_read_from_its_start() {
    let folder = Folder::new();
    let mut stream = follows(&folder.path("a/b/log"));
    fs::create_dir(folder.path("a")).unwrap();
    fs::create_dir(folder.path("a/b")).unwrap();
    folder.write("a/b/log", "first\n");
    stream.says(&["first"]);
    folder.append("a/b/log", "second\n");
    stream.says(&["second"]);
}

#[test]
fn a_file_that_is_not_there_yet_comes_at_once_when_it_does() {
    let folder = Folder::in_memory();
    let mut stream = follows(&folder.path("log"));
    folder.write("log", "");
    folder.append("log", "first\n");
    stream.says(&["first"]);
}

#[test]
fn a_folder_that_was_removed_and_remade_is_followed_on() {
    let folder = Folder::new();
    fs::create_dir(folder.path("a")).unwrap();
    let file = folder.write("a/log", "one\n");
    let mut stream = follows(&file);
    stream.says(&["one"]);
    for text in ["two", "three"] {
        fs::remove_dir_all(folder.path("a")).unwrap();
        fs::create_dir(folder.path("a")).unwrap();
        folder.write("a/log", format!("{text}\n"));
        stream.says(&[text]);
        folder.append("a/log", "more\n");
        stream.says(&["more"]);
    }
    // Renamed, and replaced by another file.
    folder.rename("a", "b");
    fs::create_dir(folder.path("a")).unwrap();
    folder.write("a/log", "four\n");
    stream.says(&["four"]);
}

#[test]
fn a_symbolic_link_is_followed_and_so_is_its_retargeting() {
    let folder = Folder::new();
    fs::create_dir(folder.path("elsewhere")).unwrap();
    folder.write("elsewhere/one", "1\n");
    folder.write("elsewhere/two", "2\n");
    let link = folder.path("log");
    symlink("elsewhere/one", &link).unwrap();
    let mut stream = follows(&link);
    stream.says(&["1"]);
    folder.append("elsewhere/one", "1b\n");
    stream.says(&["1b"]);
    symlink("elsewhere/two", folder.path("new")).unwrap();
    folder.rename("new", "log");
    stream.says(&["2"]);
    folder.append("elsewhere/two", "2b\n");
    stream.says(&["2b"]);
    // Its target is rotated in a folder that is not watched.
    folder.rename("elsewhere/two", "elsewhere/two.1");
    folder.write("elsewhere/two", "3\n");
    stream.says(&["3"]);
}

#[test]
fn a_link_among_the_folders_can_be_pointed_elsewhere() {
    let folder = Folder::new();
    for name in ["1", "2"] {
        fs::create_dir(folder.path(name)).unwrap();
        folder.write(&format!("{name}/log"), format!("{name}\n"));
    }
    symlink("1", folder.path("current")).unwrap();
    let mut stream = follows(&folder.path("current/log"));
    stream.says(&["1"]);
    symlink("2", folder.path("new")).unwrap();
    folder.rename("new", "current");
    stream.says(&["2"]);
    folder.append("2/log", "2b\n");
    stream.says(&["2b"]);
}

#[test]
fn a_link_that_points_nowhere_yet_is_awaited() {
    let folder = Folder::new();
    fs::create_dir(folder.path("elsewhere")).unwrap();
    symlink("elsewhere/log", folder.path("log")).unwrap();
    let mut stream = follows(&folder.path("log"));
    folder.write("elsewhere/log", "here\n");
    stream.says(&["here"]);
}

#[test]
fn an_atomically_replaced_file_is_read_after_the_end_of_the_old_one() {
    let folder = Folder::new();
    let file = folder.write("log", "old\n");
    let mut stream = follows(&file);
    stream.says(&["old"]);
    for text in ["new\n", "newer\n"] {
        folder.write("tmp", text);
        folder.rename("tmp", "log");
        stream.says(&[text.trim_end()]);
    }
    fs::remove_file(&file).unwrap();
    folder.write("log", "made anew\n");
    stream.says(&["made anew"]);
}

fn permit(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_that_may_not_be_read_now_is_temporary_trouble_and_no_lost_place() {
    let folder = Folder::new();
    let file = folder.write("log", "1\n2\n3\n");
    let program = || Program::tail(&file).by_user(USER, &folder);
    let mut stream = program().start();
    stream.says(&["1", "2", "3"]);
    let id = stream.last_id().to_owned();
    drop(stream);
    folder.append("log", "4\n");
    permit(&file, 0o000);
    // A client with an id keeps it, and every client is asked to reconnect.
    for program in [program().last_id(&id), program()] {
        let mut refused = program.start();
        assert!(refused.head().starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(matches!(refused.next(), Some(Item::Retry(_))));
        refused.says(&["unavailable: {\"reason\":\"the file cannot be read now\"}"]);
        assert_eq!(refused.rest(), []);
        assert_eq!((refused.code(), refused.last_id()), (0, ""));
        let said = refused.stderr();
        assert!(
            said.contains("ermission denied") && said.contains("log"),
            "{said}"
        );
    }
    permit(&file, 0o644);
    program().start().says(&["1", "2", "3", "4"]);
    program().last_id(&id).start().says(&["4"]);
    program().set("SSE_BACKLOG", "1").start().says(&["4"]);
}

#[test]
fn lines_that_came_into_an_empty_file_and_were_copied_away_between_two_looks_come() {
    let folder = Folder::new();
    let file = folder.write("log", "");
    let mut stream = Program::tail(&file).start().opened();
    crate::reader::wait_until_asleep(&stream);
    stream.signal(Signal::SIGSTOP);
    folder.append("log", "1\n2\n");
    std::fs::copy(&file, folder.path("log.1")).unwrap();
    std::fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(0)
        .unwrap();
    folder.append("log", "3\n");
    stream.signal(Signal::SIGCONT);
    stream.says(&["1", "2", "3"]);
}

#[test]
fn a_new_file_that_may_be_read_only_later_is_read_as_soon_as_it_may() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let mut stream = Program::tail(&file).by_user(USER, &folder).start();
    stream.says(&["1"]);
    // An open file stays open.
    permit(&file, 0o000);
    folder.append("log", "2\n");
    stream.says(&["2"]);
    // As in logrotate: first the file, then its owner and mode.
    let new = folder.write("new", "3\n");
    permit(&new, 0o000);
    folder.rename("log", "log.1");
    folder.rename("new", "log");
    crate::reader::wait_until_asleep(&stream);
    permit(&file, 0o644);
    stream.says(&["3"]);
    folder.append("log", "4\n");
    stream.says(&["4"]);
}

#[test]
fn lines_come_at_once_where_there_is_no_proc() {
    // As in a chroot. If this user may not mount, nothing is tested.
    let mount = [
        "unshare",
        "-m",
        "sh",
        "-c",
        "mount -t tmpfs none /proc && exec \"$@\"",
        "sh",
    ];
    let may = std::process::Command::new("unshare")
        .args(&mount[1..])
        .arg("true")
        .status();
    if !may.is_ok_and(|status| status.success()) {
        return;
    }
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let mut stream = Program::tail(&file).by(&mount).start();
    stream.says(&["1"]);
    folder.append("log", "2\n");
    stream.says(&["2"]);
}
