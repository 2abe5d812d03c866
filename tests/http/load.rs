//! Programs that measure servers, as clients that keep their connections: no request fails.

use std::fs;
use std::process::Command;

use crate::servers::daemon::require;
use crate::stage::{Folder, Httpd};

/// What a program prints that has measured a page.
#[track_caller]
fn measured(program: &str, package: &str, arguments: &[&str]) -> String {
    require(&format!("/usr/bin/{program}"), package);
    let folder = Folder::new();
    fs::write(folder.path("a.log"), "").unwrap();
    let httpd = Httpd::of(&folder, &["a.log"]);
    let address = format!("http://{}/sse.js", httpd.address());
    let output = Command::new(program).args(arguments).arg(address).output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn ab_sees_no_failed_request_and_keeps_its_connections() {
    let text = measured(
        "ab",
        "apache2-utils",
        &["-q", "-k", "-n", "2000", "-c", "50"],
    );
    for (name, value) in [
        ("Complete requests:", "2000"),
        ("Failed requests:", "0"),
        ("Keep-Alive requests:", "2000"),
    ] {
        let line = text.lines().find(|line| line.starts_with(name));
        let found = line.and_then(|line| line.split_whitespace().last());
        assert_eq!(found, Some(value), "{text}");
    }
    assert!(!text.contains("Non-2xx"), "{text}");
}

#[test]
fn wrk_sees_no_error() {
    let text = measured("wrk", "wrk", &["-t", "1", "-c", "50", "-d", "1s"]);
    assert!(text.contains(" requests in "), "{text}");
    assert!(!text.contains("Socket errors"), "{text}");
    assert!(!text.contains("Non-2xx"), "{text}");
}
