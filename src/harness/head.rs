//! Head: the header of a plain CGI program's response (RFC 3875 §6), parsed without I/O.

/// Maximum length of a head. Apache accepts 8 KiB for each line.
pub const LONGEST_BYTES: usize = 64 * 1024;

const MOST_FIELDS: usize = 100;

/// A program's head. `Status`, `Location` and the connection's fields are removed.
#[derive(Debug)]
pub struct Head {
    /// From `Status:`, including its words, or 200; 302 if there is a `Location` and no status.
    pub status: u16,
    /// The text after the number, if the program wrote one.
    pub reason: Option<String>,
    /// A path of this server with which to continue, instead of a response (RFC 3875 §6.2.2).
    pub local_redirect: Option<String>,
    pub fields: Vec<(String, Vec<u8>)>,
    /// Where the body begins.
    pub length_bytes: usize,
}

/// Parses what a program has written so far. `Ok(None)`: more is needed.
pub fn parse(written: &[u8]) -> Result<Option<Head>, BrokenHead> {
    let mut raw = [httparse::EMPTY_HEADER; MOST_FIELDS];
    match httparse::parse_headers(written, &mut raw) {
        Ok(httparse::Status::Complete((length_bytes, fields))) => {
            build(fields, length_bytes).map(Some)
        }
        Ok(httparse::Status::Partial) if written.len() >= LONGEST_BYTES => {
            Err(BrokenHead::new("it is longer than 64 KiB"))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Err(error) => Err(BrokenHead(format!("{error}: {}", excerpt(written)))),
    }
}

fn build(raw: &[httparse::Header], length_bytes: usize) -> Result<Head, BrokenHead> {
    let mut status = None;
    let mut reason = None;
    let mut fields: Vec<(String, Vec<u8>)> = Vec::new();
    for field in raw {
        if field.name.eq_ignore_ascii_case("Status") {
            let (number, words) = parse_status(field.value)
                .ok_or_else(|| BrokenHead(format!("bad Status: {}", excerpt(field.value))))?;
            (status, reason) = (Some(number), words);
            continue;
        }
        if !belongs_to_the_connection(field.name) {
            fields.push((field.name.to_owned(), field.value.to_vec()));
        }
    }

    let undecided = status.is_none_or(|status| status == 200);
    let is_location = |(name, _): &&(String, Vec<u8>)| name.eq_ignore_ascii_case("Location");
    let location = fields.iter().find(is_location).filter(|_| undecided);
    let local_redirect = location
        .and_then(|(_, location)| String::from_utf8(location.clone()).ok())
        .filter(|location| location.starts_with('/'));
    if location.is_some() {
        (status, reason) = (Some(302), None);
    }
    Ok(Head {
        status: status.unwrap_or(200),
        reason,
        local_redirect,
        fields,
        length_bytes,
    })
}

fn parse_status(value: &[u8]) -> Option<(u16, Option<String>)> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let (number, words) = text.split_once(' ').unwrap_or((text, ""));
    let is_number = number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit());
    // An interim status would leave the client waiting for the final one.
    let status = number
        .parse()
        .ok()
        .filter(|status| is_number && *status >= 200)?;
    let words = words.trim();
    Some((status, (!words.is_empty()).then(|| words.to_string())))
}

/// The server determines the framing: a program that sets these fields would break it.
fn belongs_to_the_connection(name: &str) -> bool {
    let own = [
        "Connection",
        "Transfer-Encoding",
        "Upgrade",
        "Trailer",
        "Keep-Alive",
    ];
    own.iter().any(|own| own.eq_ignore_ascii_case(name))
}

fn excerpt(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or(bytes);
    let shown = &line[..line.len().min(80)];
    format!("\"{}\"", shown.escape_ascii())
}

/// Why a response is a 500; for the log, never for the client.
#[derive(Debug)]
pub struct BrokenHead(String);

impl BrokenHead {
    pub fn new(why: &str) -> BrokenHead {
        BrokenHead(why.to_string())
    }
}

impl std::fmt::Display for BrokenHead {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "broken head: {}", self.0)
    }
}

impl std::error::Error for BrokenHead {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn done(text: &str) -> Head {
        parse(text.as_bytes()).unwrap().expect(text)
    }

    #[test]
    fn the_body_begins_after_the_blank_line() {
        for text in [
            "A: 1\n\nbody",
            "A: 1\r\n\r\nbody",
            "Status: 404 Gone Fishing\nA: 1\n\nbody",
        ] {
            let head = done(text);
            assert_eq!(&text[head.length_bytes..], "body");
            assert_eq!(head.fields, [("A".to_string(), b"1".to_vec())]);
        }
    }

    #[test]
    fn every_cut_of_a_head_asks_for_more() {
        let text = "Status: 201 Made\r\nA: 1\r\n\r\n";
        for end in 0..text.len() {
            assert!(parse(&text.as_bytes()[..end]).unwrap().is_none(), "{end}");
        }
    }

    #[test]
    fn a_status_keeps_its_words() {
        let head = done("Status: 404 Gone Fishing\n\n");
        assert_eq!(head.status, 404);
        assert_eq!(head.reason.as_deref(), Some("Gone Fishing"));
        assert!(head.fields.is_empty());
    }

    #[test]
    fn a_location_redirects_unless_a_status_decides() {
        let local = done("Location: /x?y\n\n");
        assert_eq!(local.local_redirect.as_deref(), Some("/x?y"));
        let far = done("Location: http://a/\n\n");
        assert_eq!((far.status, far.local_redirect), (302, None));
        let created = done("Status: 201\nLocation: /x\n\n");
        assert_eq!((created.status, created.local_redirect), (201, None));
    }

    #[test]
    fn the_framing_stays_with_the_server() {
        let head = done("Connection: close\nTransfer-Encoding: chunked\nKeep-Alive: 1\n\n");
        assert!(head.fields.is_empty());
    }

    #[test]
    fn what_is_no_head_is_broken() {
        for text in [
            "HTTP/1.1 200 OK\r\nA: 1\r\n\r\n",
            "hello world\n\n",
            ": x\n\n",
            "Status: abc\n\n",
            "Status: 100 Continue\n\n",
            "A: \u{1}\n\n",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
        let endless = vec![b'a'; LONGEST_BYTES];
        assert!(parse(&endless).is_err());
    }

    proptest! {
        #[test]
        fn a_programs_bytes_never_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
