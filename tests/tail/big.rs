//! Files that are larger than memory, and lines that are.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::stage::{DEADLINE, Follower, Next, Tail, wait_for};
use crate::support::folder::{Folder, append};

const GIB: u64 = 1 << 30;

/// A file of holes with ten lines at its end and a few at its start.
fn sparse(folder: &Folder, size_bytes: u64) -> (PathBuf, Vec<String>) {
    let path = folder.join("big.log");
    let file = File::create(&path).unwrap();
    file.write_all_at(b"first\nsecond\n", 0).unwrap();
    let lines: Vec<String> = (0..10).map(|n| format!("line {n} of a big file")).collect();
    let text = format!("\n{}\n", lines.join("\n"));
    file.write_all_at(text.as_bytes(), size_bytes - text.len() as u64)
        .unwrap();
    assert_eq!(file.metadata().unwrap().len(), size_bytes);
    (path, lines)
}

fn read_bytes(follower: &Follower) -> u64 {
    follower.figure("io", "rchar")
}

/// What a follower of a file of one line reads: its libraries, above all.
fn least_read_bytes(folder: &Folder) -> u64 {
    let path = folder.join("small.log");
    fs::write(&path, "line\n").unwrap();
    let mut follower = Tail::of(&path).start();
    follower.says(&["line"]);
    read_bytes(&follower)
}

#[test]
fn opening_10_gib_reads_kilobytes_and_so_does_coming_back() {
    let folder = Folder::new();
    let least = least_read_bytes(&folder);
    let (path, lines) = sparse(&folder, 10 * GIB);
    let mut follower = Tail::of(&path).start();
    let mut ids = Vec::new();
    for line in &lines {
        let event = follower.event();
        assert_eq!(event.data, *line);
        ids.push(event.id);
    }
    assert!(ids[9].starts_with(&format!("{}-", 10 * GIB)), "{}", ids[9]);
    let read = read_bytes(&follower) - least;
    assert!(read < 40_000, "{read} bytes");

    let mut returned = Tail::of(&path).last_id(&ids[4]).start();
    for line in &lines[5..] {
        assert_eq!(returned.event().data, *line);
    }
    let read = read_bytes(&returned) - least;
    assert!(read < 40_000, "{read} bytes");
    append(&path, "beyond\n");
    follower.says(&["beyond"]);
    returned.says(&["beyond"]);
}

#[test]
fn offsets_beyond_4_gib_and_2_gib_are_offsets_like_any_other() {
    let folder = Folder::new();
    for edge in [2 * GIB, 4 * GIB] {
        // The lines lie across the edge.
        let (path, lines) = sparse(&folder, edge + 100);
        let mut follower = Tail::of(&path).start();
        for line in &lines {
            let event = follower.event();
            assert_eq!(event.data, *line);
            let mut returned = Tail::of(&path).last_id(&event.id).start();
            match lines.iter().position(|l| l == line).unwrap() {
                9 => drop(returned.idle()),
                at => assert_eq!(returned.event().data, lines[at + 1]),
            }
        }
    }
}

#[test]
fn a_client_of_a_big_file_that_is_too_far_behind_is_told_how_much_it_missed() {
    let folder = Folder::new();
    let path = folder.join("app.log");
    fs::write(&path, "first\n").unwrap();
    let id = Tail::of(&path).start().event().id;
    let file = File::options().write(true).open(&path).unwrap();
    let end = 6 * GIB;
    let lines = "x\n".repeat(500_000);
    file.write_all_at(b"\n", end - lines.len() as u64 - 1)
        .unwrap();
    file.write_all_at(lines.as_bytes(), end - lines.len() as u64)
        .unwrap();
    let mut follower = Tail::of(&path)
        .last_id(&id)
        .set("SSE_REPLAY", "100K")
        .start();
    let gap = follower.event();
    let missed = end - 6 - 100 * 1024;
    assert_eq!(
        gap.data,
        format!("{{\"reason\":\"expired\",\"bytes\":{missed}}}")
    );
    assert!(
        gap.id.starts_with(&format!("{}-", end - 100 * 1024)),
        "{}",
        gap.id
    );
    follower.says(&["x"]);
}

/// Writes a line of `bytes` bytes without its end.
fn write_long_line(path: &PathBuf, bytes: usize) {
    let file = File::options()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    let mut file = BufWriter::new(file);
    let piece = "0123456789abcdef".repeat(4_096);
    for _ in 0..bytes / piece.len() {
        file.write_all(piece.as_bytes()).unwrap();
    }
    file.flush().unwrap();
}

#[test]
fn a_line_of_64_mib_is_cut_in_bounded_memory() {
    const LENGTH: usize = 64 << 20;
    let folder = Folder::new();
    let path = folder.join("app.log");
    fs::write(&path, "before\n").unwrap();
    // Live: it comes piece by piece.
    let mut follower = Tail::of(&path).start();
    follower.says(&["before"]);
    let idle = follower.figure("status", "VmHWM");
    write_long_line(&path, LENGTH);
    append(&path, "\nafter\n");
    let expected = format!("{{\"reason\":\"cut\",\"bytes\":{}}}", LENGTH - (1 << 20));
    let cut = follower.event();
    assert_eq!(cut.data.len(), 1 << 20);
    let gap = follower.event();
    assert_eq!(
        (gap.name.as_str(), gap.data.as_str()),
        ("gap", expected.as_str())
    );
    follower.says(&["after"]);
    let most = follower.figure("status", "VmHWM") - idle;
    assert!(most < 12 * 1024, "{most} kB more than idle");

    // The same as a backlog, and from its own id, from which the rest is a gap.
    let mut late = Tail::of(&path).set("SSE_REPLAY", "1G").start();
    late.says(&["before"]);
    assert_eq!(late.event(), cut);
    assert_eq!(late.event(), gap);
    late.says(&["after"]);
    assert!(late.figure("status", "VmHWM") < idle + 12 * 1024);
    let mut returned = Tail::of(&path)
        .last_id(&cut.id)
        .set("SSE_REPLAY", "1G")
        .start();
    assert_eq!(returned.event(), gap);
    returned.says(&["after"]);
    assert!(returned.figure("status", "VmHWM") < idle + 12 * 1024);
}

#[test]
fn a_cut_falls_between_two_characters() {
    let folder = Folder::new();
    let path = folder.join("app.log");
    for shift in 0..4 {
        let line = format!("{}{}", "x".repeat(shift), "€".repeat(40));
        fs::write(&path, format!("{line}\nnext\n")).unwrap();
        let mut follower = Tail::of(&path).set("SSE_MAX_LINE", "64").start();
        let cut = follower.event().data;
        assert!(
            line.starts_with(&cut) && cut.len() > 61 && cut.len() <= 64,
            "{cut}"
        );
        let left = line.len() - cut.len();
        follower.says(&[
            &format!("gap: {{\"reason\":\"cut\",\"bytes\":{left}}}"),
            "next",
        ]);
    }
}

#[test]
fn a_reader_that_takes_nothing_costs_no_memory() {
    let folder = Folder::new();
    let path = folder.join("app.log");
    fs::write(&path, "before\n").unwrap();
    let mut follower = Tail::of(&path).start();
    follower.says(&["before"]);
    let idle = follower.figure("status", "VmRSS");
    let line = "y".repeat(999) + "\n";
    append(&path, &line.repeat(30_000));
    // Blocked: it has slept without waking for a while.
    let mut last = (0, Instant::now());
    wait_for("a full pipe", || {
        let woken = follower.figure("status", "voluntary_ctxt_switches");
        if woken != last.0 {
            last = (woken, Instant::now());
        }
        (last.1.elapsed() > Duration::from_millis(50)).then_some(())
    });
    assert!(follower.figure("status", "VmRSS") < idle + 2_048);
    append(&path, "last\n");
    let mut count = 0;
    loop {
        match follower.next(DEADLINE) {
            Next::Item(crate::support::event_stream::Item::Event(event))
                if event.data == "last" =>
            {
                break;
            }
            Next::Item(_) => count += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(count, 30_000);
}
