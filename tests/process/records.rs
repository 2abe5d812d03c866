//! The content of lines, and their maximum length.

use std::fs;
use std::os::unix::fs::FileExt as _;

use crate::stage::{Folder, Program};
use crate::support::event_stream::Event;

#[test]
fn any_byte_in_a_line_arrives_or_is_replaced() {
    let folder = Folder::new();
    let file = folder.path("log");
    let mut text = Vec::new();
    for line in [
        &b"\xEF\xBB\xBFbom"[..],
        b"a\0b",
        b"x\ry",
        b"x\r\r",
        b"\xFF\xFEz\xC3",
        b"\xC3\0\xA9",
        b" lead and trail ",
        b"data: x",
        b"id: 7",
        b"",
        b":",
        b"\x0b\x0c\x1b[31m\xE2\x80\xA8",
    ] {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    fs::write(&file, &text).unwrap();
    let mut stream = Program::tail(&file).set("SSE_BACKLOG", "99").start();
    stream.says(&[
        // A mark at the start of a file indicates its encoding, and is not part of a line.
        "bom",
        "ab",
        "x\ny",
        // Only the last CR belongs to the line end.
        "x\n",
        "\u{FFFD}\u{FFFD}z\u{FFFD}",
        "\u{FFFD}\u{FFFD}",
        " lead and trail ",
        "data: x",
        "id: 7",
        "",
        ":",
        "\x0b\x0c\x1b[31m\u{2028}",
    ]);
}

/// A file with a line of 64 MiB between two short ones, and the id after the first.
fn with_a_long_line(folder: &Folder) -> (std::path::PathBuf, String) {
    let file = folder.write("log", "before\n");
    let mut stream = Program::tail(&file).start();
    stream.says(&["before"]);
    let id = stream.last_id().to_owned();
    drop(stream);
    let megabyte = "0123456789abcdef".repeat(1 << 16);
    for _ in 0..64 {
        folder.append("log", &megabyte);
    }
    folder.append("log", "\nafter\n");
    (file, id)
}

#[test]
fn a_line_of_64_mib_is_cut_in_bounded_memory_and_the_rest_is_a_gap() {
    let folder = Folder::new();
    let (file, id) = with_a_long_line(&folder);
    let program = || {
        Program::tail(&file)
            .set("SSE_MAX_LINE", "1M")
            .set("SSE_REPLAY", "1G")
    };
    let mut stream = program().last_id(&id).start();
    let cut = stream.event();
    assert_eq!((cut.name.as_str(), cut.data.len()), ("message", 1 << 20));
    let left_out = (64 << 20) - (1 << 20);
    let gap = format!("gap: {{\"reason\":\"cut\",\"bytes\":{left_out}}}");
    stream.says(&[&gap, "after"]);
    let most = stream.status("VmHWM");
    assert!(most < 20_000, "{most} kB");
    // A client that disconnects between the record and its gap gets the gap later.
    program().last_id(&cut.id).start().says(&[&gap, "after"]);
}

#[test]
fn a_long_line_that_is_written_piece_by_piece_is_cut_too() {
    let folder = Folder::new();
    let file = folder.write("log", "before\n");
    let mut stream = Program::tail(&file).set("SSE_MAX_LINE", "16").start();
    stream.says(&["before"]);
    for _ in 0..40 {
        folder.append("log", "0123456789");
    }
    crate::reader::wait_until_asleep(&stream);
    folder.append("log", "\r\nafter\n");
    stream.says(&[
        "0123456789012345",
        "gap: {\"reason\":\"cut\",\"bytes\":384}",
        "after",
    ]);
    // Exactly the maximum length, and one more.
    folder.append("log", "0123456789abcdef\n0123456789abcdefg\n");
    stream.says(&[
        "0123456789abcdef",
        "0123456789abcdef",
        "gap: {\"reason\":\"cut\",\"bytes\":1}",
    ]);
}

#[test]
fn a_cut_never_splits_a_character() {
    let folder = Folder::new();
    let file = folder.write("log", "x0123456789abcdeé\n");
    let mut stream = Program::tail(&file).set("SSE_MAX_LINE", "17").start();
    stream.says(&["x0123456789abcde", "gap: {\"reason\":\"cut\",\"bytes\":2}"]);
}

#[test]
fn a_file_of_more_than_four_gigabytes_is_followed_from_its_end() {
    let folder = Folder::new();
    let file = folder.write("log", "begin\n");
    let sparse = fs::OpenOptions::new().write(true).open(&file).unwrap();
    let end = 5 << 30;
    sparse.write_all_at(b"\nend\n", end).unwrap();
    let mut stream = Program::tail(&file).set("SSE_BACKLOG", "1").start();
    stream.says(&["end"]);
    let id = stream.last_id().to_owned();
    assert!(id.starts_with(&format!("{}-", end + 5)), "{id}");
    folder.append("log", "live\n");
    stream.says(&["live"]);
    Program::tail(&file).last_id(&id).start().says(&["live"]);
    // An unknown id does not make it read five gigabytes.
    let unknown = "9-0123456789abcdef";
    let mut stream = Program::tail(&file).last_id(unknown).start();
    let gap: Event = stream.event();
    assert_eq!(gap.data, "{\"reason\":\"unknown-id\"}");
    stream.says(&["begin", "", "end", "live"]);
}
