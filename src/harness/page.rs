//! Page: a file of the pages' folder. The kernel keeps every path below the folder (`openat2`
//! with `RESOLVE_BENEATH`), including symbolic links, so there is no time between a check and
//! its use. No listings, no dot files, no ranges.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::response::{Body, Response};

/// The characters that are not escaped in the path of a `Location`.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The folder, kept open: pages come from this folder even if another one takes its name.
#[derive(Debug)]
pub struct Folder {
    descriptor: File,
    pub path: PathBuf,
}

/// The object at a path.
#[derive(Debug)]
pub enum Found {
    Page {
        file: File,
        length_bytes: u64,
        content_type: String,
    },
    /// A folder whose URL lacks the final `/`, which its relative links need.
    FolderWithoutSlash,
    Nothing,
}

impl Folder {
    /// Opens the folder. Fails where the kernel has no `openat2` (before Linux 5.6).
    pub fn open(path: &Path) -> io::Result<Folder> {
        let path = path.canonicalize()?;
        let descriptor = File::open(&path)?;
        let folder = Folder { descriptor, path };
        folder.open_beneath(OsStr::new("."))?;
        Ok(folder)
    }

    /// Looks up a decoded path, which begins with `/`; a folder's page is its `index.html`.
    pub fn find(&self, path: &[u8]) -> io::Result<Found> {
        if path
            .split(|byte| *byte == b'/')
            .any(|name| name.starts_with(b"."))
        {
            return Ok(Found::Nothing);
        }
        let mut name = path[1..].to_vec();
        if path.ends_with(b"/") {
            name.extend(b"index.html");
        }
        let file = match self.open_beneath(OsStr::from_bytes(&name)) {
            Ok(file) => file,
            Err(error) if is_absence(&error) => return Ok(Found::Nothing),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() && !path.ends_with(b"/") {
            return Ok(Found::FolderWithoutSlash);
        }
        if !metadata.is_file() {
            return Ok(Found::Nothing);
        }
        Ok(Found::Page {
            file,
            length_bytes: metadata.len(),
            content_type: content_type(OsStr::from_bytes(&name)),
        })
    }

    fn open_beneath(&self, name: &OsStr) -> io::Result<File> {
        // Without O_NONBLOCK, opening a FIFO would block the whole server.
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new().flags(flags).resolve(resolve);
        Ok(openat2(&self.descriptor, name, how)?.into())
    }
}

/// Hidden, outside and missing files have the same response.
fn is_absence(error: &io::Error) -> bool {
    let absent = [
        Errno::ENOENT,
        Errno::ENOTDIR,
        Errno::EACCES,
        Errno::ELOOP,
        Errno::EXDEV,
        Errno::ENAMETOOLONG,
        Errno::EINVAL,
        Errno::ENXIO,
    ];
    let code = error.raw_os_error();
    absent.iter().any(|errno| code == Some(*errno as i32))
}

fn content_type(name: &OsStr) -> String {
    let guess = mime_guess::from_path(name).first_or_octet_stream();
    let is_text = guess.type_() == mime_guess::mime::TEXT
        || guess.subtype() == mime_guess::mime::JSON
        || guess.subtype() == mime_guess::mime::JAVASCRIPT;
    match is_text {
        true => format!("{}; charset=utf-8", guess.essence_str()),
        false => guess.essence_str().to_string(),
    }
}

/// The response to GET or HEAD.
pub fn answer(folder: &Folder, path: &[u8], query: Option<&str>) -> Response {
    match folder.find(path) {
        Ok(Found::Page {
            file,
            length_bytes,
            content_type,
        }) => Response::new(200, Body::File(file, length_bytes))
            .with("Content-Type", content_type)
            // The pages are being edited: the browser must revalidate them each time.
            .with("Cache-Control", "no-cache")
            .with("X-Content-Type-Options", "nosniff"),
        Ok(Found::FolderWithoutSlash) => {
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            let location = format!("{}/{query}", percent_encode(path, PATH));
            Response::new(301, Body::Bytes(Vec::new())).with("Location", location)
        }
        Ok(Found::Nothing) => Response::refusal(404),
        Err(error) => {
            super::note(format_args!("page {}: {error}", path.escape_ascii()));
            Response::refusal(500)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::symlink;

    /// A folder with a page, a dot file and links, beside a secret; removed at the end.
    struct PageFolder(PathBuf);

    impl PageFolder {
        fn new(name: &str) -> PageFolder {
            let top = std::env::temp_dir().join(format!("sse-page-{}-{name}", std::process::id()));
            let site = PageFolder(top);
            std::fs::create_dir_all(site.0.join("web/sub")).unwrap();
            for (name, text) in [
                ("secret", "secret"),
                ("web/a.html", "page"),
                ("web/sub/index.html", "index"),
                ("web/.hidden", "secret"),
            ] {
                std::fs::write(site.0.join(name), text).unwrap();
            }
            symlink("../secret", site.0.join("web/out")).unwrap();
            symlink(site.0.join("secret"), site.0.join("web/absolute")).unwrap();
            symlink("..", site.0.join("web/up")).unwrap();
            symlink("a.html", site.0.join("web/in")).unwrap();
            nix::unistd::mkfifo(&site.0.join("web/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
            site
        }

        fn folder(&self) -> Folder {
            Folder::open(&self.0.join("web")).unwrap()
        }
    }

    impl Drop for PageFolder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn text(found: Found) -> Option<String> {
        match found {
            Found::Page { file, .. } => Some(std::io::read_to_string(file).unwrap()),
            _ => None,
        }
    }

    #[test]
    fn only_plain_files_of_the_folder_are_found() {
        let site = PageFolder::new("plain");
        let folder = site.folder();
        for (path, expected) in [
            ("/a.html", Some("page")),
            ("/sub/", Some("index")),
            ("/in", Some("page")),
            ("/", None),
            ("/a.html/", None),
            ("/a.html/b", None),
            ("/missing", None),
            ("/.hidden", None),
            ("/sub/../a.html", None),
            ("/out", None),
            ("/absolute", None),
            ("/up/secret", None),
            ("/fifo", None),
        ] {
            let found = folder.find(path.as_bytes()).unwrap();
            assert_eq!(text(found).as_deref(), expected, "{path}");
        }
        let sub = folder.find(b"/sub").unwrap();
        assert!(matches!(sub, Found::FolderWithoutSlash));
        let long = [b'/'; 1]
            .into_iter()
            .chain([b'a'; 5000])
            .collect::<Vec<_>>();
        assert!(matches!(folder.find(&long).unwrap(), Found::Nothing));
    }

    #[test]
    fn types_are_those_that_browsers_want() {
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("sse.js", "text/javascript; charset=utf-8"),
            ("sse.mjs", "application/javascript; charset=utf-8"),
            ("style.css", "text/css; charset=utf-8"),
            ("data.json", "application/json; charset=utf-8"),
            ("icon.svg", "image/svg+xml"),
            ("icon.png", "image/png"),
            ("README", "application/octet-stream"),
        ] {
            assert_eq!(content_type(OsStr::new(name)), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_path_leads_out_of_the_folder(
            segments in prop::collection::vec(
                prop_oneof![
                    Just("..".to_string()), Just(".".to_string()), Just("%2e%2e".to_string()),
                    Just("secret".to_string()), Just("up".to_string()), Just("out".to_string()),
                    Just("sub".to_string()), Just(".hidden".to_string()), Just("web".to_string()),
                    Just("absolute".to_string()), "\\PC{0,6}",
                ],
                0..8,
            ),
        ) {
            let site = PageFolder::new("arbitrary");
            let raw = format!("/{}", segments.join("/"));
            if let Ok(path) = crate::harness::target::decode(&raw) {
                let found = site.folder().find(&path).unwrap();
                prop_assert!(text(found).as_deref() != Some("secret"), "{raw}");
            }
            // The folder's check also works for a path that was not normalised before.
            let found = site.folder().find(raw.as_bytes()).unwrap();
            prop_assert!(text(found).as_deref() != Some("secret"), "{raw}");
        }
    }
}
