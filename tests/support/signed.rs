//! Signed links and files of keys, made without the crate under test: openssl signs.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::unistd::geteuid;

/// Two keys of the least length.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";
pub const OTHER_KEY: &str = "another key of at least 32 bytes";

/// The group of Debian's web servers (base-passwd).
const WWW_DATA: u32 = 33;

/// Writes a file of keys as the documents say: the web server's group may read it.
#[track_caller]
pub fn write_keys(path: &Path, keys: &[&str]) {
    let staged = path.with_extension("new");
    fs::write(&staged, keys.join("\n") + "\n").unwrap();
    if geteuid().is_root() {
        chown(&staged, None, Some(WWW_DATA)).unwrap();
    }
    fs::set_permissions(&staged, fs::Permissions::from_mode(0o640)).unwrap();
    fs::rename(&staged, path).unwrap();
}

/// The time in so many seconds.
pub fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + seconds
}

/// The query of a link that reads.
#[track_caller]
pub fn link(key: &str, expires: i64, prefix: &str) -> String {
    query("sse1", key, expires, prefix)
}

/// The query of a link that publishes.
#[track_caller]
pub fn publish_link(key: &str, expires: i64, prefix: &str) -> String {
    query("sse1p", key, expires, prefix)
}

fn query(label: &str, key: &str, expires: i64, prefix: &str) -> String {
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", key])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("openssl (apt-get install openssl): {error}"));
    let text = format!("{label}\n{expires}\n{prefix}");
    let mut stdin = openssl.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = openssl.wait_with_output().unwrap();
    let tag = String::from_utf8(output.stdout).unwrap();
    let tag = tag.trim().rsplit(' ').next().unwrap();
    let encoded: String = prefix
        .bytes()
        .map(|byte| match byte {
            b'/' | b'.' | b'-' | b'_' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    format!("e={expires}&p={encoded}&t={tag}")
}

/// Targets by which a stranger tries to read `/logs/b.log` or `/logs/ab.log` with a link for
/// `/logs/a.log`; without the query.
#[allow(dead_code, reason = "not every program of tests tries them")]
pub const WAYS_OUT: [&str; 58] = [
    "/logs/ab.log",
    "/logs/b.log",
    "/logs/A.LOG",
    "/LOGS/a.log",
    "/logs/a.logb",
    "/logs/a.log.d",
    "/logs/a.log%20",
    "/logs/missing.log",
    "/logs/a.log/..",
    "/logs/a.log/%2e%2e",
    "/logs/a.log/../b.log",
    "/logs/a.log/%2e%2e/b.log",
    "/logs/a.log/.%2E/b.log",
    "/logs/a.log/%2e./b.log",
    "/logs/a.log/./../b.log",
    "/logs/a.log/%2E/%2E%2e/b.log",
    "/logs/x/../a.log",
    "/logs/b.log/../a.log",
    "/logs/a.log/../../logs/b.log",
    "/logs/a.log%2f..%2fb.log",
    "/logs/a.log%2F%2e%2e%2Fb.log",
    "/logs/a.log/..%2fb.log",
    "/logs%2fb.log",
    "/logs/a.log/%252e%252e/b.log",
    "/logs/a.log/%252E%252E%252Fb.log",
    "/logs/a.log%252f..%252fb.log",
    "/logs/a.log/%25%32%65%25%32%65/b.log",
    "/logs/a.log/..%255cb.log",
    "/logs/%2562.log",
    "/logs/a.log/..\\b.log",
    "/logs/a.log\\..\\b.log",
    "/logs/a.log/..%5cb.log",
    "/logs/a.log%5C..%5Cb.log",
    "/logs/a.log/..;/b.log",
    "/logs/a.log/..;x=1/b.log",
    "/logs/a.log/..%3b/b.log",
    "/logs/a.log;/../b.log",
    "/logs/b.log;/a.log",
    "/logs//a.log",
    "//logs/a.log",
    "/logs/a.log//../b.log",
    "/logs/a.log/..//b.log",
    "/logs/a.log//../../b.log",
    "/logs/a.log%00/../b.log",
    "/logs/a.log/..%00/b.log",
    "/logs/b.log%00/a.log",
    "/logs/b.log%00",
    "/logs/a.log/%c0%ae%c0%ae/b.log",
    "/logs/a.log/..%c0%afb.log",
    "/logs/a.log/%u002e%u002e/b.log",
    "/logs/a.log/..%0d%0a/b.log",
    "/logs/a.log/..%09/b.log",
    "/logs/a.log/..%20/b.log",
    "/logs/a.log%3f/../../b.log",
    "/logs/b.log%3f/logs/a.log",
    "/logs/a.log%23/../../b.log",
    "http://localhost/logs/b.log",
    "http://localhost/logs/a.log/../b.log",
];
