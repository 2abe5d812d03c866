//! GET_VALUES: what a web server can ask about this process (FastCGI 1.0 §4.1).

use super::Limits;
use super::pairs::Pair;
use super::record::{self, MANAGEMENT, kind};

/// Appends GET_VALUES_RESULT with those of the names asked for that are known, each
/// once. A name that is not known is left out, as the specification wants it.
pub(super) fn answer(asked: &[Pair], limits: &Limits, reply: &mut Vec<u8>) {
    let most = limits.connections_max.to_string();
    // One request at a time on a connection, so there are as many of them.
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
