//! Opens the stream that a request asks for, or makes the response that refuses it.

use super::{Delivery, StreamParams};
use crate::event::{Gap, Unavailable};
use crate::request::{
    Decision, Head, Operations, SettingError, Status, decide_among, refuse_access,
};
use crate::source::{OpenError, Opened, Opening, Recipients, Source, Stream};

/// The result of a request.
pub enum Answered {
    /// A response without a body, which ends the request.
    End(Head),
    /// A setting is wrong: the status is 500, and the log names the setting.
    Mistaken(SettingError),
    /// A temporary error. A status would end the client's `EventSource` permanently; so the
    /// response is a stream that reports the error and asks the client to reconnect.
    Later {
        head: Head,
        params: StreamParams,
        reason: Unavailable,
        trouble: String,
    },
    /// A temporary error of a HEAD request, which monitoring sends and `EventSource` does not:
    /// a status.
    HeadLater { head: Head, trouble: String },
    /// A stream.
    Stream {
        head: Head,
        source: Box<dyn Source>,
        gap: Option<Gap>,
        params: StreamParams,
    },
}

/// Chooses the response, and opens the source if it is a stream.
///
/// `jitter`, from 0 to 1, spreads the times at which streams end and clients reconnect.
pub fn open(stream: &Stream, opening: &Opening<'_>, delivery: Delivery, jitter: f64) -> Answered {
    let &Opening {
        settings, request, ..
    } = opening;
    let operations = match Recipients::of(stream) {
        Some(_) => Operations::Both,
        None => Operations::Read,
    };
    let (head, head_only) = match decide_among(operations, request, settings) {
        Decision::Refuse(head) => return Answered::End(head),
        Decision::HeadOnly(head) => (head, true),
        Decision::Stream(head) => (head, false),
    };
    let params = StreamParams::new(request, settings, delivery, jitter).ending(
        request.admission,
        jitter,
        opening.now,
    );
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
            params,
        },
        Ok(Opened::Finished) => instead(Status::NoContent),
        Err(OpenError::Setting(error)) => Answered::Mistaken(error),
        Err(OpenError::NotFound) => instead(Status::NotFound),
        Err(OpenError::BadQuery) => instead(Status::BadRequest),
        Err(OpenError::Forbidden) => Answered::End(refuse_access(request, settings)),
        Err(OpenError::Temporary(trouble)) if head_only => Answered::HeadLater {
            head: Head {
                status: Status::ServiceUnavailable,
                fields: cors_of(&head),
            },
            trouble,
        },
        Err(OpenError::Temporary(trouble)) => Answered::Later {
            head,
            params,
            reason: Unavailable::of_stream(stream.name),
            trouble,
        },
    }
}

/// The CORS fields that let a page of another origin read the response, and `Vary`, which tells
/// caches; a 204 has no type.
fn cors_of(head: &Head) -> Vec<(&'static str, String)> {
    let is_cors = |name: &str| name == "Vary" || name.starts_with("Access-Control-");
    head.fields
        .iter()
        .filter(|(name, _)| is_cors(name))
        .cloned()
        .collect()
}
