//! SystemHost: the operating system, as sources use it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::append::{AppendError, AppendOptions};
use super::disk::{self, RealDisk, Surroundings};
use super::engines::EngineSlot;
use super::listing::Listings;
use super::publish_location::{PublishError, target, unwritten};
use super::redis;
use super::roster::Rosters;
use super::spool::SpoolFolder;
use crate::publish::Record;
use crate::request::{BelowRoot, Durability, Request, Settings};
use crate::source::command::Process;
use crate::source::redis::{Feed, Key, session};
use crate::source::{
    Host, OpenError, Opened, Opening, Recipients, SessionKind, Spool, in_files_only, tail,
};
use crate::stream::Watching;
use crate::system::accounts;
use crate::system::clock;
use crate::system::log::{Level, Log};
use crate::system::process::Programs;
use crate::system::watch::{Hints, Watcher};

/// The implementation of [`Host`] for the operating system.
#[derive(Clone)]
pub(crate) struct SystemHost {
    pub(crate) watcher: Rc<Watcher>,
    log: Rc<Log>,
    /// No-op watcher, for sources that a channel notifies.
    blind: Rc<Watcher>,
    pub(crate) programs: Rc<Programs>,
    listings: Rc<Listings>,
    rosters: Rc<Rosters>,
    /// The engines of streams that are not stored on this machine.
    pub(crate) engines: Rc<EngineSlot>,
    process_log: Rc<Log>,
    watching: Watching,
    capabilities: Capabilities,
}

impl SystemHost {
    pub(crate) fn new(log: Rc<Log>, capabilities: Capabilities) -> Self {
        Self {
            process_log: Rc::clone(&log),
            log,
            watching: Watching::Own,
            engines: Rc::default(),
            watcher: Rc::new(Watcher::new()),
            blind: Rc::new(Watcher::blind()),
            programs: Rc::new(Programs::new()),
            listings: Rc::new(Listings::new()),
            rosters: Rc::default(),
            capabilities,
        }
    }

    /// The same host with a request's log. If a channel watches the file, the source does not.
    pub(crate) fn for_request(&self, log: &Rc<Log>, watching: Watching) -> Rc<dyn Host> {
        let watcher = match watching {
            Watching::Own => &self.watcher,
            Watching::ByChannel => &self.blind,
        };
        Rc::new(Self {
            log: Rc::clone(log),
            watcher: Rc::clone(watcher),
            watching,
            ..self.clone()
        })
    }

    /// The log of the process, not of one request.
    pub(super) fn process_log(&self) -> Rc<Log> {
        Rc::clone(&self.process_log)
    }

    /// Begins encrypted connections to engines, if the program contains that.
    pub(super) fn tls(&self) -> Option<redis::OpenTls> {
        self.capabilities.tls
    }

    /// The watcher, changes and log for a followed path.
    fn surroundings(&self) -> Surroundings {
        Surroundings {
            watcher: Rc::clone(&self.watcher),
            hints: self.watcher.follow(),
            log: Rc::clone(&self.log),
            listings: Rc::clone(&self.listings),
        }
    }
}

impl Host for SystemHost {
    fn disk(&self, path: &Path) -> Box<dyn tail::Disk> {
        Box::new(RealDisk::at(path, self.surroundings()))
    }

    fn disk_below(&self, root: &Path, name: &BelowRoot) -> io::Result<Box<dyn tail::Disk>> {
        Ok(Box::new(RealDisk::below(root, name, self.surroundings())?))
    }

    fn warn(&self, message: &str) {
        self.log.line(Level::Warning, message);
    }

    fn user(&self) -> String {
        accounts::own_name()
    }

    fn missing_folder(&self, path: &Path) -> Option<PathBuf> {
        let path = std::path::absolute(path).ok()?;
        // A folder that cannot be checked is not known to be missing.
        let is_missing = |folder: &&Path| match folder.metadata() {
            Ok(metadata) => !metadata.is_dir(),
            Err(error) => {
                matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                )
            }
        };
        let folders = path.ancestors().skip(1);
        let missing = folders.take_while(is_missing).last();
        missing.map(Path::to_owned)
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

    fn start(&self, words: &[String]) -> io::Result<Box<dyn Process>> {
        self.capabilities.start.ok_or(UNSUPPORTED)?(self, words)
    }

    fn spool(
        &self,
        folder: &Path,
        kind: SessionKind,
        grace: Duration,
    ) -> io::Result<Rc<dyn Spool>> {
        self.capabilities.spool.ok_or(UNSUPPORTED)?(self, folder, kind, grace)
    }

    fn feed(&self, key: &Key) -> io::Result<Box<dyn Feed>> {
        self.capabilities.feed.ok_or(UNSUPPORTED)?(self, key, self.watching)
    }

    fn open_in_engine(
        &self,
        recipients: Recipients,
        opening: &Opening<'_>,
    ) -> Result<Opened, OpenError> {
        match self.capabilities.open_in_engine {
            Some(open) => open(recipients, opening),
            None => Err(in_files_only()),
        }
    }

    fn secret(&self) -> io::Result<[u8; 16]> {
        let mut bytes = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&self, settings: &Settings, request: &Request, line: &str) -> io::Result<()> {
        self.capabilities.append.ok_or(UNSUPPORTED)?(settings, request, line)
    }

    fn utc_offset_seconds(&self, unix_ms: u64) -> i32 {
        clock::utc_offset_seconds(unix_ms)
    }
}

const UNSUPPORTED: io::ErrorKind = io::ErrorKind::Unsupported;

type Start = fn(&SystemHost, &[String]) -> io::Result<Box<dyn Process>>;
type OpenSpool = fn(&SystemHost, &Path, SessionKind, Duration) -> io::Result<Rc<dyn Spool>>;
type OpenFeed = fn(&SystemHost, &Key, Watching) -> io::Result<Box<dyn Feed>>;
type OpenInEngine = fn(Recipients, &Opening<'_>) -> Result<Opened, OpenError>;
type Append = fn(&Settings, &Request, &str) -> io::Result<()>;

/// What a program's streams may do besides following files. A program contains only the code of
/// its capabilities: it is started for every connection, and a small one starts sooner.
#[derive(Clone, Copy)]
pub(crate) struct Capabilities {
    start: Option<Start>,
    spool: Option<OpenSpool>,
    append: Option<Append>,
    feed: Option<OpenFeed>,
    open_in_engine: Option<OpenInEngine>,
    tls: Option<redis::OpenTls>,
}

impl Capabilities {
    /// Following files only.
    pub(crate) const FILES: Self = Self {
        start: None,
        spool: None,
        append: None,
        feed: None,
        open_in_engine: None,
        tls: None,
    };

    /// Running programs.
    pub(crate) const PROGRAMS: Self = Self {
        start: Some(start),
        ..Self::FILES
    };

    /// Sessions, and appending lines to files.
    pub(crate) const SESSIONS: Self = Self {
        spool: Some(spool),
        append: Some(append),
        ..Self::FILES
    };

    /// Reading from engines, without TLS: it would make `nph-redis` larger by two thirds.
    pub(crate) const ENGINES: Self = Self {
        feed: Some(redis::feed),
        ..Self::FILES
    };

    /// Everything.
    pub(crate) const ALL: Self = Self {
        start: Some(start),
        feed: Some(redis::feed),
        open_in_engine: Some(session::open),
        tls: redis::TLS,
        ..Self::SESSIONS
    };
}

fn start(host: &SystemHost, words: &[String]) -> io::Result<Box<dyn Process>> {
    let hints = Rc::new(Hints::new());
    let log = Rc::clone(&host.log);
    let program = host.programs.start(words, hints, log)?;
    Ok(Box::new(program))
}

fn spool(
    host: &SystemHost,
    folder: &Path,
    kind: SessionKind,
    grace: Duration,
) -> io::Result<Rc<dyn Spool>> {
    let spool = SpoolFolder::open(folder, kind, grace)?;
    Ok(Rc::new(spool.with_rosters(&host.rosters)))
}

fn append(settings: &Settings, request: &Request, line: &str) -> io::Result<()> {
    let target = target(settings, request).map_err(|refused| match refused {
        PublishError::Setting(error) => io::Error::other(error),
        PublishError::Unavailable(text)
        | PublishError::Unwritable(text)
        | PublishError::Hidden(text) => io::Error::other(text),
        _ => io::ErrorKind::NotFound.into(),
    })?;
    let record = Record::of_line(line.to_owned())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    match target.append(&record, &AppendOptions::of(settings, Durability::Process)) {
        Ok(_) => Ok(()),
        Err(AppendError::Busy) => Err(io::ErrorKind::WouldBlock.into()),
        Err(AppendError::NotFound) => Err(io::ErrorKind::NotFound.into()),
        Err(AppendError::System(error) | AppendError::Hidden(error)) => {
            let text = format!("append to {}: {}", target.display(), unwritten(&error));
            Err(io::Error::new(error.kind(), text))
        }
    }
}
