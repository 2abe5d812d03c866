//! Readers that are slow, or accept nothing.

use std::time::{Duration, Instant};

use crate::stage::{EVERY_WAY, Folder, Over, Program, Running, wait_for};
use crate::support::process;

/// Waits until the program has slept for a while: it is idle or blocked.
pub fn wait_until_asleep(stream: &Running) {
    process::wait_until_asleep(stream.pid(), Duration::from_millis(60));
}

#[test]
fn a_reader_that_takes_nothing_is_left_after_the_send_timeout() {
    let folder = Folder::new();
    let line = format!("{}\n", "x".repeat(999));
    let file = folder.write("log", line.repeat(10_000));
    let mut streams: Vec<Running> = EVERY_WAY
        .iter()
        .map(|over| {
            let program = Program::tail(&file)
                .set("SSE_BACKLOG", "100000")
                .over(*over);
            program.set("SSE_SEND_TIMEOUT", "1s").start()
        })
        .collect();
    let start = Instant::now();
    for stream in &mut streams {
        assert_eq!(stream.code(), 0, "{}", stream.stderr());
    }
    // A kernel accepts a little more for a silent TCP reader now and then.
    let took = start.elapsed().as_millis();
    assert!((900..4_000).contains(&took), "{took} ms");
}

#[test]
fn a_slow_reader_of_a_hundred_megabytes_loses_nothing_and_costs_no_memory() {
    let folder = Folder::new();
    let lines = 100_000;
    let filler = "x".repeat(1_000);
    let text: String = (0..lines).map(|n| format!("{n} {filler}\n")).collect();
    let file = folder.write("log", &text);
    drop(text);
    let program = Program::tail(&file).set("SSE_BACKLOG", "1000000");
    let program = program
        .set("SSE_REPLAY", "1G")
        .set("SSE_SEND_TIMEOUT", "1s");
    let mut stream = program.over(Over::Pipe).start();
    // First so little at a time that it takes much longer than the timeout ...
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1_800) {
        let bytes = stream.read(8_192);
        stream.take(&bytes);
        std::thread::sleep(Duration::from_millis(150));
    }
    // ... then the rest as fast as it comes.
    for number in 0..lines {
        let data = stream.event().data;
        assert_eq!(data.split(' ').next(), Some(number.to_string().as_str()));
    }
    let most = stream.status("VmHWM");
    assert!(most < 12_000, "{most} kB");
}

#[test]
fn a_line_written_while_the_reader_was_slow_comes_as_soon_as_it_reads_on() {
    // If every change is reported, nothing is polled without a report.
    let folder = Folder::in_memory();
    let file = folder.write("log", "first\n");
    let mut stream = Program::tail(&file).over(Over::Pipe).start();
    stream.says(&["first"]);
    wait_until_asleep(&stream);
    // The first fills the pipe, the second does not fit, and the third is reported while the
    // program cannot write.
    let long = "x".repeat(40_000);
    for text in [&long, &long, "next"] {
        let awoken = stream.status("voluntary_ctxt_switches");
        folder.append("log", format!("{text}\n"));
        wait_for("a program that took the hint", || {
            (stream.status("voluntary_ctxt_switches") > awoken).then_some(())
        });
        wait_until_asleep(&stream);
    }
    stream.says(&[&long, &long]);
    let start = Instant::now();
    stream.says(&["next"]);
    // Much sooner than the next heartbeat, which also polls.
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}
