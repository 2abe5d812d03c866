//! What a source may see of this machine.

use std::cell::{Cell, RefCell};
use std::io::{self, Read as _};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::clock;
use super::disk::{self, RealDisk, Surroundings};
use super::log::{Level, Log};
use super::watch::{Coverage, Watcher};
use crate::request::BelowRoot;
use crate::source::{World, tail};

/// The real one.
pub(super) struct Machine {
    pub(super) watcher: Rc<Watcher>,
    log: Rc<Log>,
    /// How well each followed path is watched.
    followed: RefCell<Vec<Rc<Cell<Coverage>>>>,
}

impl Machine {
    pub(super) fn new(log: Rc<Log>) -> Self {
        Self {
            log,
            watcher: Rc::new(Watcher::new()),
            followed: RefCell::new(Vec::new()),
        }
    }

    /// What a followed path has from us, with a place where it tells how well it is
    /// watched.
    fn surroundings(&self) -> Surroundings {
        let coverage = Rc::new(Cell::new(Coverage::None));
        self.followed.borrow_mut().push(Rc::clone(&coverage));
        Surroundings {
            watcher: Rc::clone(&self.watcher),
            coverage,
            log: Rc::clone(&self.log),
        }
    }

    /// How soon something has to be looked at although no hint came.
    pub(super) fn look_again_after(&self) -> Option<Duration> {
        let followed = self.followed.borrow();
        followed
            .iter()
            .filter_map(|coverage| coverage.get().look_again_after())
            .min()
    }
}

impl World for Machine {
    fn disk(&self, path: &Path) -> Box<dyn tail::Disk> {
        Box::new(RealDisk::at(path, self.surroundings()))
    }

    fn disk_below(&self, root: &Path, name: &BelowRoot) -> io::Result<Box<dyn tail::Disk>> {
        Ok(Box::new(RealDisk::below(root, name, self.surroundings())?))
    }

    fn warn(&self, message: &str) {
        self.log.line(Level::Warning, message);
    }

    fn read(&self, path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let (file, _) = disk::open_regular(path)?;
        file.take(limit_bytes + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit_bytes {
            let text = format!("longer than {limit_bytes} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(bytes)
    }

    fn utc_offset_seconds(&self, unix_ms: u64) -> i32 {
        clock::utc_offset_seconds(unix_ms)
    }
}
