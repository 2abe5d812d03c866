//! Reads the values of settings, as the table specifies.
//!
//! Only [`Reader::value`] knows where a value comes from.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{Notice, SettingError};
use super::row::{DefaultValue, Kind, Sharing, Spec};
use crate::event::EventName;
use crate::request::MetaVariables;
use crate::request::origin::AllowedOrigin;
use crate::request::units;

/// The values that decide whether two streams can be shared: of the settings with
/// [`Sharing::Divides`] in the table, those that differ from their defaults, each in one
/// canonical form (`60s` and `1m` are one value).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dividing(Vec<(&'static str, Vec<u8>)>);

impl Dividing {
    /// The value of one of these settings; `None` if it has its default.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|(own, _)| *own == name);
        found.map(|(_, value)| value.as_slice())
    }
}

/// Reads settings and collects the notices about them.
pub(in crate::request) struct Reader<'a> {
    meta: &'a MetaVariables,
    notices: Vec<Notice>,
    dividing: Dividing,
}

impl<'a> Reader<'a> {
    pub(in crate::request) fn new(meta: &'a MetaVariables) -> Self {
        Self {
            meta,
            notices: Vec::new(),
            dividing: Dividing::default(),
        }
    }

    pub(in crate::request) fn finish(self) -> (Vec<Notice>, Dividing) {
        (self.notices, self.dividing)
    }

    pub(in crate::request) fn notices(self) -> Vec<Notice> {
        self.notices
    }

    /// The value that was set. An empty one counts as not set.
    fn value(&self, spec: &Spec) -> Option<&'a [u8]> {
        self.meta.get(spec.name).last()
    }

    fn is_set(&self, spec: &Spec) -> bool {
        self.value(spec).is_some()
    }

    /// The value, or the table's default, as text.
    fn text(&self, spec: &Spec, remedy: &str) -> Result<Option<&'a str>, SettingError> {
        match self.value(spec) {
            Some(value) => match std::str::from_utf8(value) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(SettingError::new(spec.name, value, remedy)),
            },
            None => Ok(match spec.default {
                DefaultValue::Value(text) => Some(text),
                DefaultValue::Unset(_) => None,
            }),
        }
    }

    fn parse<T>(
        &self,
        spec: &Spec,
        parse: impl Fn(&str) -> Option<T>,
        remedy: &str,
    ) -> Result<Option<T>, SettingError> {
        let Some(text) = self.text(spec, remedy)? else {
            return Ok(None);
        };
        let wrong = || SettingError::new(spec.name, text.as_bytes(), remedy);
        parse(text).map(Some).ok_or_else(wrong)
    }

    /// Adds the value of a setting to the key of shared streams.
    fn note(&mut self, spec: &Spec, value: &[u8]) {
        let is_default = match spec.default {
            DefaultValue::Value(text) => text.as_bytes() == value,
            DefaultValue::Unset(_) => false,
        };
        if spec.sharing == Sharing::Divides && self.is_set(spec) && !is_default {
            self.dividing.0.push((spec.name, value.to_vec()));
        }
    }

    pub(in crate::request) fn path(&mut self, spec: &Spec) -> Option<PathBuf> {
        let value = self.value(spec)?;
        self.note(spec, value);
        Some(PathBuf::from(OsString::from_vec(value.to_vec())))
    }

    /// Text whose form is checked elsewhere.
    pub(in crate::request) fn string(
        &mut self,
        spec: &Spec,
        remedy: &str,
    ) -> Result<Option<String>, SettingError> {
        let text = self.text(spec, remedy)?;
        if let Some(text) = text {
            self.note(spec, text.as_bytes());
        }
        Ok(text.map(str::to_owned))
    }

    pub(in crate::request) fn duration(&mut self, spec: &Spec) -> Result<Duration, SettingError> {
        let value = self.optional_duration(spec)?;
        required(spec, value)
    }

    pub(in crate::request) fn optional_duration(
        &mut self,
        spec: &Spec,
    ) -> Result<Option<Duration>, SettingError> {
        let range = match spec.kind {
            Kind::Duration(least, most) => (least, most),
            _ => (Duration::ZERO, Duration::MAX),
        };
        let remedy = "not a duration; write a whole number and ms, s, m or h, such as 15s";
        let read = self.parse(spec, units::duration, remedy)?;
        Ok(read.map(|value| self.clamp(spec, value, range, units::duration_text)))
    }

    pub(in crate::request) fn size(&mut self, spec: &Spec) -> Result<u64, SettingError> {
        let value = self.optional_size(spec)?;
        required(spec, value)
    }

    pub(in crate::request) fn optional_size(
        &mut self,
        spec: &Spec,
    ) -> Result<Option<u64>, SettingError> {
        let range = match spec.kind {
            Kind::Size(least, most) => (least, most),
            _ => (0, u64::MAX),
        };
        let remedy = "not a size; write a number of bytes, or of K, M or G, such as 16M";
        let read = self.parse(spec, units::size, remedy)?;
        Ok(read.map(|value| self.clamp(spec, value, range, units::size_text)))
    }

    pub(in crate::request) fn count(&mut self, spec: &Spec) -> Result<u64, SettingError> {
        let value = self.optional_count(spec)?;
        required(spec, value)
    }

    pub(in crate::request) fn optional_count(
        &mut self,
        spec: &Spec,
    ) -> Result<Option<u64>, SettingError> {
        let range = match spec.kind {
            Kind::Count(least, most) => (least, most),
            _ => (0, u64::MAX),
        };
        let remedy = "not a number; write digits only, such as 10";
        let read = self.parse(spec, units::count, remedy)?;
        Ok(read.map(|value| self.clamp(spec, value, range, |n| n.to_string())))
    }

    fn clamp<T: Ord + Copy>(
        &mut self,
        spec: &Spec,
        value: T,
        (least, most): (T, T),
        text: impl Fn(T) -> String,
    ) -> T {
        if !self.is_set(spec) {
            return value;
        }
        let name = spec.name;
        let clamped = value.clamp(least, most);
        if clamped != value {
            let (limit, word) = if value < least {
                (least, "least")
            } else {
                (most, "most")
            };
            let limit = text(limit);
            self.notices.push(Notice(format!(
                "{name}={}: out of range, {limit} is used; write {limit} at {word}",
                text(value),
            )));
        }
        if spec.sharing == Sharing::Divides {
            self.note(spec, text(clamped).as_bytes());
        }
        clamped
    }

    /// Whether a setting is `yes`.
    pub(in crate::request) fn is_yes(&mut self, spec: &Spec) -> Result<bool, SettingError> {
        let remedy = "neither yes nor no; write one of them";
        let words = [("no", false), ("yes", true)];
        Ok(self.word(spec, &words, remedy)?.unwrap_or(false))
    }

    /// One of a few words, each with a meaning.
    pub(in crate::request) fn word<T: Copy>(
        &mut self,
        spec: &Spec,
        words: &[(&str, T)],
        remedy: &str,
    ) -> Result<Option<T>, SettingError> {
        let find = |text: &str| words.iter().find(|(word, _)| *word == text).copied();
        let found = self.parse(spec, find, remedy)?;
        if let Some((word, _)) = found {
            self.note(spec, word.as_bytes());
        }
        Ok(found.map(|(_, meaning)| meaning))
    }

    /// Text that `parse` reads; `canonical` gives equal values the same text.
    pub(in crate::request) fn parsed<T>(
        &mut self,
        spec: &Spec,
        parse: impl Fn(&str) -> Option<T>,
        remedy: &str,
        canonical: impl Fn(&T) -> String,
    ) -> Result<Option<T>, SettingError> {
        let parsed = self.parse(spec, parse, remedy)?;
        if let Some(parsed) = &parsed {
            if spec.sharing == Sharing::Divides && self.is_set(spec) {
                self.note(spec, canonical(parsed).as_bytes());
            }
        }
        Ok(parsed)
    }

    pub(in crate::request) fn words(&mut self, spec: &Spec) -> Result<Vec<String>, SettingError> {
        let text = self.text(spec, "not UTF-8; write words separated by spaces")?;
        let words = text.unwrap_or_default().split_ascii_whitespace();
        let words: Vec<String> = words.map(str::to_owned).collect();
        if spec.sharing == Sharing::Divides && !words.is_empty() {
            self.note(spec, words.join(" ").as_bytes());
        }
        Ok(words)
    }

    pub(in crate::request) fn command(&mut self, spec: &Spec) -> Result<Vec<String>, SettingError> {
        let remedy = "not a command; write a program and its arguments, with quotes closed";
        // The length of each word separates the words, since a word can contain any byte.
        let joined = |words: &Vec<String>| {
            let with_length = |word: &String| format!("{} {word}", word.len());
            words.iter().map(with_length).collect()
        };
        let words = self.parsed(spec, shlex::split, remedy, joined)?;
        Ok(words.unwrap_or_default())
    }

    pub(in crate::request) fn event_name(
        &mut self,
        spec: &Spec,
    ) -> Result<Option<EventName<'static>>, SettingError> {
        let parse = |text: &str| EventName::new(text.to_owned()).ok();
        let remedy = "not an event name; write UTF-8 text without line breaks";
        let event = self.parsed(spec, parse, remedy, |event| event.as_str().to_owned())?;
        match event {
            Some(event) if event.is_reserved() => {
                let remedy = "only the stream itself and EventSource use this name; \
                              write another";
                let value = event.as_str().as_bytes();
                Err(SettingError::new(spec.name, value, remedy))
            }
            event => Ok(event),
        }
    }

    pub(in crate::request) fn origins(
        &mut self,
        spec: &Spec,
    ) -> Result<Vec<AllowedOrigin>, SettingError> {
        let words = self.words(spec)?;
        let parse = |word: &String| {
            AllowedOrigin::parse(word).map_err(|remedy| {
                let remedy = format!("not a list of origins; {remedy}");
                SettingError::new(spec.name, word.as_bytes(), remedy)
            })
        };
        words.iter().map(parse).collect()
    }
}

/// A value of a setting for which the table has a default.
fn required<T>(spec: &Spec, value: Option<T>) -> Result<T, SettingError> {
    value.ok_or_else(|| SettingError::new(spec.name, b"", "not set, and it has no default"))
}
