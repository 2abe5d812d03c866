//! The project's configuration files, with what a user would edit edited.

use std::fs;

/// Reads `file` of the project and makes each replacement, all of whose places must be
/// there: a file that has moved on must not be tested by accident as it was.
#[track_caller]
pub fn configured(file: &str, replacements: &[(&str, &str)]) -> String {
    let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    let mut text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    for (from, to) in replacements {
        assert!(text.contains(from), "{file} does not contain {from:?}");
        text = text.replace(from, to);
    }
    text
}
