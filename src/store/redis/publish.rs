//! Publishing to a stream of an engine: the destination of a POST.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::engines_of;
use super::session_post::SessionPost;
use crate::publish::{PostFields, Record};
use crate::request::{Publishing, Request, SettingError, Settings};
use crate::source::redis::{Append, Key, NotWritten, Writing, appended, engine_of, key_of};
use crate::source::{OpenError, Recipients};
use crate::store::host::SystemHost;
use crate::store::publish_location::{
    EntryDestination, OpenEntries, PublishError, PublishLocation,
};

impl OpenEntries for SystemHost {
    fn open_entries(
        &self,
        settings: &Settings,
        publishing: &Publishing,
        request: &Request,
        owner: u64,
    ) -> Result<Box<dyn EntryDestination>, PublishError> {
        if publishing.rate.is_some() {
            let remedy = "not possible with SSE_STREAM_KEY; set it to nothing";
            return Err(SettingError::new("SSE_PUBLISH_RATE", b"", remedy).into());
        }
        let engine = engine_of(settings, self)?;
        let name = key_of(settings, request).map_err(|error| match error {
            OpenError::Setting(error) => PublishError::Setting(error),
            _ => PublishError::NotFound,
        })?;
        Ok(Box::new(Stream {
            host: Rc::new(self.clone()),
            key: Key { engine, name },
            keep: settings.keep_entries,
            owner,
            writing: None,
        }))
    }

    fn open_session(
        &self,
        recipients: Recipients,
        location: &PublishLocation,
        request: &Request,
        fields: &PostFields,
    ) -> Result<Box<dyn EntryDestination>, PublishError> {
        let post = SessionPost::begin(self, recipients, location, request, fields)?;
        Ok(Box::new(post))
    }

    fn wait(&self, time: Duration) {
        if let Ok(engines) = engines_of(self) {
            engines.wait(time);
        }
    }
}

/// A stream as the destination of one record.
struct Stream {
    host: Rc<SystemHost>,
    key: Key,
    keep: u64,
    owner: u64,
    /// The answer to what was asked last.
    writing: Option<io::Result<Box<dyn Writing>>>,
}

impl Stream {
    fn send(&mut self, commands: Vec<u8>, replies: usize) {
        let sent = super::write(&self.host, &self.key, commands, replies, self.owner);
        self.writing = Some(sent);
    }

    fn answer(&mut self) -> Option<Result<Vec<u8>, NotWritten>> {
        match self.writing.as_mut()? {
            Ok(writing) => writing.receive(),
            Err(error) => Some(Err(NotWritten::Unavailable(error.to_string()))),
        }
    }

    fn error(&self, error: &NotWritten) -> PublishError {
        let key = String::from_utf8_lossy(&self.key.name);
        let text = format!("publish to {key} of {}: {error}", self.key.engine);
        match error {
            NotWritten::Unavailable(_) | NotWritten::Unknown(_) => PublishError::Unavailable(text),
            NotWritten::Refused(_) => PublishError::Unwritable(text),
        }
    }
}

impl EntryDestination for Stream {
    fn append(&mut self, record: &Record) {
        let entry = Append {
            key: self.key.name.clone(),
            keep: self.keep,
            fields: record.entry_fields(),
        };
        let mut commands = Vec::new();
        entry.command(&mut commands);
        self.send(commands, 1);
    }

    fn outcome(&mut self) -> Option<Result<String, PublishError>> {
        let answer = self.answer()?;
        let id = answer.and_then(|replies| appended(&replies));
        Some(match id {
            Ok(id) => Ok(id.to_string()),
            Err(error) => Err(self.error(&error)),
        })
    }

    fn gave_up(&self) -> PublishError {
        let error = NotWritten::Unknown(
            "no answer within SSE_PUBLISH_TIMEOUT; it is in the stream or not".into(),
        );
        self.error(&error)
    }
}
