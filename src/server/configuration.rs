//! What a server was told to serve: its environment, and its settings file (`--config`).
//!
//! ```text
//! request ► section of its path ► top of the file ► environment
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::options::CommandsOption;
use crate::request::settings::{FileError, Section, Sections, SettingsFile};
use crate::request::{
    Commands, Filter, Label, Lifetime, MetaVariables, NamedStream, Notice, Publishing,
    RequestedStream, SettingError, Settings, subscribers_max,
};
use crate::source::{Stream, several};
use crate::store::settings_file;

/// The settings of a server, without those of its requests.
#[derive(Clone, Debug)]
pub(super) struct Configuration {
    environment: MetaVariables,
    file: Option<(PathBuf, SettingsFile)>,
    /// Of the whole process: the file's top, over the environment.
    process: MetaVariables,
    /// What is to be said of them; the log has it already.
    notices: Vec<Notice>,
    /// How the command line answers which programs may be run.
    option: CommandsOption,
    commands: Commands,
    subscribers_max: usize,
    /// The streams of which a connection can bring several, by their names.
    named: BTreeMap<String, Rc<NamedStream>>,
}

/// The settings of a request, and whether its path is one of the file's.
pub(super) struct Resolved {
    pub(super) meta: MetaVariables,
    /// The file has sections, and neither one of them nor `SSE_STREAM` says what the path is.
    pub(super) is_unlisted: bool,
    /// A section of the file is for its path: `PATH_INFO` is what lies below that.
    pub(super) has_section: bool,
}

/// What a configuration is worth knowing of besides itself: lines for the log.
pub(super) struct Remarks(pub(super) Vec<String>);

impl Configuration {
    /// Reads the settings file, if one is named, and checks all of it for a server of these
    /// streams.
    ///
    /// # Errors
    /// What is wrong in the file, a line each. (What is wrong in the environment is a remark:
    /// a location may set something else.)
    pub(super) fn read(
        environment: MetaVariables,
        path: Option<&Path>,
        streams: &[&'static Stream],
        option: CommandsOption,
    ) -> Result<(Self, Remarks), Vec<String>> {
        let wrong = |error: FileError| vec![error.to_string()];
        let read = path.map(settings_file::read_bytes).transpose();
        let read = read.map_err(wrong)?;
        let bytes = read.as_ref().map(|(_, bytes)| &bytes[..]);
        Self::of_bytes(environment, path, bytes, streams, option)
    }

    /// The same with these bytes of the file.
    ///
    /// # Errors
    /// As of [`Configuration::read`].
    pub(super) fn of_bytes(
        environment: MetaVariables,
        path: Option<&Path>,
        bytes: Option<&[u8]>,
        streams: &[&'static Stream],
        option: CommandsOption,
    ) -> Result<(Self, Remarks), Vec<String>> {
        let mut process = environment.clone();
        let mut file = None;
        if let (Some(path), Some(bytes)) = (path, bytes) {
            let full = std::path::absolute(path);
            let name = full
                .unwrap_or_else(|_| path.to_owned())
                .display()
                .to_string();
            let read = SettingsFile::parse(&name, bytes, Sections::Paths);
            let read = read.map_err(|error| vec![error.to_string()])?;
            process = MetaVariables::default();
            read.complete(&mut process, None);
            process.add_below(&environment);
            file = Some((path.to_owned(), read));
        }
        let mut configuration = Self {
            environment,
            file,
            process,
            notices: Vec::new(),
            option,
            commands: Commands::Any,
            subscribers_max: 0,
            named: BTreeMap::new(),
        };
        let mut findings = Findings::default();
        findings.of_process(&mut configuration);
        findings.of_streams(&mut configuration);
        for (section, path) in configuration.places() {
            findings.of_place(&configuration, section, path, streams);
        }
        configuration.notices = findings.notices;
        if option == CommandsOption::Absent {
            configuration.commands = findings.commands;
        }
        match findings.errors.is_empty() {
            true => Ok((configuration, Remarks(findings.remarks))),
            false => Err(findings.errors),
        }
    }

    /// The same with other bytes of the file.
    ///
    /// # Errors
    /// As of [`Configuration::read`].
    pub(super) fn with_bytes(
        &self,
        bytes: &[u8],
        streams: &[&'static Stream],
    ) -> Result<(Self, Remarks), Vec<String>> {
        let environment = self.environment.clone();
        Self::of_bytes(environment, self.path(), Some(bytes), streams, self.option)
    }

    /// The same file read again.
    ///
    /// # Errors
    /// As of [`Configuration::read`].
    pub(super) fn read_again(
        &self,
        streams: &[&'static Stream],
    ) -> Result<(Self, Remarks), Vec<String>> {
        let environment = self.environment.clone();
        Self::read(environment, self.path(), streams, self.option)
    }

    /// The settings file.
    pub(super) fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|(path, _)| path.as_path())
    }

    /// How many sections the file has.
    pub(super) fn sections(&self) -> usize {
        self.file
            .as_ref()
            .map_or(0, |(_, file)| file.sections().len())
    }

    /// The settings of the whole process.
    pub(super) fn process(&self) -> &MetaVariables {
        &self.process
    }

    /// What the log has said of the settings already.
    pub(super) fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// The programs that requests may have run: any, if the command line or the process's
    /// settings say so, else those that the settings here name.
    pub(super) fn commands(&self) -> &Commands {
        &self.commands
    }

    /// A stream of which a connection can bring several.
    pub(super) fn named(&self, name: &str) -> Option<Rc<NamedStream>> {
        self.named.get(name).cloned()
    }

    /// Checks that there are these streams, and that they fit into one connection.
    ///
    /// # Errors
    /// The setting that is wrong.
    pub(super) fn check_streams(&self, names: &[String]) -> Result<(), SettingError> {
        let mut streams = Vec::new();
        for name in names {
            match self.named(name) {
                Some(stream) => streams.push(stream),
                None => {
                    let remedy = match &self.file {
                        Some(_) => {
                            format!("the settings file has no section for it; add [stream {name}]")
                        }
                        None => format!(
                            "there is no settings file; write [stream {name}] into one, and name it by --config"
                        ),
                    };
                    return Err(SettingError::new("SSE_STREAMS", name.as_bytes(), remedy));
                }
            }
        }
        several::check(&streams)
    }

    /// `SSE_MAX_SUBSCRIBERS`.
    pub(super) fn subscribers_max(&self) -> usize {
        self.subscribers_max
    }

    /// The settings of a request with these parameters.
    pub(super) fn resolve(&self, mut params: MetaVariables) -> Resolved {
        let Some((_, file)) = &self.file else {
            let meta = params.over(&self.environment);
            return Resolved {
                meta,
                is_unlisted: false,
                has_section: false,
            };
        };
        params.remove_process_settings();
        let value = |name| params.get(name).last().unwrap_or_default();
        let path = [value("SCRIPT_NAME"), value("PATH_INFO")].concat();
        let place = file.path(&path);
        let has_section = place.is_some();
        if let Some(place) = &place {
            params.place_at(place.path, place.below);
        }
        file.complete(&mut params, place.map(|place| place.section));
        params.add_below(&self.environment);
        let has_stream = params.get("SSE_STREAM").last().is_some();
        let is_unlisted = !file.sections().is_empty() && !has_section && !has_stream;
        Resolved {
            meta: params,
            is_unlisted,
            has_section,
        }
    }

    /// Every path of the file, with its section.
    fn places(&self) -> impl Iterator<Item = (&Section, &[u8])> {
        let sections = self.file.iter().flat_map(|(_, file)| file.sections());
        sections.flat_map(|section| section.names.iter().map(move |name| (section, &name[..])))
    }

    /// The settings of a request for this path that brings none.
    fn of_section(&self, section: &Section, path: &[u8]) -> MetaVariables {
        let mut meta = MetaVariables::default();
        meta.place_at(path, b"");
        if let Some((_, file)) = &self.file {
            file.complete(&mut meta, Some(section));
        }
        meta.add_below(&self.environment);
        meta
    }
}

/// Reads the settings of streams. A condition for records is compiled only where a file is
/// followed, so its mistakes are looked for here.
fn settings_of(meta: &MetaVariables) -> Result<Vec<Notice>, SettingError> {
    let (settings, notices) = Settings::parse(meta, Lifetime::Unlimited)?;
    settings
        .filter
        .as_deref()
        .map(Filter::of_setting)
        .transpose()?;
    Ok(notices)
}

/// What is found when a configuration is checked.
struct Findings {
    commands: Commands,
    /// Lines that say what is wrong with the file.
    errors: Vec<String>,
    /// Lines that say what is odd.
    remarks: Vec<String>,
    notices: Vec<Notice>,
}

impl Default for Findings {
    fn default() -> Self {
        Self {
            commands: Commands::Only(Vec::new()),
            errors: Vec::new(),
            remarks: Vec::new(),
            notices: Vec::new(),
        }
    }
}

impl Findings {
    /// Of the settings that hold where nothing else is set.
    fn of_process(&mut self, configuration: &mut Configuration) {
        let process = &configuration.process;
        let read = [
            settings_of(process),
            Publishing::parse(process).map(|(_, notices)| notices),
        ];
        for read in read {
            let no_reason_to_end =
                |text: &str| format!("{text}; requests get a 500 unless their location sets it");
            self.take(process, read, no_reason_to_end);
        }
        let read = subscribers_max(process).map(|(most, notices)| {
            configuration.subscribers_max = most;
            notices
        });
        self.take_process_s(process, read);
        let read = Commands::of_process(process).map(|commands| {
            self.commands.permit_also(commands);
            Vec::new()
        });
        self.take_process_s(process, read);
    }

    /// Of the streams of which a connection can bring several.
    fn of_streams(&mut self, configuration: &mut Configuration) {
        let Some((_, file)) = &configuration.file else {
            return;
        };
        for name in file.stream_names() {
            let read = NamedStream::read(file, name, &configuration.environment);
            let filter = |stream: &NamedStream| {
                let filter = stream.settings.filter.as_deref();
                filter.map(Filter::of_setting).transpose().map(drop)
            };
            match read {
                Ok((stream, notices)) => {
                    let checked =
                        filter(&stream).and_then(|()| several::check(&[Rc::new(stream.clone())]));
                    if let Err(error) = checked {
                        self.add_error(format!("{}: [stream {name}]: {error}", file.name()));
                    }
                    for notice in notices {
                        self.remarks.push(format!("[stream {name}]: {notice}"));
                    }
                    configuration.named.insert(name.into(), Rc::new(stream));
                }
                Err(problem) => self.add_error(problem),
            }
        }
    }

    /// Of the settings of a section, for one of its paths.
    fn of_place(
        &mut self,
        configuration: &Configuration,
        section: &Section,
        path: &[u8],
        streams: &[&'static Stream],
    ) {
        let meta = configuration.of_section(section, path);
        let read = [
            settings_of(&meta),
            Publishing::parse(&meta).map(|(_, notices)| notices),
        ];
        for read in read {
            // What is wrong in the environment has been said.
            self.take(&meta, read, |_| String::new());
        }
        if let Ok(commands) = Commands::of_process(&meta) {
            self.commands.permit_also(commands);
        }
        let names = Settings::parse(&meta, Lifetime::Unlimited);
        let names = names.map_or(Vec::new(), |(settings, _)| settings.streams);
        if !names.is_empty() {
            let checked = configuration.check_streams(&names);
            return self.take(&meta, checked.map(|()| Vec::new()), |_| String::new());
        }
        let is_stream =
            |name: &str| name == "publish" || streams.iter().any(|stream| stream.name == name);
        match RequestedStream::of(&meta) {
            // A program with one stream of its own serves that everywhere.
            _ if streams.len() == 1 => {}
            RequestedStream::Set(name) if name != "status" && !is_stream(&name) => {
                let error = unknown_stream(&name, streams);
                self.take(&meta, Err(error), |_| String::new());
            }
            RequestedStream::Named(name) if !is_stream(&name) => {
                let problem = "SSE_STREAM is not set, and the path does not end in the name of \
                               a stream; write SSE_STREAM = tail, for example";
                if let Some((_, file)) = &configuration.file {
                    let error = file.unknown(section, path, problem).to_string();
                    self.add_error(error);
                }
            }
            _ => {}
        }
    }

    /// Adds what came of reading settings: an error where the file has the setting, else a
    /// remark in these words.
    fn take(
        &mut self,
        meta: &MetaVariables,
        read: Result<Vec<Notice>, SettingError>,
        remark: impl Fn(&str) -> String,
    ) {
        let label = Label::of(meta);
        match read {
            Ok(notices) => {
                for notice in notices {
                    if !self.notices.contains(&notice) {
                        let text = notice.to_string();
                        self.remarks.push(label.locate(&text).into_owned());
                        self.notices.push(notice);
                    }
                }
            }
            Err(error) => match label.locate(&error.to_string()) {
                Cow::Owned(located) => self.add_error(located),
                Cow::Borrowed(text) => {
                    let text = remark(text);
                    if !text.is_empty() {
                        self.remarks.push(text);
                    }
                }
            },
        }
    }

    /// The same for settings without which a process cannot begin.
    fn take_process_s(&mut self, process: &MetaVariables, read: Result<Vec<Notice>, SettingError>) {
        match read {
            Err(error) => {
                let text = Label::of(process).locate(&error.to_string()).into_owned();
                self.add_error(text);
            }
            read => self.take(process, read, |_| String::new()),
        }
    }

    /// Each error once: a line of the top is read for every section.
    fn add_error(&mut self, error: String) {
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }
}

/// The error that no stream has the name.
pub(super) fn unknown_stream(name: &str, streams: &[&'static Stream]) -> SettingError {
    let names: Vec<&str> = streams.iter().map(|stream| stream.name).collect();
    let remedy = format!(
        "no such stream; write {}, publish or status",
        names.join(", ")
    );
    SettingError::new("SSE_STREAM", name.as_bytes(), remedy)
}
