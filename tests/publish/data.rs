//! A published message is read back unchanged.

use std::fs;

use crate::post::Post;
use crate::stage::{Folder, Program};

const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn the_id_that_is_answered_is_the_one_that_the_event_has() {
    let folder = Folder::new();
    let file = folder.path("a.jsonl");
    let mut reader = Program::tail(&file).start().opened();
    let mut ids = Vec::new();
    for round in 0..40 {
        // Others write as well, so that positions vary.
        if round % 3 == 0 {
            folder.append("a.jsonl", "{\"data\":\"theirs\"}\n");
            assert_eq!(reader.event().data, "theirs");
        }
        let text = format!("{round} {}", "x".repeat(round * 7));
        let id = Post::text(&file, &text).created();
        let event = reader.event();
        assert_eq!((&event.id, &event.data), (&id, &text));
        ids.push((id, text));
    }
    for pair in ids.windows(2).step_by(7) {
        let mut resumed = Program::tail(&file).last_id(&pair[0].0).start();
        let mut next = resumed.event();
        if next.data == "theirs" {
            next = resumed.event();
        }
        assert_eq!((next.id, next.data), pair[1].clone());
    }
}

#[test]
fn what_could_be_taken_for_a_field_or_a_line_comes_out_as_data() {
    let folder = Folder::new();
    let file = folder.path("a.jsonl");
    let mut reader = Program::tail(&file).start().opened();
    let nasty =
        "\u{FEFF}a\r\n\r\ndata: b\rid: 7\nevent: close\n\nretry: 1\n: c\n{\"data\":1}\u{2028}";
    // CR, LF and CRLF all end a line of data, which a browser joins by LF.
    let lines = nasty.replace("\r\n", "\n").replace('\r', "\n");
    Post::text(&file, nasty).created();
    assert_eq!(reader.event().data, lines);
    let json = serde_json::json!({"event": nasty, "data": nasty, "id": nasty, "retry": 1});
    Post::json(&file, &json.to_string()).created();
    let event = reader.event();
    assert_eq!(event.data, lines);
    assert_eq!(event.name, nasty.replace(['\r', '\n'], ""));
    let json = serde_json::json!({"data": {nasty: [nasty]}});
    Post::json(&file, &serde_json::to_string_pretty(&json).unwrap()).created();
    let data: serde_json::Value = serde_json::from_str(&reader.event().data).unwrap();
    assert_eq!(data, json["data"]);
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("event", nasty)
        .append_pair("data", nasty)
        .append_pair("id", "7\n")
        .finish();
    Post::new().file(&file).body(FORM, form).created();
    let event = reader.event();
    assert_eq!(event.data, lines);
    assert_eq!(event.name, nasty.replace(['\r', '\n'], ""));
    // No stream can contain NUL: it is removed, and the rest is sent.
    Post::text(&file, "a\0b").created();
    assert_eq!(reader.event().data, "ab");
    Post::json(&file, "{\"event\":\"x\\u0000\",\"data\":\"\\u0000\"}").created();
    let event = reader.event();
    assert_eq!((&event.name[..], &event.data[..]), ("x", ""));
    // Five records, and not one line more.
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 6);
}

#[test]
fn a_browser_posts_a_form_as_it_is_filled_in() {
    let folder = Folder::new();
    let file = folder.path("a.jsonl");
    let body = "data=caf%C3%A9+%26+tea%0D%0Atwo&event=note&extra=1";
    Post::new().file(&file).body(FORM, body).created();
    let mut reader = Program::tail(&file).start();
    let event = reader.event();
    assert_eq!(
        (&event.name[..], &event.data[..]),
        ("note", "café & tea\ntwo")
    );
}
