//! Connection: the FastCGI state of one connection from a web server.

use std::rc::Rc;

use super::pairs::Pairs;
use super::record::{self, HEADER_BYTES, Header, MANAGEMENT, ProtocolStatus, VERSION, kind};
use super::{Limits, Malformed, values};
use crate::request::MetaVariables;

/// `FCGI_RESPONDER`, the only supported role (FastCGI 1.0 §6.2).
const RESPONDER: u16 = 1;
/// `FCGI_KEEP_CONN`, a flag of BEGIN_REQUEST (§5.1).
const KEEP_CONN: u8 = 1;

/// A received item that requires an action.
#[derive(Clone, Debug)]
pub enum Incoming<'i> {
    /// The complete head of a request, which is served until [`Connection::finish`].
    Request(MetaVariables),
    /// A piece of the request's body, not empty, borrowed from the input.
    Stdin(&'i [u8]),
    /// The end of the body. It occurs once, even if there was no body.
    StdinEnd,
    /// The web server aborts the request: call [`Connection::finish`]. It can occur before any
    /// [`Request`](Self::Request), instead of it.
    Abort,
    /// A request for an unsupported role was ended; the response is in `reply`. With
    /// [`After::Close`], close the connection after it has been sent.
    Refused(After),
}

/// What happens with the connection after a request (`FCGI_KEEP_CONN`, FastCGI 1.0 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The web server waits for the responder to close it.
    Close,
    /// Another request may follow.
    Keep,
}

/// One connection from a web server, at most one request at a time.
///
/// Its memory is bounded: for an incomplete head by a small multiple of its limits; while a
/// request is served it has only this struct, which is under 100 bytes.
#[derive(Debug)]
pub struct Connection {
    /// Shared by thousands of connections.
    limits: Rc<Limits>,
    request: Active,
    record: RecordPart,
    /// The received part of a header or of the body of BEGIN_REQUEST, which both have eight
    /// bytes.
    fixed: [u8; HEADER_BYTES],
    fixed_bytes: u8,
    /// The missing bytes of the current record.
    padding_left_bytes: u8,
    content_left_bytes: u16,
    /// See [`Connection::takes_stderr`].
    takes_stderr: bool,
    broken: Option<Malformed>,
}

/// The request of this connection.
#[derive(Debug)]
struct Begun {
    id: u16,
    after: After,
}

/// The state of a request.
#[derive(Debug)]
enum Active {
    None,
    /// Until the end of PARAMS. The pairs are boxed, so that a connection in another state does
    /// not need memory for them.
    Params(Begun, Box<Pairs>),
    /// The request was returned; its body is being received.
    Stdin(Begun),
    /// The request was returned; its body has ended.
    Whole(Begun),
    /// Aborted; [`Connection::finish`] has not been called yet.
    Aborted(Begun),
}

/// The current position within a record.
#[derive(Debug)]
enum RecordPart {
    Header,
    Content(Content),
    Padding,
}

/// The purpose of a record's content, determined when its header is complete.
#[derive(Debug)]
enum Content {
    Skipped,
    Begin(u16),
    Abort,
    Params,
    ParamsEnd,
    Stdin,
    StdinEnd,
    Values(Box<Pairs>),
    UnknownType(u8),
}

impl Connection {
    /// A connection on which nothing has been received.
    #[must_use]
    pub fn new(limits: impl Into<Rc<Limits>>) -> Self {
        Self {
            limits: limits.into(),
            request: Active::None,
            record: RecordPart::Header,
            fixed: [0; HEADER_BYTES],
            fixed_bytes: 0,
            padding_left_bytes: 0,
            content_left_bytes: 0,
            takes_stderr: true,
            broken: None,
        }
    }

    /// Consumes `input` from its beginning up to and including the next item that requires an
    /// action. `None`: all of the input has been consumed, and more is needed.
    ///
    /// Responses that need no decision are appended to `reply`: GET_VALUES_RESULT,
    /// UNKNOWN_TYPE, and END_REQUEST with CANT_MPX_CONN or UNKNOWN_ROLE. They are complete
    /// records, to be sent between other records, never within one, and at most twice as long
    /// as the input that caused them. They can also be appended when `None` is returned.
    ///
    /// # Errors
    ///
    /// [`Malformed`]: close the connection, even if it is serving a request. Every further call
    /// returns the same error.
    pub fn take<'i>(
        &mut self,
        input: &mut &'i [u8],
        reply: &mut Vec<u8>,
    ) -> Result<Option<Incoming<'i>>, Malformed> {
        if let Some(malformed) = self.broken {
            return Err(malformed);
        }
        let taken = self.records(input, reply);
        self.broken = taken.as_ref().err().copied();
        taken
    }

    /// The id of the request that is being served: from [`Incoming::Request`], or from an
    /// [`Incoming::Abort`] instead of it, until [`Self::finish`].
    #[must_use]
    pub fn request_id(&self) -> Option<u16> {
        match &self.request {
            Active::None | Active::Params(..) => None,
            Active::Stdin(begun) | Active::Whole(begun) | Active::Aborted(begun) => Some(begun.id),
        }
    }

    /// Whether the web server may be sent STDERR records for the request being served.
    ///
    /// Not HAProxy: up to 2.6.13 (Debian 12 has 2.6.12) one that arrives alone makes the
    /// whole server abort, whatever it is configured to do with it.
    #[must_use]
    pub fn takes_stderr(&self) -> bool {
        self.takes_stderr
    }

    /// The approximate memory of an incomplete head.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let head = match &self.request {
            Active::Params(_, pairs) => pairs.held_bytes(),
            _ => 0,
        };
        let values = match &self.record {
            RecordPart::Content(Content::Values(pairs)) => pairs.held_bytes(),
            _ => 0,
        };
        head + values
    }

    /// Whether an item is incomplete: PARAMS after a BEGIN_REQUEST, or a record of any kind. A
    /// peer that stays in this state for long must be disconnected.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        let between_records = matches!(self.record, RecordPart::Header) && self.fixed_bytes == 0;
        !between_records || matches!(self.request, Active::Params(..))
    }

    /// Ends the request: appends the empty STDOUT record and END_REQUEST (REQUEST_COMPLETE,
    /// `app_status`) to `reply`. Returns whether the peer wants to keep the connection. The
    /// rest of the request that still arrives, such as its body, is ignored.
    ///
    /// A request whose PARAMS are incomplete is ended as well. Without a request nothing is
    /// appended, and the result is [`After::Close`].
    pub fn finish(&mut self, app_status: u32, reply: &mut Vec<u8>) -> After {
        let begun = match std::mem::replace(&mut self.request, Active::None) {
            Active::None => return After::Close,
            Active::Params(begun, _)
            | Active::Stdin(begun)
            | Active::Whole(begun)
            | Active::Aborted(begun) => begun,
        };
        if let RecordPart::Content(content) = &mut self.record {
            if content.is_of_active_request() {
                *content = Content::Skipped;
            }
        }
        record::record(kind::STDOUT, begun.id, b"", reply);
        let complete = ProtocolStatus::RequestComplete;
        record::end_request(begun.id, app_status, complete, reply);
        begun.after
    }

    fn records<'i>(
        &mut self,
        input: &mut &'i [u8],
        reply: &mut Vec<u8>,
    ) -> Result<Option<Incoming<'i>>, Malformed> {
        loop {
            match &mut self.record {
                RecordPart::Header => {
                    let missing = HEADER_BYTES - usize::from(self.fixed_bytes);
                    let piece = split_front(input, missing);
                    self.keep_fixed(piece);
                    if usize::from(self.fixed_bytes) < HEADER_BYTES {
                        return Ok(None);
                    }
                    let header = Header::parse(self.fixed);
                    self.record = RecordPart::Content(self.content_of(header)?);
                    self.fixed_bytes = 0;
                    self.content_left_bytes = header.content_bytes;
                    self.padding_left_bytes = header.padding_bytes;
                }
                RecordPart::Content(content) => {
                    let piece = split_front(input, self.content_left_bytes.into());
                    let mut incoming = None;
                    match content {
                        Content::Begin(_) => self.keep_fixed(piece),
                        Content::Values(pairs) => pairs.take(piece)?,
                        Content::Params => {
                            if let Active::Params(_, pairs) = &mut self.request {
                                pairs.take(piece)?;
                            }
                        }
                        Content::Stdin if !piece.is_empty() => {
                            incoming = Some(Incoming::Stdin(piece));
                        }
                        _ => {}
                    }
                    // No piece is longer than what is left, which is a u16.
                    self.content_left_bytes -= piece.len() as u16;
                    if self.content_left_bytes > 0 {
                        return Ok(incoming);
                    }
                    let end = self.end_content(reply)?;
                    if let Some(incoming) = incoming.or(end) {
                        return Ok(Some(incoming));
                    }
                }
                RecordPart::Padding => {
                    let piece = split_front(input, self.padding_left_bytes.into());
                    // As above, a u8.
                    self.padding_left_bytes -= piece.len() as u8;
                    if self.padding_left_bytes > 0 {
                        return Ok(None);
                    }
                    self.record = RecordPart::Header;
                }
            }
        }
    }

    /// Stores the next bytes of eight.
    fn keep_fixed(&mut self, piece: &[u8]) {
        let start = usize::from(self.fixed_bytes);
        self.fixed[start..start + piece.len()].copy_from_slice(piece);
        self.fixed_bytes += piece.len() as u8;
    }

    /// The purpose of the record under `header`.
    fn content_of(&self, header: Header) -> Result<Content, Malformed> {
        if header.version != VERSION {
            return Err(Malformed::Version(header.version));
        }
        if header.request_id == MANAGEMENT {
            return Ok(match header.kind {
                kind::GET_VALUES => Content::Values(Box::new(Pairs::new(*self.limits))),
                // Responses without a request. Two responders that replied to them would never
                // stop.
                kind::GET_VALUES_RESULT | kind::UNKNOWN_TYPE => Content::Skipped,
                unknown => Content::UnknownType(unknown),
            });
        }
        if header.kind == kind::BEGIN_REQUEST {
            return match header.content_bytes {
                8 => Ok(Content::Begin(header.request_id)),
                other => Err(Malformed::BeginLength(other)),
            };
        }
        // The rest of a request that was ended or refused, or that never began (§4).
        if self.active().is_none_or(|b| b.id != header.request_id) {
            return Ok(Content::Skipped);
        }
        let is_end = header.content_bytes == 0;
        Ok(match (header.kind, &self.request) {
            (_, Active::Aborted(_)) => Content::Skipped,
            (kind::ABORT_REQUEST, _) => Content::Abort,
            (kind::PARAMS, Active::Params(..)) if is_end => Content::ParamsEnd,
            (kind::PARAMS, Active::Params(..)) => Content::Params,
            (kind::PARAMS, _) if !is_end => return Err(Malformed::ParamsAfterEnd),
            (kind::STDIN, Active::Params(..)) => return Err(Malformed::StdinBeforeParams),
            (kind::STDIN, Active::Stdin(_)) if is_end => Content::StdinEnd,
            (kind::STDIN, Active::Stdin(_)) => Content::Stdin,
            (kind::STDIN, _) if !is_end => return Err(Malformed::StdinAfterEnd),
            // A second end of a stream, and DATA, which a responder does not receive.
            _ => Content::Skipped,
        })
    }

    /// Processes a record whose content is complete. Its padding is not awaited.
    fn end_content<'i>(&mut self, reply: &mut Vec<u8>) -> Result<Option<Incoming<'i>>, Malformed> {
        let next = match self.padding_left_bytes {
            0 => RecordPart::Header,
            _ => RecordPart::Padding,
        };
        self.fixed_bytes = 0;
        let RecordPart::Content(content) = std::mem::replace(&mut self.record, next) else {
            return Ok(None);
        };
        Ok(match content {
            Content::Skipped | Content::Params | Content::Stdin => None,
            Content::Begin(id) => self.begin(id, reply)?,
            Content::ParamsEnd | Content::StdinEnd | Content::Abort => self.advance(&content)?,
            Content::Values(pairs) => {
                values::answer(&pairs.end()?, &self.limits, reply);
                None
            }
            Content::UnknownType(unknown) => {
                let body = [unknown, 0, 0, 0, 0, 0, 0, 0];
                record::record(kind::UNKNOWN_TYPE, MANAGEMENT, &body, reply);
                None
            }
        })
    }

    /// Processes BEGIN_REQUEST, whose body is in `fixed`.
    fn begin<'i>(
        &mut self,
        id: u16,
        reply: &mut Vec<u8>,
    ) -> Result<Option<Incoming<'i>>, Malformed> {
        let [role1, role0, flags, ..] = self.fixed;
        let after = if flags & KEEP_CONN == 0 {
            After::Close
        } else {
            After::Keep
        };
        if let Some(active) = self.active() {
            if active.id == id {
                return Err(Malformed::BegunTwice(id));
            }
            record::end_request(id, 0, ProtocolStatus::CantMpxConn, reply);
            return Ok(None);
        }
        if u16::from_be_bytes([role1, role0]) != RESPONDER {
            record::end_request(id, 0, ProtocolStatus::UnknownRole, reply);
            return Ok(Some(Incoming::Refused(after)));
        }
        let pairs = Box::new(Pairs::new(*self.limits));
        self.request = Active::Params(Begun { id, after }, pairs);
        Ok(None)
    }

    /// Advances the request after the end of a stream, or after its abort.
    fn advance<'i>(&mut self, by: &Content) -> Result<Option<Incoming<'i>>, Malformed> {
        let request = std::mem::replace(&mut self.request, Active::None);
        let incoming;
        (self.request, incoming) = match (by, request) {
            (Content::ParamsEnd, Active::Params(begun, pairs)) => {
                let meta = MetaVariables::new(pairs.end()?);
                let software = meta.get("SERVER_SOFTWARE").last().unwrap_or_default();
                self.takes_stderr = !software.starts_with(b"HAProxy");
                (Active::Stdin(begun), Some(Incoming::Request(meta)))
            }
            (Content::StdinEnd, Active::Stdin(begun)) => {
                (Active::Whole(begun), Some(Incoming::StdinEnd))
            }
            (Content::Abort, Active::Params(begun, _))
            | (Content::Abort, Active::Stdin(begun) | Active::Whole(begun)) => {
                (Active::Aborted(begun), Some(Incoming::Abort))
            }
            (_, request) => (request, None),
        };
        Ok(incoming)
    }

    fn active(&self) -> Option<&Begun> {
        match &self.request {
            Active::None => None,
            Active::Params(begun, _)
            | Active::Stdin(begun)
            | Active::Whole(begun)
            | Active::Aborted(begun) => Some(begun),
        }
    }
}

impl Content {
    fn is_of_active_request(&self) -> bool {
        match self {
            Self::Abort | Self::Params | Self::ParamsEnd | Self::Stdin | Self::StdinEnd => true,
            Self::Skipped | Self::Begin(_) | Self::Values(_) | Self::UnknownType(_) => false,
        }
    }
}

/// Removes up to `most_bytes` from the beginning of `input`.
fn split_front<'i>(input: &mut &'i [u8], most_bytes: usize) -> &'i [u8] {
    let (piece, rest) = input.split_at(input.len().min(most_bytes));
    *input = rest;
    piece
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Value;

    /// What the server receives, with the pieces of a body joined.
    #[derive(Debug, PartialEq, Eq)]
    enum Seen {
        Request(Vec<Vec<u8>>),
        Stdin(Vec<u8>),
        StdinEnd,
        Abort,
        Refused(After),
        Malformed(Malformed),
    }

    use Seen::{Abort, Refused, Request, Stdin, StdinEnd};

    const LIMITS: Limits = Limits {
        params_bytes: 100,
        pairs: 4,
        connections_max: 77,
    };

    /// `BEGIN_REQUEST` for request 1 as a responder, without and with KEEP_CONN.
    const BEGIN: &[u8] = b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00";
    const BEGIN_KEEP: &[u8] = b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x01\x00\x00\x00\x00\x00";
    /// PARAMS with `A=1`.
    const PARAMS: &[u8] = b"\x01\x04\x00\x01\x00\x04\x00\x00\x01\x01A1";
    const PARAMS_END: &[u8] = b"\x01\x04\x00\x01\x00\x00\x00\x00";
    const STDIN: &[u8] = b"\x01\x05\x00\x01\x00\x03\x02\x00abc..";
    const STDIN_END: &[u8] = b"\x01\x05\x00\x01\x00\x00\x00\x00";
    const ABORT: &[u8] = b"\x01\x02\x00\x01\x00\x00\x00\x00";
    /// Another request, for id 2, refused while 1 is active.
    const BEGIN_OTHER: &[u8] = b"\x01\x01\x00\x02\x00\x08\x00\x00\x00\x01\x01\x00\x00\x00\x00\x00";
    const CANT_MPX: &[u8] = b"\x01\x03\x00\x02\x00\x08\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00";

    /// Feeds pieces of `size` bytes.
    fn seen(
        connection: &mut Connection,
        wire: &[u8],
        size: usize,
        reply: &mut Vec<u8>,
    ) -> Vec<Seen> {
        let mut all = Vec::new();
        for mut input in wire.chunks(size.max(1)) {
            loop {
                let one = match connection.take(&mut input, reply) {
                    Ok(None) => break,
                    Ok(Some(Incoming::Request(meta))) => {
                        Request(meta.names().map(<[u8]>::to_vec).collect())
                    }
                    Ok(Some(Incoming::Stdin(piece))) => {
                        assert!(!piece.is_empty());
                        if let Some(Stdin(before)) = all.last_mut() {
                            before.extend_from_slice(piece);
                            continue;
                        }
                        Stdin(piece.to_vec())
                    }
                    Ok(Some(Incoming::StdinEnd)) => StdinEnd,
                    Ok(Some(Incoming::Abort)) => Abort,
                    Ok(Some(Incoming::Refused(after))) => Refused(after),
                    Err(malformed) => {
                        all.push(Seen::Malformed(malformed));
                        return all;
                    }
                };
                all.push(one);
            }
            assert!(input.is_empty(), "None, but input is left");
        }
        all
    }

    /// Feeds `records` whole, byte by byte and in pieces of seven, and returns the connection
    /// after the first of these.
    fn check(records: &[&[u8]], expected: &[Seen], expected_reply: &[u8]) -> Connection {
        let wire = records.concat();
        let mut connections = [wire.len(), 1, 7].map(|size| {
            let (mut connection, mut reply) = (Connection::new(LIMITS), Vec::new());
            let found = seen(&mut connection, &wire, size, &mut reply);
            assert_eq!(found, expected, "{records:x?} by {size}");
            assert_eq!(reply, expected_reply, "{records:x?} by {size}");
            connection
        });
        std::mem::replace(&mut connections[0], Connection::new(LIMITS))
    }

    fn request() -> Seen {
        Request(vec![b"A".to_vec()])
    }

    #[test]
    fn a_request_comes_in_order_with_its_body() {
        check(
            &[BEGIN, PARAMS, PARAMS_END, STDIN, STDIN, STDIN_END],
            &[request(), Stdin(b"abcabc".to_vec()), StdinEnd],
            b"",
        );
        check(
            &[BEGIN, PARAMS_END, STDIN_END],
            &[Request(vec![]), StdinEnd],
            b"",
        );
    }

    #[test]
    fn values_come_with_the_request() {
        let wire = [BEGIN, PARAMS, PARAMS_END].concat();
        let mut connection = Connection::new(LIMITS);
        let mut reply = Vec::new();
        let Ok(Some(Incoming::Request(meta))) = connection.take(&mut &wire[..], &mut reply) else {
            panic!("no request");
        };
        assert_eq!(meta.get("A"), Value::One(b"1"));
    }

    #[test]
    fn the_request_has_its_id_from_the_end_of_params_to_its_own() {
        let id = |records: &[&[u8]]| {
            let mut connection = Connection::new(LIMITS);
            seen(&mut connection, &records.concat(), 1, &mut Vec::new());
            connection.request_id()
        };
        assert_eq!(id(&[]), None);
        assert_eq!(id(&[BEGIN, PARAMS]), None);
        assert_eq!(id(&[BEGIN, PARAMS, PARAMS_END]), Some(1));
        assert_eq!(id(&[BEGIN, PARAMS, PARAMS_END, STDIN_END]), Some(1));
        assert_eq!(id(&[BEGIN, ABORT]), Some(1));
    }

    #[test]
    fn a_connection_is_incomplete_within_a_record_and_within_params() {
        let wire = [BEGIN, PARAMS, PARAMS_END, STDIN, STDIN_END].concat();
        let end_of_params = (BEGIN.len() + PARAMS.len() + PARAMS_END.len()) as i32;
        let stdin = STDIN.len() as i32;
        for (bytes, expected) in [
            (0, false),
            (1, true),
            (BEGIN.len() as i32, true),
            (end_of_params - 1, true),
            (end_of_params, false),
            (end_of_params + 1, true),
            (end_of_params + stdin - 3, true),
            (end_of_params + stdin - 1, true),
            (end_of_params + stdin, false),
        ] {
            let mut connection = Connection::new(LIMITS);
            seen(
                &mut connection,
                &wire[..bytes as usize],
                1000,
                &mut Vec::new(),
            );
            assert_eq!(connection.is_incomplete(), expected, "after {bytes} bytes");
        }
    }

    /// A connection that has returned a request whose body is still to come.
    fn serving(begin: &[u8]) -> Connection {
        check(&[begin, PARAMS, PARAMS_END], &[request()], b"")
    }

    #[test]
    fn the_end_is_an_empty_stdout_and_end_request() {
        for (begin, after) in [(BEGIN, After::Close), (BEGIN_KEEP, After::Keep)] {
            let mut connection = serving(begin);
            let mut out = b"before".to_vec();
            assert_eq!(connection.finish(0x0102_0304, &mut out), after);
            assert_eq!(
                out,
                b"before\x01\x06\x00\x01\x00\x00\x00\x00\
                  \x01\x03\x00\x01\x00\x08\x00\x00\x01\x02\x03\x04\x00\x00\x00\x00"
            );
            assert_eq!(connection.request_id(), None);
            // A second call appends nothing.
            out.clear();
            assert_eq!(connection.finish(0, &mut out), After::Close);
            assert_eq!(out, b"");
        }
    }

    #[test]
    fn a_kept_connection_takes_the_next_request_after_the_rest_of_the_last() {
        // Ended within a record of its body; the rest of it is ignored.
        let mut connection = serving(BEGIN_KEEP);
        let mut reply = Vec::new();
        let first = seen(&mut connection, &STDIN[..9], 9, &mut reply);
        assert_eq!(first, [Stdin(b"a".to_vec())]);
        connection.finish(0, &mut reply);
        assert!(connection.is_incomplete());
        reply.clear();
        let rest = [
            &STDIN[9..],
            STDIN,
            STDIN_END,
            ABORT,
            BEGIN,
            PARAMS,
            PARAMS_END,
        ]
        .concat();
        let found = seen(&mut connection, &rest, rest.len(), &mut reply);
        assert_eq!((found, reply), (vec![request()], vec![]));
        assert!(!connection.is_incomplete());
    }

    #[test]
    fn a_request_can_be_ended_before_its_params_are_complete() {
        let mut connection = check(&[BEGIN_KEEP, &PARAMS[..9]], &[], b"");
        let mut reply = Vec::new();
        assert_eq!(connection.finish(0, &mut reply), After::Keep);
        let rest = [&PARAMS[9..], PARAMS_END, BEGIN, PARAMS_END].concat();
        let found = seen(&mut connection, &rest, rest.len(), &mut reply);
        assert_eq!(found, [Request(vec![])]);
    }

    #[test]
    fn an_abort_comes_once_at_any_stage_and_nothing_after_it() {
        let rest = [ABORT, STDIN_END, PARAMS, STDIN].concat();
        check(&[BEGIN, ABORT, &rest], &[Abort], b"");
        check(&[BEGIN, &PARAMS[..8], b"\x02\x01A1", ABORT], &[Abort], b"");
        check(
            &[BEGIN, PARAMS, PARAMS_END, ABORT, &rest],
            &[request(), Abort],
            b"",
        );
        let mut connection = check(
            &[BEGIN, PARAMS_END, STDIN, STDIN_END, ABORT, &rest],
            &[Request(vec![]), Stdin(b"abc".to_vec()), StdinEnd, Abort],
            b"",
        );
        let mut out = Vec::new();
        assert_eq!(connection.finish(0, &mut out), After::Close);
        assert_eq!(out.len(), 24);
        // An abort with content and padding, which the standard does not permit.
        let odd = b"\x01\x02\x00\x01\x00\x02\x01\x00xx.";
        check(&[BEGIN, odd, odd], &[Abort], b"");
    }

    #[test]
    fn another_request_at_the_same_time_is_sent_elsewhere() {
        let others: [&[u8]; 4] = [
            BEGIN_OTHER,
            b"\x01\x04\x00\x02\x00\x04\x00\x00\x01\x01B1",
            b"\x01\x04\x00\x02\x00\x00\x00\x00",
            b"\x01\x05\x00\x02\x00\x01\x00\x00x",
        ];
        let others = others.concat();
        check(
            &[BEGIN, &others, PARAMS, &others[16..], PARAMS_END],
            &[request()],
            CANT_MPX,
        );
        check(
            &[
                BEGIN, PARAMS, PARAMS_END, &others, STDIN, &others, STDIN_END,
            ],
            &[request(), Stdin(b"abc".to_vec()), StdinEnd],
            &CANT_MPX.repeat(2),
        );
        check(&[BEGIN, ABORT, &others], &[Abort], CANT_MPX);
        // Its role is not checked in this case.
        let filter = b"\x01\x01\x00\x02\x00\x08\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00";
        check(&[BEGIN, filter], &[], CANT_MPX);
    }

    #[test]
    fn a_role_that_is_not_played_is_refused() {
        for (role, flags, after) in [
            (*b"\x00\x02", 0, After::Close),
            (*b"\x00\x03", 1, After::Keep),
            (*b"\x00\x00", 0xFE, After::Close),
            (*b"\x01\x01", 0xFF, After::Keep),
        ] {
            let [role1, role0] = role;
            let begin = [
                1, 1, 0x12, 0x34, 0, 8, 0, 0, role1, role0, flags, 0, 0, 0, 0, 0,
            ];
            let reply = b"\x01\x03\x12\x34\x00\x08\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00";
            let params = b"\x01\x04\x12\x34\x00\x01\x00\x00\xFF";
            let connection = check(&[&begin, params], &[Refused(after)], reply);
            assert_eq!(connection.request_id(), None);
            check(
                &[&begin, BEGIN, PARAMS_END],
                &[Refused(after), Request(vec![])],
                reply,
            );
        }
    }

    #[test]
    fn records_of_requests_that_are_not_there_are_ignored() {
        check(&[PARAMS, PARAMS_END, STDIN, STDIN_END, ABORT], &[], b"");
        for kind in [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 255] {
            let other = [1, kind, 0xFF, 0xFF, 0, 2, 3, 0, b'x', b'x', 0, 0, 0];
            check(
                &[&other, BEGIN, &other, PARAMS, PARAMS_END, &other],
                &[request()],
                b"",
            );
        }
    }

    #[test]
    fn records_that_are_not_for_responders_are_ignored() {
        for kind in [3, 6, 7, 8, 9, 10, 11, 12, 0, 255] {
            let odd = [1, kind, 0, 1, 0, 2, 1, 0, b'x', b'x', 0];
            check(
                &[BEGIN, &odd, PARAMS, PARAMS_END, &odd, STDIN_END, &odd],
                &[request(), StdinEnd],
                b"",
            );
        }
    }

    #[test]
    fn a_stream_of_params_may_end_twice_but_not_go_on() {
        let whole = [
            BEGIN, PARAMS_END, PARAMS_END, STDIN_END, STDIN_END, PARAMS_END,
        ]
        .concat();
        let events = || vec![Request(vec![]), StdinEnd];
        let malformed = |error| {
            events()
                .into_iter()
                .chain([Seen::Malformed(error)])
                .collect()
        };
        check(&[&whole], &events(), b"");
        let params: Vec<Seen> = malformed(Malformed::ParamsAfterEnd);
        check(&[&whole, PARAMS], &params, b"");
        let stdin: Vec<Seen> = malformed(Malformed::StdinAfterEnd);
        check(&[&whole, STDIN], &stdin, b"");
    }

    #[test]
    fn what_is_asked_about_the_process_is_answered() {
        let asked = |content: &[u8]| {
            let header = [1, 9, 0, 0, 0, content.len() as u8, 3, 0];
            [&header, content, b"..."].concat()
        };
        check(
            &[&asked(
                b"\x0E\x00FCGI_MAX_CONNS\x0D\x00FCGI_MAX_REQS\x0F\x00FCGI_MPXS_CONNS",
            )],
            &[],
            b"\x01\x0A\x00\x00\x00\x35\x00\x00\x0E\x02FCGI_MAX_CONNS77\
              \x0D\x02FCGI_MAX_REQS77\x0F\x01FCGI_MPXS_CONNS0",
        );
        let one = b"\x01\x0A\x00\x00\x00\x12\x00\x00\x0F\x01FCGI_MPXS_CONNS0";
        check(
            &[&asked(
                b"\x04\x00WHAT\x0F\x01FCGI_MPXS_CONNS1\x0F\x00FCGI_MPXS_CONNS\x00\x00",
            )],
            &[],
            one,
        );
        check(&[&asked(b"")], &[], b"\x01\x0A\x00\x00\x00\x00\x00\x00");
        // Between the params of a request, and while it is served.
        let mpxs = asked(b"\x0F\x00FCGI_MPXS_CONNS");
        check(&[BEGIN, &PARAMS[..8], b"\x01\x02A1", &mpxs], &[], one);
        check(
            &[BEGIN, &mpxs, PARAMS, &mpxs, PARAMS_END, &mpxs],
            &[request()],
            &one.repeat(3),
        );
    }

    #[test]
    fn an_unknown_management_record_is_answered_with_its_type() {
        for kind in [0, 1, 2, 4, 5, 8, 12, 255] {
            check(
                &[&[1, kind, 0, 0, 0, 8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]],
                &[],
                &[1, 11, 0, 0, 0, 8, 0, 0, kind, 0, 0, 0, 0, 0, 0, 0],
            );
        }
        // A response gets no response.
        check(&[b"\x01\x0A\x00\x00\x00\x01\x00\x00x"], &[], b"");
        check(
            &[b"\x01\x0B\x00\x00\x00\x08\x00\x00\x0B\0\0\0\0\0\0\0"],
            &[],
            b"",
        );
    }

    #[test]
    fn what_cannot_be_understood_ends_the_connection() {
        let params = |content: &[u8]| {
            let header = [1, 4, 0, 1, 0, content.len() as u8, 0, 0];
            [&header[..], content].concat()
        };
        for (records, error) in [
            (b"GET / HTTP/1.1\r\n".to_vec(), Malformed::Version(b'G')),
            (vec![0; 8], Malformed::Version(0)),
            (vec![2, 1, 0, 1, 0, 8, 0, 0], Malformed::Version(2)),
            (vec![1, 1, 0, 1, 0, 0, 0, 0], Malformed::BeginLength(0)),
            (vec![1, 1, 0, 1, 0, 9, 0, 0], Malformed::BeginLength(9)),
            ([BEGIN, BEGIN].concat(), Malformed::BegunTwice(1)),
            ([BEGIN, STDIN_END].concat(), Malformed::StdinBeforeParams),
            (
                [BEGIN, &params(b"\x05"), PARAMS_END].concat(),
                Malformed::PairCut,
            ),
            (
                [BEGIN, &params(b"\xFF\xFF\xFF\xFF")].concat(),
                Malformed::ParamsTooLong(100),
            ),
            (
                [BEGIN, &params(&[0; 8]), &params(b"\0")].concat(),
                Malformed::TooManyPairs(4),
            ),
            (vec![1, 9, 0, 0, 0, 1, 0, 0, 1], Malformed::PairCut),
            (
                [&[1, 9, 0, 0, 0, 9, 0, 0][..], &[0; 9]].concat(),
                Malformed::TooManyPairs(4),
            ),
            (
                [&[1, 9, 0, 0, 0, 9, 0, 0][..], b"\x00\x80\x00\x00\x64"].concat(),
                Malformed::ParamsTooLong(100),
            ),
        ] {
            let mut connection = check(&[&records], &[Seen::Malformed(error)], b"");
            let again = connection.take(&mut &BEGIN[..], &mut Vec::new());
            assert_eq!(again.map(|_| ()), Err(error));
        }
    }

    #[test]
    fn errors_are_one_line_of_lower_case_or_of_the_words_of_the_standard() {
        assert_eq!(
            Malformed::Version(71).to_string(),
            "not FastCGI 1.0: a record of version 71"
        );
        assert_eq!(
            Malformed::ParamsTooLong(100).to_string(),
            "params longer than 100 bytes"
        );
    }

    #[test]
    fn who_is_served_costs_nothing_but_the_struct() {
        assert!(size_of::<Connection>() < 100, "{}", size_of::<Connection>());
    }
}
