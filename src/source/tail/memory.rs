//! A disk in memory, for tests: files with an identity of their own, names that can be
//! moved, and every way in which a log is rotated.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use super::disk::{Disk, DiskFile, Sibling, Stat, Whereabouts};
use super::siblings::Mark;

struct Inode {
    number: u64,
    bytes: RefCell<Vec<u8>>,
    modified_ns: Cell<i128>,
    born_ns: Option<i128>,
    /// What became of the name that it was created with.
    whereabouts: Cell<Whereabouts>,
}

/// A file; clones are the same file.
#[derive(Clone)]
pub(crate) struct MemoryFile(Rc<Inode>);

impl MemoryFile {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::numbered(0, None, bytes)
    }

    fn numbered(number: u64, born_ns: Option<i128>, bytes: &[u8]) -> Self {
        let bytes = RefCell::new(bytes.to_vec());
        Self(Rc::new(Inode {
            number,
            bytes,
            modified_ns: Cell::new(0),
            born_ns,
            whereabouts: Cell::new(Whereabouts::Unmoved),
        }))
    }

    /// Writes in place, and behind the end.
    pub(crate) fn write_at(&self, offset: usize, text: &[u8]) {
        let mut bytes = self.0.bytes.borrow_mut();
        let end = offset + text.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset..end].copy_from_slice(text);
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.bytes.borrow().clone()
    }
}

impl DiskFile for MemoryFile {
    fn stat(&self) -> io::Result<Stat> {
        Ok(Stat {
            identity: (1, self.0.number),
            size_bytes: self.0.bytes.borrow().len() as u64,
            modified_ns: self.0.modified_ns.get(),
            links: u64::from(self.0.whereabouts.get() != Whereabouts::Removed),
            born_ns: self.0.born_ns,
        })
    }

    fn whereabouts(&self) -> Whereabouts {
        self.0.whereabouts.get()
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
#[derive(Clone)]
pub(crate) struct MemoryDisk {
    files: Rc<RefCell<BTreeMap<String, MemoryFile>>>,
    next_number: Rc<RefCell<u64>>,
    /// What time it is on this disk.
    pub(crate) now_ns: Rc<RefCell<i128>>,
    /// Whether this disk knows when a file was created.
    pub(crate) knows_births: Rc<Cell<bool>>,
    moved_in: Rc<Cell<bool>>,
    /// The name that is followed.
    name: &'static str,
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self {
            files: Rc::default(),
            next_number: Rc::default(),
            now_ns: Rc::default(),
            knows_births: Rc::new(Cell::new(true)),
            moved_in: Rc::default(),
            name: NAME,
        }
    }
}

/// The name that a [`MemoryDisk`] follows, unless it is told another one.
pub(crate) const NAME: &str = "log";

impl MemoryDisk {
    pub(crate) fn following(name: &'static str) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn create(&self, name: &str) -> MemoryFile {
        *self.next_number.borrow_mut() += 1;
        let number = *self.next_number.borrow();
        // Files that are created in the same millisecond are told apart by it.
        let born_ns = *self.now_ns.borrow() + i128::from(number);
        let born_ns = self.knows_births.get().then_some(born_ns);
        let file = MemoryFile::numbered(number, born_ns, b"");
        self.remove(name);
        self.files.borrow_mut().insert(name.into(), file.clone());
        self.touch(&file);
        file
    }

    pub(crate) fn file(&self, name: &str) -> Option<MemoryFile> {
        self.files.borrow().get(name).cloned()
    }

    pub(crate) fn append(&self, file: &MemoryFile, bytes: &[u8]) {
        file.0.bytes.borrow_mut().extend_from_slice(bytes);
        self.touch(file);
    }

    pub(crate) fn truncate(&self, file: &MemoryFile, length: usize) {
        file.0.bytes.borrow_mut().truncate(length);
        self.touch(file);
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        let file = self.files.borrow_mut().remove(from);
        if let Some(file) = file {
            file.0.whereabouts.set(Whereabouts::Renamed);
            self.remove(to);
            self.files.borrow_mut().insert(to.into(), file);
            self.moved_in.set(self.moved_in.get() || to == self.name);
        }
    }

    pub(crate) fn remove(&self, name: &str) {
        if let Some(file) = self.files.borrow_mut().remove(name) {
            file.0.whereabouts.set(Whereabouts::Removed);
        }
    }

    fn touch(&self, file: &MemoryFile) {
        // Never before the birth of a file that is there.
        let number = i128::from(*self.next_number.borrow());
        file.0.modified_ns.set(*self.now_ns.borrow() + number);
    }
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Disk for MemoryDisk {
    fn stat(&mut self) -> io::Result<Stat> {
        self.file(self.name).ok_or_else(missing)?.stat()
    }

    fn open(&mut self) -> io::Result<Rc<dyn DiskFile>> {
        Ok(Rc::new(self.file(self.name).ok_or_else(missing)?))
    }

    fn siblings(&mut self) -> io::Result<Vec<Sibling>> {
        let files = self.files.borrow();
        let siblings = files.iter().filter_map(|(name, file)| {
            let mark = Mark::of(self.name, name)?;
            Some(Sibling {
                name: name.clone(),
                mark: mark.text.into(),
                form: mark.form,
                stat: file.stat().ok()?,
            })
        });
        Ok(siblings.collect())
    }

    fn open_sibling(&mut self, name: &str) -> io::Result<Rc<dyn DiskFile>> {
        Ok(Rc::new(self.file(name).ok_or_else(missing)?))
    }

    fn was_moved_in(&mut self) -> bool {
        self.moved_in.replace(false)
    }
}
