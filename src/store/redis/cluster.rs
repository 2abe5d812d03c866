//! Cluster: which node has which slots, as the nodes say.
//!
//! ```text
//!   a key ──► the node of its slot, or any node ──► it answers
//!                   ▲                           └─► MOVED: the slot is of another node; ask that
//!                   └── a node fails: its slots are asked of any other
//! ```
//!
//! Only the slots of the keys that are used are learned, one by one: each costs one more question
//! when its first key is opened, and nothing becomes stale unnoticed.

use std::collections::BTreeMap;

use crate::source::redis::{Address, EnginePlace, Server, slot_of};

/// The maximum number of nodes; a cluster should have fewer than 1000.
const NODES_MAX: usize = 1000;

/// The nodes of one cluster.
pub(super) struct Cluster {
    pub(super) address: Address,
    /// All that are known. The first one is asked about a slot that is not known.
    nodes: Vec<Server>,
    slots: BTreeMap<u16, Server>,
}

impl Cluster {
    /// `None` if the address is not of a cluster.
    pub(super) fn new(address: &Address) -> Option<Self> {
        let EnginePlace::Cluster(nodes) = &address.place else {
            return None;
        };
        Some(Self {
            address: address.clone(),
            nodes: nodes.clone(),
            slots: BTreeMap::new(),
        })
    }

    /// The node to be asked about a key.
    pub(super) fn node(&self, key: &[u8]) -> Address {
        let slot = self.slots.get(&slot_of(key));
        self.address.server(slot.unwrap_or(&self.nodes[0]).clone())
    }

    /// The node with this name, which `of` knows; an empty name is its own.
    pub(super) fn named(&self, (host, port): Server, of: &Address) -> Address {
        match (&of.place, host.is_empty()) {
            (EnginePlace::Tcp(own, _), true) => self.address.server((own.clone(), port)),
            _ => self.address.server((host, port)),
        }
    }

    /// The slot of a key belongs to this node.
    pub(super) fn learn(&mut self, key: &[u8], node: &Address) {
        let EnginePlace::Tcp(host, port) = &node.place else {
            return;
        };
        let server = (host.clone(), *port);
        if !self.nodes.contains(&server) {
            if self.nodes.len() >= NODES_MAX {
                return;
            }
            self.nodes.push(server.clone());
        }
        self.slots.insert(slot_of(key), server);
    }

    /// The node does not answer: others are asked about its slots.
    pub(super) fn forget(&mut self, node: &Address) {
        let EnginePlace::Tcp(host, port) = &node.place else {
            return;
        };
        let is_it = |server: &Server| server.0 == *host && server.1 == *port;
        self.slots.retain(|_, server| !is_it(server));
        if is_it(&self.nodes[0]) {
            self.nodes.rotate_left(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_where_a_node_says_until_that_fails() {
        let address = Address::parse("redis+cluster://a:1,b:2").unwrap();
        let mut cluster = Cluster::new(&address).unwrap();
        let shown = |cluster: &Cluster, key: &str| cluster.node(key.as_bytes()).to_string();
        assert_eq!(shown(&cluster, "k"), "redis://a:1");
        let seed = cluster.node(b"k");
        let other = cluster.named((String::new(), 3), &seed);
        assert_eq!(other.to_string(), "redis://a:3");
        cluster.learn(b"k", &other);
        assert_eq!(shown(&cluster, "k"), "redis://a:3");
        assert_eq!(shown(&cluster, "{k}2"), "redis://a:3");
        assert_eq!(shown(&cluster, "other"), "redis://a:1");
        cluster.forget(&other);
        assert_eq!(shown(&cluster, "k"), "redis://a:1");
        cluster.forget(&seed);
        assert_eq!(shown(&cluster, "k"), "redis://b:2");
    }
}
