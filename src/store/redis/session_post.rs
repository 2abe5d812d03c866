//! SessionPost: a POST to a room or a private session that an engine keeps.
//!
//! ```text
//! begin ──► turn: is there such a session, and may its client publish now ──► append ──► outcome
//! ```

use std::io;
use std::rc::Rc;

use crate::publish::{PostFields, Record};
use crate::request::{Request, SettingError};
use crate::source::redis::session::{Posting, SessionKeys, Turn, session_key};
use crate::source::redis::{Confirmation, Key, NotWritten, Writing, engine_of};
use crate::source::{Author, OpenError, Recipients, SessionId};
use crate::store::host::SystemHost;
use crate::store::publish_location::{EntryDestination, PublishError, PublishLocation};

/// A session as the destination of one record.
pub(super) struct SessionPost {
    host: Rc<SystemHost>,
    key: Key,
    posting: Posting,
    /// The member who publishes, when that is known.
    author: Option<Author>,
    owner: u64,
    confirmation: Confirmation,
    /// The answer to what was asked last.
    writing: io::Result<Box<dyn Writing>>,
}

impl SessionPost {
    /// Asks whether the client may publish to the session that it names.
    pub(super) fn begin(
        host: &SystemHost,
        recipients: Recipients,
        location: &PublishLocation,
        request: &Request,
        fields: &PostFields,
    ) -> Result<Self, PublishError> {
        let settings = &location.settings;
        if recipients == Recipients::Session && !settings.command.is_empty() {
            let remedy = "is not run for sessions that Redis keeps; unset it";
            return Err(SettingError::new("SSE_COMMAND", b"", remedy).into());
        }
        let engine = engine_of(settings, host)?;
        let (name, named) = session_key(settings, request).map_err(|error| match error {
            OpenError::Setting(error) => PublishError::Setting(error),
            _ => PublishError::NotFound,
        })?;
        let session = fields.session.as_deref().and_then(SessionId::parse);
        let posting = Posting {
            keys: SessionKeys::of(&name),
            session: session.ok_or(PublishError::NoSession)?,
            room: (recipients == Recipients::Room).then_some(named),
            keep: settings.keep_entries,
        };
        let key = Key { engine, name };
        let turn = posting.turn(&fields.client(), location.publishing.rate);
        let writing = super::write(host, &key, turn, 1, location.owner, Confirmation::None);
        Ok(Self {
            host: Rc::new(host.clone()),
            key,
            posting,
            author: None,
            owner: location.owner,
            confirmation: location.confirmation(),
            writing,
        })
    }

    fn answer(&mut self) -> Option<Result<Vec<u8>, NotWritten>> {
        match &mut self.writing {
            Ok(writing) => writing.receive(),
            Err(error) => Some(Err(NotWritten::Unavailable(error.to_string()))),
        }
    }

    fn error(&self, error: &NotWritten) -> PublishError {
        let key = self.key.name.escape_ascii();
        let text = format!("publish to {key} of {}: {error}", self.key.engine);
        match error {
            NotWritten::Unavailable(_) | NotWritten::Unknown(_) => PublishError::Unavailable(text),
            NotWritten::Refused(_) => PublishError::Unwritable(text),
        }
    }
}

impl EntryDestination for SessionPost {
    fn turn(&mut self) -> Option<Result<Option<Author>, PublishError>> {
        let answer = self.answer()?;
        let turn = answer.and_then(|reply| self.posting.turn_of(&reply));
        Some(match turn {
            Ok(Turn::Now(author)) => {
                self.author.clone_from(&author);
                Ok(author)
            }
            Ok(Turn::Later(wait)) => Err(PublishError::TooOften(wait)),
            Ok(Turn::NoSession) => Err(PublishError::NoSession),
            Err(error) => Err(self.error(&error)),
        })
    }

    fn append(&mut self, record: &Record) {
        let fields = record.entry_fields();
        let (commands, replies) = self.posting.append(self.author.as_ref(), fields);
        let (host, key) = (&self.host, &self.key);
        self.writing = super::write(host, key, commands, replies, self.owner, self.confirmation);
    }

    fn outcome(&mut self) -> Option<Result<String, PublishError>> {
        let answer = self.answer()?;
        let id = answer.and_then(|replies| self.posting.appended(&replies));
        Some(match id {
            Ok(Some(id)) => Ok(self.posting.event_id(id)),
            Ok(None) => Err(PublishError::NoSession),
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
