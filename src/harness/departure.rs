//! Departure: the moment in which a client closes its side of the connection, while hyper, which
//! owns the connection, is busy with an answer and does not look.

use std::future;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::TcpStream;

/// Looks at a connection without reading from it.
#[derive(Debug, Clone)]
pub struct Departure(Option<Arc<TcpStream>>);

impl Departure {
    /// Of this connection. Where the system refuses a further descriptor it is never seen, and a
    /// write that fails tells it.
    pub fn from(stream: &TcpStream) -> Departure {
        let again = stream.as_fd().try_clone_to_owned();
        let again = again.and_then(|socket| TcpStream::from_std(socket.into()));
        Departure(again.ok().map(Arc::new))
    }

    /// A departure that never happens.
    pub fn unseen() -> Departure {
        Departure(None)
    }

    /// Waits for it. A client that closes only its sending side counts as gone, as under nginx.
    pub async fn seen(&self) {
        let Some(stream) = &self.0 else {
            return future::pending().await;
        };
        while let Ok(ready) = stream.ready(Interest::READABLE).await {
            if ready.is_read_closed() {
                return;
            }
            // A further request that waits its turn: to be woken again, one has to have tried.
            let tried = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = stream.try_io(Interest::READABLE, tried);
        }
        future::pending().await
    }
}
