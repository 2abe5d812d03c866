//! Assignment: what a worker is told on its command line.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

/// The first argument of a worker. Its descriptors are those of systemd's protocol (LISTEN_FDS):
/// the control socket, then the listening sockets. Descriptor 0 is the file of the figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Assignment {
    /// Its number, from 0.
    pub(in crate::server) index: usize,
    /// stderr belongs to the web server that has started us.
    pub(in crate::server) has_web_server_s_stderr: bool,
    /// The folder to which the supervisor copies standard input, where that is served.
    pub(in crate::server) stdin_folder: Option<PathBuf>,
}

const OPTION: &[u8] = b"--worker=";

impl Assignment {
    /// Takes it from the beginning of a command line, if that is a worker's.
    pub(in crate::server) fn take(arguments: &mut Vec<OsString>) -> Option<Self> {
        let text = arguments.first()?.as_bytes().strip_prefix(OPTION)?;
        let mut words = text.splitn(3, |b| *b == b',');
        let index = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
        let has_web_server_s_stderr = words.next()? == b"1";
        let folder = words.next()?;
        let stdin_folder = (!folder.is_empty()).then(|| OsStr::from_bytes(folder).into());
        arguments.remove(0);
        (index < super::WORKERS_MAX).then_some(Self {
            index,
            has_web_server_s_stderr,
            stdin_folder,
        })
    }

    /// The argument.
    pub(super) fn argument(&self) -> OsString {
        let mut bytes = OPTION.to_vec();
        let stderr = u8::from(self.has_web_server_s_stderr);
        bytes.extend_from_slice(format!("{},{stderr},", self.index).as_bytes());
        if let Some(folder) = &self.stdin_folder {
            bytes.extend_from_slice(folder.as_os_str().as_bytes());
        }
        OsString::from_vec(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_survives_the_command_line() {
        for stdin_folder in [None, Some("/tmp/a,b c".into())] {
            let assignment = Assignment {
                index: 63,
                has_web_server_s_stderr: stdin_folder.is_some(),
                stdin_folder,
            };
            let mut arguments = vec![assignment.argument(), "a.log".into()];
            assert_eq!(Assignment::take(&mut arguments), Some(assignment));
            assert_eq!(arguments, ["a.log"]);
        }
        for other in [
            "",
            "a.log",
            "--workers=2",
            "--worker=",
            "--worker=x,0,",
            "--worker=1",
        ] {
            let mut arguments = vec![other.into()];
            assert_eq!(Assignment::take(&mut arguments), None);
            assert_eq!(arguments, [other]);
        }
    }
}
