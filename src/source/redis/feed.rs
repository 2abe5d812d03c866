//! Feed: how a source reaches its engine.

use std::io;
use std::rc::Rc;

use super::address::Address;
use super::id::StreamId;
use crate::source::Changes;

/// The access of one source to one key. `store` implements it with connections that many sources
/// share; a test, in memory. It never waits.
pub trait Feed {
    /// Reports replies, and entries after the position that is watched.
    fn changes(&self) -> Rc<dyn Changes>;

    /// Sends commands that together have so many replies. There is at most one request without an
    /// answer.
    fn send(&mut self, commands: Vec<u8>, replies: usize);

    /// All replies to the commands, one after the other; `None` until they have arrived.
    ///
    /// # Errors
    /// When the engine cannot be reached. The reason has been logged.
    fn receive(&mut self) -> Option<io::Result<Vec<u8>>>;

    /// Whether it reports entries. Otherwise a channel has a feed of the same key that does.
    fn is_watching(&self) -> bool;

    /// Reports once that there is an entry after this id: [`Self::take_signal`].
    fn watch(&mut self, after: StreamId);

    /// Whether there may be an entry after the id that was watched last. If nobody watches for
    /// this feed, there always may.
    fn take_signal(&mut self) -> bool;
}

/// What a feed reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The engine.
    pub engine: Address,
    /// The key of the stream.
    pub name: Vec<u8>,
}
