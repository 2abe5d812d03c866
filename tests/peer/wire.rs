//! FastCGI records, written and read here only from the specification, so that the code under
//! test does not check itself.

use fastrand::Rng;

pub const BEGIN_REQUEST: u8 = 1;
pub const ABORT_REQUEST: u8 = 2;
pub const END_REQUEST: u8 = 3;
pub const PARAMS: u8 = 4;
pub const STDIN: u8 = 5;
pub const STDOUT: u8 = 6;
pub const STDERR: u8 = 7;
pub const GET_VALUES: u8 = 9;
pub const GET_VALUES_RESULT: u8 = 10;
pub const UNKNOWN_TYPE: u8 = 11;

pub const RESPONDER: u16 = 1;
pub const KEEP_CONN: u8 = 1;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub kind: u8,
    pub id: u16,
    pub content: Vec<u8>,
}

/// A record with padding of a random length and random bytes.
pub fn record(kind: u8, id: u16, content: &[u8], dice: &mut Rng) -> Vec<u8> {
    let padding: Vec<u8> = match dice.u8(..4) {
        0 => (0..dice.u8(..)).map(|_| dice.u8(..)).collect(),
        1 => vec![0; (8 - content.len() % 8) % 8],
        _ => Vec::new(),
    };
    let length = u16::try_from(content.len()).expect("a record's content");
    let mut bytes = vec![1, kind];
    bytes.extend(id.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend([padding.len() as u8, dice.u8(..)]);
    bytes.extend_from_slice(content);
    bytes.extend(padding);
    bytes
}

pub fn begin(id: u16, role: u16, flags: u8, dice: &mut Rng) -> Vec<u8> {
    let [high, low] = role.to_be_bytes();
    record(BEGIN_REQUEST, id, &[high, low, flags, 0, 0, 0, 0, 0], dice)
}

/// A stream of records that ends with an empty one, split anywhere.
pub fn stream(kind: u8, id: u16, mut content: &[u8], dice: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !content.is_empty() {
        let most = content.len().min(0xFFFF);
        let length = match dice.u8(..3) {
            0 => dice.usize(1..=most.min(20)),
            1 => dice.usize(1..=most),
            _ => most,
        };
        bytes.extend(record(kind, id, &content[..length], dice));
        content = &content[length..];
    }
    bytes.extend(record(kind, id, b"", dice));
    bytes
}

/// Name-value pairs, sometimes with lengths of four bytes although one would suffice.
pub fn pairs<N: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: &[(N, V)], dice: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in pairs {
        for length in [name.as_ref().len(), value.as_ref().len()] {
            if length > 127 || dice.u8(..5) == 0 {
                bytes.extend((length as u32 | 0x8000_0000).to_be_bytes());
            } else {
                bytes.push(length as u8);
            }
        }
        bytes.extend_from_slice(name.as_ref());
        bytes.extend_from_slice(value.as_ref());
    }
    bytes
}

/// Removes a complete record from the beginning of `bytes`, if there is one.
pub fn take(bytes: &mut Vec<u8>) -> Option<Record> {
    let header: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
    assert_eq!(header[0], 1, "the version in {header:?}");
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let whole = 8 + length + usize::from(header[6]);
    if bytes.len() < whole {
        return None;
    }
    let content = bytes[8..8 + length].to_vec();
    bytes.drain(..whole);
    Some(Record {
        kind: header[1],
        id: u16::from_be_bytes([header[2], header[3]]),
        content,
    })
}

/// Pairs with lengths of one byte, as answers to GET_VALUES have them.
pub fn short_pairs(mut bytes: &[u8]) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    while let [name, value, rest @ ..] = bytes {
        let (name, rest) = rest.split_at(usize::from(*name));
        let (value, rest) = rest.split_at(usize::from(*value));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        pairs.push((text(name), text(value)));
        bytes = rest;
    }
    pairs
}
