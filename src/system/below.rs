//! Opens files below a folder, and nothing outside of it, wherever a name or a link leads.
//!
//! openat2 does this in one call. It is refused with ENOSYS by systemd's `RestrictSUIDSGID`
//! (which `DynamicUser` implies), by the seccomp filters of older containers, and by kernels
//! before 5.6. Then the path is walked component by component. `..` returns only to the folder
//! from which the current one was entered, so a rename in the meantime cannot lead out.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::Mode;

/// How symbolic links below the folder are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// They are followed as long as they stay below it.
    Followed,
    /// A link anywhere in the path is an error, ELOOP.
    Refused,
}

/// The kernel's limit for links in a path.
const LINKS_MAX: u32 = 40;

/// Whether openat2 was refused once.
static MUST_WALK: AtomicBool = AtomicBool::new(false);

/// Opens `name` below `folder`.
///
/// # Errors
/// The errors of openat2: EXDEV for a path that leads out.
pub(crate) fn open_below(
    folder: impl AsFd,
    name: &Path,
    flags: OFlag,
    mode: Mode,
    links: Links,
) -> nix::Result<OwnedFd> {
    let flags = flags | OFlag::O_CLOEXEC;
    if !MUST_WALK.load(Ordering::Relaxed) {
        match by_openat2(folder.as_fd(), name, flags, mode, links) {
            Err(Errno::ENOSYS) => MUST_WALK.store(true, Ordering::Relaxed),
            opened => return opened,
        }
    }
    by_walking(folder.as_fd(), name, flags, mode, links)
}

fn by_openat2(
    folder: BorrowedFd<'_>,
    name: &Path,
    flags: OFlag,
    mode: Mode,
    links: Links,
) -> nix::Result<OwnedFd> {
    let refused = match links {
        Links::Followed => ResolveFlag::RESOLVE_NO_MAGICLINKS,
        Links::Refused => ResolveFlag::RESOLVE_NO_SYMLINKS,
    };
    let how = OpenHow::new()
        .flags(flags)
        .mode(mode)
        .resolve(ResolveFlag::RESOLVE_BENEATH | refused);
    loop {
        match openat2(folder, name, how) {
            // Something was renamed while the kernel checked the path.
            Err(Errno::EAGAIN) => {}
            opened => return opened,
        }
    }
}

fn by_walking(
    folder: BorrowedFd<'_>,
    name: &Path,
    flags: OFlag,
    mode: Mode,
    links: Links,
) -> nix::Result<OwnedFd> {
    let to_enter = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // The folders that were entered, below `folder`.
    let mut entered: Vec<OwnedFd> = Vec::new();
    let mut left = components(name)?;
    let mut followed = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            entered.pop().ok_or(Errno::EXDEV)?;
            continue;
        }
        let here = entered.last().map_or(folder, AsFd::as_fd);
        let is_last = left.is_empty();
        let may_be_a_link = !(is_last && flags.contains(OFlag::O_NOFOLLOW));
        let target = may_be_a_link.then(|| readlinkat(here, name.as_os_str()));
        if let Some(Ok(target)) = target {
            followed += 1;
            if links == Links::Refused || followed > LINKS_MAX {
                return Err(Errno::ELOOP);
            }
            for name in components(Path::new(&target))?.into_iter().rev() {
                left.push_front(name);
            }
            continue;
        }
        if is_last {
            return openat(here, name.as_os_str(), flags | OFlag::O_NOFOLLOW, mode);
        }
        let folder = openat(here, name.as_os_str(), to_enter, Mode::empty())?;
        entered.push(folder);
    }
    let here = entered.last().map_or(folder, AsFd::as_fd);
    openat(here, ".", flags, mode)
}

/// The components of a relative path, including `..`; `.` is omitted.
fn components(path: &Path) -> nix::Result<VecDeque<OsString>> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(Ok(name.to_owned())),
        Component::ParentDir => Some(Ok(OsStr::new("..").to_owned())),
        Component::CurDir => None,
        Component::RootDir | Component::Prefix(_) => Some(Err(Errno::EXDEV)),
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{MetadataExt as _, symlink};
    use std::path::PathBuf;

    use super::*;

    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn walking_opens_what_openat2_opens() {
        let name = format!("sse-below-{}", std::process::id());
        let scratch = Scratch(std::env::temp_dir().join(name));
        let root = scratch.0.join("in");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "x").unwrap();
        fs::write(scratch.0.join("secret"), "s").unwrap();
        for (link, target) in [
            ("in/up", ".."),
            ("in/out", "../secret"),
            ("in/absolute", "/etc/passwd"),
            ("in/a/file", "b/file"),
            ("in/a/b/back", "../../a"),
            ("in/loop", "loop"),
            ("in/dangling", "missing"),
        ] {
            symlink(target, scratch.0.join(link)).unwrap();
        }
        let folder = File::open(&root).unwrap();
        let identity = |opened: nix::Result<OwnedFd>| {
            opened.map(|opened| File::from(opened).metadata().unwrap().ino())
        };
        let none = OFlag::empty();
        for (name, flags) in [
            ("a/b/file", none),
            ("a/file", none),
            ("a/file", OFlag::O_NOFOLLOW),
            ("a/b/back/b/file", none),
            ("a/../a/./b/../file", none),
            ("a", OFlag::O_DIRECTORY),
            ("a", OFlag::O_PATH | OFlag::O_DIRECTORY),
            ("a/b/back", OFlag::O_DIRECTORY),
            (".", OFlag::O_DIRECTORY),
            ("a/b/file", OFlag::O_DIRECTORY),
            ("a/b/file/more", none),
            ("missing", none),
            ("missing/file", none),
            ("dangling", none),
            ("up", OFlag::O_DIRECTORY),
            ("up/secret", none),
            ("out", none),
            ("absolute", none),
            ("..", OFlag::O_DIRECTORY),
            ("../secret", none),
            ("a/../../secret", none),
            ("/etc/passwd", none),
            ("loop", none),
        ] {
            for links in [Links::Followed, Links::Refused] {
                let (name, mode) = (Path::new(name), Mode::empty());
                let expected = by_openat2(folder.as_fd(), name, flags, mode, links);
                let got = by_walking(folder.as_fd(), name, flags, mode, links);
                assert_eq!(
                    identity(got),
                    identity(expected),
                    "{name:?} {flags:?} {links:?}"
                );
            }
        }
        let make = OFlag::O_CREAT | OFlag::O_RDWR | OFlag::O_NOFOLLOW;
        let made = by_walking(
            folder.as_fd(),
            Path::new("a/new"),
            make,
            Mode::S_IRUSR,
            Links::Followed,
        );
        assert_eq!(
            identity(made),
            Ok(fs::metadata(root.join("a/new")).unwrap().ino())
        );
    }
}
