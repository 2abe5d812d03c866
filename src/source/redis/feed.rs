//! Feed: how a source reaches its engine.

use std::io;
use std::rc::Rc;
use std::time::Duration;

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
    ///
    /// The commands only read, or have no further effect when they are executed twice: they are
    /// sent again on another connection if the first one is lost.
    fn send(&mut self, commands: Vec<u8>, replies: usize);

    /// From now on, if another feed has sent the same commands and has no answer yet, its answer
    /// counts for both. The sources of a channel must not do that: in step with it, they would
    /// not find its position.
    fn share_answers(&mut self) {}

    /// All replies to the commands, one after the other; `None` until they have arrived.
    ///
    /// # Errors
    /// When the engine cannot be reached. The reason has been logged.
    fn receive(&mut self) -> Option<io::Result<Vec<u8>>>;

    /// How long the engine has been reachable again after an outage; `None`: this process has
    /// seen no outage.
    fn reachable_for(&self) -> Option<Duration> {
        None
    }

    /// Whether it reports entries. Otherwise a channel has a feed of the same key that does.
    fn is_watching(&self) -> bool;

    /// Reports once that there is an entry after this id: [`Self::take_signal`]. The commands,
    /// which together have so many replies, may be executed then: [`Self::take_ahead`]. For a feed
    /// that is watching.
    fn watch(&mut self, after: StreamId, commands: Vec<u8>, replies: usize);

    /// All replies to the commands of [`Self::watch`], if they have come with the signal.
    fn take_ahead(&mut self) -> Option<Vec<u8>>;

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
