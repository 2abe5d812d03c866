//! Many publishers at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Child, Command};
use std::time::Instant;

use crate::post::Post;
use crate::stage::{DEADLINE, Folder, Program, Running};

/// Reads until `count` events have arrived.
fn read(reader: &mut Running, count: usize) -> Vec<(String, String)> {
    let start = Instant::now();
    let events = (0..count).map(|_| {
        assert!(start.elapsed() < DEADLINE * 3, "too slow");
        let event = reader.event();
        assert_eq!(event.name, "message", "{event:?}");
        (event.data, event.id)
    });
    events.collect()
}

#[test]
fn sixteen_publishers_and_echo_lose_tear_and_mix_nothing() {
    const PUBLISHERS: usize = 16;
    const EACH: usize = 12;
    const ECHOES: usize = 200;
    let folder = Folder::new();
    let file = folder.write("a.jsonl", "");
    let mut reader = Program::tail(&file).start().opened();
    // From a few bytes to the maximum of a body.
    let text = |who: usize, nth: usize| {
        let length = [10, 300, 5_000, 65_000][(who + nth) % 4];
        format!("{who}.{nth} {}", "x".repeat(length))
    };
    let script = "i=0; while [ $i -lt $2 ]; do echo \"{\\\"data\\\":\\\"echo $1.$i\\\"}\" >>\"$0\"; \
                  i=$((i+1)); done";
    let mut expected: BTreeSet<String> = BTreeSet::new();
    for who in 0..2 {
        expected.extend((0..ECHOES).map(|nth| format!("echo {who}.{nth}")));
    }
    let mut echoes: Vec<_> = (0..2)
        .map(|who| {
            let mut sh = Command::new("sh");
            let sh = sh.args(["-c", script]).arg(&file);
            sh.args([who.to_string(), ECHOES.to_string()])
                .spawn()
                .unwrap()
        })
        .collect();
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|who| {
                let (file, text) = (&file, &text);
                scope.spawn(move || {
                    let post = |nth| {
                        let text = text(who, nth);
                        let id = Post::text(file, &text).created();
                        (text, id)
                    };
                    (0..EACH).map(post).collect::<Vec<_>>()
                })
            })
            .collect();
        for publisher in publishers {
            ids.extend(publisher.join().unwrap());
        }
    });
    for echo in &mut echoes {
        assert!(echo.wait().unwrap().success());
    }
    expected.extend(ids.keys().cloned());
    assert_eq!(expected.len(), PUBLISHERS * EACH + 2 * ECHOES);
    let events = read(&mut reader, expected.len());
    let got: BTreeSet<String> = events.iter().map(|(data, _)| data.clone()).collect();
    assert!(got == expected, "{} came, not the same", got.len());
    for (data, id) in &events {
        assert!(
            ids.get(data).is_none_or(|known| known == id),
            "{data:.20}: {id}"
        );
    }
    let lines = fs::read_to_string(&file).unwrap();
    assert_eq!(
        lines.lines().filter(|line| !line.is_empty()).count(),
        expected.len()
    );
}

/// A process that ends when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_writer_that_knows_no_lock_and_leaves_lines_unfinished_tears_none_of_ours() {
    let folder = Folder::new();
    let file = folder.write("a.jsonl", "");
    let script = "while [ ! -e \"$1\" ]; do printf '{\"data\":' >>\"$0\"; \
                  printf '\"theirs\"}\\n' >>\"$0\"; done";
    let stop = folder.path("stop");
    let mut sh = Command::new("sh");
    let writer = sh.args(["-c", script]).arg(&file).arg(&stop).spawn();
    let mut writer = Ended(writer.unwrap());
    let ids: BTreeMap<String, String> = std::thread::scope(|scope| {
        let run = |who: usize| {
            let file = &file;
            move || {
                let texts = (0..40).map(|nth| format!("{who}.{nth}"));
                let post = |text: String| (text.clone(), Post::text(file, &text).created());
                texts.map(post).collect::<Vec<_>>()
            }
        };
        let all: Vec<_> = (0..4).map(|who| scope.spawn(run(who))).collect();
        all.into_iter()
            .flat_map(|one| one.join().unwrap())
            .collect()
    });
    fs::write(stop, "").unwrap();
    assert!(writer.0.wait().unwrap().success());
    let mut reader = Program::tail(&file).set("SSE_BACKLOG", "1000000").start();
    let mut missing = ids;
    let start = Instant::now();
    while !missing.is_empty() {
        assert!(start.elapsed() < DEADLINE, "{} do not come", missing.len());
        let event = reader.event();
        if missing.get(&event.data) == Some(&event.id) {
            missing.remove(&event.data);
        }
    }
}
