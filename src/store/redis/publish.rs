//! Publishing to a stream of an engine: the destination of a POST.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::engines_of;
use super::session_post::SessionPost;
use crate::publish::{PostFields, Record};
use crate::request::Request;
use crate::source::redis::{
    Append, Confirmation, Key, NotWritten, Writing, admitted, appended, count, engine_of, key_of,
};
use crate::source::{Author, OpenError, Recipients};
use crate::store::host::SystemHost;
use crate::store::publish_location::{
    EntryDestination, OpenEntries, PublishError, PublishLocation,
};

impl OpenEntries for SystemHost {
    fn open_entries(
        &self,
        location: &PublishLocation,
        request: &Request,
        fields: &PostFields,
    ) -> Result<Box<dyn EntryDestination>, PublishError> {
        let settings = &location.settings;
        let engine = engine_of(settings, self)?;
        let name = key_of(settings, request).map_err(|error| match error {
            OpenError::Setting(error) => PublishError::Setting(error),
            _ => PublishError::NotFound,
        })?;
        let mut stream = Stream {
            host: Rc::new(self.clone()),
            key: Key { engine, name },
            keep: settings.keep_entries,
            owner: location.owner,
            confirmation: location.confirmation(),
            writing: None,
        };
        if let Some(rate) = location.publishing.rate {
            let command = count(&stream.key.name, &fields.client(), rate);
            stream.send(command, Confirmation::None);
        }
        Ok(Box::new(stream))
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
    confirmation: Confirmation,
    /// The answer to what was asked last.
    writing: Option<io::Result<Box<dyn Writing>>>,
}

impl Stream {
    /// Sends a command.
    fn send(&mut self, command: Vec<u8>, confirmation: Confirmation) {
        let (host, key) = (&self.host, &self.key);
        let sent = super::write(host, key, command, 1, self.owner, confirmation);
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
    fn turn(&mut self) -> Option<Result<Option<Author>, PublishError>> {
        if self.writing.is_none() {
            return Some(Ok(None));
        }
        let answer = self.answer()?;
        Some(match answer.and_then(|reply| admitted(&reply)) {
            Ok(Ok(())) => Ok(None),
            Ok(Err(wait)) => Err(PublishError::TooOften(wait)),
            Err(error) => Err(self.error(&error)),
        })
    }

    fn append(&mut self, record: &Record) {
        let entry = Append {
            key: self.key.name.clone(),
            keep: self.keep,
            fields: record.entry_fields(),
        };
        let mut commands = Vec::new();
        entry.command(&mut commands);
        self.send(commands, self.confirmation);
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
