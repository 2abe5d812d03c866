//! Target: the path that a client requested, decoded and normalised as in Apache, before it is
//! looked up: `%XX` decoded once, slashes merged, `.` and `..` resolved, never above the root.

use percent_encoding::percent_decode;

/// Why a path is not looked up. Both are the status that Apache responds with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 400: not an absolute path, a `%` without two hex digits, or a `..` that leaves the root.
    BadPath,
    /// 404: `%2F` or `%00`, which a file name cannot contain.
    NoSuchPath,
}

/// Decodes a raw path (without its query). The result begins with `/`; it is bytes because a
/// file name need not be UTF-8.
pub fn decode(raw: &str) -> Result<Vec<u8>, Refusal> {
    if !raw.starts_with('/') {
        return Err(Refusal::BadPath);
    }
    check_escapes(raw.as_bytes())?;
    let decoded: Vec<u8> = percent_decode(raw.as_bytes()).collect();
    resolve(&decoded)
}

fn check_escapes(raw: &[u8]) -> Result<(), Refusal> {
    for at in memchr::memchr_iter(b'%', raw) {
        match raw.get(at + 1..at + 3) {
            Some(b"2F" | b"2f" | b"00") => return Err(Refusal::NoSuchPath),
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => {}
            _ => return Err(Refusal::BadPath),
        }
    }
    Ok(())
}

fn resolve(decoded: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in decoded.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop().ok_or(Refusal::BadPath)?;
            }
            name => segments.push(name),
        }
    }
    let is_folder = [&b"/"[..], b"/.", b"/.."]
        .iter()
        .any(|end| decoded.ends_with(end));
    let mut path = vec![b'/'];
    path.extend(segments.join(&b'/'));
    if is_folder && path.len() > 1 {
        path.push(b'/');
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(raw: &str, expected: Result<&str, Refusal>) {
        assert_eq!(decode(raw), expected.map(|path| path.into()), "{raw}");
    }

    #[test]
    fn a_path_is_decoded_once_and_made_plain() {
        check("/", Ok("/"));
        check("/a/b", Ok("/a/b"));
        check("/a//b/", Ok("/a/b/"));
        check("/a/./b/../c", Ok("/a/c"));
        check("/a/..", Ok("/"));
        check("/a/b/..", Ok("/a/"));
        check("/a/%2e%2E/b", Ok("/b"));
        check("/p%20q", Ok("/p q"));
        check("/%2541", Ok("/%41"));
        check("/...", Ok("/..."));
    }

    #[test]
    fn what_apache_refuses_is_refused() {
        check("", Err(Refusal::BadPath));
        check("*", Err(Refusal::BadPath));
        check("/..", Err(Refusal::BadPath));
        check("/a/../../b", Err(Refusal::BadPath));
        check("/%2e%2e/etc", Err(Refusal::BadPath));
        check("/%", Err(Refusal::BadPath));
        check("/%zz", Err(Refusal::BadPath));
        check("/%2", Err(Refusal::BadPath));
        check("/a%2Fb", Err(Refusal::NoSuchPath));
        check("/a%2fb", Err(Refusal::NoSuchPath));
        check("/a%00", Err(Refusal::NoSuchPath));
    }

    proptest! {
        #[test]
        fn whatever_is_asked_the_path_is_absolute_and_plain(raw in "[/.a%2eEF0 \u{e9}-]{0,24}") {
            if let Ok(path) = decode(&raw) {
                prop_assert!(path.starts_with(b"/"));
                prop_assert!(!path.contains(&0));
                prop_assert!(!path.windows(2).any(|pair| pair == b"//"));
                prop_assert!(!path.split(|b| *b == b'/').any(|s| s == b"." || s == b".."));
            }
        }
    }
}
