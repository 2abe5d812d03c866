//! Body: the bodies that hyper sends, and the responses of the server itself.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Frame, SizeHint};
use hyper::header::CONTENT_TYPE;
use hyper::{Response, StatusCode};

use super::access::AccessLog;

/// Any source of chunks. An error ends the connection without the last chunk, so that the
/// client can distinguish an incomplete response from a complete one.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A response that hyper frames.
pub type Answer = Response<Body>;

pub fn boxed(
    body: impl hyper::body::Body<Data = Bytes, Error = io::Error> + Send + 'static,
) -> Body {
    body.boxed_unsync()
}

pub fn empty() -> Body {
    boxed(Empty::new().map_err(impossible))
}

/// A short text with the status only: reasons go to the log.
pub fn refusal(status: StatusCode) -> Answer {
    let text = Bytes::from(format!("{status}\n"));
    let mut answer = Response::new(boxed(Full::new(text).map_err(impossible)));
    *answer.status_mut() = status;
    let plain = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}

fn impossible(never: Infallible) -> io::Error {
    match never {}
}

/// A body that delays an error until its last bytes have been sent, and writes the line of the
/// access log when it ends, either completely or because hyper dropped it when the client
/// disconnected.
pub struct Logged {
    body: Body,
    access: AccessLog,
    status: StatusCode,
    sent_bytes: u64,
    /// An error that is delayed by one poll.
    failure: Option<io::Error>,
}

impl Logged {
    pub fn wrap(answer: Answer, access: AccessLog) -> Response<Logged> {
        let status = answer.status();
        answer.map(|body| Logged {
            body,
            access,
            status,
            sent_bytes: 0,
            failure: None,
        })
    }
}

impl hyper::body::Body for Logged {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Err(failure))) = polled {
            // On an error hyper drops what it has not written yet; while the body is pending,
            // hyper writes.
            self.failure = Some(failure);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.sent_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.access
            .write(Some(self.status.as_u16()), self.sent_bytes);
    }
}
