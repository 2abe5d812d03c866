//! The texts of a settings file: paths of sections, and values.

use crate::request::settings::table::PATHS;

/// Why no request has the path in the head of a section.
pub(super) fn unreachable_path(path: &[u8]) -> Option<&'static str> {
    let mut parts = path[1..].split(|b| *b == b'/').rev();
    // A slash at the end, and `/` itself.
    let last = parts.next().unwrap_or_default();
    let is_odd = |part: &[u8]| part.is_empty() || part == b"." || part == b"..";
    if last == b"." || last == b".." || parts.any(is_odd) {
        return Some("no server asks for such a path; write it without //, . and ..");
    }
    if path.contains(&b'*') {
        return Some("a path holds for all below it; write it without *");
    }
    if path.contains(&b'?') {
        return Some("a query is no part of the path; remove it");
    }
    None
}

/// A value as it is used: a relative path is relative to the folder of the file.
///
/// # Errors
/// Why the value of a path setting is not a path.
pub(super) fn value_of(file: &str, name: &str, value: &[u8]) -> Result<Vec<u8>, &'static str> {
    if !PATHS.contains(&name) || value.is_empty() {
        return Ok(value.to_vec());
    }
    if matches!(value, [b'"' | b'\'', ..]) {
        return Err("a path is written without quotes");
    }
    if value.windows(2).any(|two| two == b" #" || two == b"\t#") {
        return Err("a comment needs a line of its own");
    }
    match value {
        [b'/', ..] => Ok(value.to_vec()),
        _ if name == "SSE_PREFIX" => Err("not the path of a location; write /events, for example"),
        [b'~', ..] => Err("only a shell knows ~; write the whole path"),
        _ => {
            let folder = file.rfind('/').map_or("", |slash| &file[..=slash]);
            Ok([folder.as_bytes(), value].concat())
        }
    }
}
