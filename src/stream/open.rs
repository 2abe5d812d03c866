//! From a request to a stream, or to the answer that there is none.

use super::{Delivery, StreamParams};
use crate::event::{Gap, Unavailable};
use crate::request::{Decision, Head, SettingError, Status, Ways, decide_among};
use crate::source::{OpenError, Opened, Opening, Source, Stream, WayUp};

/// What a request comes to.
pub enum Answered {
    /// A head, and the end.
    End(Head),
    /// A setting is wrong: 500, and the log says which.
    Mistaken(SettingError),
    /// Trouble that passes is no status, which would end the client's `EventSource` for
    /// good: it is a stream that says so and asks to be opened again.
    Later {
        head: Head,
        terms: StreamParams,
        reason: Unavailable,
        trouble: String,
    },
    /// The same for HEAD, which no `EventSource` sends, and monitoring does: a status.
    HeadLater { head: Head, trouble: String },
    /// A stream.
    Stream {
        head: Head,
        source: Box<dyn Source>,
        gap: Option<Gap>,
        terms: StreamParams,
    },
}

/// Decides, and opens the source if there is to be one.
///
/// `jitter`, from 0 to 1, spreads the times at which streams end and clients come again.
pub fn open(stream: &Stream, opening: &Opening<'_>, delivery: Delivery, jitter: f64) -> Answered {
    let &Opening {
        settings, request, ..
    } = opening;
    let ways = match WayUp::of(stream) {
        Some(_) => Ways::Both,
        None => Ways::Down,
    };
    let (head, head_only) = match decide_among(ways, request, settings) {
        Decision::Refuse(head) => return Answered::End(head),
        Decision::HeadOnly(head) => (head, true),
        Decision::Stream(head) => (head, false),
    };
    let terms = StreamParams::new(request, settings, delivery, jitter);
    let instead = |status| {
        Answered::End(Head {
            status,
            fields: cors_of(&head),
        })
    };
    match (stream.open)(opening) {
        Ok(Opened::Stream(..)) if head_only => Answered::End(head),
        Ok(Opened::Stream(source, gap)) => Answered::Stream {
            head,
            source,
            gap,
            terms,
        },
        Ok(Opened::Finished) => instead(Status::NoContent),
        Err(OpenError::Setting(error)) => Answered::Mistaken(error),
        Err(OpenError::NotFound) => instead(Status::NotFound),
        Err(OpenError::BadFilter) => instead(Status::BadRequest),
        Err(OpenError::Temporary(trouble)) if head_only => Answered::HeadLater {
            head: Head {
                status: Status::ServiceUnavailable,
                fields: cors_of(&head),
            },
            trouble,
        },
        Err(OpenError::Temporary(trouble)) => Answered::Later {
            head,
            terms,
            reason: Unavailable::of_stream(stream.name),
            trouble,
        },
    }
}

/// The fields that let another site's page read the answer, and those that tell caches
/// so; a 204 has no type.
fn cors_of(head: &Head) -> Vec<(&'static str, String)> {
    let is_cors = |name: &str| name == "Vary" || name.starts_with("Access-Control-");
    head.fields
        .iter()
        .filter(|(name, _)| is_cors(name))
        .cloned()
        .collect()
}
