//! Publishers that are killed at any moment.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::post::Post;
use crate::stage::{DEADLINE, Folder, Program};

#[test]
fn what_was_answered_is_in_the_file_whole_whoever_is_killed() {
    const ROUNDS: usize = 25;
    let folder = Folder::new();
    let file = folder.write("a.jsonl", "");
    let text = |who: usize, nth: usize| format!("{who}.{nth} {}", "x".repeat(60_000));
    let run = |who: usize| {
        let mut answered = Vec::new();
        for nth in 0..ROUNDS {
            let text = text(who, nth);
            let post = Post::text(&file, &text);
            let mut posting = post.start();
            let mut body = posting.ours.try_clone().unwrap();
            let _ = body.write_all(text.as_bytes());
            // From before its first step to after its last.
            let moment = Duration::from_micros(fastrand::u64(0..12_000));
            let start = Instant::now();
            while start.elapsed() < moment {
                std::thread::yield_now();
            }
            posting.kill();
            let answer = posting.answer();
            if answer.body.ends_with("}\n") {
                answered.push((text, answer.id()));
            }
        }
        answered
    };
    let answered: Vec<(String, String)> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..6).map(|who| scope.spawn(move || run(who))).collect();
        all.into_iter()
            .flat_map(|one| one.join().unwrap())
            .collect()
    });
    // Whoever comes after the last one that was killed goes on.
    let last = Post::text(&file, "the last").created();
    let mut whole = BTreeSet::new();
    for line in fs::read_to_string(&file).unwrap().lines() {
        if let Ok(record) = serde_json::from_str::<serde_json::Value>(line) {
            let data = record["data"].as_str().unwrap().to_owned();
            assert!(whole.insert(data), "a record stands there twice");
        } else {
            let is_torn = line.is_empty() || "{\"data\":\"".starts_with(&line[..line.len().min(9)]);
            assert!(is_torn && !line[1..].contains('{'), "{line:.60}");
        }
    }
    for (text, _) in &answered {
        assert!(whole.contains(text), "{text:.20} is lost");
    }
    let mut reader = Program::tail(&file).set("SSE_BACKLOG", "1000").start();
    let start = Instant::now();
    let mut came = Vec::new();
    while reader.last_id() != last {
        assert!(start.elapsed() < DEADLINE, "the last one does not come");
        let event = reader.event();
        came.push((event.data, event.id));
    }
    for pair in &answered {
        assert!(came.contains(pair), "{:.20} came with another id", pair.0);
    }
}
