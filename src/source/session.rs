//! Session: a private stream, whose events only one client gets.
//!
//! ```text
//! GET  ──► welcome {"session": id} ──► what is posted to the session, and nothing else
//! POST, X-Session-ID: id ──► its file
//! ```
//!
//! The session's file is followed like any other. Its id is part of every event's id, so a
//! client that reconnects with its Last-Event-ID gets its session again, from any process.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::spool::{SessionId, SessionKind, Spool};
use super::tail::{self, TailId};
use super::{
    Changes, Next, Now, OpenError, Opened, Opening, Recipients, Source, Stream, explain,
    is_lasting, resume_point,
};
use crate::event::{Batch, EventId, Gap, Reason};
use crate::request::{Format, LastId, Method, SettingError, Settings};

/// The stream `session`.
pub static STREAM: Stream = Stream {
    name: "session",
    summary: "a private stream for each client, and POSTs to it",
    open,
    settings: settings_of!("session"),
    argument: Some("SSE_SPOOL"),
    shared: None,
};

/// How soon a failed operation is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Whether an engine keeps the sessions and their histories, and no file or spool of this machine.
///
/// # Errors
/// When the settings name both.
pub fn is_in_engine(settings: &Settings) -> Result<bool, SettingError> {
    let key = settings
        .stream_key
        .as_ref()
        .map(|key| ("SSE_STREAM_KEY", key));
    let prefix = settings.stream_key_prefix.as_ref();
    let Some((name, value)) = key.or(prefix.map(|prefix| ("SSE_STREAM_KEY_PREFIX", prefix))) else {
        let is_of_files = [&settings.file, &settings.root, &settings.spool];
        return Ok(settings.redis.is_some() && is_of_files.iter().all(|path| path.is_none()));
    };
    if settings.file.is_some() || settings.root.is_some() {
        let remedy = "SSE_FILE or SSE_ROOT is set as well; set one of them, and the other to \
                      nothing";
        return Err(SettingError::new(name, value.as_bytes(), remedy));
    }
    Ok(true)
}

fn open(opening: &Opening<'_>) -> Result<Opened, OpenError> {
    if is_in_engine(opening.settings)? {
        return opening.host.open_in_engine(Recipients::Session, opening);
    }
    let spool = open_spool(opening, SessionKind::Private)?;
    if opening.request.method != Method::Get {
        return Ok(Opened::Stream(Box::new(EmptySource), None));
    }
    // Sessions that cannot be swept now are swept when the next client connects.
    let _ = spool.sweep(opening.now, &mut |_| Ok(()));
    match SessionClient::of(opening, &*spool)? {
        SessionClient::Returned(id, position) => {
            open_at(opening, spool, id, LastId::Given(position.event_id()), None)
        }
        SessionClient::New(gap) => {
            let id = SessionId::of(
                opening
                    .host
                    .secret()
                    .map_err(|error| trouble(opening, &error))?,
            );
            let welcome = format!("{{\"event\":\"welcome\",\"data\":{{\"session\":\"{id}\"}}}}\n");
            spool
                .make(id, welcome.as_bytes())
                .map_err(|error| trouble(opening, &error))?;
            open_at(opening, spool, id, LastId::None, gap)
        }
    }
}

/// Opens a session's file as a tail, beginning with `gap`.
fn open_at(
    opening: &Opening<'_>,
    spool: Rc<dyn Spool>,
    id: SessionId,
    last_id: LastId,
    gap: Option<Gap>,
) -> Result<Opened, OpenError> {
    let mut request = opening.request.clone();
    request.last_id = last_id;
    request.query.filter = None;
    let settings = Settings {
        file: Some(spool.file(id)),
        root: None,
        format: Some(Format::Jsonl),
        filter: None,
        // Its welcome and everything that has been posted since.
        backlog_records: 1_000_000,
        ..opening.settings.clone()
    };
    let inner = tail::open_with(
        &Opening {
            settings: &settings,
            request: &request,
            ..*opening
        },
        tail::Extra {
            name: Some("session"),
            ..tail::Extra::default()
        },
    )?;
    Ok(match inner {
        Opened::Stream(inner, inner_gap) => {
            let kept = SessionSource::new(inner, spool, id, &settings, opening.now);
            Opened::Stream(Box::new(kept), gap.or(inner_gap))
        }
        Opened::Finished => Opened::Finished,
    })
}

/// The sessions of a kind.
///
/// # Errors
/// When their folder cannot be used.
pub(super) fn open_spool(
    opening: &Opening<'_>,
    kind: SessionKind,
) -> Result<Rc<dyn Spool>, OpenError> {
    let folder = opening.settings.required_spool()?;
    let grace = opening.settings.session_grace;
    let opened = opening.host.spool(folder, kind, grace);
    opened.map_err(|error| trouble_with(opening, folder, &error, is_lasting(&error)))
}

/// The client that opens a stream.
pub(super) enum SessionClient {
    /// A client without a session, or whose session has ended; then it gets a gap.
    New(Option<Gap>),
    /// A client with this position in a session's stream.
    Returned(SessionId, TailId),
}

impl SessionClient {
    /// # Errors
    /// When the session cannot be read now.
    pub(super) fn of(opening: &Opening<'_>, spool: &dyn Spool) -> Result<Self, OpenError> {
        let (point, gap) = resume_point(&opening.request.last_id, |text| {
            let (id, position) = text.split_once('.')?;
            Some((SessionId::parse(id.as_bytes())?, TailId::parse(position)?))
        });
        let Some((id, position)) = point else {
            return Ok(Self::New(gap));
        };
        match spool.touch(id) {
            Ok(()) => Ok(Self::Returned(id, position)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self::New(Some(Gap::new(Reason::UnknownId))))
            }
            Err(error) => Err(trouble(opening, &error)),
        }
    }
}

/// The remedy for a spool that cannot be used.
pub(crate) const SPOOL_REMEDY: &str =
    "name a folder that it can write in, and nobody else, or one to be made";

/// An error of a file in the spool. It is temporary, or lasts until the administrator acts; a
/// client that reconnects later may find its session ended.
pub(super) fn trouble(opening: &Opening<'_>, error: &io::Error) -> OpenError {
    let folder = opening.settings.spool.as_deref().unwrap_or(Path::new(""));
    // A missing file was swept at this moment.
    let is_missing = error.kind() == io::ErrorKind::NotFound;
    trouble_with(opening, folder, error, is_lasting(error) && !is_missing)
}

fn trouble_with(
    opening: &Opening<'_>,
    folder: &Path,
    error: &io::Error,
    is_lasting: bool,
) -> OpenError {
    let text = explain(error, &opening.host.user(), SPOOL_REMEDY);
    let wrong = SettingError::new("SSE_SPOOL", folder.as_os_str().as_encoded_bytes(), text);
    if is_lasting {
        OpenError::Setting(wrong)
    } else {
        OpenError::Temporary(wrong.to_string())
    }
}

/// A source whose events belong to a session, and which keeps the session alive.
pub(super) struct SessionSource {
    inner: Box<dyn Source>,
    spool: Rc<dyn Spool>,
    id: SessionId,
    prefix: Rc<str>,
    touch_every: Duration,
    touch_at: Duration,
}

impl SessionSource {
    pub(super) fn new(
        inner: Box<dyn Source>,
        spool: Rc<dyn Spool>,
        id: SessionId,
        settings: &Settings,
        now: Now,
    ) -> Self {
        // Neither one late update nor two end the session.
        let touch_every = settings.session_grace / 4;
        Self {
            inner,
            spool,
            id,
            prefix: format!("{id}.").into(),
            touch_every,
            touch_at: now.monotonic + touch_every,
        }
    }

    /// Updates the session's time, if that is due; `false` when the session is gone.
    fn keep(&mut self, now: Now) -> bool {
        if now.monotonic < self.touch_at {
            return true;
        }
        let touched = self.spool.touch(self.id);
        let wait = match touched {
            Ok(()) => self.touch_every,
            Err(_) => AGAIN,
        };
        self.touch_at = now.monotonic + wait;
        !touched.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}

impl Source for SessionSource {
    fn poll(&mut self, now: Now, out: &mut Batch) -> Next {
        if !self.keep(now) {
            // This process was stopped for longer than the grace, or somebody emptied the
            // folder. Without `close` the client reconnects, gets a gap and a new session.
            return Next::End;
        }
        out.prefix_ids(Some(Rc::clone(&self.prefix)));
        let next = self.inner.poll(now, out);
        out.prefix_ids(None);
        match next {
            Next::Change => Next::At(self.touch_at),
            Next::At(at) => Next::At(at.min(self.touch_at)),
            other => other,
        }
    }

    fn position(&self) -> Option<EventId<'static>> {
        let inner = self.inner.position()?;
        Some(inner.prefixed(&self.prefix))
    }

    fn changes(&self) -> Option<Rc<dyn Changes>> {
        self.inner.changes()
    }

    fn is_costly(&self) -> bool {
        self.inner.is_costly()
    }

    fn rest(&mut self) {
        self.inner.rest();
    }
}

/// The source for the response to a HEAD request: no session is created for it.
pub(super) struct EmptySource;

impl Source for EmptySource {
    fn poll(&mut self, _: Now, _: &mut Batch) -> Next {
        Next::Change
    }

    fn position(&self) -> Option<EventId<'static>> {
        None
    }
}
