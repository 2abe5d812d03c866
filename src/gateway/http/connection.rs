//! One connection from a client.

use std::rc::Rc;

use super::chunked::{Chunked, Taken};
use super::head::{Framing, RequestHead, Version};
use super::proxy_protocol::{ProxyHeader, Said};
use super::response::{self, Persistence};
use super::{Limits, Malformed, Peer, Rejection, head, peer, scan};
use crate::gateway::After;
use crate::request::{Head, MetaVariables};

/// What came, and wants something done.
#[derive(Clone, Debug)]
pub enum Incoming<'i> {
    /// The head of a request, whole. It is served until [`Connection::finish`].
    Request(MetaVariables),
    /// A piece of its body, not empty, borrowed from the input.
    Body(&'i [u8]),
    /// The end of the body. It comes once, and also when there was none.
    BodyEnd,
    /// A request that is answered by [`Rejection::response`]; then [`Connection::finish`] is
    /// to be called. It can come in place of a request, and in the middle of a body.
    Rejected(Rejection),
}

/// One connection from a client, one request after the other.
///
/// It holds the head of a request until that is whole, and nothing of a request that is
/// served but this struct.
#[derive(Debug)]
pub struct Connection {
    /// Shared by thousands of connections.
    limits: Rc<Limits>,
    peer: Rc<Peer>,
    part: Part,
    response: Response,
    /// An empty line came before the request (RFC 9112 §2.2 has us ignore one).
    has_skipped_line: bool,
    /// A PROXY protocol header has been received, and no whole head after it.
    follows_proxy_header: bool,
}

/// Where in a request we are.
#[derive(Debug)]
enum Part {
    /// The PROXY protocol header is received.
    ProxyHeader(Box<ProxyHeader>),
    /// The head is received; so many of its bytes have come. Empty: between requests.
    Head(Vec<u8>),
    /// The body is received, and handed out.
    Body(Body),
    /// Nobody wants the rest of the body; so many bytes of it are let pass.
    Unwanted(Body, u64),
    /// The request has been received, and is served.
    Whole,
    /// A head was rejected, which began with this line. Nothing that comes is of interest.
    Rejected(Vec<u8>),
    /// Nothing that comes is of interest: the connection is closed after the response.
    Closing,
}

/// What is still to come of a body.
#[derive(Debug)]
enum Body {
    Length(u64),
    Chunked(Box<Chunked>),
}

/// What is known of the response.
#[derive(Clone, Copy, Debug)]
struct Response {
    is_head: bool,
    version: Version,
    /// The client wants the connection kept, and nothing has been said against it.
    may_keep: bool,
    /// `100 Continue` is owed before the body comes.
    owes_continue: bool,
}

impl Response {
    /// The response to something that was not understood.
    const TO_NONSENSE: Self = Self {
        is_head: false,
        version: Version::Http11,
        may_keep: false,
        owes_continue: false,
    };
}

impl Connection {
    /// A connection that nothing has come on.
    #[must_use]
    pub fn new(limits: impl Into<Rc<Limits>>, peer: impl Into<Rc<Peer>>) -> Self {
        Self {
            limits: limits.into(),
            peer: peer.into(),
            part: Part::Head(Vec::new()),
            response: Response::TO_NONSENSE,
            has_skipped_line: false,
            follows_proxy_header: false,
        }
    }

    /// A connection from a proxy that sends a PROXY protocol header before the first request.
    /// The client is who the header names, if it names one, else `peer`.
    #[must_use]
    pub fn behind_proxy(limits: impl Into<Rc<Limits>>, peer: impl Into<Rc<Peer>>) -> Self {
        Self {
            part: Part::ProxyHeader(Box::default()),
            ..Self::new(limits, peer)
        }
    }

    /// Consumes from the front of `input` up to and including the next thing to act on.
    /// `None`: all of the input has been used, and more is needed.
    ///
    /// After a request has been received, nothing may be handed in before
    /// [`Connection::finish`]: see [`Connection::is_served`]. `100 Continue` is appended to
    /// `reply`.
    ///
    /// # Errors
    /// [`Malformed`]: the rest of a body, which was answered already, or the header of the
    /// PROXY protocol is not what it has to be; the connection is to be closed.
    pub fn take<'i>(
        &mut self,
        input: &mut &'i [u8],
        reply: &mut Vec<u8>,
    ) -> Result<Option<Incoming<'i>>, Malformed> {
        loop {
            match &mut self.part {
                Part::ProxyHeader(header) => {
                    let Some(said) = header.take(input, self.limits.proxy_header_bytes)? else {
                        return Ok(None);
                    };
                    if let Said::Addresses(peer) = said {
                        self.peer = Rc::new(peer);
                    }
                    self.part = Part::Head(Vec::new());
                    self.follows_proxy_header = true;
                }
                Part::Head(bytes) => match take_head(bytes, input, &self.limits) {
                    Ok(HeadTaken::More) => return Ok(None),
                    Ok(HeadTaken::EmptyLine) if !self.has_skipped_line => {
                        self.has_skipped_line = true;
                        bytes.clear();
                    }
                    Ok(HeadTaken::EmptyLine) => {
                        return Ok(Some(self.reject(Rejection::RequestLine)));
                    }
                    Ok(HeadTaken::Whole) => {
                        let bytes = std::mem::take(bytes);
                        return Ok(Some(match head::parse(&bytes, &self.limits, &self.peer) {
                            Ok(head) => self.begin(head),
                            Err(rejection) => self.reject_head(rejection, bytes),
                        }));
                    }
                    Err(rejection) => {
                        let bytes = std::mem::take(bytes);
                        return Ok(Some(self.reject_head(rejection, bytes)));
                    }
                },
                Part::Body(body) => {
                    if input.is_empty() && body.is_awaited() {
                        if std::mem::take(&mut self.response.owes_continue) {
                            reply.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                        }
                        return Ok(None);
                    }
                    // It did not wait for it.
                    self.response.owes_continue = false;
                    match body.take(input) {
                        Ok(Taken::Bytes(piece)) => return Ok(Some(Incoming::Body(piece))),
                        Ok(Taken::More) => return Ok(None),
                        Ok(Taken::End) => {
                            self.part = Part::Whole;
                            return Ok(Some(Incoming::BodyEnd));
                        }
                        Err(rejection) => return Ok(Some(self.reject(rejection))),
                    }
                }
                Part::Unwanted(body, left_bytes) => match body.take(input) {
                    Ok(Taken::Bytes(piece)) => {
                        let left = left_bytes.checked_sub(piece.len() as u64);
                        *left_bytes = left.ok_or(Malformed::UnwantedTooLong)?;
                    }
                    Ok(Taken::More) => return Ok(None),
                    Ok(Taken::End) => self.part = Part::Head(Vec::new()),
                    Err(_) => return Err(Malformed::Unwanted),
                },
                // What a client sends while a stream is sent to it, or after the request that
                // the connection is closed after.
                Part::Whole | Part::Rejected(_) | Part::Closing => {
                    *input = &[];
                    return Ok(None);
                }
            }
        }
    }

    fn begin<'i>(&mut self, head: RequestHead) -> Incoming<'i> {
        self.has_skipped_line = false;
        self.follows_proxy_header = false;
        self.response = Response {
            is_head: head.is_head,
            version: head.version,
            may_keep: head.may_keep,
            owes_continue: head.expects_continue,
        };
        self.part = Part::Body(match head.framing {
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Box::new(Chunked::new())),
        });
        Incoming::Request(head.meta)
    }

    fn reject<'i>(&mut self, rejection: Rejection) -> Incoming<'i> {
        self.part = Part::Closing;
        self.response = Response::TO_NONSENSE;
        Incoming::Rejected(rejection)
    }

    /// The same for a head, of which so much has come.
    fn reject_head<'i>(&mut self, rejection: Rejection, mut head: Vec<u8>) -> Incoming<'i> {
        let incoming = self.reject(rejection);
        let line = head.iter().position(|byte| *byte == b'\n');
        head.truncate(line.unwrap_or(head.len()));
        self.part = Part::Rejected(head);
        incoming
    }

    /// The first line of the head that was rejected, as far as it has come. Empty after
    /// [`Connection::finish`].
    #[must_use]
    pub fn rejected_line(&self) -> &[u8] {
        match &self.part {
            Part::Rejected(line) => line,
            _ => b"",
        }
    }

    /// The peer's address as `REMOTE_ADDR`.
    #[must_use]
    pub fn client(&self) -> String {
        peer::shown(self.peer.client)
    }

    /// Whether a request has been received as a whole and its response is to come. Until
    /// [`Connection::finish`], whatever the client sends is the next request, and waits.
    #[must_use]
    pub fn is_served(&self) -> bool {
        matches!(self.part, Part::Whole)
    }

    /// Whether the client has sent a part of something: of a PROXY protocol header, of a head (also
    /// none of it, after such a header), or of a body that was not wanted. A client that stays in
    /// this state is to be disconnected.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        match &self.part {
            Part::ProxyHeader(header) => !header.is_empty(),
            Part::Head(bytes) => !bytes.is_empty() || self.follows_proxy_header,
            Part::Unwanted(..) => true,
            Part::Body(_) | Part::Whole | Part::Rejected(_) | Part::Closing => false,
        }
    }

    /// About how much memory an incomplete head takes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match &self.part {
            Part::Head(bytes) => bytes.capacity(),
            _ => 0,
        }
    }

    /// The head of a stream: a body without a length, which ends with the connection.
    #[must_use]
    pub fn stream_head(&mut self, head: &Head, date: &str) -> Vec<u8> {
        self.response.may_keep = false;
        response::write(head, date, None, Persistence::Close)
    }

    /// Whether the connection is kept after the response that has not begun, for a server that
    /// writes its head itself.
    pub fn may_keep(&mut self) -> bool {
        let response = &mut self.response;
        response.may_keep &= self.part.has_bounded_rest(&self.limits, response);
        response.may_keep
    }

    /// A whole response. Its head says whether the connection is kept, and how long the body
    /// is; to HEAD, nothing of the body is sent.
    #[must_use]
    pub fn response(&mut self, head: &Head, date: &str, body: &[u8]) -> Vec<u8> {
        let may_keep = self.may_keep();
        let response = &self.response;
        let persistence = match (may_keep, response.version) {
            (false, _) => Persistence::Close,
            (true, Version::Http11) => Persistence::Keep,
            (true, Version::Http10) => Persistence::KeepAndSay,
        };
        // What GET would get is not known here.
        let has_content = !response.is_head && response::has_content(head.status);
        let length = has_content.then_some(body.len());
        let mut bytes = response::write(head, date, length, persistence);
        if has_content {
            bytes.extend_from_slice(body);
        }
        bytes
    }

    /// The connection is to be closed after the response that has not begun.
    pub fn keep_no_longer(&mut self) {
        self.response.may_keep = false;
    }

    /// Ends the response. Tells whether the connection is kept for the next request.
    pub fn finish(&mut self) -> After {
        if !self.response.may_keep {
            self.part = Part::Closing;
            return After::Close;
        }
        self.part = match std::mem::replace(&mut self.part, Part::Closing) {
            Part::Body(body) => Part::Unwanted(body, self.limits.unwanted_bytes),
            Part::Whole => Part::Head(Vec::new()),
            other => other,
        };
        After::Keep
    }
}

impl Part {
    /// Whether what is still to come of the request is worth reading for the sake of the
    /// next one.
    fn has_bounded_rest(&self, limits: &Limits, response: &Response) -> bool {
        match self {
            Self::Whole => true,
            // A client that was not told to go on may send the body, or not.
            Self::Body(_) if response.owes_continue => false,
            Self::Body(Body::Length(length)) => *length <= limits.unwanted_bytes,
            Self::Body(Body::Chunked(_)) => true,
            Self::ProxyHeader(_)
            | Self::Head(_)
            | Self::Unwanted(..)
            | Self::Rejected(_)
            | Self::Closing => false,
        }
    }
}

impl Body {
    /// Whether more input is needed for the next piece or the end.
    fn is_awaited(&self) -> bool {
        !matches!(self, Self::Length(0))
    }

    fn take<'i>(&mut self, input: &mut &'i [u8]) -> Result<Taken<'i>, Rejection> {
        match self {
            Self::Length(0) => Ok(Taken::End),
            Self::Length(left) => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX);
                let (piece, rest) = input.split_at(input.len().min(most));
                if piece.is_empty() {
                    return Ok(Taken::More);
                }
                *input = rest;
                *left -= piece.len() as u64;
                Ok(Taken::Bytes(piece))
            }
            Self::Chunked(chunked) => chunked.take(input),
        }
    }
}

/// What became of the bytes of a head.
enum HeadTaken {
    Whole,
    More,
    /// There is nothing but an empty line before it.
    EmptyLine,
}

/// Moves bytes of a head from `input`.
fn take_head(
    bytes: &mut Vec<u8>,
    input: &mut &[u8],
    limits: &Limits,
) -> Result<HeadTaken, Rejection> {
    let mut is_first_line = !bytes.contains(&b'\n');
    while let Some((&byte, rest)) = input.split_first() {
        if bytes.len() == limits.head_bytes {
            return Err(Rejection::HeadTooLong);
        }
        let is_whole = scan::next(bytes, byte)?;
        *input = rest;
        bytes.push(byte);
        if is_whole {
            return Ok(HeadTaken::Whole);
        }
        if byte == b'\n' && is_first_line {
            if bytes.len() == 2 {
                return Ok(HeadTaken::EmptyLine);
            }
            head::check_request_line(bytes)?;
            is_first_line = false;
        }
    }
    Ok(HeadTaken::More)
}
