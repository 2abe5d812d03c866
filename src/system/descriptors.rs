//! The descriptors of this process: how many there may be, and whether they are short.

use std::os::fd::{AsFd, AsRawFd as _};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit on descriptors as far as it goes, and returns it.
pub(crate) fn raise_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 1024;
    };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// The lowest number that no descriptor has: all lower ones are in use, whatever for. It is
/// found by duplicating `any`, since the system always gives the lowest one.
pub(crate) fn lowest_free(any: impl AsFd) -> u64 {
    let duplicate = any.as_fd().try_clone_to_owned();
    duplicate.map_or(u64::MAX, |duplicate| duplicate.as_raw_fd() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_that_is_open_is_not_free() {
        let file = std::fs::File::open("/dev/null").expect("/dev/null");
        let free = lowest_free(&file);
        assert!(free > 2 && free != file.as_raw_fd() as u64 && free < raise_limit());
    }
}
