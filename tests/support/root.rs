//! Whether a test that injects faults can run here.

use std::process::Command;

/// Tries whether this user may do what a test needs, such as making a mount; if not, prints
/// why the test is skipped.
pub fn can(what: &str, words: &[&str]) -> bool {
    let tried = Command::new(words[0]).args(&words[1..]).output();
    let problem = match tried {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("{}: {error}", words[0]),
    };
    eprintln!("skipped: {what} is not possible here: {problem}");
    false
}
