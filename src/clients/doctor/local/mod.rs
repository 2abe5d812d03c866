//! `sse-doctor --local DIR`: reads the configuration of nginx or Apache, and says which of its
//! limits do not fit a number of subscribers.

mod apache;
mod nginx;
mod units;

use std::fs;
use std::path::{Path, PathBuf};

use super::super::exit::Exit;
use super::super::print;
use super::diagnosis::{Check, Verdict};
use super::options::OutputForm;
use super::report;

/// The most files of one configuration, and the largest one.
const FILES_MAX: usize = 2000;
const FILE_MAX_BYTES: u64 = 4 << 20;

/// One file of a configuration.
#[derive(Clone, Debug)]
struct SourceFile {
    path: String,
    text: String,
}

/// Reads what an `include` names: a path, or a pattern with `*` in its last part.
trait Includes {
    fn read(&self, pattern: &str) -> Vec<SourceFile>;
}

/// The files below a folder such as /etc/nginx.
struct Folder {
    root: PathBuf,
}

impl Includes for Folder {
    fn read(&self, pattern: &str) -> Vec<SourceFile> {
        let path = self.root.join(pattern);
        let Some(name) = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
        else {
            return Vec::new();
        };
        let mut paths = if name.contains('*') {
            let entries = path.parent().and_then(|parent| fs::read_dir(parent).ok());
            let entries = entries
                .into_iter()
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.path()));
            let fits = |path: &PathBuf| {
                let own = path
                    .file_name()
                    .map(|own| own.to_string_lossy().into_owned());
                own.is_some_and(|own| matches(&name, &own))
            };
            entries.filter(fits).take(FILES_MAX).collect()
        } else {
            vec![path]
        };
        paths.sort();
        let files = paths.into_iter().filter_map(|path| {
            let is_small = fs::metadata(&path)
                .is_ok_and(|file| file.is_file() && file.len() <= FILE_MAX_BYTES);
            let bytes = is_small.then(|| fs::read(&path).ok())??;
            Some(SourceFile {
                path: path.display().to_string(),
                text: String::from_utf8_lossy(&bytes).into_owned(),
            })
        });
        files.collect()
    }
}

/// Whether a name fits a pattern in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last) && !(name.starts_with('.') && pattern.starts_with('*'))
}

/// A value, and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    value: String,
    place: String,
}

impl Found {
    fn number(&self) -> Option<u64> {
        self.value.parse().ok()
    }
}

/// `directive` holds `has`, and `needs` are needed.
fn fits(
    code: &'static str,
    directive: &str,
    has: u64,
    place: &str,
    needs: u64,
    fix: String,
    why: &str,
) -> Check {
    if has >= needs {
        return Check::good(
            code,
            format!("{directive} {has} ({place}) is enough; {needs} are needed"),
        );
    }
    Check::fault(
        code,
        format!("{directive} is {has} ({place}), and {needs} are needed: {why}"),
    )
    .by(place.to_owned())
    .fix(fix)
}

/// Reads, judges and prints.
pub(super) fn run(folder: &Path, subscribers: u64, form: OutputForm) -> Exit {
    let files = Folder {
        root: folder.to_owned(),
    };
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let system = Folder {
        root: PathBuf::from("/"),
    };
    let checks = if !files.read("nginx.conf").is_empty() {
        nginx::judge(&files, &system, subscribers, processors)
    } else if !files.read("apache2.conf").is_empty() || !files.read("conf/httpd.conf").is_empty() {
        apache::judge(&files, &system, subscribers)
    } else {
        let text = format!(
            "{}: want a folder with nginx.conf or apache2.conf that can be read",
            folder.display()
        );
        super::note("sse-doctor", &text);
        return Exit::System;
    };
    let shown = folder.display().to_string();
    let text = match form {
        OutputForm::Text => super::printable(&report::local(&shown, subscribers, &checks)),
        OutputForm::Json => report::local_json(&shown, subscribers, &checks),
    };
    match print(&text) {
        Exit::Done if checks.iter().any(|check| check.verdict == Verdict::Fault) => Exit::Faulty,
        exit => exit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration in memory.
    pub(super) struct Memory(pub(super) &'static [(&'static str, &'static str)]);

    impl Includes for Memory {
        fn read(&self, pattern: &str) -> Vec<SourceFile> {
            let own = self.0.iter().filter(|(path, _)| matches(pattern, path));
            let file = |(path, text): &(&str, &str)| SourceFile {
                path: (*path).into(),
                text: (*text).into(),
            };
            own.map(file).collect()
        }
    }

    /// The faults, each as `code: fix`.
    pub(super) fn faults(checks: &[Check]) -> Vec<String> {
        let faults = checks
            .iter()
            .filter(|check| check.verdict == Verdict::Fault);
        faults
            .map(|check| format!("{}: {}", check.code, check.fixes.join(" ")))
            .collect()
    }

    #[test]
    fn a_pattern_fits_names() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", ".a.conf", false),
            ("*.conf", "a.conf.bak", false),
            ("*", "site", true),
            ("mpm_*.load", "mpm_event.load", true),
            ("a", "ab", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXc", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
