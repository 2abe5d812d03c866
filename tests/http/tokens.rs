//! JSON Web Tokens: what an identity provider signs opens a stream, and what an attacker makes
//! of it does not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::stage::{Folder, Start};

const TARGET: &str = "/events/a.log";

/// The output of tokens.mjs.
fn made() -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/tokens.mjs");
    let output = Command::new("node").arg(script).output();
    let output = output.unwrap_or_else(|error| panic!("node: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn write_keys(folder: &Folder, keys: &Value) -> std::path::PathBuf {
    let path = folder.write("jwks.json", keys.to_string());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    path
}

fn each(tokens: &Value) -> impl Iterator<Item = (&String, &str)> {
    let tokens = tokens.as_object().unwrap().iter();
    tokens.map(|(name, token)| (name, token.as_str().unwrap()))
}

fn start(folder: &Folder, keys: &Value) -> Start {
    Start::new(folder)
        .argument(folder.write("a.log", "a line\n"))
        .set("SSE_JWT_KEYS", write_keys(folder, keys))
        .set("SSE_JWT_AUDIENCE", "other events")
        .set("SSE_COOKIE", "session")
}

#[test]
fn a_signed_token_opens_a_stream_and_no_trick_does() {
    let folder = Folder::new();
    let made = made();
    let httpd = start(&folder, &made["keys"]).start();
    let head = |query: &str, field: &str| {
        let mut client = httpd.ask(format!(
            "HEAD {TARGET}{query} HTTP/1.1\r\nHost: localhost\r\n{field}Connection: close\r\n\r\n"
        ));
        String::from_utf8(client.rest()).unwrap()
    };
    for (name, token) in each(&made["good"]) {
        for (query, field) in [
            (format!("?token={token}"), String::new()),
            (String::new(), format!("Authorization: Bearer {token}\r\n")),
            (String::new(), format!("Cookie: a=b; session={token}\r\n")),
        ] {
            let head = head(&query, &field);
            assert!(head.starts_with("HTTP/1.1 200 "), "{name}: {head}");
        }
    }
    let without_date = |head: String| {
        let lines = head.lines().filter(|line| !line.starts_with("Date:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let refused = without_date(head("", ""));
    assert!(refused[0].starts_with("HTTP/1.1 403 "), "{refused:?}");
    for (name, token) in each(&made["bad"]) {
        let field = format!("Authorization: Bearer {token}\r\n");
        assert_eq!(without_date(head("", &field)), refused, "{name}");
        assert_eq!(
            without_date(head(&format!("?token={token}"), "")),
            refused,
            "{name}"
        );
    }
    let logged = httpd.stderr();
    for (_, token) in each(&made["good"]).chain(each(&made["bad"])) {
        for part in token.split('.').filter(|part| part.len() > 20) {
            assert!(!logged.contains(part), "{logged}");
        }
    }
}

#[test]
fn a_request_with_many_tokens_costs_a_few_checks_only() {
    let folder = Folder::new();
    let made = made();
    let httpd = start(&folder, &made["keys"]).start();
    let status = |wrong: usize| {
        let wrong = [made["bad"]["zeros for a signature"].as_str().unwrap()].repeat(wrong);
        let cookies: Vec<String> = (wrong.iter())
            .chain([&made["good"]["ES256"].as_str().unwrap()])
            .map(|token| format!("session={token}"))
            .collect();
        let mut client = httpd.ask(format!(
            "HEAD {TARGET} HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\nConnection: close\r\n\r\n",
            cookies.join("; ")
        ));
        let head = String::from_utf8(client.rest()).unwrap();
        head.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!([0, 3, 4, 7].map(status), ["200", "200", "403", "403"]);
}

#[test]
fn a_stream_ends_with_its_token() {
    let folder = Folder::new();
    let made = made();
    let httpd = start(&folder, &made["keys"]).start();
    let token = made["soon"].as_str().unwrap();
    let mut stream = httpd.ask(format!(
        "GET {TARGET} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    stream.until("data: a line\n\n");
    stream.until("event: expired\ndata: {\"ends_in_ms\":");
    let rest = String::from_utf8(stream.rest()).unwrap();
    assert!(rest.contains("retry: "), "{rest}");
}

#[test]
fn an_issuer_and_another_claim_can_be_required() {
    let folder = Folder::new();
    let made = made();
    let ask = |httpd: &super::stage::Httpd, token: &Value| {
        let token = token.as_str().unwrap();
        let mut client = httpd.ask(format!(
            "HEAD {TARGET}?token={token} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ));
        let head = String::from_utf8(client.rest()).unwrap();
        head.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let issuer = |name: &str| start(&folder, &made["keys"]).set("SSE_JWT_ISSUER", name);
    let httpd = issuer("https://id.example").start();
    assert_eq!(ask(&httpd, &made["issued"]), "200");
    assert_eq!(ask(&httpd, &made["good"]["ES256"]), "403");
    let httpd = issuer("https://evil.example").start();
    assert_eq!(ask(&httpd, &made["issued"]), "403");
    let httpd = start(&folder, &made["keys"])
        .set("SSE_JWT_CLAIM", "paths")
        .start();
    assert_eq!(ask(&httpd, &made["good"]["ES256"]), "403");
}

#[test]
fn publishing_needs_a_prefix_for_publishing() {
    let folder = Folder::new();
    let made = made();
    let file = folder.write("a.jsonl", "");
    let config = folder.write(
        "config",
        format!(
            "SSE_JWT_KEYS = {}\nSSE_JWT_AUDIENCE = events\n\n[/events/publish]\nSSE_STREAM = publish\n\
             SSE_FILE = {}\n",
            write_keys(&folder, &made["keys"]).display(),
            file.display()
        ),
    );
    let httpd = Start::new(&folder)
        .argument("--config")
        .argument(config)
        .start();
    let post = |token: &Value| {
        let token = token.as_str().unwrap();
        let mut client = httpd.ask(format!(
            "POST /events/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
             Content-Length: 2\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\nhi"
        ));
        let head = String::from_utf8(client.rest()).unwrap();
        head.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(post(&made["publishes"]), "201");
    assert_eq!(post(&made["good"]["several prefixes"]), "403");
}

#[test]
fn keys_that_are_no_good_and_a_missing_audience_are_settings_that_are_wrong() {
    let folder = Folder::new();
    let good = made();
    let oct = |k: &str| serde_json::json!({"keys": [{"kty": "oct", "k": k}]});
    for (keys, problem) in [
        (serde_json::json!([]), "no JWK Set (RFC 7517)"),
        (serde_json::json!({"keys": []}), "no key for HS256"),
        (oct("c2hvcnQ"), "key 1: a secret needs 32 bytes at least"),
        (
            serde_json::json!({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}),
            "key 1: an RSA key needs 2048 to 8192 bits",
        ),
    ] {
        let httpd = start(&folder, &keys).start();
        let answer = httpd.get(&format!("{TARGET}?token=a.b.c"));
        assert_eq!(answer.status(), 500, "{}", answer.head);
        let logged = httpd.stderr();
        assert!(
            logged.contains("SSE_JWT_KEYS=") && logged.contains(problem),
            "{logged}"
        );
        assert!(!logged.contains("c2hvcnQ"), "{logged}");
    }
    let httpd = start(&folder, &good["keys"])
        .set("SSE_JWT_AUDIENCE", "")
        .start();
    assert_eq!(httpd.get(TARGET).status(), 500);
    let logged = httpd.stderr();
    assert!(logged.contains("SSE_JWT_AUDIENCE: not set"), "{logged}");
}

#[test]
fn a_token_for_one_of_several_streams_opens_only_this_one() {
    let folder = Folder::new();
    let made = made();
    folder.write("app.log", "a line\n");
    folder.write("builds.log", "a build\n");
    let keys = write_keys(&folder, &made["keys"]);
    let config = folder.write(
        "config",
        format!(
            "[/dashboard]\nSSE_STREAMS = log builds\nSSE_JWT_KEYS = {}\n\
             SSE_JWT_AUDIENCE = events\n[stream log]\nSSE_FILE = app.log\n\
             [stream builds]\nSSE_FILE = builds.log\n",
            keys.display()
        ),
    );
    let httpd = Start::new(&folder).argument("--config").argument(config);
    let httpd = httpd.start();
    let ask = |query: &str, token: &str| {
        httpd.ask(format!(
            "GET /dashboard?{query} HTTP/1.1\r\nHost: localhost\r\n\
             Authorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        ))
    };
    let (all, log) = (&made["several"]["all"], &made["several"]["log"]);
    let (all, log) = (all.as_str().unwrap(), log.as_str().unwrap());
    let mut client = ask("s=builds", all);
    client.until("data: a build\n\n");
    let mut client = ask("s=builds&s=log", log);
    let got = client.until("data: a line\n\n");
    let refused = "event: builds/unavailable\ndata: {\"stream\":\"builds\",\
                   \"reason\":\"no such stream, or no access\"}";
    assert!(got.contains(refused), "{got}");
    assert!(!got.contains("a build"), "{got}");
    for (query, token) in [
        ("s=builds", log),
        ("s=nope", log),
        ("s=log", made["good"]["ES256"].as_str().unwrap()),
        ("", ""),
    ] {
        let answer = String::from_utf8(ask(query, token).rest()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 "), "{query}: {answer}");
    }
    let logged = httpd.stderr();
    for part in [all, log].iter().flat_map(|token| token.split('.')) {
        assert!(!logged.contains(part), "{logged}");
    }
}
