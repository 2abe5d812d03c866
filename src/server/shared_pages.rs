//! SharedPages: a large chunk for many subscribers, whose pages are shared with their sockets.
//!
//! send(2) copies its bytes for each socket, and in a burst that is most of the cost of a
//! delivery. sendfile(2) passes on the pages of a file, so a large chunk is written to a file
//! in memory once. The file is never written again; its pages exist until the last socket has
//! been read.

use std::cell::OnceCell;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::sendfile::sendfile64;

use crate::gateway::SharedFrame;
use crate::stream::{FRAMINGS_MAX, Ring};

/// The newest chunk of a ring in each frame, in a file once a connection needs that frame.
pub(super) struct NewestPages<'r> {
    ring: &'r Ring,
    subscribers: usize,
    pages: [OnceCell<Option<SharedPages>>; FRAMINGS_MAX],
}

impl<'r> NewestPages<'r> {
    /// For so many subscribers. Nothing is written yet.
    pub(super) fn new(ring: &'r Ring, subscribers: usize) -> Self {
        Self {
            ring,
            subscribers,
            pages: Default::default(),
        }
    }

    /// The chunk in this frame, if a file for it costs less than it saves.
    pub(super) fn in_frame(&self, frame: SharedFrame) -> Option<&SharedPages> {
        let pages = &self.pages[frame.number()];
        pages
            .get_or_init(|| SharedPages::newest(self.ring, frame, self.subscribers))
            .as_ref()
    }
}

/// A chunk in a file in memory.
pub(super) struct SharedPages {
    file: OwnedFd,
    number: u64,
    frame: SharedFrame,
    length_bytes: usize,
}

/// Below this, passing pages on costs as much as copying them.
const BYTES_MIN: usize = 8 * 1024;

/// For fewer subscribers, creating the file costs more than it saves.
const SUBSCRIBERS_MIN: usize = 16;

impl SharedPages {
    /// The newest chunk, if a file saves cost for so many subscribers; `None` also if the
    /// system does not support such files.
    fn newest(ring: &Ring, frame: SharedFrame, subscribers: usize) -> Option<Self> {
        let number = ring.next().checked_sub(1)?;
        let chunk = ring.from(number)?.next()?;
        let bytes = frame.around(chunk);
        if subscribers < SUBSCRIBERS_MIN || bytes.len() < BYTES_MIN {
            return None;
        }
        let file = memfd_create(c"sse-chunk", MFdFlags::MFD_CLOEXEC).ok()?;
        let mut from = 0;
        while from < bytes.len() {
            match nix::unistd::write(&file, &bytes[from..]) {
                Ok(count) => from += count,
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
        Some(Self {
            file,
            number,
            frame,
            length_bytes: bytes.len(),
        })
    }

    /// Whether it is this chunk in this frame.
    pub(super) fn is_of(&self, number: u64, frame: SharedFrame) -> bool {
        self.number == number && self.frame == frame
    }

    /// Sends it to a nonblocking socket, as far as there is room.
    pub(super) fn send(&self, socket: &OwnedFd) -> nix::Result<usize> {
        let mut from = 0;
        sendfile64(socket, &self.file, Some(&mut from), self.length_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;

    use super::*;
    use crate::event::EventId;
    use crate::stream::Chunk;

    fn ring_of(bytes: Vec<u8>) -> Ring {
        let mut ring = Ring::default();
        let end = Rc::new(EventId::new("1".to_owned()).unwrap());
        ring.push(Chunk::new(bytes.into(), end, 1));
        ring
    }

    fn newest(ring: &Ring, subscribers: usize) -> Option<SharedPages> {
        SharedPages::newest(ring, SharedFrame::FastCgi, subscribers)
    }

    #[test]
    fn what_was_taken_is_the_beginning_of_the_chunk_and_no_more_is_taken_than_there_is_room() {
        let bytes: Vec<u8> = (0..1_000_003_u32).map(|at| (at % 251) as u8).collect();
        let ring = ring_of(bytes.clone());
        let pages = newest(&ring, SUBSCRIBERS_MIN).unwrap();
        let (socket, mut reader) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = OwnedFd::from(socket);
        let taken = pages.send(&socket).unwrap();
        assert!(0 < taken && taken < bytes.len(), "{taken}");
        drop((pages, socket));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        let chunk = ring.from(0).unwrap().next().unwrap();
        assert!(read == SharedFrame::FastCgi.around(chunk)[..taken]);
    }

    #[test]
    fn a_full_socket_takes_nothing_and_says_so() {
        let pages = newest(&ring_of(vec![b'x'; 1_000_000]), SUBSCRIBERS_MIN).unwrap();
        let (socket, _reader) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = OwnedFd::from(socket);
        // It is full when it reports so; that is soon.
        let last = (0..1_000).find_map(|_| pages.send(&socket).err());
        assert_eq!(last, Some(Errno::EAGAIN));
    }

    #[test]
    fn small_chunks_and_small_crowds_get_no_file() {
        let large = ring_of(vec![0; BYTES_MIN]);
        assert!(newest(&large, SUBSCRIBERS_MIN).is_some());
        assert!(newest(&large, SUBSCRIBERS_MIN - 1).is_none());
        assert!(newest(&ring_of(vec![0; BYTES_MIN / 2]), SUBSCRIBERS_MIN).is_none());
        assert!(newest(&Ring::default(), SUBSCRIBERS_MIN).is_none());
    }
}
