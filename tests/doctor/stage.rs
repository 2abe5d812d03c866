//! Runs the doctor, and reads its report.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// A report of `sse-doctor --json`.
pub struct Report {
    pub json: Value,
    pub code: i32,
}

/// Diagnoses a URL of this machine for `time`.
#[track_caller]
pub fn diagnose(port: u16, target: &str, time: &str, options: &[&str]) -> Report {
    let url = format!("http://localhost:{port}{target}");
    run(doctor(&url, time).args(options))
}

/// Diagnoses a URL, with `certificates` as those of the authorities that are trusted.
#[track_caller]
pub fn diagnose_trusting(certificates: &Path, url: &str, time: &str) -> Report {
    let mut doctor = doctor(url, time);
    doctor.env("SSL_CERT_FILE", certificates);
    run(doctor.env("SSL_CERT_DIR", "/nonexistent"))
}

fn doctor(url: &str, time: &str) -> Command {
    let mut command = Command::new("timeout");
    command
        .arg("100")
        .arg(env!("CARGO_BIN_EXE_sse-doctor"))
        .args(["--json", "--for", time, url]);
    command
}

#[track_caller]
fn run(doctor: &mut Command) -> Report {
    let output = doctor
        .stdin(Stdio::null())
        .output()
        .expect("the doctor starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let json = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
    });
    Report {
        json,
        code: output.status.code().expect("an exit code"),
    }
}

impl Report {
    /// The check of this name.
    #[track_caller]
    pub fn check(&self, code: &str) -> &Value {
        let checks = self.json["checks"].as_array().expect("a list");
        let mut found = checks.iter().filter(|check| check["check"] == code);
        found
            .next()
            .unwrap_or_else(|| panic!("no {code} in {:#}", self.json))
    }

    pub fn verdict(&self, code: &str) -> &str {
        self.check(code)["verdict"].as_str().expect("a word")
    }

    /// It is a fault whose culprit and remedies contain these texts.
    #[track_caller]
    pub fn is_fault(&self, code: &str, culprit: &str, fix: &str) {
        assert_eq!(self.code, 1, "{:#}", self.json);
        self.is("fault", code, culprit, fix);
    }

    /// It has this verdict, and its culprit and remedies contain these texts.
    #[track_caller]
    pub fn is(&self, verdict: &str, code: &str, culprit: &str, fix: &str) {
        let check = self.check(code);
        assert_eq!(check["verdict"], verdict, "{:#}", self.json);
        let named = check["culprit"].as_str().unwrap_or_default();
        assert!(named.contains(culprit), "{culprit}: {:#}", self.json);
        let fixes = check["fixes"].to_string();
        let fix = serde_json::to_string(fix).expect("a text");
        assert!(
            fixes.contains(fix.trim_matches('"')),
            "{fix}: {:#}",
            self.json
        );
    }

    /// There is no fault, and events arrive.
    #[track_caller]
    pub fn is_well(&self) {
        assert_eq!(
            (self.code, &self.json["verdict"] != "fault"),
            (0, true),
            "{:#}",
            self.json
        );
        assert_eq!(self.verdict("delivery"), "ok", "{:#}", self.json);
        assert!(
            self.json["connections"]
                .as_u64()
                .is_some_and(|count| count <= 4)
        );
    }
}
