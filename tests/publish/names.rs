//! Names below `SSE_ROOT`, and the files that publishing to them creates.

use std::fs;
use std::os::unix::fs::symlink;

use crate::post::Post;
use crate::stage::Folder;

fn post(folder: &Folder, name: &str) -> Post {
    Post::new()
        .body("text/plain", "x")
        .set("SSE_ROOT", folder.path(""))
        .set("PATH_INFO", format!("/{name}"))
        .set("SSE_PUBLISH_RATE", "2/h")
}

fn names(folder: &Folder) -> Vec<String> {
    let entries = fs::read_dir(folder.path("")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn a_refused_publish_leaves_nothing_behind_for_a_name_that_is_not_there() {
    let folder = Folder::new();
    post(&folder, "no.jsonl").send().is_error("404 Not Found");
    symlink("no.jsonl", folder.path("link.jsonl")).unwrap();
    fs::create_dir(folder.path("folder.jsonl")).unwrap();
    let awaited = |name| post(&folder, name).set("SSE_AWAIT", "yes");
    for name in [
        "link.jsonl",
        "folder.jsonl",
        "folder.jsonl/../x.jsonl",
        "a.log",
    ] {
        awaited(name).send().is_error("404 Not Found");
    }
    let bad = awaited("new.jsonl").body("application/json", "no");
    bad.send().is_error("400 Bad Request");
    let large = awaited("new.jsonl").set("SSE_PUBLISH_MAX", "1");
    large
        .body("text/plain", "xx")
        .send()
        .is_error("413 Content Too Large");
    let nobody = awaited("new.jsonl").set("SSE_PUBLISH_ALLOW", "user");
    nobody.send().is_error("403 Forbidden");
    assert_eq!(names(&folder), ["folder.jsonl", "link.jsonl"]);
    // The first record is counted as well.
    for _ in 0..2 {
        awaited("new.jsonl").created();
    }
    awaited("new.jsonl")
        .send()
        .is_error("429 Too Many Requests");
}

#[test]
fn a_name_that_leaves_no_room_for_a_suffix_is_published_to_at_its_rate() {
    for length in [240, 246, 249, 250, 255] {
        let folder = Folder::new();
        let name = format!("{}.jsonl", "n".repeat(length - ".jsonl".len()));
        let post = post(&folder, &name).set("SSE_AWAIT", "yes");
        for _ in 0..2 {
            post.created();
        }
        post.send().is_error("429 Too Many Requests");
    }
    let folder = Folder::new();
    let name = format!("{}.jsonl", "n".repeat(250));
    let post = post(&folder, &name).set("SSE_AWAIT", "yes");
    post.send().is_error("404 Not Found");
}
