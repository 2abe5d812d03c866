//! Route: which part of the server responds to a path. Another gateway needs a further variant
//! of [`Route`] and a row in the table that `server` fills.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

use super::fastcgi::Responder;
use super::page::Folder;

/// What serves a path.
#[derive(Debug, Clone)]
pub enum Route {
    /// A file below the folder.
    Pages(Arc<Folder>),
    /// A program in the folder, whose name is the first segment after the prefix.
    Programs(PathBuf),
    /// The FastCGI responder, in which the first segment after the prefix names a stream.
    Responder(Arc<Responder>),
}

/// Prefixes, each ending in `/`, in the order in which they are tried.
#[derive(Debug, Clone)]
pub struct Routes(pub Vec<(&'static str, Route)>);

impl Routes {
    /// The route of a decoded path, and its prefix. `None` only if no row is for `/`.
    pub fn find(&self, path: &[u8]) -> Option<(&'static str, &Route)> {
        self.0
            .iter()
            .find(|(prefix, _)| path.starts_with(prefix.as_bytes()))
            .map(|(prefix, route)| (*prefix, route))
    }
}

/// A program's name and the rest of the path.
#[derive(Debug, PartialEq, Eq)]
pub struct Script {
    /// One segment; never empty, never a dot file.
    pub name: OsString,
    /// Begins with `/`, or is empty.
    pub path_info: OsString,
}

impl Script {
    /// Splits the part after the prefix. `None` if it names no program.
    pub fn split(rest: &[u8]) -> Option<Script> {
        let end = memchr::memchr(b'/', rest).unwrap_or(rest.len());
        let (name, path_info) = rest.split_at(end);
        if name.is_empty() || name.starts_with(b".") {
            return None;
        }
        Some(Script {
            name: OsString::from_vec(name.to_vec()),
            path_info: OsString::from_vec(path_info.to_vec()),
        })
    }

    /// Whether the program writes the whole response itself, including the status line.
    pub fn is_nph(&self) -> bool {
        self.name.as_bytes().starts_with(b"nph-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rest: &str, expected: Option<(&str, &str)>) {
        let expected = expected.map(|(name, path_info)| Script {
            name: name.into(),
            path_info: path_info.into(),
        });
        assert_eq!(Script::split(rest.as_bytes()), expected, "{rest}");
    }

    #[test]
    fn the_first_segment_is_the_program() {
        check("a.cgi", Some(("a.cgi", "")));
        check("a.cgi/", Some(("a.cgi", "/")));
        check("a.cgi/b/c", Some(("a.cgi", "/b/c")));
    }

    #[test]
    fn a_folder_or_a_dot_file_is_no_program() {
        check("", None);
        check("/a", None);
        check(".htaccess", None);
        check("..", None);
    }

    #[test]
    fn the_longest_row_comes_first_in_the_table() {
        let routes = Routes(vec![
            ("/cgi-bin/", Route::Programs("p".into())),
            ("/", Route::Programs("q".into())),
        ]);
        for (path, prefix) in [
            ("/cgi-bin/x", "/cgi-bin/"),
            ("/cgi-bin", "/"),
            ("/cgi-binary", "/"),
        ] {
            assert_eq!(routes.find(path.as_bytes()).unwrap().0, prefix, "{path}");
        }
    }
}
