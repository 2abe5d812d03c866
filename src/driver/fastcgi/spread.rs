//! A large chunk that goes to many: its pages are shared with their sockets.
//!
//! send(2) copies what it is given for each socket, and under a burst that is most of what
//! a delivery costs here. sendfile(2) hands the pages of a file on as they are, so a large
//! chunk is put into a file in memory once. The file is never written again; its pages
//! live until the last socket has been read.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::sendfile::sendfile64;

use crate::stream::Ring;

/// A chunk, in a file in memory.
pub(super) struct Spread {
    file: OwnedFd,
    number: u64,
    length_bytes: usize,
}

/// Below this, handing pages on costs as much as copying them.
const BYTES_MIN: usize = 8 * 1024;

/// For fewer, making the file costs more than it saves.
const PEERS_MIN: usize = 16;

impl Spread {
    /// The newest chunk, if that is worth while for so many peers; `None` also when the
    /// system has no such files.
    pub(super) fn newest(ring: &Ring, peers: usize) -> Option<Self> {
        let number = ring.next().checked_sub(1)?;
        let chunk = ring.from(number)?.next()?;
        if peers < PEERS_MIN || chunk.bytes.len() < BYTES_MIN {
            return None;
        }
        let file = memfd_create(c"sse-chunk", MFdFlags::MFD_CLOEXEC).ok()?;
        let mut from = 0;
        while from < chunk.bytes.len() {
            match nix::unistd::write(&file, &chunk.bytes[from..]) {
                Ok(count) => from += count,
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
        Some(Self {
            file,
            number,
            length_bytes: chunk.bytes.len(),
        })
    }

    /// Which chunk it is.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Hands it to a socket that does not block, as far as there is room.
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
        ring.push(Chunk {
            bytes: bytes.into(),
            end: Rc::new(EventId::new("1".to_owned()).unwrap()),
            events: 1,
        });
        ring
    }

    #[test]
    fn what_was_taken_is_the_beginning_of_the_chunk_and_no_more_is_taken_than_there_is_room() {
        let bytes: Vec<u8> = (0..1_000_003_u32).map(|at| (at % 251) as u8).collect();
        let spread = Spread::newest(&ring_of(bytes.clone()), PEERS_MIN).unwrap();
        let (socket, mut reader) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = OwnedFd::from(socket);
        let taken = spread.send(&socket).unwrap();
        assert!(0 < taken && taken < bytes.len(), "{taken}");
        drop((spread, socket));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert!(read == bytes[..taken]);
    }

    #[test]
    fn a_full_socket_takes_nothing_and_says_so() {
        let spread = Spread::newest(&ring_of(vec![b'x'; 1_000_000]), PEERS_MIN).unwrap();
        let (socket, _reader) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = OwnedFd::from(socket);
        // It is full when it says so; that is soon.
        let last = (0..1_000).find_map(|_| spread.send(&socket).err());
        assert_eq!(last, Some(Errno::EAGAIN));
    }

    #[test]
    fn small_chunks_and_small_crowds_are_sent_as_they_are() {
        let large = ring_of(vec![0; BYTES_MIN]);
        assert!(Spread::newest(&large, PEERS_MIN).is_some());
        assert!(Spread::newest(&large, PEERS_MIN - 1).is_none());
        assert!(Spread::newest(&ring_of(vec![0; BYTES_MIN - 1]), PEERS_MIN).is_none());
        assert!(Spread::newest(&Ring::default(), PEERS_MIN).is_none());
    }
}
