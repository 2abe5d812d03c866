//! One write of a record into a locked file, and the check that it is a line of its own there.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::resource::{Resource, getrlimit};

use super::{AppendError, TURNS};
use crate::publish::Record;
use crate::source::tail::TailId;

/// Writes a record into the locked file as a line of its own, and checks the result.
pub(super) fn write(file: &File, size_bytes: u64, record: &Record) -> Result<TailId, AppendError> {
    let mut begin = match size_bytes.checked_sub(1) {
        None => Begin::AtOnce,
        Some(last) => match bytes_at(file, last, 1)?[..] {
            [b'\n'] => Begin::AtOnce,
            _ => Begin::OnANewLine,
        },
    };
    reserve(file, size_bytes, record.as_bytes().len() as u64 + 1)?;
    for _ in 0..TURNS {
        match write_once(file, record, begin)? {
            Written::Whole(id) => return Ok(id),
            // A process without the lock wrote an unfinished line between the check and the
            // write, so the record was joined to it. It is written again.
            Written::Torn => begin = Begin::OnANewLine,
        }
    }
    Err(AppendError::Busy)
}

/// A write within a block is complete or absent: the space for it exists already.
const BLOCK_BYTES: u64 = 4096;

/// Reserves the space for a record, so that a full disk refuses the record as a whole, and not
/// after a part of it. The file's size does not change. If the file system does not support
/// this, nothing is reserved.
fn reserve(file: &File, size_bytes: u64, length_bytes: u64) -> Result<(), AppendError> {
    let end = size_bytes + length_bytes;
    // The limit on the size of files applies to writing; not every file system reports it here.
    if end > getrlimit(Resource::RLIMIT_FSIZE).map_or(u64::MAX, |(soft, _)| soft) {
        return Err(Errno::EFBIG.into());
    }
    let last_block = |size: u64| size.saturating_sub(1) / BLOCK_BYTES;
    if size_bytes > 0 && last_block(size_bytes) == last_block(end) {
        return Ok(());
    }
    let (Ok(offset), Ok(length)) = (size_bytes.try_into(), length_bytes.try_into()) else {
        return Err(Errno::EFBIG.into());
    };
    loop {
        let flags = FallocateFlags::FALLOC_FL_KEEP_SIZE;
        return match fallocate(file, flags, offset, length) {
            Err(Errno::EINTR) => continue,
            Err(error @ (Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG | Errno::EIO)) => {
                Err(error.into())
            }
            _ => Ok(()),
        };
    }
}

/// How a record begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    AtOnce,
    /// After a newline, because the file does not end with one. Readers ignore an empty line.
    OnANewLine,
}

enum Written {
    /// It is in the file as a line of its own.
    Whole(TailId),
    /// It is part of another line.
    Torn,
}

fn write_once(mut file: &File, record: &Record, begin: Begin) -> Result<Written, AppendError> {
    let mut bytes = Vec::with_capacity(record.as_bytes().len() + 1);
    if begin == Begin::OnANewLine {
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(record.as_bytes());
    let written = uninterrupted(|| file.write(&bytes))?;
    if written < bytes.len() {
        // The disk is full, or a limit is reached. If the rest can be written now, and nobody
        // wrote in between, nothing is lost. Otherwise the part is made a line of its own, if
        // possible. If not, the next publisher begins with a newline.
        if let Err(error) = file.write_all(&bytes[written..]) {
            let _ = file.write(b"\n");
            return Err(error.into());
        }
    }
    // In append mode the kernel leaves the position at the end of what it wrote, so it shows
    // the record's position even if others have written since.
    let end = uninterrupted(|| file.stream_position())?;
    let length = record.as_bytes().len() as u64;
    let Some(start) = end.checked_sub(length) else {
        return Ok(Written::Torn);
    };
    let before = start.min(1);
    let found = bytes_at(file, start - before, length + before)?;
    let (newline, found) = found.split_at(found.len().min(before as usize));
    if found != record.as_bytes() || newline.iter().any(|&b| b != b'\n') {
        return Ok(Written::Torn);
    }
    let window = end.min(TailId::WINDOW_BYTES as u64);
    let head = bytes_at(file, 0, end.min(TailId::HEAD_BYTES as u64))?;
    let window = bytes_at(file, end - window, window)?;
    Ok(Written::Whole(TailId::at(end, &head, &window)))
}

/// The bytes at `offset`; fewer only at the end of the file.
fn bytes_at(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        let at = offset + filled as u64;
        match uninterrupted(|| file.read_at(&mut bytes[filled..], at))? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
