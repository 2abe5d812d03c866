//! Conversion of text that is not UTF-8 (`SSE_ENCODING`).
//!
//! Line ends are not handled here: encodings in which a line end's byte can be part of another
//! character are for whole files only.

use std::borrow::Cow;

use crate::request::TextEncoding;

/// The characters of windows-1252 at 0x80 to 0x9F (WHATWG Encoding Standard §9); all other bytes
/// are the code points of the same number.
const WINDOWS_1252: [char; 32] = [
    '\u{20AC}', '\u{81}', '\u{201A}', '\u{192}', '\u{201E}', '\u{2026}', '\u{2020}', '\u{2021}',
    '\u{2C6}', '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{8D}', '\u{17D}', '\u{8F}',
    '\u{90}', '\u{2018}', '\u{2019}', '\u{201C}', '\u{201D}', '\u{2022}', '\u{2013}', '\u{2014}',
    '\u{2DC}', '\u{2122}', '\u{161}', '\u{203A}', '\u{153}', '\u{9D}', '\u{17E}', '\u{178}',
];

/// The encoding that a byte order mark at the start of a file indicates.
pub(super) fn of_mark(start: &[u8]) -> Option<TextEncoding> {
    match start {
        [0xEF, 0xBB, 0xBF, ..] => Some(TextEncoding::Utf8),
        [0xFF, 0xFE, ..] => Some(TextEncoding::Utf16Le),
        [0xFE, 0xFF, ..] => Some(TextEncoding::Utf16Be),
        _ => None,
    }
}

/// A whole file as UTF-8, without its byte order mark, which takes precedence over `encoding`.
/// Malformed sequences become U+FFFD here or in the encoder.
pub(super) fn decode_whole(bytes: &[u8], encoding: TextEncoding) -> Cow<'_, [u8]> {
    match of_mark(bytes) {
        Some(TextEncoding::Utf8) => Cow::Borrowed(&bytes[3..]),
        Some(marked) => decode(&bytes[2..], marked),
        None => decode(bytes, encoding),
    }
}

/// Bytes as UTF-8.
pub(super) fn decode(bytes: &[u8], encoding: TextEncoding) -> Cow<'_, [u8]> {
    let unit = match encoding {
        TextEncoding::Utf8 => return Cow::Borrowed(bytes),
        TextEncoding::Windows1252 if bytes.is_ascii() => return Cow::Borrowed(bytes),
        TextEncoding::Windows1252 => {
            let text: String = bytes.iter().map(|&byte| windows_1252(byte)).collect();
            return Cow::Owned(text.into_bytes());
        }
        TextEncoding::Utf16Le => u16::from_le_bytes,
        TextEncoding::Utf16Be => u16::from_be_bytes,
    };
    let pairs = bytes.chunks_exact(2);
    let is_half = !pairs.remainder().is_empty();
    let units = pairs.map(|pair| unit([pair[0], pair[1]]));
    let mut text: String = char::decode_utf16(units)
        .map(|decoded| decoded.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    if is_half {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    Cow::Owned(text.into_bytes())
}

fn windows_1252(byte: u8) -> char {
    match byte {
        0x80..=0x9F => WINDOWS_1252[usize::from(byte) - 0x80],
        other => char::from(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(bytes: &[u8], encoding: TextEncoding, expected: &str) {
        let text = decode_whole(bytes, encoding);
        assert_eq!(String::from_utf8_lossy(&text), expected);
    }

    #[test]
    fn text_of_every_encoding_becomes_utf_8() {
        check(
            b"na\xEFve \x80\x93\x9F",
            TextEncoding::Windows1252,
            "naïve €“Ÿ",
        );
        check(b"h\0\xE9\0\x3D\xD8\x00\xDE", TextEncoding::Utf16Le, "hé😀");
        check(b"\0h\x4E\x0A", TextEncoding::Utf16Be, "h上");
        check("é".as_bytes(), TextEncoding::Utf8, "é");
    }

    #[test]
    fn a_byte_order_mark_counts_more_than_the_setting() {
        check(b"\xFF\xFEh\0", TextEncoding::Windows1252, "h");
        check(b"\xFE\xFF\0h", TextEncoding::Utf16Le, "h");
        check("\u{FEFF}é".as_bytes(), TextEncoding::Windows1252, "é");
    }

    #[test]
    fn half_of_a_character_is_replaced() {
        check(b"h\0\x3D\xD8", TextEncoding::Utf16Le, "h\u{FFFD}");
        check(b"h\0i", TextEncoding::Utf16Le, "h\u{FFFD}");
    }

    proptest! {
        #[test]
        fn any_bytes_become_utf_8(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let all = [TextEncoding::Windows1252, TextEncoding::Utf16Le, TextEncoding::Utf16Be];
            for encoding in all {
                prop_assert!(std::str::from_utf8(&decode(&bytes, encoding)).is_ok());
            }
        }
    }
}
