//! The project's configuration files, with the edits of a user.

use std::fs;

/// Reads `file` of the project and makes each replacement. Every old text must be in the file,
/// so that a test does not silently run without its edit after the file has changed.
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
