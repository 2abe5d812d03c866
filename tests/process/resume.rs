//! The position at which a returning client continues.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::stage::{Folder, Program, shown};
use crate::support::event_stream::{Event, Item};

/// Everything that a client with this last id gets at once: over HTTP/2 an nph program ends as
/// soon as it has sent what there is.
fn gets(program: Program, last_id: &str) -> Vec<Event> {
    let program = program
        .set("SERVER_PROTOCOL", "HTTP/2.0")
        .set("SSE_HEARTBEAT", "1s");
    let mut stream = program.last_id(last_id).start();
    let events = stream.rest();
    assert_eq!(stream.code(), 0);
    events
}

fn all_shown(events: &[Event]) -> Vec<String> {
    events.iter().map(shown).collect()
}

#[test]
fn a_first_client_gets_as_many_lines_as_it_should() {
    let folder = Folder::new();
    let lines: Vec<String> = (1..=15).map(|number| number.to_string()).collect();
    let file = folder.write("log", lines.join("\n") + "\n");
    for (backlog, count) in [
        ("1", 1),
        ("10", 10),
        ("", 10),
        ("15", 15),
        ("16", 15),
        ("9999", 15),
    ] {
        let program = Program::tail(&file).set("SSE_BACKLOG", backlog);
        assert_eq!(
            all_shown(&gets(program, "")),
            lines[15 - count..],
            "{backlog}"
        );
    }
    // A client without an id gets its position, and what follows.
    let mut stream = Program::tail(&file)
        .set("SSE_BACKLOG", "0")
        .start()
        .opened();
    assert!(matches!(stream.next(), Some(Item::Blank { id, .. }) if id.starts_with("36-")));
    folder.append("log", "16\n");
    stream.says(&["16"]);
}

#[test]
fn from_every_id_of_a_file_exactly_the_rest_comes() {
    let folder = Folder::new();
    let mut text = String::new();
    for number in 0..12 {
        text += &format!(
            "line {number}\r\n\nsame\nsame\nünïcödé {}\n",
            "x".repeat(number * 30)
        );
    }
    let file = folder.write("log", text + "unfinished");
    let program = || Program::tail(&file).set("SSE_BACKLOG", "1000");
    let mut first = program().start();
    let events = first.events(60);
    let all = all_shown(&events);
    // The last one would only wait for its heartbeat.
    for (at, event) in events.iter().enumerate().take(59) {
        assert_eq!(
            all_shown(&gets(program(), &event.id)),
            all[at + 1..],
            "from {}",
            event.id
        );
    }
    let last = &events[59].id;
    folder.append("log", " no more\n");
    assert_eq!(all_shown(&gets(program(), last)), ["unfinished no more"]);
}

#[test]
fn an_id_that_cannot_be_read_is_a_gap_and_then_the_backlog() {
    let folder = Folder::new();
    let file = folder.write("log", "1\n2\n3\n");
    let long = "9".repeat(300);
    for id in [
        "5, 6",
        "nonsense",
        "5",
        "-",
        "4-ABCDEF0123456789",
        "é",
        &long,
        "4-0123456789abcde",
        " ",
    ] {
        let program = Program::tail(&file).set("SSE_BACKLOG", "2");
        let events = gets(program, id);
        let expected = ["gap: {\"reason\":\"bad-id\"}", "2", "3"];
        assert_eq!(all_shown(&events), expected, "{id:?}");
        // A client that disconnects after the gap gets the same backlog, and no second gap.
        assert_eq!(
            all_shown(&gets(Program::tail(&file), &events[0].id)),
            ["2", "3"]
        );
    }
}

#[test]
fn an_id_of_another_file_is_a_gap_and_then_the_file_from_its_start() {
    let folder = Folder::new();
    let one = folder.write("one", "a\nb\nc\n");
    let two = folder.write("two", "d\ne\nf\ng\n");
    let id = gets(Program::tail(&one), "").last().unwrap().id.clone();
    let program = || Program::tail(&two).set("SSE_BACKLOG", "1");
    let expected = ["gap: {\"reason\":\"unknown-id\"}", "d", "e", "f", "g"];
    for id in [
        id.as_str(),
        "0-0000000000000000",
        "99999-0123456789abcdef",
        "18446744073709551615-0123456789abcdef",
    ] {
        let events = gets(program(), id);
        assert_eq!(all_shown(&events), expected, "{id}");
        assert_eq!(all_shown(&gets(program(), &events[0].id)), expected[1..]);
    }
}

#[test]
fn what_lies_too_far_back_has_expired_and_the_gap_counts_it() {
    let folder = Folder::new();
    let lines: Vec<String> = (0..200)
        .map(|number| format!("line number {number}"))
        .collect();
    let file = folder.write("log", lines.join("\n") + "\n");
    let whole = gets(Program::tail(&file).set("SSE_BACKLOG", "999"), "");
    let program = || Program::tail(&file).set("SSE_REPLAY", "1K");
    let events = gets(program(), &whole[9].id);
    let left = events.len() - 1;
    assert!((50..70).contains(&left), "{left}");
    let offset = |id: &str| id.split('-').next().unwrap().parse::<u64>().unwrap();
    let skipped = offset(&whole[199 - left].id) - offset(&whole[9].id);
    assert_eq!(
        events[0].data,
        format!("{{\"reason\":\"expired\",\"bytes\":{skipped}}}")
    );
    assert_eq!(all_shown(&events[1..]), lines[200 - left..]);
    assert_eq!(events[0].id, whole[199 - left].id);
    // A part that is near enough is replayed without a gap.
    assert_eq!(all_shown(&gets(program(), &whole[189].id)), lines[190..]);
    // Nothing may be replayed: everything is skipped and reported.
    let none = Program::tail(&file).set("SSE_REPLAY", "0");
    let events = gets(none, &whole[189].id);
    assert_eq!(
        (events.len(), events[0].id.as_str()),
        (1, whole[199].id.as_str())
    );
}

#[test]
fn an_id_from_the_query_counts_where_there_is_no_header() {
    let folder = Folder::new();
    let file = folder.write("log", "1\n2\n3\n");
    let events = gets(Program::tail(&file), "");
    for name in ["lastEventId", "last_event_id", "evs_last_event_id"] {
        let query = format!("x=y&{name}={}", events[0].id);
        assert_eq!(
            all_shown(&gets(Program::tail(&file).query(&query), "")),
            ["2", "3"]
        );
    }
}

#[test]
fn a_client_that_waits_at_the_start_of_an_empty_file_gets_its_first_line() {
    let folder = Folder::new();
    let file = folder.path("log");
    let mut stream = Program::tail(&file).start().opened();
    let Some(Item::Blank { id, .. }) = stream.next() else {
        panic!("no place");
    };
    drop(stream);
    let lines: String = (0..30).map(|number| format!("{number}\n")).collect();
    folder.write("log", lines);
    assert_eq!(gets(Program::tail(&file), &id).len(), 30);
}

/// A log that is rotated, and how often.
#[derive(Clone, Copy)]
struct Rotated {
    lines: usize,
    lines_a_file: usize,
    /// How many rotated files are kept.
    files: usize,
    /// How many lines a follower may deliver before it is killed.
    most: usize,
}

#[test]
fn a_client_whose_follower_is_killed_at_any_moment_has_every_line_once() {
    let kills = kill_while_writing(Rotated {
        lines: 8_000,
        lines_a_file: 97,
        files: 10,
        most: 60,
    });
    assert!(kills > 200, "{kills} kills");
}

#[test]
fn a_client_that_returns_in_the_middle_of_a_rotation_loses_nothing() {
    kill_while_writing(Rotated {
        lines: 2_500,
        lines_a_file: 11,
        files: 15,
        most: 13,
    });
}

/// Kills followers while their file is written and rotated; returns how many.
fn kill_while_writing(log: Rotated) -> usize {
    let folder = Folder::new();
    let file = folder.write("log", "");
    // A first-time client gets nothing that was rotated before it connected, so it connects
    // first.
    let mut first = Program::tail(&file).start().opened();
    assert!(matches!(first.next(), Some(Item::Blank { .. })));
    let mut id = first.last_id().to_owned();
    drop(first);
    let received = Arc::new(AtomicUsize::new(0));
    let writer = {
        let (path, received) = (file.clone(), Arc::clone(&received));
        std::thread::spawn(move || write(&path, log, &received))
    };
    let (mut lines, mut kills) = (0, 0_usize);
    while lines < log.lines {
        let mut stream = Program::tail(&file).last_id(&id).start();
        for _ in 0..=(kills * 31) % log.most {
            if lines == log.lines {
                break;
            }
            let event = stream.event();
            assert_eq!(event.name, "message", "after {lines} lines: {event:?}");
            let number: usize = event.data.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(
                number, lines,
                "after {id}, follower {kills}, came {}",
                event.id
            );
            lines += 1;
            id = event.id;
            received.store(lines, Ordering::Relaxed);
        }
        // Dropping it kills it, whatever it is doing.
        kills += 1;
    }
    writer.join().unwrap();
    kills
}

fn write(path: &Path, log: Rotated, received: &AtomicUsize) {
    let name = |number: usize| path.with_extension(number.to_string());
    let append = |text: &str| {
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    };
    for number in 0..log.lines {
        // Far fewer than the rotated files contain, so that nothing is really lost.
        let ahead = (log.files - 4) * log.lines_a_file;
        while number > received.load(Ordering::Relaxed) + ahead {
            std::thread::sleep(Duration::from_millis(1));
        }
        let line = format!("{number} {}\n", "x".repeat(number * 7919 % 120));
        // In two pieces, now and then.
        let (head, tail) = line.split_at(number % 3);
        append(head);
        append(tail);
        if number % log.lines_a_file == log.lines_a_file - 1 {
            for old in (1..log.files).rev() {
                let _ = fs::rename(name(old), name(old + 1));
            }
            fs::rename(path, name(1)).unwrap();
        }
    }
}
