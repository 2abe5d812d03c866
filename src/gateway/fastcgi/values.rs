//! GET_VALUES: the values of this process that a web server can request (FastCGI 1.0 §4.1).

use super::Limits;
use super::pairs::Pair;
use super::record::{self, MANAGEMENT, kind};

/// Appends GET_VALUES_RESULT with the requested names that are known, each once. An unknown
/// name is omitted, as the specification requires.
pub(super) fn answer(asked: &[Pair], limits: &Limits, reply: &mut Vec<u8>) {
    let most = limits.connections_max.to_string();
    // There is one request at a time on a connection, so both values are equal.
    let known = [
        ("FCGI_MAX_CONNS", most.as_str()),
        ("FCGI_MAX_REQS", &most),
        ("FCGI_MPXS_CONNS", "0"),
    ];
    let mut content = Vec::new();
    for (name, value) in known {
        if asked.iter().any(|(asked, _)| asked == name.as_bytes()) {
            // Both are shorter than 128 bytes: a length is one byte.
            content.extend([name.len() as u8, value.len() as u8]);
            content.extend_from_slice(name.as_bytes());
            content.extend_from_slice(value.as_bytes());
        }
    }
    record::record(kind::GET_VALUES_RESULT, MANAGEMENT, &content, reply);
}
