//! What the access log gets of a request.

use std::time::Duration;

use super::Connection;
use crate::gateway::http::AccessRequest;
use crate::request::{Head, Status};
use crate::source::Now;

/// What the access log gets of a request.
pub(in crate::server) struct Access {
    pub(in crate::server) request: AccessRequest,
    pub(in crate::server) began: Duration,
    /// `None` before there is a response.
    pub(in crate::server) status: Option<Status>,
    /// How many of the bytes that are sent are no body.
    pub(in crate::server) head_bytes: u64,
}

impl Connection {
    /// A request begins that the access log gets.
    pub(in crate::server) fn set_access(&mut self, request: AccessRequest, now: Now) {
        self.access = Some(Box::new(Access {
            request,
            began: now.monotonic,
            status: None,
            head_bytes: 0,
        }));
    }

    /// Whether the access log gets its request.
    pub(in crate::server) fn has_access(&self) -> bool {
        self.access.is_some()
    }

    /// What the access log gets of its request, once. `None` also if there was no response.
    pub(in crate::server) fn take_access(&mut self) -> Option<Box<Access>> {
        let access = self.access.take();
        access.filter(|access| access.status.is_some())
    }

    /// The peer's address, and the first line of the head that was rejected.
    pub(in crate::server) fn rejected(&self) -> Option<(String, &[u8])> {
        self.protocol.rejected()
    }

    /// A response begins with this head, and these bytes.
    pub(super) fn note_head(&mut self, head: &Head, bytes: &[u8]) {
        if let Some(access) = &mut self.access {
            access.status = Some(head.status);
            let end = memchr::memmem::find(bytes, b"\r\n\r\n");
            access.head_bytes += end.map_or(bytes.len(), |end| end + 4) as u64;
        }
    }
}
