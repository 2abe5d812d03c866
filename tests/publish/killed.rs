//! Publishers that are killed at any moment.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::post::{Post, timed};
use crate::stage::{DEADLINE, Folder, Program};

const PUBLISHERS: usize = 6;

fn post(file: &Path, text: &str) -> Post {
    let post = Post::text(file, text).set("SSE_MAX_LINE", "64M");
    post.set("SSE_PUBLISH_MAX", "16M")
        .set("SSE_PUBLISH_TIMEOUT", "5m")
}

/// Publishes and kills, and returns the responses that were sent nevertheless: text and id.
fn publish_and_kill(file: &Path, texts: &[String], longest: Duration) -> Vec<(String, String)> {
    let mut answered = Vec::new();
    for text in texts {
        let mut posting = post(file, text).start();
        let mut body = posting.ours.try_clone().unwrap();
        // From before its first step to after its last.
        let moment = longest.mul_f64(fastrand::f64());
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(move || body.write_all(text.as_bytes()));
            std::thread::sleep(moment.saturating_sub(start.elapsed()));
            posting.kill();
        });
        let answer = posting.answer();
        if answer.body.ends_with("}\n") {
            answered.push((text.clone(), answer.id()));
        }
    }
    answered
}

fn check(size: usize, rounds: usize) {
    let folder = Folder::new();
    let file = folder.write("a.jsonl", "");
    let (_, whole_post) = timed(|| post(&file, &"x".repeat(size)).created());
    let run = |who: usize| {
        let text = |nth: usize| format!("{who}.{nth} {}", "x".repeat(size));
        let texts: Vec<String> = (0..rounds).map(text).collect();
        publish_and_kill(&file, &texts, whole_post * PUBLISHERS as u32)
    };
    let answered: Vec<(String, String)> = std::thread::scope(|scope| {
        let run = &run;
        let all: Vec<_> = (0..PUBLISHERS)
            .map(|who| scope.spawn(move || run(who)))
            .collect();
        all.into_iter()
            .flat_map(|one| one.join().unwrap())
            .collect()
    });
    // The publisher after the last one that was killed continues.
    let last = post(&file, "the last").created();
    let mut whole = BTreeSet::new();
    for line in fs::read_to_string(&file).unwrap().lines() {
        if let Ok(record) = serde_json::from_str::<serde_json::Value>(line) {
            let data = record["data"].as_str().unwrap().to_owned();
            assert!(whole.insert(data), "a record stands there twice");
        } else {
            // Torn: the beginning of one record, and of nothing else.
            let start = &line[..line.len().min(9)];
            assert!("{\"data\":\"".starts_with(start), "{line:.60}");
            assert_eq!(line.matches('{').count(), usize::from(!line.is_empty()));
        }
    }
    for (text, _) in &answered {
        assert!(whole.contains(text), "{text:.20} is lost");
    }
    let reader = Program::tail(&file)
        .set("SSE_BACKLOG", "1000")
        .set("SSE_REPLAY", "1G");
    let mut reader = reader.set("SSE_MAX_LINE", "64M").start();
    let start = Instant::now();
    let mut came = BTreeSet::new();
    while came.last().is_none() || !came.iter().any(|(_, id)| *id == last) {
        assert!(start.elapsed() < DEADLINE, "the last one does not come");
        let event = reader.event();
        came.insert((event.data, event.id));
    }
    for pair in &answered {
        assert!(came.contains(pair), "{:.20} came with another id", pair.0);
    }
}

#[test]
fn what_was_answered_is_in_the_file_whole_whoever_is_killed() {
    check(60_000, 20);
}

/// A write of this size takes so long that some are killed in the middle of it.
#[test]
fn a_record_that_a_kill_has_torn_is_a_line_of_its_own() {
    check(2_000_000, 4);
}
