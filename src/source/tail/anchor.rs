//! Ids that are anchored in a file's content.
//!
//! An id is `<offset>-<anchor>`: where the record ends, and a 64-bit hash of what
//! stands right before that place. One read tells any process whether a file is the
//! one that a client was reading, with no inode in it, so it survives rotation, copy
//! and truncate, a restore from backup, another node, and inodes that are used again.

use std::fmt;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::disk::{DiskFile, Stat};
use crate::event::EventId;
use crate::source::digits;

/// How many bytes before the offset are hashed.
pub(super) const WINDOW_BYTES: usize = 128;

/// How many bytes from the start of the file are hashed as well: they tell apart two
/// files that repeat themselves. Their hash is computed once a file.
pub(super) const HEAD_BYTES: usize = 256;

/// A place in a file, and the hash that proves which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailId {
    /// The first byte after the record and its newline.
    pub offset_bytes: u64,
    /// XXH3-64 of the window before the offset, seeded with that of the head.
    pub anchor: u64,
}

impl TailId {
    /// The longest text: 20 digits, a hyphen, 16 hexadecimal digits.
    const TEXT_MAX_BYTES: usize = 37;

    /// The start of the file that comes after `predecessor`, while there is no such file.
    /// Nothing stands before the start of a file; what stands before it in the stream is
    /// the end of the file that was rotated last, so that is its anchor.
    pub(super) fn start_after(predecessor: Option<&dyn DiskFile>) -> Self {
        let end = predecessor.and_then(|file| {
            let size = file.stat().ok()?.size_bytes;
            let (head, window) = read_place(file, size).ok()??;
            Some(head.anchor(&window))
        });
        let anchor = end.unwrap_or_else(|| Head::empty().anchor(b""));
        Self {
            offset_bytes: 0,
            anchor,
        }
    }

    /// The start of the file with the state `file`, given the start of whatever comes after
    /// its predecessor. It belongs to this one file: otherwise a client that waits at the
    /// start of an empty file would take any later file for it.
    pub(super) fn bound_to(self, file: &Stat) -> Self {
        // Inodes are used again, but nothing else is left where births are not known.
        let identity = file.born_ns.unwrap_or(i128::from(file.identity.1));
        Self {
            offset_bytes: 0,
            anchor: xxh3_64_with_seed(&identity.to_le_bytes(), self.anchor),
        }
    }

    /// The place at `offset_bytes`, where `head` is what the file begins with and `window`
    /// what stands right before the place: as many bytes of both as there are, up to
    /// [`TailId::HEAD_BYTES`] and [`TailId::WINDOW_BYTES`].
    #[must_use]
    pub fn at(offset_bytes: u64, head: &[u8], window: &[u8]) -> Self {
        let anchor = Head::of(head).anchor(window);
        Self {
            offset_bytes,
            anchor,
        }
    }

    /// How much of a file's beginning an id is made of, in bytes.
    pub const HEAD_BYTES: usize = HEAD_BYTES;

    /// How much of what stands right before the place, in bytes.
    pub const WINDOW_BYTES: usize = WINDOW_BYTES;

    /// Reads an id; `None` for any text that no id is written as.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (offset, anchor) = text.split_once('-')?;
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if anchor.len() != 16 || !anchor.bytes().all(lower_hex) {
            return None;
        }
        Some(Self {
            offset_bytes: digits(offset)?,
            anchor: u64::from_str_radix(anchor, 16).ok()?,
        })
    }

    /// Writes the id into `buffer`, which may hold anything. Every event has an id of
    /// its own, so this is done without the formatting machinery.
    pub(super) fn text(self, buffer: &mut IdText) -> EventId<'_> {
        const HYPHEN: usize = IdText::BYTES - 17;
        buffer.0[HYPHEN] = b'-';
        let (high, low) = ((self.anchor >> 32) as u32, self.anchor as u32);
        buffer.0[HYPHEN + 1..HYPHEN + 9].copy_from_slice(&hex(high));
        buffer.0[HYPHEN + 9..].copy_from_slice(&hex(low));
        let mut at = HYPHEN;
        let mut rest = self.offset_bytes;
        // Two pairs at once: one waits for a division, not for two.
        while rest >= 10_000 {
            let four = (rest % 10_000) as usize;
            rest /= 10_000;
            at -= 4;
            buffer.0[at..at + 2].copy_from_slice(&PAIRS[four / 100]);
            buffer.0[at + 2..at + 4].copy_from_slice(&PAIRS[four % 100]);
        }
        loop {
            at -= 2;
            buffer.0[at..at + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
            rest /= 100;
            if rest == 0 {
                break;
            }
        }
        at += usize::from(buffer.0[at] == b'0' && at + 1 < HYPHEN);
        EventId::from_valid(&buffer.0[at..])
    }

    /// The id as an event carries it.
    #[must_use]
    pub fn event_id(self) -> EventId<'static> {
        self.text(&mut IdText::default()).into_owned()
    }
}

/// The decimal digits of 0 to 99.
static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + number as u8 / 10, b'0' + number as u8 % 10];
        number += 1;
    }
    pairs
};

/// The eight hexadecimal digits of a number, all at once: each byte of a word holds one.
fn hex(number: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // One byte each in two, the first byte in the lowest, then one half each in one.
    let bytes = u64::from(number.swap_bytes());
    let bytes = (bytes | (bytes << 16)) & 0x0000_FFFF_0000_FFFF;
    let bytes = (bytes | (bytes << 8)) & 0x00FF_00FF_00FF_00FF;
    let halves = ((bytes >> 4) & 0x000F_000F_000F_000F) | ((bytes & 0x000F_000F_000F_000F) << 8);
    // Adding 6 carries into the upper half from ten on.
    let is_letter = ((halves + ONES * 6) >> 4) & ONES;
    let letter_offset = u64::from(b'a' - b'0' - 10);
    (halves + ONES * u64::from(b'0') + is_letter * letter_offset).to_le_bytes()
}

impl fmt::Display for TailId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.offset_bytes, self.anchor)
    }
}

/// Room for the text of one id.
pub(super) struct IdText([u8; Self::BYTES]);

impl IdText {
    const BYTES: usize = TailId::TEXT_MAX_BYTES;
}

impl Default for IdText {
    fn default() -> Self {
        Self([0; Self::BYTES])
    }
}

/// The first bytes of a file, as far as an anchor needs them.
#[derive(Clone, Debug)]
pub(super) struct Head {
    bytes: [u8; HEAD_BYTES],
    /// How many of `bytes` are known; the offset never is beyond them unless all are.
    known: usize,
    /// The hash of all of them, once all are known.
    whole: u64,
}

impl Head {
    /// Of a file of which nothing has been read.
    pub(super) fn empty() -> Self {
        Self {
            bytes: [0; HEAD_BYTES],
            known: 0,
            whole: 0,
        }
    }

    /// Of the first `bytes` (at most [`HEAD_BYTES`]) of a file.
    fn of(bytes: &[u8]) -> Self {
        let mut head = Self::empty();
        head.extend(bytes);
        head
    }

    pub(super) fn is_whole(&self) -> bool {
        self.known == HEAD_BYTES
    }

    /// Takes in bytes that follow the known ones; those beyond the head are ignored.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        if self.is_whole() {
            return;
        }
        let taken = bytes.len().min(HEAD_BYTES - self.known);
        self.bytes[self.known..self.known + taken].copy_from_slice(&bytes[..taken]);
        self.known += taken;
        if self.is_whole() {
            self.whole = xxh3_64(&self.bytes);
        }
    }

    /// Whether the file still begins with it.
    pub(super) fn is_still_there(&self, file: &dyn DiskFile) -> std::io::Result<bool> {
        let mut begin = [0; HEAD_BYTES];
        let read = read_full(file, &mut begin[..self.known], 0)?;
        Ok(begin[..read] == self.bytes[..self.known])
    }

    /// The anchor of the place right after `window`, where all bytes before it that
    /// belong to the head are known.
    pub(super) fn anchor(&self, window: &[u8]) -> u64 {
        let head = if self.is_whole() {
            self.whole
        } else {
            xxh3_64(&self.bytes[..self.known])
        };
        xxh3_64_with_seed(window, head)
    }
}

/// Reads what an anchor at `offset_bytes` is made of; `None` when the file is shorter
/// or cannot be read.
pub(super) fn read_place(
    file: &dyn DiskFile,
    offset_bytes: u64,
) -> std::io::Result<Option<(Head, Vec<u8>)>> {
    let head_length = offset_bytes.min(HEAD_BYTES as u64) as usize;
    let mut head = [0; HEAD_BYTES];
    if read_full(file, &mut head[..head_length], 0)? < head_length {
        return Ok(None);
    }
    let window_length = offset_bytes.min(WINDOW_BYTES as u64) as usize;
    let mut window = vec![0; window_length];
    if read_full(file, &mut window, offset_bytes - window_length as u64)? < window_length {
        return Ok(None);
    }
    Ok(Some((Head::of(&head[..head_length]), window)))
}

/// The id of the place at `offset_bytes`; `None` as for [`read_place`].
pub(super) fn id_at(file: &dyn DiskFile, offset_bytes: u64) -> std::io::Result<Option<TailId>> {
    let place = read_place(file, offset_bytes)?;
    Ok(place.map(|(head, window)| TailId {
        offset_bytes,
        anchor: head.anchor(&window),
    }))
}

/// Whether `id` was given for a place in this file.
pub(super) fn matches(file: &dyn DiskFile, id: TailId) -> std::io::Result<bool> {
    let place = read_place(file, id.offset_bytes)?;
    Ok(place.is_some_and(|(head, window)| head.anchor(&window) == id.anchor))
}

/// Fills `buffer` from `offset`, as far as the file goes.
pub(super) fn read_full(
    file: &dyn DiskFile,
    buffer: &mut [u8],
    offset: u64,
) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        let offsets = [
            0,
            1,
            9,
            10,
            99,
            100,
            101,
            999,
            9_999,
            10_000,
            10_001,
            100_000,
            1_000_000,
            1_000_000_007,
            u64::MAX,
        ];
        let anchors = [0, u64::MAX, 0x0123_4567_89ab_cdef];
        for (offset_bytes, anchor) in offsets.into_iter().zip(anchors.into_iter().cycle()) {
            let id = TailId {
                offset_bytes,
                anchor,
            };
            assert_eq!(id.event_id().as_str(), id.to_string());
            assert_eq!(TailId::parse(&id.to_string()), Some(id));
        }
    }

    #[test]
    fn any_other_text_is_no_id() {
        for bad in [
            "",
            "5",
            "-0123456789abcdef",
            "5-0123456789ABCDEF",
            "5-0123456789abcde",
            "5-0123456789abcdef0",
            "+5-0123456789abcdef",
            "99999999999999999999-0123456789abcdef",
        ] {
            assert_eq!(TailId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_head_counts_up_to_the_offset_and_no_further() {
        let text: Vec<u8> = (0..=255).cycle().take(1000).map(|b: u8| b ^ 0x5a).collect();
        let mut growing = Head::empty();
        for end in 0..600_usize {
            let window = &text[end.saturating_sub(WINDOW_BYTES)..end];
            let direct = Head::of(&text[..end.min(HEAD_BYTES)]);
            assert_eq!(growing.anchor(window), direct.anchor(window), "{end}");
            growing.extend(&text[end..=end]);
        }
    }

    /// Ids live in browsers across upgrades: this hash may never change.
    #[test]
    fn the_anchor_is_the_same_for_ever() {
        assert_eq!(Head::of(b"abc\n").anchor(b"abc\n"), 0xa517_ae53_fb08_533c);
    }
}
