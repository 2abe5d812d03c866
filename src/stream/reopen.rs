//! ReopenParams: how a subscriber's source is opened again.

use std::rc::Rc;

use crate::event::EventId;
use crate::request::{Absent, LastId, Request, Settings};
use crate::source::{Host, Now, OpenError, Opened, Opening, Stream};

/// The parameters for opening a source again when a connected subscriber must read by itself.
pub struct ReopenParams {
    stream: &'static Stream,
    settings: Settings,
    request: Request,
}

impl ReopenParams {
    /// A connected subscriber has not been away: `SSE_REPLAY` does not limit how far it may be
    /// behind, and a missing file is awaited.
    #[must_use]
    pub fn new(stream: &'static Stream, settings: &Settings, request: &Request) -> Self {
        let settings = Settings {
            replay_bytes: u64::MAX,
            absent: Absent::Awaited,
            ..settings.clone()
        };
        Self {
            stream,
            settings,
            request: Request {
                selection: request
                    .selection
                    .as_ref()
                    .map(|selection| Rc::new(selection.continued())),
                ..request.clone()
            },
        }
    }

    /// Opens the source at `position`. `live` is the position of the channel of the same key,
    /// for a source that cannot go back.
    ///
    /// # Errors
    /// The errors of opening a stream.
    pub(super) fn open_at(
        &self,
        position: &EventId<'_>,
        live: Option<&EventId<'static>>,
        now: Now,
        host: &Rc<dyn Host>,
    ) -> Result<Opened, OpenError> {
        let last_id = EventId::from_bytes(position.as_bytes()).map_or(LastId::None, LastId::Given);
        let request = Request {
            last_id,
            ..self.request.clone()
        };
        (self.stream.open)(&Opening {
            settings: &self.settings,
            request: &request,
            now,
            host,
            live,
        })
    }
}
