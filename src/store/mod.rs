//! Layer 6: files: the followed file, appended records, the spool of sessions.
//!
//! [`host::SystemHost`] implements [`crate::source::Host`] for the sources.

pub(crate) mod answering;
pub(crate) mod append;
pub(crate) mod disk;
pub(crate) mod engines;
pub(crate) mod host;
pub(crate) mod key_file;
mod listing;
pub(crate) mod post;
pub(crate) mod publish_location;
pub(crate) mod publish_queue;
mod redis;
mod roster;
pub(crate) mod settings_file;
pub(crate) mod spool;
pub(crate) mod workers;
