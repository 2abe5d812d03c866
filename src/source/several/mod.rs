//! Several streams in one connection: the events of each, in its own order, under one id.
//!
//! ```text
//!   member: Tail  ──► its Batch ──┐ relay: label, id of all
//!   member: Redis ──► its Batch ──┼──────────────────────────► Batch
//!   member: Tail  ──► its Batch ──┘ a slice of each in turn
//! ```
//!
//! A member is a stream as it would be by itself. Its events are relayed with its name, and with
//! the composite id of the positions of all members ([`crate::event::CompositeId`]). So the
//! connection is a source like any other: it resumes by its id, and subscribers of the same set
//! share a channel.
//!
//! The order between the members is not fixed: two readers of the same files may relay the events
//! in different orders, and each reaches the same positions only if it stops there.
//! [`Source::aim`] makes it do so.
//!
//! A member that ends or fails does not end the others. One that failed is opened again at its
//! position.

mod member;
#[cfg(test)]
mod model;
mod open;
mod places;
mod relay;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::{Changes, Host, Next, Now, Source, Stream};
use crate::event::{Batch, EventId, Position, Unavailable};
use crate::request::{Labelling, Request};

use member::{Member, State};
use places::Places;
use relay::{Part, Relayed};

/// The stream `streams`, whose members are files and Redis Streams.
pub static STREAM: Stream = Stream {
    name: "streams",
    summary: "several streams in one connection",
    open: open::of_any,
    settings: settings_of!("streams"),
    argument: None,
    shared: Some(open::key_of_any),
};

/// The same with files only, for a small program.
pub static FILES: Stream = Stream {
    open: open::of_files,
    shared: Some(open::key_of_files),
    ..STREAM
};

pub use open::{check, check_files};

/// The least number of bytes of one member that are relayed before it is the turn of the next one.
const SLICE_MIN_BYTES: usize = 4 * 1024;

/// How long a file that reports its changes may stay unread while the connection is polled for
/// another reason.
const LOOK_AFTER: Duration = Duration::from_secs(5);

/// When a position that cannot be reached now is aimed at again.
const AIM_AGAIN: Duration = Duration::from_millis(20);

/// Several streams.
struct Several {
    members: Vec<Member>,
    places: Places,
    /// The names of streams that the client asked for and does not get, until it is told.
    untold: Vec<String>,
    labelling: Labelling,
    changes: Rc<AllChanges>,
    /// Where the next poll stops each member.
    target: Option<Vec<Option<Position>>>,
    /// Whose turn comes first.
    first: usize,
    request: Request,
    host: Rc<dyn Host>,
}

/// What the turn of a member came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It had nothing.
    Nothing,
    /// It may have more.
    Some,
    /// It has spent the turn of all.
    Spent,
}

impl Several {
    /// Whether a member is where the next reader of its stream wants it. One that does not know
    /// its position yet must be polled, though its client's id has that position: nobody else
    /// can take over before.
    fn is_at_target(&self, number: usize, target: Option<&[Option<Position>]>) -> bool {
        let target = target.and_then(|target| target[number]);
        let is_there = target.is_some() && target == self.places.get(number);
        is_there && !self.members[number].is_searching()
    }

    fn turn(
        &mut self,
        number: usize,
        slice_bytes: usize,
        target: Option<&[Option<Position>]>,
        now: Now,
        out: &mut Batch,
    ) -> Progress {
        if self.is_at_target(number, target) {
            return Progress::Nothing;
        }
        let mut is_spent = false;
        if self.members[number].is_drained() {
            if self.members[number].is_quiet || !self.members[number].is_due(now) {
                return Progress::Nothing;
            }
            self.members[number].poll(now, slice_bytes);
            is_spent = self.members[number].has_spent_turn();
            if self.members[number].is_drained() {
                self.members[number].is_quiet = true;
                self.settle(number, now, out);
                return match is_spent {
                    true => Progress::Spent,
                    false => Progress::Nothing,
                };
            }
        }
        self.relay(number, slice_bytes, target, out);
        if self.members[number].is_drained() {
            self.settle(number, now, out);
        }
        match is_spent {
            true => Progress::Spent,
            false => Progress::Some,
        }
    }

    /// Relays what a member has, one slice at most.
    fn relay(
        &mut self,
        number: usize,
        slice_bytes: usize,
        target: Option<&[Option<Position>]>,
        out: &mut Batch,
    ) {
        let mut taken_bytes = 0;
        while taken_bytes < slice_bytes && !out.is_full() && !self.is_at_target(number, target) {
            let member = &mut self.members[number];
            let Some((part, length)) = Part::first(member.pending()) else {
                member.drop_pending();
                break;
            };
            let block = match part {
                Part::Line(line) => {
                    out.relay_line(line);
                    member.take(length);
                    continue;
                }
                Part::Block(block) => block,
            };
            let position = block.id.and_then(|id| member.packing.pack(id));
            if position.is_some_and(|position| self.places.set(number, position).is_err()) {
                return self.stop(number, out);
            }
            if block.name == b"place" {
                relay::place(&self.places, out);
            } else {
                let id = position.and(self.places.id());
                let is_told = member.told.is_some() && block.name == b"unavailable";
                if !is_told {
                    match member.relay.block(&block, id.as_ref(), out) {
                        Relayed::Event => member.told = None,
                        Relayed::Close => member.has_closed = true,
                        Relayed::Unavailable => member.told = Some(block.data()),
                    }
                }
            }
            member.take(length);
            taken_bytes += length;
        }
    }

    /// Moves a member, if its position is known; `false` if it does not fit.
    fn moves_to(&mut self, number: usize, position: Option<Position>) -> bool {
        position.is_none_or(|position| self.places.set(number, position).is_ok())
    }

    /// A member's output has been relayed: it is at the position of its source.
    fn settle(&mut self, number: usize, now: Now, out: &mut Batch) {
        let member = &mut self.members[number];
        let id = member.position();
        let position = id.and_then(|id| member.packing.pack(id.as_bytes()));
        if !self.moves_to(number, position) {
            return self.stop(number, out);
        }
        let member = &mut self.members[number];
        if member.end_if_ended(now) && member.told.is_none() && !member.has_closed {
            member.tell(Unavailable::Other, out);
        }
    }

    /// The position of a member does not fit into an id: nothing of it is sent from here on, so
    /// that no client has a wrong position.
    fn stop(&mut self, number: usize, out: &mut Batch) {
        let member = &mut self.members[number];
        self.host.warn(&format!(
            "SSE_STREAMS={}: its position does not fit into an id of several streams (2^48 bytes of \
             a file, 2^29 - 1 entries of a millisecond); it is sent no further; give it a location of \
             its own",
            member.name()
        ));
        member.stop(Unavailable::BeyondIds, out);
    }

    /// Tells the client which streams it does not get.
    fn tell(&mut self, out: &mut Batch) {
        for name in std::mem::take(&mut self.untold) {
            let relay = relay::Relay::new(&name, self.labelling);
            relay.unavailable(Unavailable::NoStream, out);
        }
        for member in &mut self.members {
            if let Some(reason) = member.untold.take() {
                member.tell(reason, out);
            }
        }
    }

    /// Opens those members again that have failed.
    fn reopen(&mut self, now: Now) {
        for (number, member) in self.members.iter_mut().enumerate() {
            if matches!(member.state, State::Failed(at) if now.monotonic >= at) {
                let position = self.places.get(number);
                member.reopen(position, &self.request, now, &self.host);
                if let Some(changes) = member.changes() {
                    self.changes.set(number, changes);
                }
            }
        }
    }

    fn next(&mut self, is_stopped: bool, target: Option<&[Option<Position>]>, now: Now) -> Next {
        if self.members.iter().all(Member::is_closed) {
            return Next::End;
        }
        let is_at = |number| self.is_at_target(number, target);
        let numbers = 0..self.members.len();
        if target.is_some() && numbers.clone().all(is_at) {
            // Its reader looks whether the channel is there, and comes again if a member of the
            // channel is searching for its position.
            return Next::At(now.monotonic + AIM_AGAIN);
        }
        let mut next = if is_stopped { Next::More } else { Next::Change };
        for number in numbers {
            let own = match is_at(number) {
                true => Next::At(now.monotonic + AIM_AGAIN),
                false => self.members[number].next(now),
            };
            next = sooner(next, own);
        }
        next
    }
}

/// The sooner of two times to poll.
fn sooner(one: Next, other: Next) -> Next {
    match (one, other) {
        (Next::More, _) | (_, Next::More) => Next::More,
        (Next::At(one), Next::At(other)) => Next::At(one.min(other)),
        (Next::At(at), _) | (_, Next::At(at)) => Next::At(at),
        _ => Next::Change,
    }
}

impl Source for Several {
    fn poll(&mut self, now: Now, out: &mut Batch) -> Next {
        let target = self.target.take();
        let target = target.as_deref();
        self.tell(out);
        self.reopen(now);
        for member in &mut self.members {
            member.is_quiet = false;
        }
        let count = self.members.len();
        let slice_bytes = (Batch::TARGET_BYTES / count.max(1)).max(SLICE_MIN_BYTES);
        let mut is_stopped = false;
        let mut has_more = true;
        'rounds: while has_more {
            has_more = false;
            for step in 0..count {
                let number = (self.first + step) % count;
                let progress = self.turn(number, slice_bytes, target, now, out);
                has_more |= progress == Progress::Some;
                if progress == Progress::Spent || out.is_full() {
                    self.first = (number + 1) % count;
                    is_stopped = true;
                    break 'rounds;
                }
            }
        }
        let next = self.next(is_stopped, target, now);
        if next == Next::End {
            out.close(self.places.id());
        }
        next
    }

    fn position(&self) -> Option<EventId<'static>> {
        if self.members.iter().any(Member::is_searching) {
            return None;
        }
        self.places.id().map(EventId::into_owned)
    }

    fn is_at(&self, id: &EventId<'_>) -> bool {
        if self.members.iter().any(Member::is_searching) || !self.places.are_those_of(id) {
            return false;
        }
        let Some(positions) = self.places.read(id) else {
            return false;
        };
        let mut numbered = positions.into_iter().zip(&self.members).enumerate();
        numbered.all(|(number, (position, member))| {
            position == self.places.get(number)
                || position.is_some_and(|position| member.is_at(position))
        })
    }

    fn aim(&mut self, at: &EventId<'_>) {
        self.target = self.places.read(at);
    }

    fn unavailable(&self) -> Option<Unavailable> {
        self.members.iter().find_map(Member::unavailable)
    }

    fn report_unavailable(&self, out: &mut Batch) {
        for member in &self.members {
            if let Some(reason) = member.unavailable() {
                member.relay.unavailable(reason, out);
            }
        }
    }

    fn has_told(&self) -> bool {
        let told = |member: &Member| member.still_told().is_some();
        self.members.iter().any(told)
    }

    fn report_told(&self, out: &mut Batch) {
        for member in &self.members {
            if let Some(told) = member.still_told() {
                member.relay.unavailable_of(told, out);
            }
        }
    }

    fn changes(&self) -> Option<Rc<dyn Changes>> {
        Some(Rc::clone(&self.changes) as Rc<dyn Changes>)
    }

    fn is_costly(&self) -> bool {
        self.members.iter().any(Member::is_costly)
    }

    fn rest(&mut self) {
        self.members.iter_mut().for_each(Member::rest);
    }
}

/// Reports the changes of all members.
#[derive(Default)]
struct AllChanges {
    owner: Cell<u64>,
    members: RefCell<Vec<Option<Rc<dyn Changes>>>>,
}

impl AllChanges {
    fn of(members: &[Member]) -> Self {
        let changes = members.iter().map(Member::changes).collect();
        Self {
            owner: Cell::new(0),
            members: RefCell::new(changes),
        }
    }

    /// A member has been opened again.
    fn set(&self, number: usize, changes: Rc<dyn Changes>) {
        changes.set_owner(self.owner.get());
        self.members.borrow_mut()[number] = Some(changes);
    }
}

impl Changes for AllChanges {
    fn set_owner(&self, owner: u64) {
        self.owner.set(owner);
        for changes in self.members.borrow().iter().flatten() {
            changes.set_owner(owner);
        }
    }

    fn look_again_after(&self) -> Option<Duration> {
        let members = self.members.borrow();
        let changes = members.iter().flatten();
        changes
            .filter_map(|changes| changes.look_again_after())
            .min()
    }
}
