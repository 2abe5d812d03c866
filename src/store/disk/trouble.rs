//! What the log is told of a path that is not a readable file.

use std::io;
use std::time::{Duration, Instant};

use crate::source::explain;
use crate::system::accounts;

/// A rotation leaves no file for a moment: one that is missing for longer is logged.
const MISSING_FOR: Duration = Duration::from_secs(5);

/// The errors of a path.
#[derive(Default)]
pub(super) struct Trouble {
    /// The last error of opening the path, so that it is logged once.
    last: Option<io::ErrorKind>,
    /// It has been opened before: the caller that opens it first logs an error itself.
    has_been_open: bool,
    /// Since when there is nothing of this name; `None` as well once that has been logged.
    missing_since: Option<Instant>,
}

impl Trouble {
    /// The file was opened.
    pub(super) fn opened(&mut self) {
        self.last = None;
        self.missing_since = None;
        self.has_been_open = true;
    }

    /// The text for the log after an error: for a new one, and for a file that was followed and
    /// is still missing after a while.
    pub(super) fn note(&mut self, error: &io::Error) -> Option<String> {
        let is_new = self.last.replace(error.kind()) != Some(error.kind());
        if !self.has_been_open {
            self.missing_since = None;
            return None;
        }
        if error.kind() != io::ErrorKind::NotFound {
            self.missing_since = None;
            let remedy = "it is waited for; put a regular file there that it can read";
            return is_new.then(|| explain(error, &accounts::own_name(), remedy));
        }
        if is_new {
            self.missing_since = Some(Instant::now());
            return None;
        }
        self.missing_since
            .take_if(|since| since.elapsed() >= MISSING_FOR)
            .map(|_| {
                "it was removed or renamed, and is waited for; create it, or correct the path"
                    .to_owned()
            })
    }
}
