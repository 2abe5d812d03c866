//! A settings file: `NAME = value` lines, and sections for programs or for paths.
//!
//! ```text
//! # a comment
//! SSE_HEARTBEAT = 15s            for all
//! [nph-tail.cgi tail.cgi]        for these programs   (.htsse, beside CGI programs)
//! SSE_FILE = /home/me/app.log
//! [/events/log]                  for this path and all below it   (--config of a server)
//! [stream builds]                one of several streams of a connection (SSE_STREAMS)
//! ```
//!
//! A file is used as a whole, or not at all and then it has one [`FileError`]. The readers of
//! settings know which values a setting can have; this module does not.

mod text;

use std::fmt;
use std::rc::Rc;

use text::{unreachable_path, value_of};

use super::error::printable;
use super::streams::{NOT_A_STREAM_NAME, is_stream_name};
use super::table::{NAMES, OF_MEMBERS, OF_RESPONDERS, PROCESS_SETTINGS};
use super::unknown::nearest;
use crate::request::MetaVariables;

/// The kind of a file's sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sections {
    /// CGI programs in the file's folder, by their file names.
    Programs,
    /// Paths of a server's requests.
    Paths,
}

/// The settings of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsFile {
    name: Rc<str>,
    top: Vec<Entry>,
    sections: Vec<Section>,
    /// The sections of streams, each with one name.
    streams: Vec<Section>,
}

/// Settings for some programs or paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The names in its head, normalised for comparison: paths without a slash at the end.
    pub names: Vec<Vec<u8>>,
    /// The line number of its head.
    pub line: u32,
    entries: Vec<Entry>,
}

/// One line with a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: &'static str,
    value: Vec<u8>,
    line: u32,
}

/// The place of a value: `FILE:LINE`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    file: Rc<str>,
    line: u32,
}

/// Why a file is not used, in one line for the log: file, line, name, value, remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    text: String,
    log: Option<Vec<u8>>,
}

/// The section for a request's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Its settings.
    pub section: &'a Section,
    /// The path of the section, without a slash at the end; empty for `[/]`.
    pub path: &'a [u8],
    /// The rest of the request's path: empty, or with a slash at the beginning.
    pub below: &'a [u8],
}

impl SettingsFile {
    /// The maximum size of a file, in bytes.
    pub const MAX_BYTES: usize = 64 << 10;

    /// The maximum number of names in the heads of all sections.
    pub const SECTION_NAMES_MAX: usize = 1000;

    /// Reads a file. Messages call it by `name`, its path.
    ///
    /// # Errors
    /// The first invalid line.
    pub fn parse(name: &str, bytes: &[u8], sections: Sections) -> Result<Self, FileError> {
        let mut reading = Reading {
            file: Self {
                name: name.into(),
                top: Vec::new(),
                sections: Vec::new(),
                streams: Vec::new(),
            },
            kind: sections,
            current: Current::Top,
            heads: Vec::new(),
        };
        match reading.all(bytes) {
            Ok(()) => Ok(reading.file),
            Err(mut error) => {
                // The error must be written to the log that earlier lines set.
                let mut top = reading.file.top.into_iter();
                error.log = top.find(|entry| entry.name == "SSE_LOG").map(|e| e.value);
                Err(error)
            }
        }
    }

    /// The file's name in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its sections, in order.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The section of a program.
    #[must_use]
    pub fn program(&self, name: &[u8]) -> Option<&Section> {
        let has = |section: &&Section| section.names.iter().any(|own| own == name);
        self.sections.iter().find(has)
    }

    /// The section of a stream.
    #[must_use]
    pub fn stream(&self, name: &[u8]) -> Option<&Section> {
        self.streams.iter().find(|section| section.names[0] == name)
    }

    /// The names of the streams that have a section, in order.
    pub fn stream_names(&self) -> impl Iterator<Item = &str> {
        let names = self.streams.iter().map(|section| &section.names[0][..]);
        // They are ASCII.
        names.filter_map(|name| std::str::from_utf8(name).ok())
    }

    /// The section for a decoded path: the one with the longest name that is the path or an
    /// ancestor of it.
    #[must_use]
    pub fn path<'a>(&'a self, path: &'a [u8]) -> Option<Place<'a>> {
        let names = self.sections.iter().flat_map(|section| {
            let names = section.names.iter();
            names.map(move |name| (name.as_slice(), section))
        });
        let (section, own, below) = place_of(names, path)?;
        Some(Place {
            section,
            path: own,
            below,
        })
    }

    /// Adds to `meta` the settings that it does not contain: of the section, then of the file's
    /// top.
    pub fn complete(&self, meta: &mut MetaVariables, section: Option<&Section>) {
        self.complete_with(meta, section, |_| true);
    }

    /// The same with those settings of the top that `takes` accepts by their names.
    pub(super) fn complete_with(
        &self,
        meta: &mut MetaVariables,
        section: Option<&Section>,
        takes: impl Fn(&str) -> bool,
    ) {
        let with_origin = |entry: &Entry| {
            let origin = Origin {
                file: Rc::clone(&self.name),
                line: entry.line,
            };
            (entry.name, entry.value.clone(), origin)
        };
        let section = section.map_or(&[][..], |section| &section.entries);
        meta.complete(section.iter().map(with_origin));
        let top = self.top.iter().filter(|entry| takes(entry.name));
        meta.complete(top.map(with_origin));
    }

    /// The error that a section names something that does not exist.
    #[must_use]
    pub fn unknown(&self, section: &Section, name: &[u8], remedy: &str) -> FileError {
        let what = format!("[{}]: {remedy}", printable(name));
        FileError {
            text: format!("{}:{}: {what}", self.name, section.line),
            log: self.log(),
        }
    }

    /// The error of a setting in a line.
    pub(super) fn wrong_at(&self, line: u32, name: &str, value: &[u8], problem: &str) -> FileError {
        let at = format!("{}:{line}", self.name);
        FileError::of_file(&at, &format!("{name}={}: {problem}", printable(value)))
    }

    /// The `SSE_LOG` of the file's top.
    fn log(&self) -> Option<Vec<u8>> {
        let found = self.top.iter().find(|entry| entry.name == "SSE_LOG");
        found.map(|entry| entry.value.clone())
    }
}

impl Section {
    /// Its settings, in order: name, value, line.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&'static str, &[u8], u32)> {
        let entries = self.entries.iter();
        entries.map(|entry| (entry.name, &entry.value[..], entry.line))
    }

    /// Whether a line sets the setting `name` to a value that is not empty.
    pub(super) fn sets(&self, name: &str) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.name == name && !entry.value.is_empty())
    }
}

impl FileError {
    /// The error of a file that cannot be read.
    #[must_use]
    pub fn of_file(name: &str, problem: &str) -> Self {
        Self {
            text: format!("{name}: {problem}"),
            log: None,
        }
    }

    /// The `SSE_LOG` at the file's top, before the invalid line.
    #[must_use]
    pub fn log(&self) -> Option<&[u8]> {
        self.log.as_deref()
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for FileError {}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Finds the place of a decoded path among locations (a path without a slash at the end, and
/// what is there): the one with the longest path that is `path` or an ancestor of it. Returns
/// what is there, its own path, and the rest of `path`.
pub(crate) fn place_of<'n, 'p, T>(
    locations: impl Iterator<Item = (&'n [u8], T)>,
    path: &'p [u8],
) -> Option<(T, &'n [u8], &'p [u8])> {
    let places = locations.filter_map(|(own, there)| {
        let below = path.strip_prefix(own)?;
        (below.is_empty() || below.starts_with(b"/")).then_some((there, own, below))
    });
    places.max_by_key(|(_, own, _)| own.len())
}

/// The state of reading a file.
struct Reading {
    file: SettingsFile,
    kind: Sections,
    current: Current,
    /// The names of all sections and their lines, sorted by name.
    heads: Vec<(Vec<u8>, u32)>,
}

/// Where the settings of the next lines belong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Current {
    Top,
    Section,
    Stream,
}

impl Reading {
    fn all(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        if bytes.len() > SettingsFile::MAX_BYTES {
            let name = &self.file.name;
            return Err(FileError::of_file(name, "longer than 64K; shorten it"));
        }
        // Editors on Windows put it at the beginning of a file.
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        for (line, number) in text.split_inclusive(|b| *b == b'\n').zip(1..) {
            self.line(line, number)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], number: u32) -> Result<(), FileError> {
        let Some(text) = line.strip_suffix(b"\n") else {
            let problem = "the line has no end; was the file uploaded whole? End it with Enter";
            return Err(self.wrong(number, line, problem));
        };
        let text = text.strip_suffix(b"\r").unwrap_or(text).trim_ascii();
        if text.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
            let problem = "a control character; write text only";
            return Err(self.wrong(number, text, problem));
        }
        match text {
            [] | [b'#', ..] => Ok(()),
            [b'[', names @ .., b']'] => self.head(names, number),
            [b'[', ..] => Err(self.wrong(number, text, "no ] at the end; write [NAME]")),
            _ => {
                let Some(at) = text.iter().position(|b| *b == b'=') else {
                    let problem = "not understood; write NAME = value, [NAME of a section], or \
                                   # and a comment";
                    return Err(self.wrong(number, text, problem));
                };
                let (name, value) = (text[..at].trim_ascii_end(), &text[at + 1..]);
                self.setting(name, value.trim_ascii_start(), number)
            }
        }
    }

    /// The head of a section, without its brackets.
    fn head(&mut self, names: &[u8], line: u32) -> Result<(), FileError> {
        let mut section = Section {
            names: Vec::new(),
            line,
            entries: Vec::new(),
        };
        let words = names.split(u8::is_ascii_whitespace);
        let mut words = words.filter(|word| !word.is_empty());
        if let [b"stream", first, ..] = words.clone().take(2).collect::<Vec<_>>()[..] {
            let is_one = words.by_ref().count() == 2;
            return self.stream_head(names, first, is_one, section);
        }
        for word in words {
            let problem = match (self.kind, word) {
                (Sections::Programs, word) if word.contains(&b'/') => {
                    Some("not the name of a program; write the name of a file in this folder")
                }
                (Sections::Paths, [b'/', ..]) => unreachable_path(word),
                (Sections::Paths, _) => {
                    Some("not a path; write what requests begin with, such as /events/log")
                }
                (Sections::Programs, _) => None,
            };
            if let Some(problem) = problem {
                return Err(self.wrong_head(line, word, problem));
            }
            let name = match self.kind {
                Sections::Programs => word,
                Sections::Paths => word.strip_suffix(b"/").unwrap_or(word),
            };
            self.note_head(name, word, line)?;
            section.names.push(name.to_vec());
        }
        if section.names.is_empty() {
            return Err(self.wrong_head(line, b"", "no name; write [NAME]"));
        }
        self.file.sections.push(section);
        self.current = Current::Section;
        Ok(())
    }

    /// The head of the section of a stream: `stream NAME`.
    fn stream_head(
        &mut self,
        head: &[u8],
        name: &[u8],
        is_one: bool,
        mut section: Section,
    ) -> Result<(), FileError> {
        let line = section.line;
        let problem = match is_one {
            false => Some("one name for each section; write [stream NAME]"),
            true if !is_stream_name(name) => Some(NOT_A_STREAM_NAME),
            true => None,
        };
        if let Some(problem) = problem {
            return Err(self.wrong_head(line, head.trim_ascii(), problem));
        }
        // No path and no program has a name with a space.
        let whole = [b"stream ", name].concat();
        self.note_head(&whole, &whole, line)?;
        section.names.push(name.to_vec());
        self.file.streams.push(section);
        self.current = Current::Stream;
        Ok(())
    }

    /// Notes the name of a section, of which there is one; `word` is how it is written.
    fn note_head(&mut self, name: &[u8], word: &[u8], line: u32) -> Result<(), FileError> {
        match self.heads.binary_search_by(|(own, _)| own[..].cmp(name)) {
            Ok(at) => {
                let first = self.heads[at].1;
                let problem = format!("line {first} has it already; put both together");
                return Err(self.wrong_head(line, word, &problem));
            }
            Err(at) => self.heads.insert(at, (name.to_vec(), line)),
        }
        if self.heads.len() > SettingsFile::SECTION_NAMES_MAX {
            let problem = "more than 1000 names of sections; for many files use SSE_ROOT";
            return Err(self.wrong_head(line, word, problem));
        }
        Ok(())
    }

    fn setting(&mut self, name: &[u8], value: &[u8], line: u32) -> Result<(), FileError> {
        let known = NAMES.iter().find(|known| known.as_bytes() == name);
        let Some(known) = known.copied() else {
            let problem = match nearest(&name.to_ascii_uppercase()) {
                Some(meant) => format!("no such setting; did you mean {meant}?"),
                None => "no such setting; see docs/settings.md".into(),
            };
            return Err(self.wrong_setting(line, name, value, &problem));
        };
        if let Some(problem) = self.misplaced(known) {
            return Err(self.wrong_setting(line, name, value, problem));
        }
        let used = value_of(&self.file.name, known, value)
            .map_err(|problem| self.wrong_setting(line, name, value, problem))?;
        let section = match self.current {
            Current::Top => None,
            Current::Section => self.file.sections.last_mut(),
            Current::Stream => self.file.streams.last_mut(),
        };
        let entries = section.map_or(&mut self.file.top, |section| &mut section.entries);
        if let Some(first) = entries.iter().find(|entry| entry.name == known) {
            let problem = format!("line {} sets it already; keep one of them", first.line);
            return Err(self.wrong_setting(line, name, value, &problem));
        }
        entries.push(Entry {
            name: known,
            value: used,
            line,
        });
        Ok(())
    }

    /// Why a setting has no effect in its place.
    fn misplaced(&self, name: &'static str) -> Option<&'static str> {
        let is_in_section = self.current != Current::Top;
        let is_process_s = || PROCESS_SETTINGS.iter().any(|row| row.spec.name == name);
        if self.current == Current::Stream && !OF_MEMBERS.contains(&name) {
            return Some(
                "not a setting of one stream of several; write it into the section of the \
                 location, or remove it",
            );
        }
        match self.kind {
            Sections::Programs if name == "SSE_STREAM" && self.current == Current::Stream => None,
            Sections::Programs if OF_RESPONDERS.contains(&name) => {
                Some("only sse-fcgi reads it; remove the line")
            }
            Sections::Paths if is_in_section && name == "SSE_PREFIX" => {
                Some("the path of the section says the same; remove the line")
            }
            Sections::Paths if is_in_section && is_process_s() => {
                Some("it belongs to the whole process; write it above the first section")
            }
            _ => None,
        }
    }

    fn wrong(&self, line: u32, text: &[u8], problem: &str) -> FileError {
        let at = format!("{}:{line}", self.file.name);
        FileError::of_file(&at, &format!("{}: {problem}", printable(text)))
    }

    fn wrong_setting(&self, line: u32, name: &[u8], value: &[u8], problem: &str) -> FileError {
        let at = format!("{}:{line}", self.file.name);
        let (name, value) = (printable(name), printable(value));
        FileError::of_file(&at, &format!("{name}={value}: {problem}"))
    }

    fn wrong_head(&self, line: u32, word: &[u8], problem: &str) -> FileError {
        self.wrong(line, &[b"[", word, b"]"].concat(), problem)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "\
# for all
SSE_HEARTBEAT = 15s

[nph-tail.cgi tail.cgi]
SSE_FILE = /home/me/logs/app.log
SSE_FILTER = a = b # c
[nph-builds.cgi]
\tSSE_FILE=/home/me/builds.jsonl\t
SSE_HEARTBEAT = 5s
";

    fn programs(text: &str) -> Result<SettingsFile, String> {
        let parsed = SettingsFile::parse("f", text.as_bytes(), Sections::Programs);
        parsed.map_err(|error| error.to_string())
    }

    fn paths(text: &str) -> Result<SettingsFile, String> {
        let parsed = SettingsFile::parse("f", text.as_bytes(), Sections::Paths);
        parsed.map_err(|error| error.to_string())
    }

    /// The settings of a program, in order of the names: name, value, origin.
    fn completed(file: &SettingsFile, program: &str, own: &[(&str, &str)]) -> Vec<String> {
        let mut meta = MetaVariables::of(own);
        file.complete(&mut meta, file.program(program.as_bytes()));
        let line = |name: &[u8]| {
            let name = std::str::from_utf8(name).unwrap();
            let value = meta.get(name).last().unwrap_or_default();
            let origin = meta.origins().iter().find(|(own, _)| *own == name);
            let origin = origin.map_or("-".into(), |(_, origin)| origin.to_string());
            format!("{name}={} {origin}", value.escape_ascii())
        };
        let mut lines: Vec<String> = meta.names().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_program_gets_its_section_and_then_the_top() {
        let file = programs(EXAMPLE).unwrap();
        let tail = [
            "SSE_FILE=/home/me/logs/app.log f:5",
            "SSE_FILTER=a = b # c f:6",
            "SSE_HEARTBEAT=15s f:2",
        ];
        assert_eq!(completed(&file, "nph-tail.cgi", &[]), tail);
        assert_eq!(completed(&file, "tail.cgi", &[]), tail);
        assert_eq!(
            completed(&file, "nph-builds.cgi", &[]),
            ["SSE_FILE=/home/me/builds.jsonl f:8", "SSE_HEARTBEAT=5s f:9"]
        );
        assert_eq!(completed(&file, "tail", &[]), ["SSE_HEARTBEAT=15s f:2"]);
        // As an editor on Windows saves it.
        let windows = format!("\u{feff}{}", EXAMPLE.replace('\n', "\r\n"));
        assert_eq!(
            completed(&programs(&windows).unwrap(), "tail.cgi", &[]),
            tail
        );
    }

    #[test]
    fn what_the_request_sets_wins_and_a_place_is_one_setting() {
        let file = programs("SSE_ROOT = /r\nSSE_RETRY = 9s\n[p]\nSSE_FILE = /f\nSSE_RETRY =\n");
        let file = file.unwrap();
        let retry = "SSE_RETRY=9s f:2";
        assert_eq!(completed(&file, "p", &[]), ["SSE_FILE=/f f:4", retry]);
        assert_eq!(completed(&file, "q", &[]), [retry, "SSE_ROOT=/r f:1"]);
        let own = [("SSE_ROOT", "/own"), ("SSE_FILE", "")];
        assert_eq!(
            completed(&file, "p", &own),
            ["SSE_FILE= -", retry, "SSE_ROOT=/own -"]
        );
    }

    #[test]
    fn the_longest_section_whose_path_ends_at_a_slash_is_a_path_s() {
        let file = paths("[/a /a/b/c/]\n[/a/b]\n[/e]\n");
        let file = file.unwrap();
        let check = |path: &str, expected: Option<(u32, &str, &str)>| {
            let place = file.path(path.as_bytes());
            let found = place.map(|place| (place.section.line, place.path, place.below));
            let expected =
                expected.map(|(line, path, below)| (line, path.as_bytes(), below.as_bytes()));
            assert_eq!(found, expected, "{path}");
        };
        check("/a", Some((1, "/a", "")));
        check("/a/", Some((1, "/a", "/")));
        check("/a/bc", Some((1, "/a", "/bc")));
        check("/a/b/", Some((2, "/a/b", "/")));
        check("/a/b/cd", Some((2, "/a/b", "/cd")));
        check("/a/b/c/d/e", Some((1, "/a/b/c", "/d/e")));
        check("/ab", None);
        check("/", None);
        check("", None);
        let file = paths("[/]\n[/a]\n").unwrap();
        assert_eq!(file.path(b"/b").unwrap().below, b"/b");
        assert_eq!(file.path(b"/a/b").unwrap().below, b"/b");
    }

    #[test]
    fn a_relative_path_is_one_from_the_folder_of_the_file() {
        let text = b"SSE_FILE = ../logs/app.log\nSSE_SPOOL = /spool\nSSE_SUFFIXES = .log\n";
        let file = SettingsFile::parse("/home/me/cgi-bin/.htsse", text, Sections::Programs);
        let mut meta = MetaVariables::default();
        file.unwrap().complete(&mut meta, None);
        let value = |name| meta.get(name).last().unwrap().to_vec();
        assert_eq!(value("SSE_FILE"), b"/home/me/cgi-bin/../logs/app.log");
        assert_eq!(value("SSE_SPOOL"), b"/spool");
        assert_eq!(value("SSE_SUFFIXES"), b".log");
    }

    #[test]
    fn every_mistake_is_one_line_with_file_line_name_value_and_remedy() {
        let check = |text: &str, expected: &str| {
            assert_eq!(programs(text).unwrap_err(), expected);
        };
        check(
            "\nSSE_FLIE = /x\n",
            "f:2: SSE_FLIE=/x: no such setting; did you mean SSE_FILE?",
        );
        check(
            "sse_file = /x\n",
            "f:1: sse_file=/x: no such setting; did you mean SSE_FILE?",
        );
        check(
            "LD_PRELOAD = /x\n",
            "f:1: LD_PRELOAD=/x: no such setting; see docs/settings.md",
        );
        check(
            "SSE_FILE /x\n",
            "f:1: SSE_FILE /x: not understood; write NAME = value, [NAME of a section], or # \
             and a comment",
        );
        check(
            "SSE_FILE = /x",
            "f:1: SSE_FILE = /x: the line has no end; was the file uploaded whole? End it with \
             Enter",
        );
        check(
            "SSE_FILE = /x\0y\n",
            "f:1: SSE_FILE = /x\\x00y: a control character; write text only",
        );
        check(
            "SSE_FILE = ~/x\n",
            "f:1: SSE_FILE=~/x: only a shell knows ~; write the whole path",
        );
        check(
            "SSE_FILE = \"/x\"\n",
            "f:1: SSE_FILE=\\\"/x\\\": a path is written without quotes",
        );
        check(
            "SSE_FILE = /x # mine\n",
            "f:1: SSE_FILE=/x # mine: a comment needs a line of its own",
        );
        check(
            "SSE_FILE=/x\n[p]\nSSE_FILE=/y\nSSE_FILE=/z\n",
            "f:4: SSE_FILE=/z: line 3 sets it already; keep one of them",
        );
        check(
            "[p q]\n[q]\n",
            "f:2: [q]: line 1 has it already; put both together",
        );
        check(
            "[p p]\n",
            "f:1: [p]: line 1 has it already; put both together",
        );
        check("[p\n", "f:1: [p: no ] at the end; write [NAME]");
        check("[ ]\n", "f:1: []: no name; write [NAME]");
        check(
            "[/events/log]\n",
            "f:1: [/events/log]: not the name of a program; write the name of a file in this \
             folder",
        );
        check(
            "[sub/nph-tail.cgi]\n",
            "f:1: [sub/nph-tail.cgi]: not the name of a program; write the name of a file in \
             this folder",
        );
        check(
            "SSE_STREAM = tail\n",
            "f:1: SSE_STREAM=tail: only sse-fcgi reads it; remove the line",
        );
    }

    #[test]
    fn a_path_that_nobody_can_ask_for_is_a_mistake() {
        let check = |text: &str, expected: &str| {
            let error = paths(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        };
        check("[nph-tail.cgi]\n", "f:1: [nph-tail.cgi]: not a path; write");
        check("[/a//b]\n", "f:1: [/a//b]: no server asks for such a path");
        check("[//]\n", "f:1: [//]: no server asks for such a path");
        check("[/a/../b]\n", "f:1: [/a/../b]: no server asks");
        check("[/a/.]\n", "f:1: [/a/.]: no server asks");
        check(
            "[/logs/*]\n",
            "f:1: [/logs/*]: a path holds for all below it",
        );
        check("[/a?b]\n", "f:1: [/a?b]: a query is no part of the path");
        check("[/a /a/]\n", "f:1: [/a/]: line 1 has it already");
        check(
            "[/a]\nSSE_MAX_SUBSCRIBERS = 5\n",
            "f:2: SSE_MAX_SUBSCRIBERS=5: it belongs to the whole process; write it above",
        );
        check(
            "[/a]\nSSE_PREFIX = /a\n",
            "f:2: SSE_PREFIX=/a: the path of the section",
        );
        assert!(paths("SSE_MAX_SUBSCRIBERS = 5\n[/a]\nSSE_STREAM = tail\n").is_ok());
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let most = SettingsFile::MAX_BYTES;
        let long = format!("{}\n", "#".repeat(most - 1));
        assert!(programs(&long).is_ok());
        let error = programs(&format!("{long}#\n")).unwrap_err();
        assert_eq!(error, "f: longer than 64K; shorten it");
        let heads = |count| (0..count).map(|n| format!("[p{n}]\n")).collect::<String>();
        assert!(programs(&heads(SettingsFile::SECTION_NAMES_MAX)).is_ok());
        let error = programs(&heads(SettingsFile::SECTION_NAMES_MAX + 1)).unwrap_err();
        assert!(
            error.starts_with("f:1001: [p1000]: more than 1000 names"),
            "{error}"
        );
    }

    #[test]
    fn the_log_is_known_where_a_later_line_is_wrong() {
        let log = |text: &str| {
            let error = SettingsFile::parse("f", text.as_bytes(), Sections::Programs).unwrap_err();
            error
                .log()
                .map(|log| String::from_utf8(log.to_vec()).unwrap())
        };
        assert_eq!(log("SSE_LOG = /l\nSSE_X = 1\n"), Some("/l".into()));
        assert_eq!(log("SSE_X = 1\nSSE_LOG = /l\n"), None);
        assert_eq!(log("[p]\nSSE_LOG = /l\nSSE_X = 1\n"), None);
    }

    /// Lines that are like those of settings files.
    fn line() -> impl Strategy<Value = Vec<u8>> {
        let words = prop::sample::select(vec![
            "SSE_FILE = /f\n",
            "SSE_FILE=",
            "[p]\n",
            "[/a /b]\n",
            "[",
            "]",
            "/",
            "\n",
            "\r\n",
            "#",
            "=",
            " ",
            "SSE_RETRY = 5s\n",
            "SSE_LOG = /l\n",
            "SSE_STREAM = tail\n",
            "..",
            "\0",
        ]);
        prop_oneof![
            4 => words.prop_map(|word| word.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..20),
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_file_or_one_line_that_says_why_not(
            lines in prop::collection::vec(line(), 0..20),
            path in prop::collection::vec(prop::sample::select(b"/ab.".to_vec()), 0..8),
        ) {
            let bytes = lines.concat();
            for kind in [Sections::Programs, Sections::Paths] {
                match SettingsFile::parse("f", &bytes, kind) {
                    Ok(file) => {
                        if let Some(place) = file.path(&path) {
                            prop_assert_eq!([place.path, place.below].concat(), path.clone());
                            let names = &place.section.names;
                            prop_assert!(names.iter().any(|name| name == place.path));
                        }
                        let mut meta = MetaVariables::of(&[("SSE_RETRY", "1s")]);
                        file.complete(&mut meta, file.program(b"p"));
                        prop_assert_eq!(meta.get("SSE_RETRY").last(), Some(&b"1s"[..]));
                        for name in meta.names() {
                            prop_assert!(NAMES.iter().any(|known| known.as_bytes() == name));
                        }
                    }
                    Err(error) => {
                        let text = error.to_string();
                        prop_assert!(text.starts_with("f:") && text.len() < 2500, "{}", text);
                        prop_assert!(!text.contains(char::is_control), "{}", text);
                    }
                }
            }
        }
    }
}
