//! Clients of streams that read slowly, or not at all.

use std::fs;
use std::io::Read as _;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::stage::{Folder, Start, get, wait_for};

/// What SSE_SEND_TIMEOUT counts is the time since the kernel took a byte. It reports room only
/// after a third of its buffer is free, which takes a client longer that reads byte by byte.
#[test]
fn who_reads_ten_bytes_at_a_time_stays_and_who_reads_nothing_is_closed() {
    let folder = Folder::new();
    let line = format!("{}\n", "x".repeat(999));
    fs::write(folder.path("big.log"), line.repeat(15_000)).unwrap();
    let text = format!(
        "SSE_SEND_TIMEOUT = 1s\nSSE_BACKLOG = 15000\n\
         [/log]\nSSE_STREAM = tail\nSSE_FILE = {}/big.log\n[/status]\nSSE_STREAM = status\n",
        folder.display()
    );
    let start = Start::new(&folder).argument("--config");
    let httpd = start
        .argument(folder.write("streams.conf", text))
        .set("SSE_LOG", folder.path("log"))
        .start();
    let figure = |name: &str| {
        let figures: serde_json::Value =
            serde_json::from_slice(&httpd.get("/status").body).unwrap();
        figures[name].as_u64().unwrap()
    };
    let mut slow = httpd.connect();
    // Its own kernel reports soon that it has read something.
    setsockopt(&slow.socket, sockopt::RcvBuf, &16_384).unwrap();
    slow.send(get("/log"));
    let began = Instant::now();
    let silent = httpd.ask(get("/log"));
    let mut closed_at = None;
    // A megabyte a second, long enough for three timeouts.
    let mut read_bytes = 0;
    while began.elapsed() < Duration::from_millis(3200) {
        let due_bytes = began.elapsed().as_millis() * 1000;
        while read_bytes < due_bytes {
            slow.socket.read_exact(&mut [0; 10]).unwrap();
            read_bytes += 10;
        }
        if closed_at.is_none() && figure("dropped") == 1 {
            closed_at = Some(began.elapsed());
        }
    }
    assert!(
        closed_at.is_some_and(|at| at > Duration::from_millis(990)),
        "{closed_at:?}"
    );
    assert_eq!((figure("dropped"), figure("subscribers")), (1, 1));
    assert_eq!(folder.read("log").matches("takes nothing").count(), 1);
    // One that stops reading is closed as well.
    wait_for("the end of the other", || {
        (figure("subscribers") == 0).then_some(())
    });
    assert_eq!(figure("dropped"), 2);
    drop((slow, silent));
}
