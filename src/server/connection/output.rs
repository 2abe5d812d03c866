//! What is queued for a connection, and how it is written.

use std::io::IoSlice;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::rc::Rc;

use nix::sys::socket::{MsgFlags, send, sendmsg};

use crate::gateway::{Protocol, SharedFrame};
use crate::stream::Chunk;

/// What is queued.
pub(super) enum Output {
    Nothing,
    Bytes {
        bytes: Vec<u8>,
        from: usize,
    },
    Chunk {
        chunk: Rc<Chunk>,
        frame: SharedFrame,
        from: usize,
    },
}

impl Output {
    /// Queues bytes as they are.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Bytes { bytes: queued, .. } => queued.extend_from_slice(bytes),
            Self::Nothing if bytes.is_empty() => {}
            Self::Nothing => {
                *self = Self::Bytes {
                    bytes: bytes.to_vec(),
                    from: 0,
                };
            }
            Self::Chunk { chunk, frame, from } => {
                let mut queued = framed(chunk, *frame)[*from..].to_vec();
                queued.extend_from_slice(bytes);
                *self = Self::Bytes {
                    bytes: queued,
                    from: 0,
                };
            }
        }
    }

    /// Queues a piece of a response.
    pub(super) fn push_body(&mut self, protocol: &Protocol, content: &[u8]) {
        if let Self::Bytes { bytes, .. } = self {
            return protocol.body(content, bytes);
        }
        let mut bytes = Vec::with_capacity(content.len() + 16);
        protocol.body(content, &mut bytes);
        match self {
            Self::Nothing if !bytes.is_empty() => *self = Self::Bytes { bytes, from: 0 },
            _ => self.push(&bytes),
        }
    }
}

/// A chunk's bytes in a frame.
pub(super) fn framed(chunk: &Chunk, frame: SharedFrame) -> &[u8] {
    frame.around(chunk)
}

/// Writes as much as the kernel takes, without waiting.
pub(super) fn write(socket: &OwnedFd, bytes: &[u8]) -> nix::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    send(socket.as_raw_fd(), bytes, flags)
}

/// Writes as much of all pieces as the kernel takes, without waiting.
pub(super) fn write_all_of(socket: &OwnedFd, pieces: &[IoSlice<'_>]) -> nix::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), pieces, &[], flags, None)
}
