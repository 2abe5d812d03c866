//! All connections, by index and generation.

use slab::Slab;

use super::connection::Connection;
use super::token::ConnectionId;

/// The connections of a server. An index is reused with a new generation.
pub(super) struct Connections {
    slab: Slab<Connection>,
    generation: u32,
}

impl Connections {
    pub(super) fn new() -> Self {
        Self {
            slab: Slab::new(),
            generation: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// The connection, unless it has been closed.
    pub(super) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let connection = self.slab.get(id.index())?;
        (connection.generation() == id.generation()).then_some(connection)
    }

    /// The connection, unless it has been closed.
    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let connection = self.slab.get_mut(id.index())?;
        (connection.generation() == id.generation()).then_some(connection)
    }

    pub(super) fn insert(&mut self, mut connection: Connection) -> ConnectionId {
        let generation = self.next_generation();
        connection.set_generation(generation);
        ConnectionId::new(self.slab.insert(connection), generation)
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        self.get(id)?;
        self.slab.try_remove(id.index())
    }

    /// Gives a connection a new generation: entries of queues and deadlines with the old one no
    /// longer apply to it.
    pub(super) fn renew(&mut self, id: ConnectionId) -> Option<ConnectionId> {
        self.get(id)?;
        let generation = self.next_generation();
        let connection = self.slab.get_mut(id.index())?;
        connection.set_generation(generation);
        Some(ConnectionId::new(id.index(), generation))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.slab.iter().map(|(index, connection)| {
            let id = ConnectionId::new(index, connection.generation());
            (id, connection)
        })
    }

    fn next_generation(&mut self) -> u32 {
        self.generation = (self.generation + 1) & ConnectionId::GENERATION_MAX;
        self.generation
    }
}
