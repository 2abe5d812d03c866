//! Many subscribers at once, read by one thread.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::client::Client;
use super::protocol::Protocol;
use super::request::Request;
use super::stage::Responder;
use crate::support::event_stream::Item;

/// One subscriber.
pub struct Member<P: Protocol> {
    pub client: Client<P>,
    /// The number of lines before it connected.
    pub before: usize,
    /// What it has received: names and data of events.
    pub said: Vec<(String, String)>,
    /// The id after each of them.
    pub ids: Vec<String>,
    /// It does not read now.
    pub is_paused: bool,
    /// What had been written when its first event arrived.
    pub first_at: Option<usize>,
}

/// Many subscribers. An index belongs to one subscriber as long as that is connected.
pub struct Crowd<P: Protocol> {
    epoll: Epoll,
    pub members: Vec<Option<Member<P>>>,
}

impl<P: Protocol> Crowd<P> {
    pub fn new() -> Self {
        Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap(),
            members: Vec::new(),
        }
    }

    /// Adds one that has sent its request.
    #[track_caller]
    pub fn join(&mut self, responder: &Responder<P>, request: &Request) -> usize {
        self.take_in(responder.ask(request))
    }

    pub fn take_in(&mut self, client: Client<P>) -> usize {
        let free = self.members.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            self.members.push(None);
            self.members.len() - 1
        });
        let event = EpollEvent::new(EpollFlags::EPOLLIN, place as u64);
        self.epoll.add(client.as_fd(), event).unwrap();
        self.members[place] = Some(Member {
            client,
            before: 0,
            said: Vec::new(),
            ids: Vec::new(),
            is_paused: false,
            first_at: None,
        });
        place
    }

    /// It does not read until [`Self::go_on`].
    pub fn pause(&mut self, place: usize) {
        let member = self.members[place].as_mut().expect("a member");
        member.is_paused = true;
        self.epoll.delete(member.client.as_fd()).unwrap();
    }

    pub fn go_on(&mut self, place: usize) {
        let member = self.members[place].as_mut().expect("a member");
        member.is_paused = false;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, place as u64);
        self.epoll.add(member.client.as_fd(), event).unwrap();
    }

    pub fn member(&mut self, place: usize) -> &mut Member<P> {
        self.members[place].as_mut().expect("a member")
    }

    pub fn iter(&self) -> impl Iterator<Item = &Member<P>> {
        self.members.iter().flatten()
    }

    /// Reads what arrives within this time, once; records `written` for those whose first event
    /// arrived. Returns how many received something.
    pub fn pump(&mut self, wait: Duration, written: usize) -> usize {
        let mut events = [EpollEvent::empty(); 256];
        let wait = EpollTimeout::try_from(wait).expect("a short time");
        let count = self.epoll.wait(&mut events, wait).unwrap_or(0);
        for event in &events[..count] {
            let Some(member) = &mut self.members[event.data() as usize] else {
                continue;
            };
            member.client.read_some(65_536);
            if member.client.is_closed {
                let _ = self.epoll.delete(member.client.as_fd());
            }
            while let Some(item) = member.client.ready() {
                match item {
                    Item::Event(event) => {
                        member.first_at.get_or_insert(written);
                        member.said.push((event.name, event.data));
                        member.ids.push(event.id);
                    }
                    Item::Ignored(line) => panic!("no field: {line:?}"),
                    _ => {}
                }
            }
        }
        count
    }

    /// Reads until `condition` holds for all that read.
    #[track_caller]
    pub fn until(
        &mut self,
        what: &str,
        limit: Duration,
        written: usize,
        condition: impl Fn(&Member<P>) -> bool,
    ) {
        let end = Instant::now() + limit;
        loop {
            let missing = |m: &&Member<P>| !m.is_paused && !condition(m);
            let left = self.iter().filter(missing).count();
            if left == 0 {
                return;
            }
            if Instant::now() > end {
                let all = self.members.len();
                let place = self
                    .members
                    .iter()
                    .position(|m| m.as_ref().is_some_and(|m| missing(&m)));
                let place = place.expect("one of them");
                let member = self.member(place);
                panic!(
                    "waited in vain for {what}: {left} of {all}, such as {place}: {} events, last {:?}, closed {}, before {}",
                    member.said.len(),
                    member.said.last(),
                    member.client.is_closed,
                    member.before,
                );
            }
            self.pump(Duration::from_millis(20), written);
        }
    }
}
