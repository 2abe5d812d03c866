//! The `SSE_*` settings.
//!
//! ```text
//! table ──► reader ──► Settings (location), Publishing, the process's
//!   └─────► help, docs/settings.md
//! ```
//!
//! They are meta-variables like any other, so the same names work under every gateway. A client
//! cannot set them: what a client sends has a name that begins with `HTTP_`. They are trusted,
//! but can contain mistakes: an invalid value is a [`SettingError`], and a value outside its
//! range is clamped with a [`Notice`]. Both are one line that names the setting and the remedy.

mod error;
mod file;
mod help;
mod location;
mod page;
mod process;
mod reader;
mod row;
mod streams;
pub(super) mod table;
mod unknown;
mod values;

pub use error::{Notice, SettingError};
pub(crate) use file::place_of;
pub use file::{FileError, Origin, Place, Section, Sections, SettingsFile};
pub(crate) use help::{environment_help, options_help};
pub use location::{Lifetime, Settings};
pub use page::{page, table_row};
pub use process::{misplaced, subscribers_max};
pub use reader::Dividing;
pub(super) use reader::Reader;
pub(crate) use row::option_name;
pub use row::{Brief, DefaultValue, Kind, PROGRAMS, Scope, Setting, Sharing, Spec, Streams};
pub use streams::{NamedStream, STREAM_NAME_MAX_CHARS, is_stream_name};
pub use table::{COMMON, PROCESS_SETTINGS, Rows, TABLE, count, select, setting};
pub use values::{
    Absent, CommandSharing, Format, LineEnd, Publishers, QueryFilter, SourceId, TextEncoding,
};
