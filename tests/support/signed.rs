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
