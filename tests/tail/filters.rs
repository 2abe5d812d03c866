//! Records that are chosen at the server, by its settings and by the query.

use std::fs;

use crate::stage::{Tail, wait_for};
use crate::support::folder::{Folder, append};

fn heartbeats(tail: Tail) -> Tail {
    tail.set("SSE_HEARTBEAT", "1s")
}

fn check(text: &str, settings: &[(&str, &str)], expected: &[&str]) {
    let folder = Folder::new();
    let file = folder.join("app.log");
    fs::write(&file, text).unwrap();
    let tail = Tail::of(&file);
    let tail = settings
        .iter()
        .fold(tail, |tail, (name, value)| tail.set(name, value));
    let mut follower = tail.start();
    follower.says(expected);
    // Nothing came after these: the next line does.
    append(&file, "{\"data\":\"an ERROR from db: last\"}\n");
    let last = follower.event().data;
    assert!(last.contains("last"), "{settings:?}: {last}");
}

const LINES: &str = "ERROR one\nINFO two\nERROR from db: three\nDEBUG four\nINFO from db: five\n";

#[test]
fn a_text_an_expression_and_their_opposites_choose_records() {
    let three = "ERROR from db: three";
    check(LINES, &[("SSE_FILTER", "ERROR")], &["ERROR one", three]);
    check(
        LINES,
        &[("SSE_FILTER", "/^ERROR|last/")],
        &["ERROR one", three],
    );
    check(
        LINES,
        &[("SSE_FILTER", "/d[bx]: \\w+$|db: last/")],
        &[three, "INFO from db: five"],
    );
    check(
        LINES,
        &[("SSE_FILTER", "!INFO")],
        &["ERROR one", three, "DEBUG four"],
    );
    check(
        LINES,
        &[("SSE_FILTER", "!/^(ERROR|INFO)/")],
        &["DEBUG four"],
    );
}

#[test]
fn the_query_chooses_on_top_where_it_may() {
    let three = "ERROR from db: three";
    let query = ("QUERY_STRING", "x=1&filter=db%3A+&y");
    let both = [("SSE_FILTER", "ERROR"), query, ("SSE_ALLOW_FILTER", "yes")];
    check(LINES, &both, &[three]);
    check(LINES, &both[..2], &["ERROR one", three]);
    let expression = [("QUERY_STRING", "filter=!/^[EI]/"), both[2]];
    check(LINES, &expression, &["DEBUG four"]);
}

#[test]
fn a_backlog_counts_only_what_passes() {
    let mut text = String::from("ERROR one\nERROR two\nERROR three\n");
    text.push_str(&"INFO noise\n".repeat(20_000));
    let two = [("SSE_FILTER", "ERROR"), ("SSE_BACKLOG", "2")];
    check(&text, &two, &["ERROR two", "ERROR three"]);
    let none = [("SSE_FILTER", "FATAL"), ("SSE_BACKLOG", "5")];
    let folder = Folder::new();
    fs::write(folder.join("app.log"), &text).unwrap();
    let tail = Tail::of(&folder.join("app.log"));
    none.iter()
        .fold(tail, |tail, (name, value)| tail.set(name, value))
        .start()
        .idle();
}

#[test]
fn a_jsonl_record_is_chosen_by_its_line() {
    let text = "{\"event\":\"a\",\"data\":1}\n\n{\"event\":\"b\",\"data\":2}\n";
    let format = ("SSE_FORMAT", "jsonl");
    check(
        text,
        &[format, ("SSE_FILTER", "!\"event\":\"a\"")],
        &["b: 2"],
    );
}

#[test]
fn what_was_passed_over_is_not_looked_through_again() {
    let folder = Folder::new();
    let file = folder.join("app.log");
    fs::write(&file, "ERROR one\n").unwrap();
    let tail = heartbeats(Tail::of(&file)).set("SSE_FILTER", "ERROR");
    let mut follower = tail.start();
    follower.says(&["ERROR one"]);
    let noise = "INFO noise\n".repeat(300_000);
    append(&file, &noise);
    // The id moves at the next heartbeat, with no event.
    let end = fs::metadata(&file).unwrap().len();
    let moved = || -> Option<()> {
        follower.beats_or_moves();
        follower.id().starts_with(&format!("{end}-")).then_some(())
    };
    wait_for("an id that moves", moved);
    let id = follower.id().to_owned();
    let returned = tail.last_id(&id).start().idle();
    assert_eq!(returned.id(), id);
    assert!(returned.figure("io", "rchar") < 200_000);
}

#[test]
fn a_filter_that_cannot_be_read_is_refused_and_told_where_it_should_be() {
    let folder = Folder::new();
    let file = folder.join("app.log");
    fs::write(&file, "line\n").unwrap();
    let wrong = |status: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    };
    for filter in ["/(/", "!", "!/[/", "/(a{999}){999}/"] {
        let (head, stderr) = Tail::of(&file).set("SSE_FILTER", filter).answer();
        assert!(
            head.starts_with("HTTP/1.1 500 Internal Server Error\r\n")
                && head.ends_with("\r\n\r\nerror: see the server's error log\n"),
            "{filter}: {head}"
        );
        assert!(
            stderr.contains(&format!("SSE_FILTER={filter}: ")),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        let query = format!("filter={}", filter.replace('{', "%7B"));
        let asked = Tail::of(&file).set("QUERY_STRING", &query);
        let (head, stderr) = asked.clone().set("SSE_ALLOW_FILTER", "yes").answer();
        assert_eq!(head, wrong("400 Bad Request"), "{filter}");
        assert_eq!(stderr, "");
        asked.start().says(&["line"]);
    }
    for query in [
        "filter=%ff%00(",
        "filter=",
        "filter=%2F%2F",
        "filter=a&filter=line",
    ] {
        let asked = Tail::of(&file).set("QUERY_STRING", query);
        let (head, _) = asked.set("SSE_ALLOW_FILTER", "yes").answer();
        assert!(!head.starts_with("HTTP/1.1 500"), "{query}: {head}");
    }
}

#[test]
fn an_expression_that_would_explode_takes_its_time_and_no_more() {
    let folder = Folder::new();
    let file = folder.join("app.log");
    fs::write(&file, "a".repeat(20_000) + "b\nlast\n").unwrap();
    for expression in [
        "/(a+)+$|last/",
        "/(a|aa)+c|last/",
        "/(.*)(.*)(.*)(.*)x|last/",
    ] {
        Tail::of(&file)
            .set("SSE_FILTER", expression)
            .start()
            .says(&["last"]);
    }
}

/// It was a minute of computing for each line of 1 MiB.
#[test]
fn a_client_cannot_ask_for_an_expression_that_costs_minutes() {
    let folder = Folder::new();
    let file = folder.join("app.log");
    fs::write(&file, "line\n").unwrap();
    for expression in ["([a-z]{1,100}){20}x", "(?i)(a|aa|aaa|aaaa|aaaaa){150}x"] {
        let query = format!("filter=/{}/", expression.replace('{', "%7B"));
        let asked = Tail::of(&file).set("QUERY_STRING", &query);
        let (head, _) = asked.set("SSE_ALLOW_FILTER", "yes").answer();
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        let own = Tail::of(&file).set("SSE_FILTER", format!("!/{expression}/"));
        own.start().says(&["line"]);
    }
    let query = "filter=/(?i)error|warn(ing)?|\\b(\\d%7B1,3}\\.)%7B3}|line/";
    let usual = Tail::of(&file).set("QUERY_STRING", query);
    usual.set("SSE_ALLOW_FILTER", "yes").start().says(&["line"]);
}

#[test]
fn a_record_s_own_id_is_passed_on_where_it_is_wanted() {
    let folder = Folder::new();
    let file = folder.join("events.jsonl");
    let text = concat!(
        "{\"event\":\"a\",\"id\":\"x\\\"1\",\"data\":{\"b\": [1]}}\n",
        "{\"id\":7,\"data\":\"text\"}\n",
        "{\"id\":null}\n",
        "{\"data\":\"without\"}\n",
    );
    fs::write(&file, text).unwrap();
    let wanted = Tail::of(&file).set("SSE_SOURCE_ID", "yes");
    let mut follower = wanted.start();
    let got = [follower.event(), follower.event()];
    assert_eq!(
        got[0].data,
        "{\"source_id\":\"x\\\"1\",\"data\":{\"b\": [1]}}"
    );
    assert_eq!(got[1].data, "{\"source_id\":7,\"data\":\"text\"}");
    assert!(got.iter().all(|event| event.id.contains('-')));
    let mut plain = Tail::of(&file).start();
    plain.says(&["a: {\"b\": [1]}", "text"]);
}

#[test]
fn many_lines_that_a_filter_drops_do_not_hide_those_before_them() {
    let chosen: Vec<String> = (0..12).map(|number| format!("INFO {number}")).collect();
    let dropped: String = (0..100_000)
        .map(|number| format!("2026-11-28 host app[{number}]: DEBUG nothing\n"))
        .collect();
    let expected: Vec<&str> = chosen[2..].iter().map(String::as_str).collect();
    let text = chosen.join("\n") + "\n" + &dropped;
    check(&text, &[("SSE_FILTER", "!DEBUG")], &expected);
}
