//! `--check`: what the settings file of a folder means for each program in it, in a terminal.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use crate::request::settings::{Brief, PROGRAMS, SettingsFile};
use crate::request::{Filter, Label, Lifetime, MetaVariables, NamedStream, Publishing, Settings};
use crate::source::several;
use crate::store::settings_file;
use crate::system::accounts;
use crate::system::exit;
use crate::system::output;

/// The report of a folder.
struct Report {
    text: String,
    /// How many errors it names.
    errors: usize,
}

/// Prints the report of a folder, by default the one of `program`. The exit code says whether it
/// names an error.
///
/// # Errors
/// When the folder cannot be read or the report not be written.
pub(super) fn report(
    program: &OsStr,
    folder: Option<OsString>,
    environment: &MetaVariables,
) -> io::Result<ExitCode> {
    let folder = folder.map_or_else(|| folder_of(program), PathBuf::from);
    let report = check(&folder, environment)?;
    output::print(&report.text)?;
    Ok(match report.errors {
        0 => exit::done(),
        _ => exit::usage(),
    })
}

/// The folder of `--check` if none is named: that of the program as it was typed, and if it
/// was found by PATH, the working directory.
fn folder_of(program: &OsStr) -> PathBuf {
    match Path::new(program).parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Checks a folder of programs, with the settings of this environment.
///
/// # Errors
/// When the folder cannot be read.
fn check(folder: &Path, environment: &MetaVariables) -> io::Result<Report> {
    let programs = installed(folder)?;
    let mut report = Report {
        text: format!("checked as {}\n", accounts::own_name()),
        errors: 0,
    };
    let file = match settings_file::beside(folder) {
        None => {
            let name = folder.join(settings_file::NAME);
            report.say(&format!("{}: there is none", name.display()));
            None
        }
        Some(Ok(file)) => {
            let sections = file.sections().len();
            report.say(&format!(
                "{}: no mistake; sections: {sections}",
                file.name()
            ));
            Some(file)
        }
        Some(Err(error)) => {
            report.error(&error.to_string());
            None
        }
    };
    // Names with the same settings are reported together.
    let mut parts: Vec<(String, Vec<String>, usize)> = Vec::new();
    for (name, stream) in programs {
        let mut part = Report {
            text: String::new(),
            errors: 0,
        };
        part.program(&name, stream, file.as_ref(), environment);
        let title = format!("{name} ({stream})");
        match parts.iter_mut().find(|(text, ..)| *text == part.text) {
            Some((_, titles, _)) => titles.push(title),
            None => parts.push((part.text, vec![title], part.errors)),
        }
    }
    for (text, titles, errors) in parts {
        report.say(&format!("\n{}", titles.join(", ")));
        report.text.push_str(&text);
        report.errors += errors;
    }
    Ok(report)
}

impl Report {
    fn say(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
    }

    fn error(&mut self, problem: &str) {
        self.say(&format!("  error: {problem}"));
        self.errors += 1;
    }

    fn program(
        &mut self,
        name: &str,
        stream: &str,
        file: Option<&SettingsFile>,
        environment: &MetaVariables,
    ) {
        let mut meta = MetaVariables::default();
        meta.add_below(environment);
        if let Some(file) = file {
            file.complete(&mut meta, file.program(name.as_bytes()));
        }
        let label = Label::of(&meta);
        let mut report = |problem: String| self.error(&label.locate(&problem));
        match Settings::parse(&meta, Lifetime::Hour) {
            Ok((settings, notices)) => {
                notices.iter().for_each(|notice| report(notice.to_string()));
                let filter = settings.filter.as_deref().map(Filter::of_setting);
                if let Some(Err(error)) = filter {
                    report(error.to_string());
                }
            }
            Err(error) => report(error.to_string()),
        }
        match Publishing::parse(&meta) {
            Ok((_, notices)) => notices.iter().for_each(|notice| report(notice.to_string())),
            Err(error) => report(error.to_string()),
        }
        for brief in Brief::ALL {
            self.setting(brief, stream, &meta);
        }
        if stream == "streams" {
            self.members(&meta, file, environment);
        }
        let is_set = |name: &str| meta.get(name).last().is_some();
        let needed: &[&str] = match stream {
            "tail" | "script" | "publish" | "room" if !is_set("SSE_ROOT") => &["SSE_FILE"],
            "session" => &["SSE_SPOOL"],
            "command" => &["SSE_COMMAND"],
            "streams" => &["SSE_STREAMS"],
            _ => &[],
        };
        for name in needed.iter().filter(|name| !is_set(name)) {
            self.say(&format!("  {name} is not set: clients get a 500"));
        }
    }

    /// The streams of one connection, each of which is a section.
    fn members(
        &mut self,
        meta: &MetaVariables,
        file: Option<&SettingsFile>,
        environment: &MetaVariables,
    ) {
        let names = meta.get("SSE_STREAMS").last().unwrap_or_default();
        let names = String::from_utf8_lossy(names).into_owned();
        let mut streams = Vec::new();
        for name in names.split_ascii_whitespace() {
            let Some(file) = file else {
                let problem = format!(
                    "SSE_STREAMS={name}: there is no settings file; write [stream {name}] into {}",
                    settings_file::NAME
                );
                self.error(&problem);
                continue;
            };
            let (stream, notices) = match NamedStream::read(file, name, environment) {
                Ok(read) => read,
                Err(problem) => {
                    self.error(&problem);
                    continue;
                }
            };
            for notice in notices {
                self.error(&format!("[stream {name}]: {notice}"));
            }
            let filter = stream.settings.filter.as_deref();
            if let Some(Err(error)) = filter.map(Filter::of_setting) {
                self.error(&format!("[stream {name}]: {error}"));
            }
            if let Some(path) = stream.settings.file.as_deref() {
                let use_of_it = readable(
                    |path| File::open(path).map(drop),
                    path.as_os_str().as_bytes(),
                );
                self.say(&format!(
                    "  [stream {name}] SSE_FILE = {}{use_of_it}",
                    path.display()
                ));
            }
            streams.push(Rc::new(stream));
        }
        if let Err(error) = several::check_files(&streams) {
            self.error(&error.to_string());
        }
    }

    fn setting(&mut self, brief: &Brief, stream: &str, meta: &MetaVariables) {
        let name = brief.name;
        let Some(value) = meta.get(name).last() else {
            if brief.is_for(stream) && !brief.default.is_empty() {
                self.say(&format!("  {name}: {} (default)", brief.default));
            }
            return;
        };
        let mut origins = meta.origins().iter();
        let origin = origins.find(|(own, _)| *own == name);
        let origin = origin.map_or("environment".to_owned(), |(_, origin)| origin.to_string());
        let use_of_it = match (brief.is_for(stream), name) {
            (false, _) => "; this program does not read it".to_owned(),
            (true, "SSE_FILE" | "SSE_PUBLISH_TOKEN_FILE") => {
                readable(|path| File::open(path).map(drop), value)
            }
            (true, "SSE_ROOT" | "SSE_SPOOL") => {
                readable(|path| fs::read_dir(path).map(drop), value)
            }
            (true, _) => String::new(),
        };
        let value = String::from_utf8_lossy(value);
        self.say(&format!("  {name} = {value} ({origin}{use_of_it})"));
    }
}

/// Whether what a path names can be read; a FIFO would block, so only its kind is named.
fn readable(open: impl Fn(&Path) -> io::Result<()>, path: &[u8]) -> String {
    let path = Path::new(OsStr::from_bytes(path));
    let opened = path.metadata().and_then(|metadata| {
        let is_odd = !metadata.is_file() && !metadata.is_dir();
        match is_odd {
            true => Err(io::Error::other("neither a file nor a folder")),
            false => open(path),
        }
    });
    match opened {
        Ok(()) => "; readable".into(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "; not there yet".into(),
        Err(error) => format!("; not readable: {error}"),
    }
}

/// Our programs in a folder: their names, and which stream each is.
fn installed(folder: &Path) -> io::Result<Vec<(String, &'static str)>> {
    let mut known = Vec::new();
    let mut others = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Ok(metadata) = path.metadata() else {
            continue;
        };
        if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
            continue;
        }
        let by_name = path.file_name().and_then(stream_of);
        // What a link leads to has its own name.
        let target = fs::canonicalize(&path).ok();
        let by_target = || {
            target
                .as_deref()
                .and_then(Path::file_name)
                .and_then(stream_of)
        };
        match by_name.or_else(by_target) {
            Some(stream) => known.push((path, stream, metadata.len())),
            None => others.push((path, metadata.len())),
        }
    }
    // A copy under another name.
    for (path, length) in others {
        let is_copy = |known: &(PathBuf, &str, u64)| {
            known.2 == length && fs::read(&path).ok() == fs::read(&known.0).ok()
        };
        if let Some((_, stream, _)) = known.iter().find(|known| is_copy(known)) {
            let stream = *stream;
            known.push((path, stream, length));
        }
    }
    let name_of = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let mut named: Vec<(String, &str)> = known
        .iter()
        .filter_map(|(path, stream, _)| Some((name_of(path)?, *stream)))
        .collect();
    named.sort();
    Ok(named)
}

/// The stream of a program with this file name, such as `nph-tail.cgi`.
fn stream_of(name: &OsStr) -> Option<&'static str> {
    let name = name.to_str()?;
    let stem = name.strip_prefix("nph-").unwrap_or(name);
    let stem = stem.split('.').next()?;
    PROGRAMS.iter().copied().find(|program| *program == stem)
}
