//! docs/signed-links.md: its lines make links that open streams, in every language that is
//! installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::stage::{Folder, Start};
use crate::support::signed::{
    KEY, OTHER_KEY, WAYS_OUT, in_seconds, link, publish_link, write_keys,
};

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/signed-links.md")).unwrap()
}

/// The first fenced block of this language after "Make a link".
#[track_caller]
fn block<'d>(document: &'d str, language: &str) -> &'d str {
    let (_, document) = document.split_once("## Make a link").unwrap();
    let start = format!("```{language}\n");
    let (_, rest) = document
        .split_once(&start)
        .unwrap_or_else(|| panic!("no {start}"));
    rest.split_once("\n```").unwrap().0
}

/// A program that reads key, time and path from its environment and prints the link that the
/// document's line makes; the command that runs it.
fn program(language: &str, line: &str, folder: &Folder) -> Vec<String> {
    let (name, text, runner): (&str, String, &[&str]) = match language {
        "php" => (
            "a.php",
            format!(
                "<?php $key = getenv('KEY'); $e = getenv('E'); $p = getenv('P');\n{line}\necho $link;"
            ),
            &["php"],
        ),
        "python" => (
            "a.py",
            format!(
                "import hmac, os, urllib.parse\nkey, e, p = (os.environ[n] for n in ('KEY', 'E', 'P'))\n\
                 {line}\nprint(link, end='')"
            ),
            &["python3"],
        ),
        "perl" => (
            "a.pl",
            format!(
                "use strict; use warnings; use Digest::SHA 'hmac_sha256_hex';\n\
                 my ($key, $e, $p) = @ENV{{qw(KEY E P)}};\n{line}\nprint $link;"
            ),
            &["perl"],
        ),
        "ruby" => (
            "a.rb",
            format!(
                "require 'openssl'; require 'erb'\nkey, e, p = ENV.values_at('KEY', 'E', 'P')\n\
                 {line}\nprint link"
            ),
            &["ruby"],
        ),
        "js" => (
            "a.mjs",
            format!(
                "import {{ createHmac }} from 'node:crypto';\n\
                 const {{ KEY: key, E: e, P: p }} = process.env;\n{line}\nprocess.stdout.write(link);"
            ),
            &["node"],
        ),
        "go" => (
            "a.go",
            format!(
                "package main\nimport (\"crypto/hmac\"; \"crypto/sha256\"; \"fmt\"; \"net/url\"; \"os\"; \
                 \"strconv\")\nfunc main() {{\nkey, p := os.Getenv(\"KEY\"), os.Getenv(\"P\")\n\
                 e, _ := strconv.ParseInt(os.Getenv(\"E\"), 10, 64)\n{line}\nfmt.Print(link)\n}}\n"
            ),
            &["go", "run"],
        ),
        "sh" => (
            "a.sh",
            format!("key=$KEY e=$E p=$P\n{line}\nprintf %s \"$link\""),
            &["sh"],
        ),
        _ => panic!("{language}"),
    };
    let path = folder.write(name, text);
    let file = path.to_str().unwrap().to_owned();
    runner
        .iter()
        .map(|word| (*word).to_owned())
        .chain([file])
        .collect()
}

/// The decoded fields of a link.
fn decoded(link: &str) -> (String, String, String) {
    let (_, query) = link.split_once("?e=").unwrap_or_else(|| panic!("{link}"));
    let query = format!("e={query}");
    let mut fields = query.split('&').map(|field| field.split_once('=').unwrap());
    let mut next = |name: &str| {
        let (own, value) = fields.next().unwrap();
        assert_eq!(own, name, "{link}");
        let mut bytes = Vec::new();
        let mut rest = value.as_bytes();
        while let Some((byte, after)) = rest.split_first() {
            match byte {
                b'%' => {
                    let digits = std::str::from_utf8(&after[..2]).unwrap();
                    bytes.push(u8::from_str_radix(digits, 16).unwrap());
                    rest = &after[2..];
                }
                b'+' => {
                    bytes.push(b' ');
                    rest = after;
                }
                byte => {
                    bytes.push(*byte);
                    rest = after;
                }
            }
        }
        String::from_utf8(bytes).unwrap()
    };
    (next("e"), next("p"), next("t"))
}

#[test]
fn the_line_of_every_language_makes_the_same_link() {
    let folder = Folder::new();
    let document = document();
    let expires = in_seconds(3600).to_string();
    for path in ["/events/a.log", "/events/a-b_c~d", "/odd & path+#%?=\u{e9}"] {
        let expected = link(KEY, expires.parse().unwrap(), path);
        let expected = decoded(&format!("?{expected}"));
        // Always there: Debian's base, and what the other tests need.
        let mut needed = vec!["python", "perl", "js", "sh"];
        for language in ["php", "python", "perl", "ruby", "js", "go", "sh"] {
            let command = program(language, block(&document, language), &folder);
            let mut process = Command::new(&command[0]);
            process.args(&command[1..]).envs([
                ("KEY", KEY),
                ("E", expires.as_str()),
                ("P", path),
                ("GOCACHE", folder.path("go").to_str().unwrap()),
            ]);
            // Compiling takes seconds; one path is enough.
            if language == "go" && path != "/events/a.log" {
                continue;
            }
            let Ok(output) = process.output() else {
                continue;
            };
            needed.retain(|name| *name != language);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{language}: {errors}");
            let made = String::from_utf8(output.stdout).unwrap();
            assert_eq!(decoded(&made), expected, "{language}: {made}");
        }
        assert_eq!(needed, Vec::<&str>::new(), "not installed");
    }
}

#[test]
fn a_link_opens_a_stream_of_sse_httpd_and_its_key_can_be_changed() {
    let folder = Folder::new();
    let log = folder.write("app.log", "a line\n");
    let keys = folder.path("keys");
    write_keys(&keys, &[KEY]);
    let httpd = Start::new(&folder)
        .argument(&log)
        .set("SSE_KEYS", &keys)
        .start();
    let target = "/events/app.log";
    let query = |key| link(key, in_seconds(600), target);
    let status = |query: &str| {
        let mut client = httpd.ask(format!(
            "HEAD {target}?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ));
        let head = String::from_utf8(client.rest()).unwrap();
        head.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(status(&query(KEY)), "200");
    assert_eq!(status(""), "403");
    assert_eq!(status(&query(OTHER_KEY)), "403");
    assert_eq!(status(&publish_link(KEY, in_seconds(600), target)), "403");
    let mut stream = httpd.ask(format!(
        "GET {target}?{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        query(KEY)
    ));
    stream.until("data: a line\n\n");
    write_keys(&keys, &[KEY, OTHER_KEY]);
    assert_eq!(status(&query(OTHER_KEY)), "200");
    assert_eq!(status(&query(KEY)), "200");
    write_keys(&keys, &[OTHER_KEY]);
    assert_eq!(status(&query(KEY)), "403");
    // A preflight cannot bring a link.
    let mut options = httpd.ask(format!(
        "OPTIONS {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    ));
    assert!(options.rest().starts_with(b"HTTP/1.1 204 "));
    // The stream that is open goes on.
    folder.append("app.log", "another\n");
    stream.until("data: another\n\n");
    let logged = httpd.stderr();
    assert!(logged.contains("access: refused (403): "), "{logged}");
    for secret in [KEY, OTHER_KEY, &query(KEY)[query(KEY).len() - 64..]] {
        assert!(!logged.contains(secret), "{logged}");
    }
}

#[test]
fn no_way_of_writing_a_path_leads_out_of_that_of_the_link() {
    let folder = Folder::new();
    let keys = folder.path("keys");
    write_keys(&keys, &[KEY]);
    fs::create_dir_all(folder.path("logs")).unwrap();
    for name in ["a", "a.log", "ab.log", "b.log"] {
        folder.write(&format!("logs/{name}"), format!("of {name}\n"));
    }
    let config = folder.write(
        "config",
        format!(
            "SSE_KEYS = {}\n[/logs]\nSSE_STREAM = tail\nSSE_ROOT = logs\n",
            keys.display()
        ),
    );
    let httpd = Start::new(&folder)
        .argument("--config")
        .argument(config)
        .start();
    let below = link(KEY, in_seconds(600), "/logs/a.log");
    let mut stream = httpd.ask(super::stage::get(&format!("/logs/a.log?{below}")));
    stream.until("data: of a.log\n\n");
    for target in WAYS_OUT {
        let status = httpd.get(&format!("{target}?{below}")).status();
        assert!(matches!(status, 400 | 403 | 404), "{target}: {status}");
    }
    // Neither does a way of writing the prefix: that was not signed.
    for prefix in [
        "/logs/a.log/..",
        "/logs/a",
        "/log",
        "logs/a.log",
        "%2Flogs",
        "/logs/b.log/../a.log",
    ] {
        let query = link(KEY, in_seconds(600), prefix);
        let status = httpd.get(&format!("/logs/b.log?{query}")).status();
        assert_eq!(status, 403, "{prefix}");
    }
}

#[test]
fn the_time_of_a_link_is_a_number_of_seconds_and_nothing_else() {
    let folder = Folder::new();
    let log = folder.write("app.log", "a line\n");
    let keys = folder.path("keys");
    write_keys(&keys, &[KEY]);
    let httpd = Start::new(&folder)
        .argument(&log)
        .set("SSE_KEYS", &keys)
        .start();
    let target = "/events/app.log";
    let head = |query: &str| {
        let mut client = httpd.ask(format!(
            "HEAD {target}?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ));
        let head = String::from_utf8(client.rest()).unwrap();
        let lines = head.lines().filter(|line| !line.starts_with("Date:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let refused = head("");
    assert!(refused[0].starts_with("HTTP/1.1 403 "), "{refused:?}");
    // Until the year 2106, beyond it, and the most digits.
    for expires in [
        in_seconds(60),
        4_294_967_295,
        4_294_967_296,
        99_999_999_999_999,
    ] {
        let head = head(&link(KEY, expires, target));
        assert!(head[0].starts_with("HTTP/1.1 200 "), "{expires}: {head:?}");
    }
    for expires in [
        in_seconds(0),
        0,
        -1,
        i64::MIN,
        i64::MAX,
        999_999_999_999_999,
    ] {
        assert_eq!(head(&link(KEY, expires, target)), refused, "{expires}");
    }
    // Signed as it is, and written in another way.
    let soon = in_seconds(600);
    let good = link(KEY, soon, target);
    for written in [
        "+{}", "0{}", "{}.0", "{}e0", "%20{}", "{}%00", "0x{}", "{}%0A",
    ] {
        let changed = good.replace(
            &format!("e={soon}"),
            &format!("e={}", written.replace("{}", &soon.to_string())),
        );
        assert_eq!(head(&changed), refused, "{written}");
    }
    // The tag may be in upper case, and nothing else may be changed about it.
    let (start, tag) = good.split_at(good.len() - 64);
    assert!(head(&format!("{start}{}", tag.to_uppercase()))[0].starts_with("HTTP/1.1 200 "));
    for changed in [
        format!("{start}{tag}00"),
        format!("{start}00{tag}"),
        format!("{start}{}", &tag[2..]),
    ] {
        assert_eq!(head(&changed), refused, "{changed}");
    }
}

#[test]
fn a_file_of_keys_that_is_no_good_is_a_setting_that_is_wrong() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let log = folder.write("app.log", "a line\n");
    let keys = folder.path("keys");
    let httpd = Start::new(&folder)
        .argument(&log)
        .set("SSE_KEYS", &keys)
        .start();
    let query = link(KEY, in_seconds(600), "/events/app.log");
    let answer = || httpd.get(&format!("/events/app.log?{query}"));
    let mode = |mode| fs::set_permissions(&keys, fs::Permissions::from_mode(mode)).unwrap();
    let expected = |problem: &str| {
        let answer = answer();
        assert_eq!(answer.status(), 500, "{}", answer.head);
        assert!(!answer.text().contains("key"), "{}", answer.text());
        let logged = httpd.stderr();
        let line = format!("SSE_KEYS={}: {problem}", keys.display());
        assert!(logged.contains(&line), "{line}: {logged}");
        assert!(!logged.contains("short-key"), "{logged}");
    };
    expected("No such file or directory");
    write_keys(&keys, &["short-key"]);
    expected("the key on line 1 has 9 bytes; it needs 32 at least");
    write_keys(&keys, &["# none"]);
    expected("no key is in this file");
    write_keys(&keys, &[KEY]);
    mode(0o644);
    expected("others can read or write these keys (mode 0644); chmod o-rwx,g-wx");
    mode(0o660);
    expected("others can read or write these keys (mode 0660)");
    mode(0o600);
    let mut client = httpd.ask(super::stage::get(&format!("/events/app.log?{query}")));
    client.until("data: a line\n\n");
}

#[test]
fn a_room_needs_a_link_for_its_stream_and_one_for_what_is_said() {
    let folder = Folder::new();
    let keys = folder.path("keys");
    write_keys(&keys, &[KEY]);
    let config = folder.write(
        "config",
        format!(
            "SSE_KEYS = {}\n\n[/events/room]\nSSE_STREAM = room\nSSE_FILE = {}\nSSE_SPOOL = {}\n",
            keys.display(),
            folder.path("room.jsonl").display(),
            folder.path("spool").display()
        ),
    );
    let httpd = Start::new(&folder)
        .argument("--config")
        .argument(config)
        .start();
    let target = "/events/room";
    let reads = link(KEY, in_seconds(600), target);
    let says = publish_link(KEY, in_seconds(600), target);
    assert_eq!(httpd.get(target).status(), 403);
    let mut stream = httpd.ask(super::stage::get(&format!("{target}?{reads}")));
    let opened = stream.until("event: welcome\n") + &stream.until("\n\n");
    let (_, session) = opened.split_once("\"session\":\"").expect("a session");
    let session = session.split('"').next().unwrap();
    let say = |query: &str, session: &str| {
        let mut client = httpd.ask(format!(
            "POST {target}?{query} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
             X-Session-ID: {session}\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
        ));
        let head = String::from_utf8(client.rest()).unwrap();
        head.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(say("", session), "403");
    assert_eq!(say(&reads, session), "403");
    assert_eq!(say(&says, &"0".repeat(32)), "404");
    assert_eq!(say(&says, session), "201");
    assert_eq!(httpd.get(&format!("{target}?{says}")).status(), 403);
}
