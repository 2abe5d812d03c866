//! How a process ends, and what must not end it.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::reader::wait_until_asleep;
use crate::stage::{EVERY_WAY, Folder, ONE_SECOND, Over, Program, Running};

/// Follows an empty file, so it sends nothing for a long time.
fn idle(folder: &Folder, over: Over) -> Program {
    Program::tail(&folder.write("log", "")).over(over)
}

/// Writes to a reader that accepts nothing.
fn blocked(folder: &Folder, over: Over) -> Running {
    let line = format!("{}\n", "x".repeat(999));
    let file = folder.write("big", line.repeat(20_000));
    let program = Program::tail(&file).set("SSE_BACKLOG", "100000").over(over);
    let mut stream = program.set("SSE_REPLAY", "1G").start();
    stream.head();
    wait_until_asleep(&stream);
    stream
}

#[test]
fn sigterm_ends_an_idle_stream_at_once() {
    let folder = Folder::new();
    for over in EVERY_WAY {
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            let mut stream = idle(&folder, over).start().opened();
            stream.ends_within(ONE_SECOND, |stream| stream.signal(signal));
            assert_eq!(stream.stderr(), "");
        }
    }
}

#[test]
fn sigterm_ends_a_stream_whose_reader_takes_nothing() {
    let folder = Folder::new();
    for over in EVERY_WAY {
        let mut stream = blocked(&folder, over);
        stream.ends_within(ONE_SECOND, |stream| stream.signal(Signal::SIGTERM));
    }
}

#[test]
fn sigterm_ends_a_stream_whose_reader_takes_a_little_now_and_then() {
    let folder = Folder::new();
    let file = folder.write("big", format!("{}\n", "x".repeat(16_000_000)));
    let program = Program::tail(&file)
        .set("SSE_MAX_LINE", "64M")
        .set("SSE_REPLAY", "1G");
    let mut stream = program.over(Over::Pipe).start();
    stream.head();
    stream.signal(Signal::SIGTERM);
    let start = Instant::now();
    // Reads a little every 50 ms, far less than is available.
    while !stream.read(4096).is_empty() {
        let after = start.elapsed();
        assert!(
            after < Duration::from_millis(1_500),
            "still there after {after:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(stream.code(), 0);
}

#[test]
fn sigterm_ends_a_stream_that_looks_for_the_end_of_an_endless_line() {
    let folder = Folder::new();
    let file = folder.write("log", "a\n");
    let mut stream = Program::tail(&file).start();
    stream.says(&["a"]);
    // A writer without newlines, as fast as the reader.
    let (stop, is_over) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn(move || {
        let mut log = std::fs::OpenOptions::new()
            .append(true)
            .open(&file)
            .unwrap();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..2_000 {
            if is_over.try_recv() != Err(std::sync::mpsc::TryRecvError::Empty) {
                return;
            }
            std::io::Write::write_all(&mut log, &piece).unwrap();
        }
    });
    // It has begun when it uses the processor.
    let ticks = |stream: &Running| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", stream.pid())).unwrap();
        let after_name = stat.rsplit_once(") ").unwrap().1.to_owned();
        let fields: Vec<u64> = after_name
            .split(' ')
            .map(|f| f.parse().unwrap_or(0))
            .collect();
        fields[11] + fields[12]
    };
    let before = ticks(&stream);
    crate::stage::wait_for("a busy program", || {
        (ticks(&stream) > before + 10).then_some(())
    });
    stream.ends_within(ONE_SECOND, |stream| stream.signal(Signal::SIGTERM));
    drop(stop);
    writer.join().unwrap();
}

#[test]
fn sigterm_counts_however_it_was_inherited() {
    let folder = Folder::new();
    for how in [
        "--ignore-signal=TERM",
        "--block-signal=TERM",
        "--block-signal",
        "--ignore-signal",
    ] {
        let mut stream = idle(&folder, Over::Socket)
            .by(&["env", how])
            .start()
            .opened();
        stream.ends_within(ONE_SECOND, |stream| stream.signal(Signal::SIGTERM));
    }
}

#[test]
fn a_reader_that_leaves_an_idle_stream_is_noticed_at_once() {
    let folder = Folder::new();
    // A TCP client that closes sends a FIN, which shows as RDHUP and does not mean that it has
    // left.
    for over in [Over::Socket, Over::Pipe] {
        let mut stream = idle(&folder, over).start().opened();
        stream.ends_within(ONE_SECOND, Running::leave);
        assert_eq!(stream.stderr(), "");
    }
}

#[test]
fn a_tcp_client_that_leaves_is_noticed_by_the_second_heartbeat() {
    let folder = Folder::new();
    let program = idle(&folder, Over::Tcp).set("SSE_HEARTBEAT", "1s");
    let mut stream = program.start().opened();
    stream.ends_within(Duration::from_millis(2_600), Running::leave);
}

#[test]
fn the_end_of_stdin_and_a_half_closed_socket_are_no_sign_of_leaving() {
    let folder = Folder::new();
    let mut streams: Vec<Running> = EVERY_WAY
        .iter()
        .map(|over| {
            idle(&folder, *over)
                .set("SSE_HEARTBEAT", "1s")
                .start()
                .opened()
        })
        .collect();
    for stream in &mut streams {
        stream.beat();
        stream.beat();
    }
}

#[test]
fn a_reader_that_leaves_a_busy_stream_is_a_normal_end() {
    for over in EVERY_WAY {
        let clock = Program::nph("clock").set("SSE_INTERVAL", "10ms").over(over);
        let mut stream = clock.start();
        stream.event();
        stream.ends_within(ONE_SECOND, Running::leave);
        assert_eq!(stream.stderr(), "");
    }
}

#[test]
fn a_reader_that_left_before_the_answer_is_a_normal_end() {
    let folder = Folder::new();
    for over in EVERY_WAY {
        for method in ["GET", "POST", "OPTIONS"] {
            let program = Program::nph("clock")
                .set("REQUEST_METHOD", method)
                .over(over);
            let (program, gate) = program.set("SSE_INTERVAL", "10ms").behind_a_gate(&folder);
            let mut stream = program.start();
            stream.leave();
            gate.open();
            assert_eq!(stream.code(), 0, "{method}: {}", stream.stderr());
            assert_eq!(stream.stderr(), "");
        }
    }
}

#[test]
fn a_connection_that_was_reset_before_the_answer_is_a_normal_end() {
    let folder = Folder::new();
    for method in ["GET", "POST", "OPTIONS"] {
        let program = Program::nph("clock")
            .set("REQUEST_METHOD", method)
            .over(Over::Tcp);
        let (program, gate) = program.behind_a_gate(&folder);
        let mut stream = program.start();
        stream.reset();
        gate.open();
        assert_eq!(stream.code(), 0, "{method}: {}", stream.stderr());
        assert_eq!(stream.stderr(), "");
    }
}

#[test]
fn heartbeats_count_from_the_last_byte() {
    let folder = Folder::new();
    let program = idle(&folder, Over::Socket).set("SSE_HEARTBEAT", "1s");
    let mut stream = program.start().opened();
    stream.beat();
    let first = Instant::now();
    // An event during the silence delays the next heartbeat.
    std::thread::sleep(Duration::from_millis(500));
    folder.append("log", "a\n");
    stream.says(&["a"]);
    let event = Instant::now();
    stream.beat();
    assert!(first.elapsed() >= Duration::from_millis(1_400));
    let silence = event.elapsed();
    assert!((950..1_400).contains(&silence.as_millis()), "{silence:?}");
}

#[test]
fn a_stream_ends_between_two_events_and_not_after_its_maximum_age() {
    let program = Program::nph("countdown").set("SSE_INTERVAL", "10ms");
    let mut stream = program
        .set("SSE_COUNT", "100000")
        .set("SSE_MAX_AGE", "1s")
        .start();
    let start = Instant::now();
    let numbers: Vec<u64> = stream
        .rest()
        .iter()
        .map(|e| e.data.parse().unwrap())
        .collect();
    let age = start.elapsed();
    assert_eq!(stream.code(), 0);
    assert!((850..1_100).contains(&age.as_millis()), "{age:?}");
    let first = 100_000 - numbers.len() as u64 + 1;
    assert!(numbers.iter().rev().copied().eq(first..=100_000));
}

#[test]
fn an_idle_stream_ends_at_its_maximum_age() {
    let folder = Folder::new();
    let mut stream = idle(&folder, Over::Pipe).set("SSE_MAX_AGE", "1s").start();
    stream.ends_within(Duration::from_millis(1_100), |stream| {
        assert_eq!(stream.rest(), []);
    });
}

#[test]
fn an_alarm_that_was_inherited_ends_nothing() {
    let folder = Folder::new();
    let program = idle(&folder, Over::Socket).set("SSE_HEARTBEAT", "1s");
    let mut stream = program.by(&["perl", "-e", "alarm 1; exec @ARGV"]).start();
    stream.beat();
    stream.beat();
}

#[test]
fn arguments_under_a_gateway_are_the_client_s_and_are_not_read() {
    let folder = Folder::new();
    let file = folder.write("log", "ours\n");
    for arguments in [
        &["--file", "/etc/passwd"][..],
        &["--help"],
        &["--version"],
        &["/etc/passwd"],
        &["--nonsense"],
        &["--last-event-id", "x"],
    ] {
        let mut stream = Program::tail(&file).arguments(arguments).start();
        assert!(stream.head().starts_with("HTTP/1.1 200 OK\r\n"));
        stream.says(&["ours"]);
    }
}
