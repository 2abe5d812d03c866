//! Site: what every connection needs; created once at the start and never changed.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::fastcgi::Responder;
use super::program::Launcher;
use super::route::Routes;
use super::settings::Settings;

#[derive(Debug)]
pub struct Site {
    pub routes: Routes,
    pub settings: Settings,
    pub launcher: Launcher,
    pub responder: Arc<Responder>,
    /// `DOCUMENT_ROOT` of the programs.
    pub pages: PathBuf,
    /// `PATH` of the programs.
    pub search_path: OsString,
    pub limits: Limits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest silence of a program, or of a client that sends or accepts nothing.
    pub silence: Duration,
    pub header_bytes: usize,
    pub body_bytes: usize,
    pub programs: u32,
}

/// The two ends of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    pub client: SocketAddr,
    pub server: SocketAddr,
}
