//! A pipe.

use std::fs::File;

use nix::fcntl::OFlag;

/// The ends for reading and for writing; no started program inherits them. (Rust 1.85 has no
/// `std::io::pipe`.)
pub fn pipe() -> (File, File) {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    (reader.into(), writer.into())
}
