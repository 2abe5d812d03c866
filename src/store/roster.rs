//! The members of rooms, as this process knows them.
//!
//! Who a member is never changes, so its file is read once. Who is here is what the room's folder
//! holds: a change in it shows in the folder's times. A room with more members than a welcome
//! names is listed for a tenth of the time at most; what this process adds and removes meanwhile
//! counts at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::listing::FolderState;
use crate::source::{Author, Members, SessionId};

/// How many rooms are remembered.
const ROOMS_MAX: usize = 64;

/// One part in so many of the time is for listing a large room.
const SHARE: u32 = 10;

/// The spool's device and number, and the room.
pub(crate) type RoomKey = (u64, u64, u64);

/// The rooms of a process; those that were asked for last come last.
#[derive(Default)]
pub(crate) struct Rosters(RefCell<Vec<(RoomKey, Roster)>>);

/// The members of a room. `None` stands for one whose file has not been read.
#[derive(Default)]
struct Roster {
    members: BTreeMap<SessionId, Option<Author>>,
    /// The state of its folder when it was listed, if a change since then would show.
    state: Option<FolderState>,
    /// When it was listed last, and how long that took.
    listed: Option<(Instant, Duration)>,
}

impl Roster {
    fn is_current(&self, state: &FolderState, most: usize) -> bool {
        let is_recent = |(at, took): (Instant, Duration)| at.elapsed() < took * SHARE;
        self.state.as_ref() == Some(state)
            || (self.members.len() > most && self.listed.is_some_and(is_recent))
    }

    /// Takes these for all who are here.
    fn set(&mut self, ids: Vec<SessionId>) {
        let mut known = std::mem::take(&mut self.members);
        let entry = |id: SessionId| (id, known.remove(&id).flatten());
        self.members = ids.into_iter().map(entry).collect();
    }
}

impl Rosters {
    /// The members of a room whose folder has this state; `list` lists it, and `read` reads who
    /// a member is.
    pub(crate) fn members<E>(
        &self,
        key: RoomKey,
        state: &FolderState,
        most: usize,
        list: impl FnOnce() -> Result<Vec<SessionId>, E>,
        read: impl Fn(SessionId) -> Option<Author>,
    ) -> Result<Members, E> {
        let mut rooms = self.0.borrow_mut();
        let at = rooms.iter().position(|(own, _)| *own == key);
        let (_, mut roster) = at.map(|at| rooms.remove(at)).unwrap_or_default();
        if !roster.is_current(state, most) {
            let start = Instant::now();
            let is_at_rest = state.is_at_rest();
            roster.set(list()?);
            roster.state = is_at_rest.then_some(*state);
            roster.listed = Some((start, start.elapsed()));
        }
        let mut named = Vec::new();
        for (id, author) in roster.members.iter_mut().take(most) {
            if author.is_none() {
                *author = read(*id);
            }
            named.extend(author.clone());
        }
        // One without a file is being made, or its process ended before that was done.
        let count = match roster.members.len() <= most {
            true => named.len(),
            false => roster.members.len(),
        };
        if rooms.len() >= ROOMS_MAX {
            rooms.remove(0);
        }
        rooms.push((key, roster));
        Ok(Members { count, named })
    }

    /// A member has come.
    pub(crate) fn add(&self, key: RoomKey, id: SessionId, author: Option<Author>) {
        self.change(key, |members| {
            members.insert(id, author);
        });
    }

    /// A member has left.
    pub(crate) fn remove(&self, key: RoomKey, id: SessionId) {
        self.change(key, |members| {
            members.remove(&id);
        });
    }

    fn change(&self, key: RoomKey, change: impl FnOnce(&mut BTreeMap<SessionId, Option<Author>>)) {
        let mut rooms = self.0.borrow_mut();
        if let Some((_, roster)) = rooms.iter_mut().find(|(own, _)| *own == key) {
            change(&mut roster.members);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const ROOM: RoomKey = (1, 2, 3);

    fn id(number: u64) -> SessionId {
        SessionId::of(u128::from(number).to_be_bytes())
    }

    fn author(number: u64) -> Option<Author> {
        let json = format!("{{\"tag\":\"{number:016x}\",\"nick\":\"n{number}\"}}");
        Author::parse(json.as_bytes())
    }

    #[test]
    fn a_member_is_read_once_and_a_large_room_is_not_listed_for_each_who_comes() {
        let rosters = Rosters::default();
        let (listed, read) = (Cell::new(0), Cell::new(0));
        let here = RefCell::new((0..500).map(id).collect::<Vec<_>>());
        let state = FolderState::changing();
        let ask = |most: usize, slow: Duration| {
            let list = || {
                listed.set(listed.get() + 1);
                std::thread::sleep(slow);
                Ok::<_, ()>(here.borrow().clone())
            };
            let read = |who: SessionId| {
                read.set(read.get() + 1);
                (0..1000).find(|number| id(*number) == who).and_then(author)
            };
            let members = rosters.members(ROOM, &state, most, list, read).unwrap();
            (members.count, members.named.len())
        };
        assert_eq!(ask(1000, Duration::ZERO), (500, 500));
        here.borrow_mut().push(id(500));
        here.borrow_mut().remove(0);
        here.borrow_mut().remove(0);
        assert_eq!(ask(1000, Duration::ZERO), (499, 499));
        assert_eq!(read.get(), 501);
        // More than are named: a listing that took long is good for some time.
        let before = listed.get();
        while listed.get() == before {
            assert_eq!(ask(10, Duration::from_secs(1)), (499, 10));
        }
        let before = listed.get();
        for number in 600..700 {
            rosters.add(ROOM, id(number), author(number));
        }
        rosters.remove(ROOM, id(600));
        assert_eq!(ask(10, Duration::ZERO), (598, 10));
        assert_eq!(listed.get(), before);
        assert_eq!(read.get(), 501);
    }
}
