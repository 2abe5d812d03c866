//! Observations: everything that a diagnosis knows. They contain no decision.

use std::time::Duration;

use super::connection::Unreachable;
use super::message::Head;
use super::record::Record;

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndKind {
    /// By its framing, or by the end of the connection where that is the framing.
    Complete,
    /// The connection was closed before the end of the framing.
    Cut,
    /// The connection was reset.
    Reset,
    /// What was received is no HTTP.
    Malformed,
}

/// The end of a response, counted from the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) at: Duration,
    pub(super) kind: EndKind,
}

/// One GET of the stream.
#[derive(Debug, Default)]
pub(super) struct StreamSeen {
    pub(super) head: Option<Head>,
    /// From the request to the head.
    pub(super) head_after: Duration,
    pub(super) record: Record,
    pub(super) end: Option<Ended>,
    /// How long it was read.
    pub(super) watched: Duration,
    /// The id that was sent as `Last-Event-ID`.
    pub(super) sent_id: Option<String>,
    /// When it began, counted from the first GET.
    pub(super) began: Duration,
    /// Why what was received is not HTTP.
    pub(super) malformed: Option<String>,
}

/// The response to HEAD.
#[derive(Debug)]
pub(super) enum HeadSeen {
    Answered(Head, Duration),
    /// Nothing within the time.
    Late(Duration),
    /// The connection was closed without a response.
    Closed,
}

/// How the server reacted when the client closed its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// The server closed the connection after this time.
    Closed(Duration),
    /// It did not within the time that the doctor waits.
    NotClosed(Duration),
}

/// The number of subscribers on a status page, before and after the client left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subscribers {
    /// They became fewer after this time.
    Fewer(Duration),
    /// They did not within this time.
    Same(Duration),
    /// The page could not be read, and why.
    Unknown(String),
}

/// The text that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// It was an event after this time; the status of the POST.
    Arrived(Duration),
    /// The server accepted it, and it was no event within this time.
    Missing(Duration),
    /// It was refused: status, or why there was no response.
    Refused(String),
}

/// What a GET over HTTP/2 showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Http2Seen {
    /// The server chose it.
    pub(super) is_offered: bool,
    /// When each DATA frame with bytes arrived, counted from its request.
    pub(super) data: Vec<Duration>,
    /// When it began, counted from the first GET.
    pub(super) began: Duration,
    pub(super) watched: Duration,
    /// The stream or the connection ended.
    pub(super) has_ended: bool,
}

/// Everything.
#[derive(Debug, Default)]
pub(super) struct Observations {
    /// The URL of the streams, after redirects.
    pub(super) url: String,
    pub(super) is_secure: bool,
    /// The program's or location's name: the last part of the path.
    pub(super) name: String,
    pub(super) redirects: Vec<(u16, String)>,
    pub(super) unreachable: Option<Unreachable>,
    pub(super) head: Option<HeadSeen>,
    /// The head of the site's first page, if the stream's says nothing about the server.
    pub(super) neighbour: Option<Head>,
    /// Without compression.
    pub(super) stream: StreamSeen,
    /// As a browser asks, if this is not the same: compressed, or without a head. Its times count
    /// from the GET of `stream`.
    pub(super) compressed: Option<StreamSeen>,
    /// It continues after an id.
    pub(super) again: Option<StreamSeen>,
    pub(super) http2: Option<Http2Seen>,
    pub(super) departure: Option<Departure>,
    pub(super) subscribers: Option<Subscribers>,
    pub(super) published: Option<Published>,
    /// The origin that was sent.
    pub(super) origin: Option<String>,
    pub(super) connections: u32,
}
