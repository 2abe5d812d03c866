//! Route: from a key to the server that has it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::cluster::Cluster;
use super::sentinels::Sentinels;
use crate::source::redis::{Address, Elsewhere, Scanner, command, elsewhere};

/// How often commands follow a node's redirection.
const REDIRECTIONS_MAX: u8 = 5;

/// How the server of a key is found.
#[derive(Clone)]
pub(super) enum Route {
    /// There is only one.
    Single(Address),
    Sentinels(Rc<RefCell<Sentinels>>),
    Cluster(Rc<RefCell<Cluster>>),
}

/// Commands on their way, which may be sent to another server than the first one.
pub(super) struct Journey {
    route: Route,
    key: Vec<u8>,
    commands: Vec<u8>,
    replies: usize,
    /// Where they were sent.
    server: Option<Address>,
    /// Each command comes after ASKING.
    is_asking: bool,
    redirections: u8,
}

/// What to do with replies.
pub(super) enum Arrival {
    /// They are the answer.
    Answer(Vec<u8>),
    /// The commands were not executed, and are sent again.
    Again,
}

/// Where to send commands.
pub(super) struct Departure {
    pub(super) server: Address,
    pub(super) commands: Vec<u8>,
    pub(super) replies: usize,
}

impl Route {
    /// Whether the server of a key is always the same one.
    pub(super) fn is_single(&self) -> bool {
        matches!(self, Self::Single(_))
    }

    pub(super) fn journey(&self, key: &[u8], commands: Vec<u8>, replies: usize) -> Journey {
        Journey {
            route: self.clone(),
            key: key.to_vec(),
            commands,
            replies,
            server: None,
            is_asking: false,
            redirections: 0,
        }
    }
}

impl Journey {
    /// Where to send them now. `None`: that is being found out, and `owner` is told.
    ///
    /// # Errors
    /// Why it is not known.
    pub(super) fn depart(&mut self, owner: &Rc<Cell<u64>>) -> Option<Result<Departure, String>> {
        let server = match (&self.route, self.is_asking, &self.server) {
            (_, true, Some(server)) => server.clone(),
            (Route::Single(address), ..) => address.clone(),
            (Route::Cluster(cluster), ..) => cluster.borrow().node(&self.key),
            (Route::Sentinels(sentinels), ..) => match sentinels.borrow_mut().primary(owner)? {
                Ok(server) => server,
                Err(reason) => return Some(Err(reason)),
            },
        };
        self.server = Some(server.clone());
        let (commands, replies) = match self.is_asking {
            true => (after_asking(&self.commands), 2 * self.replies),
            false => (self.commands.clone(), self.replies),
        };
        Some(Ok(Departure {
            server,
            commands,
            replies,
        }))
    }

    /// Replies have arrived.
    pub(super) fn arrive(&mut self, replies: Vec<u8>) -> Arrival {
        let (Route::Cluster(cluster), Some(server)) = (&self.route, &self.server) else {
            return Arrival::Answer(replies);
        };
        let replies = match self.is_asking {
            true => without_asking(&replies),
            false => replies,
        };
        let mut cluster = cluster.borrow_mut();
        match elsewhere(&replies) {
            None => Arrival::Answer(replies),
            Some(Elsewhere::Down) => {
                // Its slots may be of another node.
                cluster.forget(server);
                Arrival::Answer(replies)
            }
            Some(_) if self.redirections == REDIRECTIONS_MAX => Arrival::Answer(replies),
            Some(Elsewhere::Moved(other)) => {
                let other = cluster.named(other, server);
                cluster.learn(&self.key, &other);
                self.redirections += 1;
                self.is_asking = false;
                Arrival::Again
            }
            // A transaction cannot be asked there. A reader asks without one then.
            Some(Elsewhere::Ask(_)) if self.commands.starts_with(b"*1\r\n$5\r\nMULTI\r\n") => {
                Arrival::Answer(replies)
            }
            Some(Elsewhere::Ask(other)) => {
                let other = cluster.named(other, server);
                self.redirections += 1;
                self.server = Some(other);
                self.is_asking = true;
                Arrival::Again
            }
        }
    }

    /// The server cannot be reached. Whether there is another one to send the commands to, if they
    /// were not executed or may be executed twice.
    pub(super) fn fail(&mut self) -> bool {
        self.is_asking = false;
        match (&self.route, &self.server) {
            (Route::Cluster(cluster), Some(server)) => {
                let mut cluster = cluster.borrow_mut();
                cluster.forget(server);
                self.redirections += 1;
                self.redirections <= REDIRECTIONS_MAX && cluster.node(&self.key) != *server
            }
            (Route::Sentinels(sentinels), Some(server)) => {
                sentinels.borrow().names_another_than(server)
            }
            _ => false,
        }
    }
}

/// The commands, each after ASKING.
fn after_asking(commands: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for own in parts(commands) {
        command(&[b"ASKING"], &mut out);
        out.extend_from_slice(own);
    }
    out
}

/// The replies to [`after_asking`] without those to ASKING.
fn without_asking(replies: &[u8]) -> Vec<u8> {
    let own = parts(replies).skip(1).step_by(2);
    own.collect::<Vec<_>>().concat()
}

/// Commands, or replies, one by one. They are complete.
fn parts(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = Scanner::default().length(bytes).ok()??;
        let (part, rest) = bytes.split_at_checked(length).filter(|_| length > 0)?;
        bytes = rest;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_sent_after_asking() {
        let mut commands = Vec::new();
        command(&[b"GET", b"a"], &mut commands);
        command(&[b"EXISTS", b"a"], &mut commands);
        let mut expected = Vec::new();
        command(&[b"ASKING"], &mut expected);
        command(&[b"GET", b"a"], &mut expected);
        command(&[b"ASKING"], &mut expected);
        command(&[b"EXISTS", b"a"], &mut expected);
        assert_eq!(after_asking(&commands), expected);
        let replies = b"+OK\r\n$1\r\nx\r\n+OK\r\n:1\r\n";
        assert_eq!(without_asking(replies), b"$1\r\nx\r\n:1\r\n");
    }

    #[test]
    fn commands_follow_the_nodes_of_a_cluster() {
        let address = Address::parse("redis+cluster://a:1").unwrap();
        let cluster = Rc::new(RefCell::new(Cluster::new(&address).unwrap()));
        let route = Route::Cluster(Rc::clone(&cluster));
        let owner = Rc::new(Cell::new(0));
        let mut commands = Vec::new();
        command(&[b"GET", b"k"], &mut commands);
        let mut journey = route.journey(b"k", commands.clone(), 1);
        let go = |journey: &mut Journey| {
            let departure = journey.depart(&owner).unwrap().unwrap();
            (departure.server.to_string(), departure.replies)
        };
        assert_eq!(go(&mut journey), ("redis://a:1".into(), 1));
        let moved = b"-MOVED 1 b:2\r\n".to_vec();
        assert!(matches!(journey.arrive(moved), Arrival::Again));
        assert_eq!(go(&mut journey), ("redis://b:2".into(), 1));
        let ask = b"-ASK 1 c:3\r\n".to_vec();
        assert!(matches!(journey.arrive(ask), Arrival::Again));
        assert_eq!(go(&mut journey), ("redis://c:3".into(), 2));
        let answer = journey.arrive(b"+OK\r\n$1\r\nx\r\n".to_vec());
        assert!(matches!(answer, Arrival::Answer(bytes) if bytes == b"$1\r\nx\r\n"));
        // The slot has not moved yet.
        let mut journey = route.journey(b"k", commands, 1);
        assert_eq!(go(&mut journey), ("redis://b:2".into(), 1));
        assert!(journey.fail());
        assert_eq!(go(&mut journey), ("redis://a:1".into(), 1));
        // A loop ends.
        for _ in 1..REDIRECTIONS_MAX {
            let moved = b"-MOVED 1 b:2\r\n".to_vec();
            assert!(matches!(journey.arrive(moved), Arrival::Again));
        }
        let moved = b"-MOVED 1 b:2\r\n".to_vec();
        assert!(matches!(journey.arrive(moved), Arrival::Answer(_)));
    }
}
