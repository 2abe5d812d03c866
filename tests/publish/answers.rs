//! Who may publish what: every status.

use std::fs;

use crate::post::Post;
use crate::stage::Folder;

fn post(folder: &Folder) -> Post {
    Post::text(&folder.path("a.jsonl"), "hello")
}

#[test]
fn a_record_that_was_created_is_answered_with_its_id_in_either_framing() {
    let folder = Folder::new();
    let answer = post(&folder).send();
    assert_eq!(
        answer.text,
        "Status: 201 Created\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n\
         Content-Length: 29\r\n\r\n{\"id\":\"17-29f60f89187aaf99\"}\n"
    );
    assert_eq!((answer.code, &answer.errors[..]), (Some(0), ""));
    let nph = "/usr/lib/cgi-bin/nph-publish.cgi";
    let answer = post(&folder).set("SCRIPT_FILENAME", nph).send();
    let date = answer.field("Date").unwrap();
    assert_eq!(
        answer.text,
        format!(
            "HTTP/1.1 201 Created\r\nDate: {date}\r\nContent-Type: application/json\r\n\
             Cache-Control: no-store\r\nContent-Length: 29\r\nConnection: close\r\n\r\n{}",
            answer.body
        )
    );
}

#[test]
fn nobody_may_publish_unless_allowed() {
    let folder = Folder::new();
    let all = post(&folder)
        .set("REMOTE_USER", "eve")
        .set("HTTP_SEC_FETCH_SITE", "same-origin");
    all.unset("SSE_PUBLISH_ALLOW")
        .send()
        .is_error("403 Forbidden");
    assert!(!folder.path("a.jsonl").exists());
}

#[test]
fn a_token_that_is_missing_is_asked_for_and_a_wrong_one_tells_nothing() {
    let folder = Folder::new();
    let tokens = folder.write("tokens", "# mine\nthe-first-secret\nanother\n");
    let post = post(&folder)
        .set("SSE_PUBLISH_ALLOW", "token")
        .set("SSE_PUBLISH_TOKEN_FILE", &tokens);
    let missing = post.send();
    missing.is_error("401 Unauthorized");
    let asks = missing.field("WWW-Authenticate");
    assert_eq!(asks, Some("Bearer realm=\"publish\""));
    let with = |field: &str| post.clone().set("HTTP_AUTHORIZATION", field).send();
    let refusals: Vec<_> = [
        "Bearer x",
        "Bearer the-first-secre",
        "Bearer the-first-secret2",
        "Bearer anothe\0",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "# mine",
    ]
    .iter()
    .map(|field| with(field.trim_end_matches('\0')))
    .collect();
    refusals[0].is_error("403 Forbidden");
    for refusal in &refusals {
        assert_eq!(refusal.text, refusals[0].text);
    }
    assert!(!folder.path("a.jsonl").exists());
    with("Bearer the-first-secret").id();
    with("bearer another").id();
}

#[test]
fn a_token_file_that_cannot_be_read_lets_nobody_in() {
    let folder = Folder::new();
    let tokens = folder.path("tokens");
    let post = post(&folder)
        .set("SSE_PUBLISH_ALLOW", "token")
        .set("SSE_PUBLISH_TOKEN_FILE", &tokens)
        .set("HTTP_AUTHORIZATION", "Bearer ");
    let answer = post.send();
    answer.is_error("500 Internal Server Error");
    assert!(
        answer.errors.contains("SSE_PUBLISH_TOKEN_FILE="),
        "{answer:?}"
    );
    assert!(!answer.body.contains("tokens"), "{answer:?}");
    fs::write(&tokens, "").unwrap();
    post.send().is_error("403 Forbidden");
}

#[test]
fn another_sites_page_cannot_post_with_the_visitors_name() {
    let folder = Folder::new();
    let post = post(&folder)
        .set("SSE_PUBLISH_ALLOW", "user same-origin")
        .set("REMOTE_USER", "eve");
    let evil = post
        .clone()
        .set("HTTP_ORIGIN", "https://evil.example")
        .set("HTTP_COOKIE", "session=1");
    let answer = evil.send();
    answer.is_error("403 Forbidden");
    // The log names the rule that refused, and the origin.
    for part in [
        "user: a page of another site",
        "same-origin: ",
        "https://evil.example",
    ] {
        assert!(answer.errors.contains(part), "{part} in {answer:?}");
    }
    let site = |site: &str| post.clone().set("HTTP_SEC_FETCH_SITE", site);
    site("cross-site").send().is_error("403 Forbidden");
    site("same-site").send().is_error("403 Forbidden");
    assert!(!folder.path("a.jsonl").exists());
    site("same-origin").created();
    post.clone()
        .set("HTTP_ORIGIN", "http://example.org")
        .created();
    post.unset("REMOTE_USER").send().is_error("403 Forbidden");
}

#[test]
fn a_browser_is_told_what_another_origin_may() {
    let folder = Folder::new();
    let post = post(&folder)
        .set("HTTP_ORIGIN", "https://a.example")
        .set("SSE_ALLOW_ORIGIN", "https://a.example");
    let answer = post.clone().set("REQUEST_METHOD", "OPTIONS").send();
    assert_eq!(answer.status, "204 No Content");
    let methods = answer.field("Access-Control-Allow-Methods");
    assert_eq!((methods, &answer.body[..]), (Some("POST, OPTIONS"), ""));
    let answer = post.send();
    answer.id();
    let origin = answer.field("Access-Control-Allow-Origin");
    assert_eq!(origin, Some("https://a.example"));
    let answer = post.set("SSE_ALLOW_ORIGIN", "https://b.example").send();
    answer.is_error("403 Forbidden");
    assert_eq!(answer.field("Access-Control-Allow-Origin"), None);
    assert_eq!(answer.field("Vary"), Some("Origin"));
}

#[test]
fn only_post_publishes() {
    let folder = Folder::new();
    for method in ["GET", "PUT", "DELETE", "post"] {
        let answer = post(&folder).set("REQUEST_METHOD", method).send();
        answer.is_error("405 Method Not Allowed");
        assert_eq!(answer.field("Allow"), Some("POST, OPTIONS"));
    }
    let head = post(&folder).set("REQUEST_METHOD", "HEAD").send();
    assert_eq!(
        (&head.status[..], &head.body[..]),
        ("405 Method Not Allowed", "")
    );
    assert!(!folder.path("a.jsonl").exists());
}

#[test]
fn a_wrong_setting_is_for_the_log_and_not_for_the_client() {
    let folder = Folder::new();
    for (name, value) in [
        ("SSE_PUBLISH_ALLOW", "everybody"),
        ("SSE_PUBLISH_ALLOW", "token"),
        ("SSE_PUBLISH_MAX", "much"),
        ("SSE_PUBLISH_RATE", "often"),
        ("SSE_HEARTBEAT", "x"),
        ("SSE_FILE", ""),
        ("SSE_FILE", "/tmp/secret.log"),
    ] {
        let answer = post(&folder).set(name, value).send();
        answer.is_error("500 Internal Server Error");
        assert_eq!(answer.body, "{\"error\":\"wrong configuration\"}\n");
        assert!(answer.errors.contains("SSE_"), "{name}={value}: {answer:?}");
        assert_eq!(answer.code, Some(100));
    }
}

#[test]
fn a_name_below_a_root_reaches_what_is_there_and_nothing_else() {
    let folder = Folder::new();
    let outside = folder.write("outside.jsonl", "");
    for name in ["root", "root/sub"] {
        fs::create_dir(folder.path(name)).unwrap();
    }
    folder.write("root/sub/a.jsonl", "");
    folder.write("root/.hidden.jsonl", "");
    folder.write("root/access.log", "");
    std::os::unix::fs::symlink(&outside, folder.path("root/link.jsonl")).unwrap();
    std::os::unix::fs::symlink("sub/a.jsonl", folder.path("root/near.jsonl")).unwrap();
    std::os::unix::fs::symlink("..", folder.path("root/up")).unwrap();
    fs::create_dir(folder.path("root/folder.jsonl")).unwrap();
    nix::unistd::mkfifo(
        &folder.path("root/fifo.jsonl"),
        nix::sys::stat::Mode::S_IRWXU,
    )
    .unwrap();
    let post = Post::new()
        .body("text/plain", "x")
        .set("SSE_ROOT", folder.path("root"));
    let to = |name: &str| post.clone().set("PATH_INFO", name);
    to("/sub/a.jsonl").created();
    let bodies: Vec<String> = [
        "",
        "/",
        "/missing.jsonl",
        "/no/folder.jsonl",
        "/.hidden.jsonl",
        "/access.log",
        "/link.jsonl",
        "/near.jsonl",
        "/folder.jsonl",
        "/fifo.jsonl",
        "/sub/a.jsonl/b.jsonl",
        "/up/outside.jsonl",
        "/../outside.jsonl",
        "/sub/../../outside.jsonl",
        "/sub",
    ]
    .iter()
    .map(|name| to(name).send().is_error("404 Not Found").body.clone())
    .collect();
    assert!(bodies.iter().all(|body| body == &bodies[0]), "{bodies:?}");
    assert_eq!(fs::read(&outside).unwrap(), b"");
    let awaited = post.clone().set("SSE_AWAIT", "yes");
    for name in [
        "/link.jsonl",
        "/folder.jsonl",
        "/fifo.jsonl",
        "/.hidden.jsonl",
    ] {
        let answer = awaited.clone().set("PATH_INFO", name).send();
        assert_eq!(answer.is_error("404 Not Found").body, bodies[0], "{name}");
    }
    // If readers may wait for a file, publishers create it.
    to("/new.jsonl").set("SSE_AWAIT", "yes").created();
    to("/no/folder.jsonl")
        .set("SSE_AWAIT", "yes")
        .send()
        .is_error("404 Not Found");
    let limited = to("/new.jsonl").set("SSE_SUFFIXES", ".ndjson");
    limited.send().is_error("404 Not Found");
}
