//! Finding line ends.
//!
//! On x86-64, memchr's functions ask the processor what it can do before they are used
//! for the first time. That takes a few CPUID instructions, each of which leaves a
//! virtual machine: a twentieth of the time from exec to first byte. What every such
//! processor has finds the end of a log's line just as soon.

#[cfg(target_arch = "x86_64")]
use memchr::arch::x86_64::sse2::memchr::One;

/// Where the first line end is.
#[cfg(target_arch = "x86_64")]
pub(super) fn first(bytes: &[u8]) -> Option<usize> {
    match One::new(b'\n') {
        Some(newline) => newline.find(bytes),
        None => memchr::memchr(b'\n', bytes),
    }
}

/// Where the last one is.
#[cfg(target_arch = "x86_64")]
pub(super) fn last(bytes: &[u8]) -> Option<usize> {
    match One::new(b'\n') {
        Some(newline) => newline.rfind(bytes),
        None => memchr::memrchr(b'\n', bytes),
    }
}

/// Where the first line end is.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn first(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes)
}

/// Where the last one is.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn last(bytes: &[u8]) -> Option<usize> {
    memchr::memrchr(b'\n', bytes)
}
