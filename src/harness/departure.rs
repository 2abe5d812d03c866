//! Departure: notices that a client closes its side of the connection while hyper, which owns
//! the connection, is processing a response and does not read.

use std::future;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::TcpStream;

/// Observes a connection without reading from it.
#[derive(Debug, Clone)]
pub struct Departure(Option<Arc<TcpStream>>);

impl Departure {
    /// The departure of this connection's client. If the system has no descriptor left it is
    /// never seen; then only a failed write shows it.
    pub fn from(stream: &TcpStream) -> Departure {
        let again = stream.as_fd().try_clone_to_owned();
        let again = again.and_then(|socket| TcpStream::from_std(socket.into()));
        Departure(again.ok().map(Arc::new))
    }

    /// A departure that never happens.
    pub fn unseen() -> Departure {
        Departure(None)
    }

    /// Waits for it. A client that closes only its sending side counts as disconnected, as
    /// under nginx.
    pub async fn seen(&self) {
        let Some(stream) = &self.0 else {
            return future::pending().await;
        };
        while let Ok(ready) = stream.ready(Interest::READABLE).await {
            if ready.is_read_closed() {
                return;
            }
            // The client has sent a further request. A read must be tried for another
            // notification.
            let tried = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = stream.try_io(Interest::READABLE, tried);
        }
        future::pending().await
    }
}
