//! Several streams in one connection of a CGI program, under Apache.

use std::fs;

use crate::debian;
use crate::servers::answer::Answer;
use crate::stage::{SETTINGS_FILE, Site};

/// What `apache/htsse` proposes.
fn proposed() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/apache/htsse");
    let text = fs::read_to_string(path).expect("a file");
    let (_, own) = text.split_once("#[nph-streams.cgi").expect("its section");
    let own = format!("#[nph-streams.cgi{own}");
    let lines = own.lines().map_while(|line| line.strip_prefix('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

fn site() -> Site {
    let site = debian::start(&proposed(), &|text| text);
    let folder = "pages/cgi-bin";
    let write = |name: &str, text: &str| site.folder.write(&format!("{folder}/{name}"), text);
    write("events.jsonl", "{\"event\":\"update\",\"data\":1}\n");
    write("room.jsonl", "{\"data\":\"hello\"}\n");
    site
}

/// The next events, in any order between the streams.
#[track_caller]
fn gets(answer: &mut Answer, expected: &[&str]) {
    let mut found: Vec<String> = (expected.iter())
        .map(|_| answer.event())
        .map(|event| format!("{}: {}", event.name, event.data))
        .collect();
    found.sort();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn a_settings_file_beside_it_names_the_streams_and_a_client_resumes_each() {
    let site = site();
    let append = |name: &str, data: &str| {
        let line = format!("{{\"data\":\"{data}\"}}\n");
        site.folder.append(&format!("pages/cgi-bin/{name}"), line);
    };
    for program in ["nph-streams.cgi", "streams.cgi"] {
        let own = program.len().to_string();
        let mut all = site.get(program).send();
        assert_eq!(all.head.status, 200, "{}", site.logs());
        let mut missing = vec!["events/update", "chat/message"];
        while !missing.is_empty() {
            let event = all.event();
            missing.retain(|name| *name != event.name);
        }
        drop(all);
        let mut chat = site.get(&format!("{program}?s=ch%61t")).send();
        chat.event();
        append("room.jsonl", &own);
        while chat.event().data != own {}
        let id = chat.parser.last_id.clone();
        drop(chat);
        append("room.jsonl", &format!("{own} again"));
        append("events.jsonl", "new");
        // The stream that is new begins as for a new client.
        let target = format!("{program}?s=chat&s=nope&as=field");
        let mut chat = site.get(&target).field("Last-Event-ID", &id).send();
        let nope = "{\"stream\":\"nope\",\"reason\":\"no such stream, or no access\"}";
        let again = format!("message: {{\"stream\":\"chat\",\"data\":\"{own} again\"}}");
        gets(&mut chat, &[&format!("nope/unavailable: {nope}"), &again]);
    }
    for (query, expected) in [("s=nope", 404), ("s=a/b", 400)] {
        let answer = site.get(&format!("streams.cgi?{query}")).send();
        assert_eq!(answer.head.status, expected, "{query}");
    }
}

#[test]
fn a_wrong_section_is_a_500_and_one_line_of_the_log() {
    let site = site();
    for (text, expected) in [
        ("", "SSE_STREAMS: not set; write the names of the streams"),
        (
            "SSE_STREAMS = a\n",
            "SSE_STREAMS=a: {file} has no section for it; add [stream a]",
        ),
        (
            "SSE_STREAMS = a\n[stream a]\nSSE_FILE = f\nSSE_BACKLOG = many\n",
            "{file}:4: SSE_BACKLOG=many: not a number",
        ),
        (
            "SSE_STREAMS = a\n[stream a]\nSSE_REDIS = unix:/r\nSSE_STREAM_KEY = k\n",
            "[stream a]: it cannot be one of several streams here",
        ),
    ] {
        let file = site.folder.write(SETTINGS_FILE, text);
        let expected = expected.replace("{file}", &file.display().to_string());
        let before = site.logs().len();
        let answer = site.get("streams.cgi").field("Connection", "close").send();
        assert_eq!(answer.head.status, 500, "{text}\n{}", site.logs());
        assert!(!answer.text().contains("SSE_"));
        let logs = site.logs();
        let lines = logs[before..]
            .lines()
            .filter(|line| line.contains("SSE_STREAMS") || line.contains("error: "));
        let lines: Vec<_> = lines.collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(&expected), "{lines:?}\n{expected}");
    }
}
