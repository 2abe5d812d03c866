//! Report: a diagnosis as text for people and as JSON for monitoring.

use serde_json::{Value, json};

use super::diagnosis::{Check, Diagnosis, Verdict};
use super::observation::Observations;

/// Lines are broken at this width.
const WIDTH: usize = 100;

/// One line for each check, then its culprit and remedies.
pub(super) fn text(seen: &Observations, diagnosis: &Diagnosis) -> String {
    let mut text = format!("{}\n{}", seen.url, lines(&diagnosis.checks));
    let count = |verdict| {
        diagnosis
            .checks
            .iter()
            .filter(|check| check.verdict == verdict)
            .count()
    };
    let plural = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    text.push_str(&format!(
        "{}, {}; {} in {:.0} s\n",
        plural(count(Verdict::Fault), "fault"),
        plural(count(Verdict::Warning), "warning"),
        plural(seen.connections as usize, "connection"),
        seen.stream.watched.as_secs_f64(),
    ));
    text
}

/// The limits of a configuration.
pub(super) fn local(folder: &str, subscribers: u64, checks: &[Check]) -> String {
    format!("{folder}, for {subscribers} subscribers\n{}", lines(checks))
}

/// The limits of a configuration, as one object.
pub(super) fn local_json(folder: &str, subscribers: u64, checks: &[Check]) -> String {
    let object = json!({
        "folder": folder,
        "subscribers": subscribers,
        "checks": objects(checks),
    });
    format!("{object}\n")
}

/// The lines of each check.
fn lines(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = check.verdict.name();
        add(
            &mut text,
            &format!("{mark:<8}{}: ", check.code),
            &check.text,
        );
        if check.verdict < Verdict::Warning && check.verdict != Verdict::Note {
            for fix in &check.fixes {
                add(&mut text, "        → ", fix);
            }
            continue;
        }
        if let Some(culprit) = &check.culprit {
            add(&mut text, "        by ", culprit);
        }
        for fix in &check.fixes {
            add(&mut text, "        → ", fix);
        }
    }
    text
}

/// Adds `start` and the words after it, indented below the start.
fn add(text: &mut String, start: &str, words: &str) {
    let mut line = start.to_owned();
    let mut has_words = false;
    for word in words.split_whitespace() {
        if has_words && line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(line.trim_end());
            text.push('\n');
            line = " ".repeat(10);
            has_words = false;
        }
        if has_words {
            line.push(' ');
        }
        line.push_str(word);
        has_words = true;
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// One object.
pub(super) fn json(seen: &Observations, diagnosis: &Diagnosis) -> String {
    let record = &seen.stream.record;
    let object = json!({
        "url": seen.url,
        "verdict": diagnosis.worst().name().to_ascii_lowercase(),
        "servers": diagnosis.chain.iter().map(|server| server.name).collect::<Vec<_>>(),
        "checks": objects(&diagnosis.checks),
        "events": record.event_count,
        "comments": record.comment_count,
        "bytes": record.byte_count,
        "seconds": seen.stream.watched.as_secs_f64(),
        "connections": seen.connections,
    });
    format!("{object}\n")
}

/// Each check as an object.
fn objects(checks: &[Check]) -> Vec<Value> {
    let object = |check: &Check| {
        json!({
            "check": check.code,
            "verdict": check.verdict.name().to_ascii_lowercase(),
            "text": check.text,
            "culprit": check.culprit,
            "fixes": check.fixes,
        })
    };
    checks.iter().map(object).collect()
}
