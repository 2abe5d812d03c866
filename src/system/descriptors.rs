//! The number of this process's descriptors, and its limit.

use std::os::fd::{AsFd, AsRawFd as _};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit on descriptors to the highest permitted value, and returns it.
pub(crate) fn raise_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 1024;
    };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// The lowest number that is not a descriptor: all lower ones are in use. It is found by
/// duplicating `any`, since the system always assigns the lowest free number.
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
