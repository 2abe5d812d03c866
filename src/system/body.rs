//! Discards the body of a request.

use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::request::MetaVariables;

/// How long a client may take to send what is discarded: long enough for what is already on its
/// way, short enough for a process that must end within a second.
const PATIENCE: Duration = Duration::from_millis(500);

/// The maximum that is discarded: no regular client sends more to a stream.
const MOST_BYTES: usize = 16 << 20;

/// Reads the request's body to its end and discards it, after the response was written.
///
/// Under mod_cgid stdin and stdout are one socket: closing it with unread bytes resets it, and
/// the response is lost before Apache has read it.
pub(crate) fn discard(meta: &MetaVariables) {
    let is_empty = meta
        .get("CONTENT_LENGTH")
        .last()
        .is_none_or(|length| length == b"0");
    if is_empty && meta.get("HTTP_TRANSFER_ENCODING").last().is_none() {
        return;
    }
    let deadline = Instant::now() + PATIENCE;
    let stdin = std::io::stdin();
    let mut buffer = vec![0; 64 * 1024];
    let mut discarded = 0;
    while discarded < MOST_BYTES {
        let left = deadline
            .saturating_duration_since(Instant::now())
            .as_millis();
        let timeout = PollTimeout::try_from(left as i32).unwrap_or(PollTimeout::ZERO);
        let mut readable = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if !poll(&mut readable, timeout).is_ok_and(|ready| ready > 0) {
            return;
        }
        match stdin.lock().read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => discarded += read,
        }
    }
}
