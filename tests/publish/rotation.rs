//! A file that is rotated when it is full.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::post::Post;
use crate::stage::{DEADLINE, Folder, Program};

#[test]
fn rotation_while_publishing_and_listening_loses_and_doubles_nothing() {
    const PUBLISHERS: usize = 8;
    const EACH: usize = 40;
    let folder = Folder::new();
    let file = folder.write("a.jsonl", "");
    let mut reader = Program::tail(&file).start().opened();
    let run = |who: usize| {
        let post = |nth: usize| {
            let text = format!("{who}.{nth} {}", "x".repeat(200));
            let post = Post::text(&file, &text);
            let post = post.set("SSE_FILE_MAX", "8K").set("SSE_FILE_KEEP", "16");
            (text, post.created())
        };
        (0..EACH).map(post).collect::<Vec<_>>()
    };
    let sent: BTreeSet<(String, String)> = std::thread::scope(|scope| {
        let run = &run;
        let all: Vec<_> = (0..PUBLISHERS)
            .map(|who| scope.spawn(move || run(who)))
            .collect();
        all.into_iter()
            .flat_map(|one| one.join().unwrap())
            .collect()
    });
    let events = reader.events(PUBLISHERS * EACH);
    let got: BTreeSet<(String, String)> = events
        .iter()
        .map(|event| (event.data.clone(), event.id.clone()))
        .collect();
    assert!(
        got == sent,
        "{} of {} came",
        got.intersection(&sent).count(),
        sent.len()
    );
    // A client that was away gets the same events, from any position.
    for at in [0, 100, 250] {
        let mut resumed = Program::tail(&file).last_id(&events[at].id).start();
        let rest = resumed.events(events.len() - at - 1);
        assert!(rest == events[at + 1..], "another history after {at}");
    }
    for number in 1..=8 {
        let size = fs::metadata(folder.path(&format!("a.jsonl.{number}")))
            .unwrap()
            .len();
        assert!((7_900..=8_192).contains(&size), "{number}: {size}");
    }
}

#[test]
fn nobody_takes_the_moment_without_a_file_for_its_absence() {
    let folder = Folder::new();
    folder.write("a.jsonl", "");
    let below = |name: &str| {
        let post = Post::new().body("text/plain", "x".repeat(900));
        let post = post.set("SSE_ROOT", folder.path("")).set("PATH_INFO", name);
        post.set("SSE_FILE_MAX", "1K")
    };
    below("/a.jsonl").created();
    let is_over = AtomicBool::new(false);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) && start.elapsed() < DEADLINE {
                    below("/a.jsonl").created();
                }
            });
        }
        let heads: Vec<String> = (0..60)
            .map(|_| {
                let reader = Program::nph("tail").set("SSE_ROOT", folder.path(""));
                let reader = reader.set("PATH_INFO", "/a.jsonl");
                reader.set("REQUEST_METHOD", "HEAD").run().1
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        for head in heads {
            assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        }
    });
}

/// Publishes records until the file has been rotated `times` times.
fn rotate(folder: &Folder, times: usize, keep: &str) {
    let post = Post::text(&folder.path("a.jsonl"), &"x".repeat(900));
    let post = post.set("SSE_FILE_MAX", "1K").set("SSE_FILE_KEEP", keep);
    for _ in 0..times {
        post.created();
    }
}

#[test]
fn so_many_are_kept_and_the_oldest_goes() {
    let folder = Folder::new();
    folder.write(
        "a.jsonl",
        format!("{{\"data\":\"first{}\"}}\n", " ".repeat(500)),
    );
    rotate(&folder, 3, "3");
    assert!(
        fs::read_to_string(folder.path("a.jsonl.3"))
            .unwrap()
            .contains("first")
    );
    assert!(!folder.path("a.jsonl.4").exists());
    rotate(&folder, 1, "3");
    assert!(
        !fs::read_to_string(folder.path("a.jsonl.3"))
            .unwrap()
            .contains("first")
    );
    rotate(&folder, 2, "1");
    assert!(
        folder.path("a.jsonl.3").exists(),
        "what is not ours to remove stays"
    );
}

#[test]
fn a_rotation_that_was_killed_is_taken_up_by_the_next() {
    let folder = Folder::new();
    // Killed after 1 became 2: the number 1 is free, and using it loses nothing.
    for (name, text) in [
        ("a.jsonl", "now"),
        ("a.jsonl.2", "second"),
        ("a.jsonl.3", "third"),
    ] {
        folder.write(
            name,
            format!("{{\"data\":\"{text}{}\"}}\n", " ".repeat(500)),
        );
    }
    rotate(&folder, 1, "3");
    for (name, text) in [
        ("a.jsonl.1", "now"),
        ("a.jsonl.2", "second"),
        ("a.jsonl.3", "third"),
    ] {
        assert!(
            fs::read_to_string(folder.path(name))
                .unwrap()
                .contains(text),
            "{name}"
        );
    }
    // Killed before the new file was created, below a root where files are not created.
    fs::rename(folder.path("a.jsonl"), folder.path("b.jsonl.1")).unwrap();
    let post = Post::new()
        .body("text/plain", "x")
        .set("SSE_ROOT", folder.path(""));
    post.clone().set("PATH_INFO", "/b.jsonl").created();
    post.set("PATH_INFO", "/c.jsonl")
        .send()
        .is_error("404 Not Found");
}

#[test]
fn the_new_file_has_the_mode_of_the_old_one() {
    let folder = Folder::new();
    let file = folder.write("a.jsonl", "{}\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
    rotate(&folder, 2, "3");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o664
    );
    assert!(folder.path("a.jsonl.1").exists());
}

#[test]
fn a_record_that_is_larger_than_the_file_may_be_has_a_file_of_its_own() {
    let folder = Folder::new();
    let file = folder.path("a.jsonl");
    let post = Post::text(&file, &"x".repeat(3_000)).set("SSE_FILE_MAX", "1K");
    post.created();
    post.created();
    assert_eq!(fs::metadata(&file).unwrap().len(), 3_012);
    assert_eq!(fs::metadata(folder.path("a.jsonl.1")).unwrap().len(), 3_012);
    assert!(!folder.path("a.jsonl.2").exists());
}
