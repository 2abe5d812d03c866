//! The rate limit of one client.

use std::fs;

use crate::post::Post;
use crate::stage::Folder;

#[test]
fn a_client_that_publishes_too_often_is_told_when_to_come_again() {
    let folder = Folder::new();
    let file = folder.path("a.jsonl");
    let post = Post::text(&file, "x").set("SSE_PUBLISH_RATE", "5/h");
    let from = |address: &str| post.clone().set("REMOTE_ADDR", address);
    for _ in 0..5 {
        from("192.0.2.1").created();
    }
    let answer = from("192.0.2.1").send();
    answer.is_error("429 Too Many Requests");
    let wait: u32 = answer.field("Retry-After").unwrap().parse().unwrap();
    assert!((600..=720).contains(&wait), "{wait}");
    // Other clients may, and so may users that the server has authenticated.
    from("192.0.2.2").created();
    from("192.0.2.1").set("REMOTE_USER", "eve").created();
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 7);
}

#[test]
fn sixteen_at_once_are_counted_as_sixteen() {
    let folder = Folder::new();
    let file = folder.path("a.jsonl");
    let post = Post::text(&file, "x").set("SSE_PUBLISH_RATE", "5/h");
    let answers: Vec<String> = std::thread::scope(|scope| {
        let posts: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| post.send().status))
            .collect();
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });
    let count = |status: &str| answers.iter().filter(|s| *s == status).count();
    assert_eq!(count("201 Created"), 5, "{answers:?}");
    assert_eq!(count("429 Too Many Requests"), 11, "{answers:?}");
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 5);
}
