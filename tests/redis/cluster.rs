//! A cluster of three nodes: each key is read from its node, while slots move and nodes fail.

use super::follow::follow;
use super::peer::Request;
use super::support::folder::Folder;
use super::support::redis::{Redis, free_port};
use super::support::wait::wait_for;
use super::{Responder, request};

/// The last slots of the first two nodes.
const ENDS: [u32; 3] = [5460, 10_922, 16_383];

struct Cluster {
    nodes: Vec<Redis>,
    ports: Vec<u16>,
    folders: Vec<Folder>,
}

impl Cluster {
    fn start() -> Self {
        let folders: Vec<Folder> = (0..3).map(|_| Folder::in_memory()).collect();
        let mut ports = Vec::new();
        let mut nodes: Vec<Redis> = Vec::new();
        for folder in &folders {
            let (port, bus) = (free_port(), free_port());
            let (port_text, bus_text) = (port.to_string(), bus.to_string());
            let options = [
                "--port",
                &port_text,
                "--bind",
                "127.0.0.1",
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus_text,
                "--cluster-node-timeout",
                "1000",
                "--cluster-require-full-coverage",
                "no",
            ];
            let mut node = Redis::start(folder, &options);
            let from = match nodes.len() {
                0 => 0,
                number => ENDS[number - 1] + 1,
            };
            let to = ENDS[nodes.len()];
            let range = [
                "CLUSTER",
                "ADDSLOTSRANGE",
                &from.to_string(),
                &to.to_string(),
            ];
            assert_eq!(node.run(&range), "OK");
            let epoch = (nodes.len() + 1).to_string();
            node.run(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
            if let Some((first, (port, bus))) = nodes.first_mut().zip(Some((port, bus))) {
                let (port, bus) = (port.to_string(), bus.to_string());
                assert_eq!(
                    first.run(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]),
                    "OK"
                );
            }
            nodes.push(node);
            ports.push(port);
        }
        for node in &mut nodes {
            wait_for("the cluster", || {
                let info = node.run(&["CLUSTER", "INFO"]);
                let is_whole = info.contains("cluster_state:ok")
                    && info.contains("cluster_slots_assigned:16384")
                    && info.contains("cluster_known_nodes:3");
                is_whole.then_some(())
            });
        }
        Self {
            nodes,
            ports,
            folders,
        }
    }

    /// A request of a key; the address names one node, and one that does not exist.
    fn request(&self, key: &str) -> Request {
        let address = format!(
            "redis+cluster://127.0.0.1:{},127.0.0.1:{}",
            free_port(),
            self.ports[0]
        );
        request(&self.nodes[0], &self.folders[0], key).set("SSE_REDIS", address)
    }

    fn slot(&mut self, key: &str) -> u32 {
        let slot = self.nodes[0].run(&["CLUSTER", "KEYSLOT", key]);
        slot.parse().unwrap()
    }

    /// The number of the node that has a slot at the beginning.
    fn node_of(&mut self, key: &str) -> usize {
        let slot = self.slot(key);
        ENDS.iter().position(|end| slot <= *end).unwrap()
    }

    fn id(&mut self, node: usize) -> String {
        self.nodes[node].run(&["CLUSTER", "MYID"])
    }
}

#[test]
fn keys_are_read_from_their_nodes_and_published_there() {
    let mut cluster = Cluster::start();
    let responder = Responder::start(&cluster.folders[0]);
    let keys: Vec<String> = (0..12).map(|number| format!("live:{number}")).collect();
    let mut used = [0; 3];
    let mut clients = Vec::new();
    for key in &keys {
        let node = cluster.node_of(key);
        used[node] += 1;
        cluster.nodes[node].add(key, "one");
        // The first node that is tried does not exist.
        let mut last_id = String::new();
        let request = cluster.request(key);
        assert_eq!(follow(&responder, &request, &mut last_id, "one"), ["one"]);
        clients.push((request.clone(), responder.ask(&request.last_id(&last_id))));
    }
    assert!(used.iter().all(|used| *used > 0), "{used:?}");
    for (number, key) in keys.iter().enumerate() {
        let node = cluster.node_of(key);
        cluster.nodes[node].add(key, "two");
        let (request, client) = &mut clients[number];
        client.says(&["two"]);
        let post = super::publish::post(request, "text/plain", b"three");
        assert_eq!(responder.ask(&post).status(), 201, "{key}");
        client.says(&["three"]);
    }
}

#[test]
fn a_slot_can_move_while_its_stream_is_read() {
    let mut cluster = Cluster::start();
    let responder = Responder::start(&cluster.folders[0]);
    let key = "live:a";
    let (from, slot) = (cluster.node_of(key), cluster.slot(key).to_string());
    let to = (from + 1) % 3;
    cluster.nodes[from].add(key, "one");
    let address = format!("redis+cluster://127.0.0.1:{}", cluster.ports[0]);
    let request = cluster.request(key).set("SSE_REDIS", address);
    let mut last_id = String::new();
    assert_eq!(follow(&responder, &request, &mut last_id, "one"), ["one"]);
    let mut client = responder.ask(&request.clone().last_id(&last_id));
    client.head();
    let (from_id, to_id) = (cluster.id(from), cluster.id(to));
    let set = ["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id];
    assert_eq!(cluster.nodes[to].run(&set), "OK");
    let set = ["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id];
    assert_eq!(cluster.nodes[from].run(&set), "OK");
    let port = cluster.ports[to].to_string();
    let migrate = ["MIGRATE", "127.0.0.1", &port, key, "0", "5000"];
    assert_eq!(cluster.nodes[from].run(&migrate), "OK");
    // The key is there, but the slot has not moved yet.
    cluster.nodes[to].run(&["ASKING"]);
    let id = cluster.nodes[to].add(key, "two");
    assert!(!id.starts_with('-'), "{id}");
    client.says(&["two"]);
    let mut other = responder.ask(&request.clone().last_id(&last_id));
    other.says(&["two"]);
    for node in [to, from] {
        let set = ["CLUSTER", "SETSLOT", &slot, "NODE", &to_id];
        assert_eq!(cluster.nodes[node].run(&set), "OK");
    }
    cluster.nodes[to].add(key, "three");
    client.says(&["three"]);
    other.says(&["three"]);
    assert_eq!(responder.warnings(), Vec::<String>::new());
}

#[test]
fn a_replica_takes_the_slots_of_a_node_that_fails() {
    let mut cluster = Cluster::start();
    let responder = Responder::start(&cluster.folders[0]);
    // Not on the first node, which is in the address.
    let key = ["live:a", "live:b", "live:c", "live:d", "live:e"]
        .into_iter()
        .find(|key| cluster.node_of(key) != 0)
        .unwrap();
    let failing = cluster.node_of(key);
    let id = cluster.id(failing);
    let (port, bus) = (free_port().to_string(), free_port().to_string());
    let folder = Folder::in_memory();
    let options = [
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &bus,
        "--cluster-node-timeout",
        "1000",
        "--repl-diskless-sync-delay",
        "0",
    ];
    let mut replica = Redis::start(&folder, &options);
    let meet = ["CLUSTER", "MEET", "127.0.0.1", &port, &bus];
    assert_eq!(cluster.nodes[0].run(&meet), "OK");
    wait_for("the replica", || {
        (replica.run(&["CLUSTER", "REPLICATE", &id]) == "OK").then_some(())
    });
    cluster.nodes[failing].add(key, "one");
    wait_for("the copy", || {
        replica
            .run(&["ROLE"])
            .contains("\nconnected\n")
            .then_some(())
    });
    let request = cluster.request(key);
    let mut last_id = String::new();
    assert_eq!(follow(&responder, &request, &mut last_id, "one"), ["one"]);
    cluster.nodes[failing].kill();
    wait_for("the failover", || {
        let id = replica.add(key, "two");
        (!id.starts_with('-')).then_some(())
    });
    assert_eq!(follow(&responder, &request, &mut last_id, "two"), ["two"]);
}
