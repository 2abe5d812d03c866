//! `SSE_LINE_END=any`: a carriage return ends a line too.
//!
//! The follower splits lines at LF. This view of a disk makes that right for files in which
//! CR ends lines as well: it shows every CR as an LF, and the LF of a CRLF, which then
//! begins the next line, as a CR, which [`without_rest_of_crlf`] takes off again. So each
//! byte keeps its place, what is shown of a byte depends only on the byte before it, and a
//! line that ends in a CR is whole at once, whatever comes next. An LF after a CR at the end
//! of a file is not shown before something follows it: it would be an unfinished line.
//!
//! It reads like the disk that it wraps, and keeps no state.

use std::io;
use std::rc::Rc;

use super::anchor::read_full;
use super::disk::{Disk, DiskFile, Identity, Sibling, Stat, Whereabouts};
use crate::source::Changes;

/// A disk on which CR, LF and CRLF end a line.
pub(super) struct AnyLineEnd(pub(super) Box<dyn Disk>);

/// What is left of a line when the second half of a CRLF before it is taken off.
pub(super) fn without_rest_of_crlf(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"\r").unwrap_or(line)
}

// A method with a default would not reach the disk that is wrapped.
#[deny(clippy::missing_trait_methods)]
impl Disk for AnyLineEnd {
    fn changes(&self) -> Option<Rc<dyn Changes>> {
        self.0.changes()
    }

    fn stat(&mut self) -> io::Result<Stat> {
        self.0.stat()
    }

    fn identity(&mut self) -> io::Result<Identity> {
        self.0.identity()
    }

    fn open(&mut self) -> io::Result<Rc<dyn DiskFile>> {
        self.0.open().map(shown)
    }

    fn siblings(&mut self) -> io::Result<Vec<Sibling>> {
        self.0.siblings()
    }

    fn open_sibling(&mut self, name: &str) -> io::Result<Rc<dyn DiskFile>> {
        self.0.open_sibling(name).map(shown)
    }

    fn was_moved_in(&mut self) -> bool {
        self.0.was_moved_in()
    }
}

fn shown(file: Rc<dyn DiskFile>) -> Rc<dyn DiskFile> {
    Rc::new(Shown(file))
}

struct Shown(Rc<dyn DiskFile>);

#[deny(clippy::missing_trait_methods)]
impl DiskFile for Shown {
    fn stat(&self) -> io::Result<Stat> {
        let mut stat = self.0.stat()?;
        if let Some(before) = stat.size_bytes.checked_sub(2) {
            let mut end = [0; 2];
            if read_full(&*self.0, &mut end, before)? == 2 && end == *b"\r\n" {
                stat.size_bytes -= 1;
            }
        }
        Ok(stat)
    }

    fn identity(&self) -> io::Result<Identity> {
        self.0.identity()
    }

    fn whereabouts(&self) -> Whereabouts {
        self.0.whereabouts()
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        self.0.next_data(offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        // One byte before tells what the first one is, and one behind whether this is the end.
        let before = usize::from(offset > 0);
        let mut raw = vec![0; before + buffer.len() + 1];
        let read = self.0.read_at(&mut raw, offset - before as u64)?;
        let is_end = read < raw.len();
        let raw = &raw[..read];
        let mut length = read.saturating_sub(before).min(buffer.len());
        let is_second_half = |at: usize| at > 0 && raw[at] == b'\n' && raw[at - 1] == b'\r';
        if is_end && length > 0 && is_second_half(before + length - 1) {
            length -= 1;
        }
        for (at, byte) in buffer[..length].iter_mut().enumerate() {
            *byte = match raw[before + at] {
                b'\r' => b'\n',
                b'\n' if is_second_half(before + at) => b'\r',
                other => other,
            };
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::super::anchor::TailId;
    use super::super::cursor::{Cursor, Filled, Line};
    use super::super::memory::{MemoryDisk, MemoryFile, NAME};
    use super::*;
    use crate::source::Now;
    use proptest::prelude::*;
    use std::time::Duration;

    /// All lines that a follower gets, and where it is afterwards.
    fn read(cursor: &mut Cursor, lines: &mut Vec<Vec<u8>>) {
        let now = Now {
            monotonic: Duration::from_secs(1),
            unix_ms: 0,
        };
        cursor.look_again(now);
        loop {
            match cursor.next_line().unwrap() {
                Line::Whole { bytes, .. } => lines.push(without_rest_of_crlf(bytes).to_vec()),
                Line::Unfinished => match cursor.fill(now).unwrap() {
                    Filled::More => {}
                    Filled::AtEnd => return,
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        }
    }

    fn expected(text: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        let mut line = Vec::new();
        let mut bytes = text.iter().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\r' => {
                    bytes.next_if(|next| **next == b'\n');
                    lines.push(std::mem::take(&mut line));
                }
                b'\n' => lines.push(std::mem::take(&mut line)),
                other => line.push(*other),
            }
        }
        lines
    }

    fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let byte = prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a'), 1u8..];
        prop::collection::vec(prop::collection::vec(byte, 0..12), 0..12)
    }

    proptest! {
        #[test]
        fn any_bytes_are_split_at_every_kind_of_line_end_however_they_are_written(
            pieces in pieces()
        ) {
            let memory = MemoryDisk::default();
            let file: MemoryFile = memory.create(NAME);
            let mut disk = AnyLineEnd(Box::new(memory.clone()));
            let start = TailId::start_after(None);
            let mut followed = Cursor::at_start(disk.open().unwrap(), start, 1 << 20);
            let mut lines = Vec::new();
            for piece in &pieces {
                memory.append(&file, piece);
                read(&mut followed, &mut lines);
                // A client that comes back to this place goes on as if it had stayed.
                let offset = followed.offset();
                let id = followed.id();
                if offset > 0 {
                    let opened = disk.open().unwrap();
                    let again = Cursor::at(opened, offset, 1 << 20).unwrap().unwrap();
                    prop_assert_eq!(again.id(), id);
                    followed = again;
                }
            }
            prop_assert_eq!(lines, expected(&pieces.concat()));
        }
    }

    #[test]
    fn the_second_half_of_a_line_end_is_no_part_of_a_file_that_ends_with_it() {
        let memory = MemoryDisk::default();
        let file = memory.create(NAME);
        let mut disk = AnyLineEnd(Box::new(memory.clone()));
        memory.append(&file, b"a\r");
        let shown = disk.open().unwrap();
        assert_eq!(shown.stat().unwrap().size_bytes, 2);
        memory.append(&file, b"\n");
        assert_eq!(shown.stat().unwrap().size_bytes, 2);
        memory.append(&file, b"b");
        assert_eq!(shown.stat().unwrap().size_bytes, 4);
        let mut all = [0; 9];
        assert_eq!(shown.read_at(&mut all, 0).unwrap(), 4);
        assert_eq!(&all[..4], b"a\n\rb");
        assert_eq!(shown.read_at(&mut all[..1], 2).unwrap(), 1);
        assert_eq!(all[0], b'\r');
    }
}
