//! BelowRoot: the name of a file below `SSE_ROOT`, as a client requests it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// A relative name that only descends: no component is empty, none begins with a dot, and none
/// contains NUL. A name that exists may still lead elsewhere by a link; `system::beneath`
/// prevents that (openat2, `RESOLVE_BENEATH`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BelowRoot(PathBuf);

impl BelowRoot {
    /// The longest name, in bytes: a quarter of Linux's limit for a path, which leaves room for
    /// the root.
    pub const MAX_BYTES: usize = 1024;

    /// The longest component of a name, in bytes: Linux's own limit.
    pub const PART_MAX_BYTES: usize = 255;

    /// Reads `PATH_INFO`, decoded by the gateway. `None` for any other text, and for a name
    /// that ends in none of `suffixes` if there are any: the caller then acts as if the file
    /// did not exist.
    #[must_use]
    pub fn parse(path_info: &[u8], suffixes: &[String]) -> Option<Self> {
        let name = path_info.strip_prefix(b"/").unwrap_or(path_info);
        let parts_are_plain = name.split(|&b| b == b'/').all(|part| {
            !part.is_empty()
                && part.len() <= Self::PART_MAX_BYTES
                && part[0] != b'.'
                && !part.contains(&0)
        });
        let is_wanted = suffixes.is_empty()
            || suffixes
                .iter()
                .any(|suffix| name.ends_with(suffix.as_bytes()));
        if !parts_are_plain || !is_wanted || name.len() > Self::MAX_BYTES {
            return None;
        }
        Some(Self(PathBuf::from(OsStr::from_bytes(name))))
    }

    /// The name, relative to the root.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_goes_down_is_one() {
        let parse = |name: &[u8]| BelowRoot::parse(name, &[]).map(|n| n.0.into_os_string());
        for good in ["/a.log", "a.log", "/a/b/c.jsonl", "/a b", "/é", "/a..b"] {
            let expected = good.strip_prefix('/').unwrap_or(good);
            assert_eq!(parse(good.as_bytes()).unwrap(), expected);
        }
        for bad in [
            "", "/", "//a", "/a/", "/a//b", "/..", "/../a", "/a/../b", "/.", "/.hidden", "/a/.b",
            "/a\0b",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(parse("x".repeat(256).as_bytes()), None);
        assert_eq!(parse("x/".repeat(600).as_bytes()), None);
    }

    #[test]
    fn a_name_must_end_as_it_is_told() {
        let suffixes = [".log".to_owned(), ".jsonl".to_owned()];
        assert!(BelowRoot::parse(b"/a.log", &suffixes).is_some());
        assert!(BelowRoot::parse(b"/a.jsonl", &suffixes).is_some());
        assert!(BelowRoot::parse(b"/a.txt", &suffixes).is_none());
    }
}
