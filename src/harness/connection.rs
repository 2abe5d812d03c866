//! Connection: hyper speaks HTTP/1 on it until an `nph-` program must respond. Then the socket
//! is taken from hyper, the program's output is written to it unchanged, and it is closed at
//! the end.
//!
//! A client that has closed only its sending side still gets its response, as with Apache. The
//! disadvantage is Apache's, too: that a client has disconnected is only noticed at the second
//! write after it.

use std::future::{self, Future};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::body::Logged;
use super::departure::Departure;
use super::exchange::{self, Outgoing, Raw};
use super::note;
use super::site::{Ends, Site};

/// How long a closed connection waits for the client's own end. Otherwise bytes that are still
/// arriving could cause a reset, which would lose the last bytes of the response.
const LINGER: Duration = Duration::from_secs(2);

/// Serves one client until either side ends the connection.
pub async fn serve(site: Arc<Site>, stream: TcpStream, stop: watch::Receiver<()>) {
    let ends = match (stream.peer_addr(), stream.local_addr()) {
        (Ok(client), Ok(server)) => Ends { client, server },
        _ => return, // The client has disconnected already.
    };
    // Each event must be sent when it is written.
    let _ = stream.set_nodelay(true);
    let (stream, raw) = converse(&site, ends, stream, stop).await;
    match raw {
        Some(raw) => {
            if let Some(stream) = relay(raw, stream, site.limits.silence).await {
                linger(stream).await;
            }
        }
        None => linger(stream).await,
    }
}

/// The connection for a request whose program writes to the socket itself.
type Parked = Arc<Mutex<Option<Raw>>>;

async fn converse(
    site: &Arc<Site>,
    ends: Ends,
    stream: TcpStream,
    stop: watch::Receiver<()>,
) -> (TcpStream, Option<Raw>) {
    let parked = Parked::default();
    let is_blocked = Arc::new(AtomicBool::new(false));
    let departure = Departure::from(&stream);
    let wire = Wire {
        stream,
        is_blocked: Arc::clone(&is_blocked),
    };
    let service = {
        let (site, parked) = (Arc::clone(site), Arc::clone(&parked));
        hyper::service::service_fn(move |request| {
            let (site, departure) = (Arc::clone(&site), departure.clone());
            answer_or_park(site, ends, departure, request, Arc::clone(&parked))
        })
    };
    let mut connection = http1::Builder::new()
        .half_close(true)
        .title_case_headers(true)
        .max_header_size(site.limits.header_bytes)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(wire), service);
    let mut stopped = pin!(stopped(stop));
    let mut is_stopping = false;

    let finished = future::poll_fn(|context| {
        if !is_stopping && stopped.as_mut().poll(context).is_ready() {
            is_stopping = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        if let Poll::Ready(result) = connection.poll_without_shutdown(context) {
            return Poll::Ready(result);
        }
        // hyper may still have the end of an earlier, pipelined response, which must be sent
        // first. It is woken when the socket accepts more, and so is this.
        let is_parked = take_lock(&parked).is_some();
        match is_parked && !is_blocked.load(Ordering::Relaxed) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    })
    .await;
    if let Err(error) = finished {
        log_failure(ends, &error);
    }
    let wire = connection.into_parts().io.into_inner();
    let raw = take_lock(&parked).take();
    (wire.stream, raw)
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Logged>, io::Error>> + Send>>;

fn answer_or_park(
    site: Arc<Site>,
    ends: Ends,
    departure: Departure,
    request: Request<Incoming>,
    parked: Parked,
) -> Answering {
    Box::pin(async move {
        match exchange::reply(&site, ends, departure, request).await {
            Outgoing::Answer(answer) => Ok(answer),
            Outgoing::Raw(raw) => {
                *take_lock(&parked) = Some(raw);
                future::pending().await
            }
        }
    })
}

fn take_lock(parked: &Parked) -> std::sync::MutexGuard<'_, Option<Raw>> {
    parked.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn stopped(mut stop: watch::Receiver<()>) {
    let _ = stop.changed().await;
}

/// Logs only what the author of a client needs to know; a disconnected client is normal.
fn log_failure(ends: Ends, error: &hyper::Error) {
    if error.is_parse() || error.is_user() {
        let client = ends.client;
        note(format_args!("client {client}: {error}"));
    }
}

/// Forwards a program's bytes as they arrive. Returns the socket if it can still be used.
async fn relay(raw: Raw, mut stream: TcpStream, silence: Duration) -> Option<TcpStream> {
    let Raw {
        mut program,
        access,
    } = raw;
    let mut status = None;
    let mut sent_bytes = 0;
    let stream = loop {
        let chunk = match timeout(silence, program.read()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None) | Err(_)) => break Some(stream),
            Err(_) => {
                let name = &program.name;
                note(format_args!("{name}: silent for {silence:?} (--timeout)"));
                break Some(stream);
            }
        };
        if sent_bytes == 0 {
            status = status_of(&chunk);
        }
        match timeout(silence, stream.write_all(&chunk)).await {
            Ok(Ok(())) => sent_bytes += chunk.len() as u64,
            Ok(Err(_)) | Err(_) => break None,
        }
    };
    access.write(status, sent_bytes);
    stream
}

/// The status in the first bytes of a response that is not parsed; for the log only.
fn status_of(answer: &[u8]) -> Option<u16> {
    let rest = answer.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(rest).ok()?.parse().ok()
}

async fn linger(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let ended = async {
        let mut rest = [0; 4096];
        while matches!(stream.read(&mut rest).await, Ok(1..)) {}
    };
    let _ = timeout(LINGER, ended).await;
}

/// The client's socket, which records whether it accepted all bytes of hyper's last write.
struct Wire {
    stream: TcpStream,
    is_blocked: Arc<AtomicBool>,
}

impl Wire {
    fn remember<T>(&self, polled: Poll<T>) -> Poll<T> {
        let is_blocked = polled.is_pending();
        self.is_blocked.store(is_blocked, Ordering::Relaxed);
        polled
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        buffer: &mut ReadBuf,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.remember(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        slices: &[io::IoSlice],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.remember(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_knows_the_status_of_a_raw_answer() {
        assert_eq!(status_of(b"HTTP/1.1 405 No\r\n"), Some(405));
        assert_eq!(status_of(b"HTTP/1.0 200\r\n"), Some(200));
        for other in [
            &b""[..],
            b"HTTP/1.1 4",
            b"Status: 200 OK",
            b"HTTP/2 200 OK\r\n",
        ] {
            assert_eq!(status_of(other), None);
        }
    }
}
