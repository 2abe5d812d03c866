//! A disk in memory, for tests: files with an identity of their own, names that can be
//! moved, and every way in which a log is rotated.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use super::disk::{Disk, DiskFile, Sibling, Stat};
use super::siblings::rotation_suffix;

struct Inode {
    number: u64,
    bytes: RefCell<Vec<u8>>,
    modified_ns: RefCell<i128>,
}

/// A file; clones are the same file.
#[derive(Clone)]
pub(super) struct MemoryFile(Rc<Inode>);

impl MemoryFile {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self::numbered(0, bytes)
    }

    fn numbered(number: u64, bytes: &[u8]) -> Self {
        let bytes = RefCell::new(bytes.to_vec());
        Self(Rc::new(Inode {
            number,
            bytes,
            modified_ns: RefCell::new(0),
        }))
    }

    /// Writes in place, and behind the end.
    pub(super) fn write_at(&self, offset: usize, text: &[u8]) {
        let mut bytes = self.0.bytes.borrow_mut();
        let end = offset + text.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset..end].copy_from_slice(text);
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.bytes.borrow().clone()
    }
}

impl DiskFile for MemoryFile {
    fn stat(&self) -> io::Result<Stat> {
        Ok(Stat {
            identity: (1, self.0.number),
            size_bytes: self.0.bytes.borrow().len() as u64,
            modified_ns: *self.0.modified_ns.borrow(),
            links: 1,
            born_ns: Some(i128::from(self.0.number)),
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.0.bytes.borrow();
        let from = (offset as usize).min(bytes.len());
        let length = buffer.len().min(bytes.len() - from);
        buffer[..length].copy_from_slice(&bytes[from..from + length]);
        Ok(length)
    }

    /// Every block of 64 NULs is a hole.
    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        let bytes = self.0.bytes.borrow();
        let is_hole = |block: usize| {
            let end = bytes.len().min((block + 1) * 64);
            bytes[block * 64..end].iter().all(|byte| *byte == 0)
        };
        let blocks = bytes.len().div_ceil(64);
        let Some(first) = (offset as usize / 64..blocks).find(|block| !is_hole(*block)) else {
            return Ok(None);
        };
        let end = (first..blocks).find(|block| is_hole(*block));
        let start = offset.max(first as u64 * 64);
        Ok(Some((start, end.unwrap_or(blocks) as u64 * 64)))
    }
}

/// One folder; clones are the same folder.
#[derive(Clone, Default)]
pub(super) struct MemoryDisk {
    files: Rc<RefCell<BTreeMap<String, MemoryFile>>>,
    next_number: Rc<RefCell<u64>>,
    /// What time it is on this disk.
    pub(super) now_ns: Rc<RefCell<i128>>,
}

/// The name that a [`MemoryDisk`] follows.
pub(super) const NAME: &str = "log";

impl MemoryDisk {
    pub(super) fn create(&self, name: &str) -> MemoryFile {
        *self.next_number.borrow_mut() += 1;
        let file = MemoryFile::numbered(*self.next_number.borrow(), b"");
        self.files.borrow_mut().insert(name.into(), file.clone());
        self.touch(&file);
        file
    }

    pub(super) fn file(&self, name: &str) -> Option<MemoryFile> {
        self.files.borrow().get(name).cloned()
    }

    pub(super) fn append(&self, file: &MemoryFile, bytes: &[u8]) {
        file.0.bytes.borrow_mut().extend_from_slice(bytes);
        self.touch(file);
    }

    pub(super) fn truncate(&self, file: &MemoryFile, length: usize) {
        file.0.bytes.borrow_mut().truncate(length);
        self.touch(file);
    }

    pub(super) fn rename(&self, from: &str, to: &str) {
        let file = self.files.borrow_mut().remove(from);
        if let Some(file) = file {
            self.files.borrow_mut().insert(to.into(), file);
        }
    }

    pub(super) fn remove(&self, name: &str) {
        self.files.borrow_mut().remove(name);
    }

    fn touch(&self, file: &MemoryFile) {
        *file.0.modified_ns.borrow_mut() = *self.now_ns.borrow();
    }
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Disk for MemoryDisk {
    fn stat(&mut self) -> io::Result<Stat> {
        self.file(NAME).ok_or_else(missing)?.stat()
    }

    fn open(&mut self) -> io::Result<Rc<dyn DiskFile>> {
        Ok(Rc::new(self.file(NAME).ok_or_else(missing)?))
    }

    fn siblings(&mut self) -> io::Result<Vec<Sibling>> {
        let files = self.files.borrow();
        let siblings = files.iter().filter_map(|(name, file)| {
            let suffix = rotation_suffix(NAME, name)?.to_owned();
            Some(Sibling {
                name: name.clone(),
                suffix,
                stat: file.stat().ok()?,
            })
        });
        Ok(siblings.collect())
    }

    fn open_sibling(&mut self, name: &str) -> io::Result<Rc<dyn DiskFile>> {
        Ok(Rc::new(self.file(name).ok_or_else(missing)?))
    }
}
