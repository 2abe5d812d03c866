//! Layer 5: the operating system. Each file wraps the system calls for one noun.
//!
//! Only this layer, and `store`, `cgi` and `server` above it, use the clock, descriptors,
//! files, processes and signals.

#[forbid(unsafe_code)]
pub(crate) mod accounts;
// It has an unsafe attribute.
#[cfg(sse_no_backtrace)]
mod backtrace;
#[forbid(unsafe_code)]
pub(crate) mod below;
#[forbid(unsafe_code)]
pub(crate) mod beneath;
#[forbid(unsafe_code)]
pub(crate) mod body;
#[forbid(unsafe_code)]
pub(crate) mod children;
#[forbid(unsafe_code)]
pub(crate) mod clock;
#[forbid(unsafe_code)]
pub(crate) mod descriptors;
#[forbid(unsafe_code)]
pub(crate) mod environment;
#[forbid(unsafe_code)]
pub(crate) mod exit;
#[forbid(unsafe_code)]
pub(crate) mod log;
#[forbid(unsafe_code)]
pub(crate) mod output;
#[forbid(unsafe_code)]
pub(crate) mod privilege;
#[forbid(unsafe_code)]
pub(crate) mod process;
#[forbid(unsafe_code)]
pub(crate) mod signals;
// One line in `watch::dnotify` is unsafe.
pub(crate) mod watch;
