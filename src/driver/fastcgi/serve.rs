//! Streams on their way to their peers.

use std::rc::Rc;
use std::time::Duration;

use super::super::log::Level;
use super::peer::{Delivered, SHARED_ID, Sent};
use super::responder::{self, Responder, peer};
use super::spread::Spread;
use super::timers::Whom;
use crate::event::Batch;
use crate::source::{Next, Now, OpenError};
use crate::stream::{Ended, Joined, Turn};

/// How long it must have been quiet before the memory that a burst took is given back.
const LULL: Duration = Duration::from_millis(100);

/// How soon a file that cannot be opened now is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How often in a row one that has caught up tries to join the others before it waits
/// for the next change.
const TRIES_MAX: u32 = 8;

impl Responder {
    /// Sends what is due to a peer that has room.
    pub(super) fn serve(&mut self, whom: Whom, now: Now) {
        let Some(peer) = peer(&mut self.peers, whom) else {
            return;
        };
        if !peer.is_free() {
            return;
        }
        let Some(seat) = &peer.seat else { return };
        let is_own = seat.is_own();
        if self.is_draining() {
            self.say_farewell(whom, now);
        } else if is_own {
            self.serve_own(whom, now);
        } else {
            self.serve_among(whom, now);
        }
    }

    /// One that reads by itself.
    fn serve_own(&mut self, whom: Whom, now: Now) {
        let Some(peer) = peer(&mut self.peers, whom) else {
            return;
        };
        let Some(seat) = &mut peer.seat else { return };
        let events_before = seat.own_events();
        let Some(turn) = seat.poll_own(now) else {
            return;
        };
        let is_open = !matches!(turn, Turn::End(_));
        // On its way it may pass the place where the others are.
        let joined = is_open.then(|| self.hub.join_in_passing(seat)).flatten();
        let bytes = seat.own_bytes();
        if !bytes.is_empty() {
            let id = peer.connection.request_id().unwrap_or(SHARED_ID);
            peer.outgoing.push_stdout(id, bytes);
            peer.tries = 0;
            peer.request.events += seat.own_events() - events_before;
            seat.own_sent(now);
        }
        if let Turn::End(ended) = turn {
            return self.end(whom, reason(ended), now);
        }
        let joined = match (joined, turn) {
            (Some(stream), _) => {
                seat.join_passed();
                Joined::Follows(stream)
            }
            (None, Turn::Until(_))
                if peer.is_watched || seat.key().is_some_and(|key| self.hub.has(key)) =>
            {
                self.hub.join(seat, now)
            }
            _ => Joined::Alone,
        };
        let may_lead = seat.key().is_some_and(|key| !self.hub.has(key)) && seat.is_own();
        if may_lead && !peer.is_watched && matches!(turn, Turn::Until(_)) {
            // Nobody is left whose hints it could share.
            if self.read_by_itself(whom, now) {
                self.make_ready(whom);
            }
        }
        self.take_place(whom, joined, now);
        let Some(peer) = self.peer(whom) else { return };
        match peer.flush(now) {
            Sent::Gone => return self.remove(whom, "left"),
            Sent::Blocked => return self.blocked(whom, now),
            Sent::All => {}
        }
        match (joined, turn) {
            (Joined::Follows(_) | Joined::Leads(_), _) => self.serve_among(whom, now),
            (_, Turn::More) => self.make_ready(whom),
            (_, Turn::Until(at)) => {
                let look = self.peer(whom).and_then(|peer| {
                    let hints = peer.hints.as_ref()?;
                    hints.coverage().look_again_after()
                });
                let at = look.map_or(at, |after| at.min(now.monotonic + after));
                self.wake_at(whom, at);
            }
            (_, Turn::End(_)) => {}
        }
    }

    /// Does what an attempt to join others asks for.
    fn take_place(&mut self, whom: Whom, joined: Joined, now: Now) {
        let Some(peer) = self.peer(whom) else { return };
        match joined {
            Joined::Follows(_) => {
                peer.hints = None;
                peer.tries = 0;
            }
            Joined::Leads(stream) => {
                peer.tries = 0;
                let hints = peer.hints.take();
                self.lead(stream, hints);
            }
            Joined::Elsewhere(stream) => {
                peer.tries += 1;
                if peer.tries <= TRIES_MAX {
                    self.make_ready(whom);
                    self.advance(stream, now);
                }
            }
            Joined::Alone => {}
        }
    }

    /// One that gets what a shared stream says.
    fn serve_among(&mut self, whom: Whom, now: Now) {
        let Some(peer) = peer(&mut self.peers, whom) else {
            return;
        };
        let Some(seat) = &peer.seat else { return };
        let (silent_at, aged_at) = (seat.silent_at(), seat.aged_at());
        let Some((stream, _)) = seat.among() else {
            return;
        };
        let Some(shared) = self.hub.get(stream) else {
            return;
        };
        if aged_at.is_some_and(|at| now.monotonic >= at) {
            if let Some(id) = seat.untold() {
                let mut batch = Batch::new();
                batch.id_only(id);
                peer.push_stdout(batch.as_bytes());
            }
            return self.end(whom, reason(Ended::Aged), now);
        }
        let mut notice = Batch::new();
        if let Some(seat) = &mut peer.seat
            && seat.notice_at().is_some()
        {
            seat.notice(shared.unavailable(), now, &mut notice);
        }
        if !notice.is_empty() {
            peer.push_stdout(notice.as_bytes());
            return match peer.flush(now) {
                Sent::Gone => self.remove(whom, "left"),
                Sent::Blocked => self.blocked(whom, now),
                Sent::All => self.make_ready(whom),
            };
        }
        match peer.deliver(shared.ring(), None, now) {
            Delivered::FellOut if !shared.can_go_back() => {
                let mut batch = Batch::new();
                if let Some(seat) = &mut peer.seat {
                    seat.skip(shared, now, &mut batch);
                }
                peer.push_stdout(batch.as_bytes());
                return match peer.flush(now) {
                    Sent::Gone => self.remove(whom, "left"),
                    Sent::Blocked => self.blocked(whom, now),
                    Sent::All => self.make_ready(whom),
                };
            }
            Delivered::FellOut => {
                if self.read_by_itself(whom, now) {
                    self.make_ready(whom);
                }
                return;
            }
            Delivered::Sent(Sent::Gone) => return self.remove(whom, "left"),
            Delivered::Sent(Sent::Blocked) => return self.blocked(whom, now),
            Delivered::Sent(Sent::All) => {}
        }
        if shared.next() == Next::End {
            return self.end(whom, reason(Ended::Finished), now);
        }
        if let Some(shown) = self.shown.get_mut(&stream) {
            if !peer.is_waiting {
                peer.is_waiting = true;
                shown.waiting.push(whom);
                if shown.waiting.len() > 2 * shared.members() + 64 {
                    // Those who left while nothing was said.
                    let peers = &mut self.peers;
                    shown
                        .waiting
                        .retain(|whom| responder::peer(peers, *whom).is_some());
                }
            }
            if shown.is_stale {
                self.make_dirty(stream);
            }
        }
        if now.monotonic >= silent_at {
            self.beat(whom, stream, now);
        }
        let Some(peer) = self.peer(whom) else { return };
        let Some(seat) = &peer.seat else { return };
        // Many fall silent together: they are woken together.
        let silent_at = rounded_up(seat.silent_at(), seat.terms().heartbeat / 64);
        let at = [seat.aged_at(), seat.notice_at()]
            .into_iter()
            .flatten()
            .fold(silent_at, Duration::min);
        self.wake_at(whom, at);
    }

    /// A peer that waits for the next event has waited long enough.
    fn beat(&mut self, whom: Whom, stream: usize, now: Now) {
        // Whatever hints say, the file is looked at once in that time.
        let heartbeat = self
            .peer(whom)
            .and_then(|peer| peer.seat.as_ref())
            .map_or(Duration::ZERO, |seat| seat.terms().heartbeat);
        let looked_at = self
            .shown
            .get(&stream)
            .map_or(now.monotonic, |shown| shown.looked_at);
        if looked_at + heartbeat / 2 <= now.monotonic {
            self.advance(stream, now);
        }
        // What was passed over has moved the place: everybody learns it at once.
        if self
            .hub
            .get_mut(stream)
            .is_some_and(|shared| shared.beat(now))
        {
            self.fan_out(stream, now);
        }
        let Some(peer) = self.peer(whom) else { return };
        let is_empty = peer.outgoing_is_empty();
        let Some(seat) = &mut peer.seat else { return };
        if !is_empty || now.monotonic < seat.silent_at() {
            return;
        }
        let mut batch = Batch::new();
        seat.beat(now, &mut batch);
        peer.push_stdout(batch.as_bytes());
        match peer.flush(now) {
            Sent::All => {}
            Sent::Blocked => {
                self.blocked(whom, now);
            }
            Sent::Gone => self.remove(whom, "left"),
        }
    }

    /// Polls a shared stream, if somebody waits for what it says.
    pub(super) fn poll_stream(&mut self, stream: usize, now: Now) {
        let Some(shown) = self.shown.get_mut(&stream) else {
            return;
        };
        shown.is_dirty = false;
        if shown.waiting.is_empty() {
            shown.is_stale = true;
            return;
        }
        self.advance(stream, now);
    }

    /// Polls a shared stream, and sends what it says.
    fn advance(&mut self, stream: usize, now: Now) {
        let (Some(shown), Some(shared)) = (self.shown.get_mut(&stream), self.hub.get_mut(stream))
        else {
            return;
        };
        shown.is_stale = false;
        shown.looked_at = now.monotonic;
        let brought = shared.poll(now);
        let next = shared.next();
        let look = shown
            .hints
            .as_ref()
            .and_then(|hints| hints.coverage().look_again_after())
            .map(|after| now.monotonic + after);
        let asked = match next {
            Next::At(at) => Some(at),
            _ => None,
        };
        if brought {
            shown.is_restless = true;
        } else if shown.is_restless && shown.waiting.len() >= shared.members() {
            shown.is_restless = false;
            shared.rest();
        }
        let lull = shown.is_restless.then_some(now.monotonic + LULL);
        if next == Next::End {
            self.hub.retire(stream);
        }
        if brought || next == Next::End {
            self.fan_out(stream, now);
        }
        if next == Next::More {
            self.make_dirty(stream);
        }
        if let Some(at) = [look, asked, lull].into_iter().flatten().min() {
            self.wake_stream_at(stream, at);
        }
    }

    /// Sends what a shared stream said to everybody who waits for it.
    fn fan_out(&mut self, stream: usize, now: Now) {
        let Some(shown) = self.shown.get_mut(&stream) else {
            return;
        };
        let mut waiting = std::mem::take(&mut shown.waiting);
        let mut others = Vec::new();
        if let Some(shared) = self.hub.get(stream) {
            let has_ended = shared.next() == Next::End;
            let spread = Spread::newest(shared.ring(), waiting.len());
            let peers = &mut self.peers;
            waiting.retain(|whom| {
                let Some(peer) = peer(peers, *whom) else {
                    return false;
                };
                let is_here = peer
                    .seat
                    .as_ref()
                    .and_then(|seat| seat.among())
                    .is_some_and(|(own, _)| own == stream);
                if !is_here {
                    peer.is_waiting = false;
                    return false;
                }
                let delivered = if peer.outgoing_is_empty() {
                    peer.deliver(shared.ring(), spread.as_ref(), now)
                } else {
                    Delivered::Sent(Sent::Blocked)
                };
                if delivered == Delivered::Sent(Sent::All) && !has_ended {
                    return true;
                }
                peer.is_waiting = false;
                others.push((*whom, delivered));
                false
            });
        }
        if let Some(shown) = self.shown.get_mut(&stream) {
            waiting.append(&mut shown.waiting);
            shown.waiting = waiting;
        }
        for (whom, delivered) in others {
            match delivered {
                Delivered::Sent(Sent::Blocked) => self.blocked(whom, now),
                Delivered::Sent(Sent::Gone) => self.remove(whom, "left"),
                Delivered::Sent(Sent::All) | Delivered::FellOut => self.make_ready(whom),
            }
        }
    }

    /// Has a peer read by itself from where it is: it has fallen out of the ring, or must
    /// be told of changes itself.
    fn read_by_itself(&mut self, whom: Whom, now: Now) -> bool {
        let world = self.world_for(whom);
        let Some(peer) = peer(&mut self.peers, whom) else {
            return false;
        };
        let Some(seat) = &mut peer.seat else {
            return false;
        };
        let among = seat.among().map(|(stream, _)| stream);
        let shared = among.and_then(|stream| self.hub.get(stream));
        let spot = seat.spot().or(shared.map(|shared| shared.spot()));
        let Some(spot) = spot.cloned() else {
            return false;
        };
        let others = shared.is_some_and(|shared| shared.members() > 1);
        peer.is_watched = !others;
        self.machine.set_watching(peer.is_watched);
        let live = shared
            .filter(|_| others)
            .map(|shared| Rc::clone(shared.place()));
        let opened = seat.read_by_itself(&spot, live.as_deref(), now, &world);
        self.machine.set_watching(true);
        match opened {
            Ok(()) => {
                peer.hints = self.machine.take_hints();
                if let Some(hints) = &peer.hints {
                    hints.belong_to(whom);
                }
                if let Some(stream) = among
                    && self.hub.leave(stream)
                {
                    self.shown.remove(&stream);
                }
                true
            }
            Err(OpenError::Temporary(trouble)) => {
                self.say(whom, Level::Warning, &trouble);
                self.wake_at(whom, now.monotonic + TRY_AGAIN);
                false
            }
            Err(error) => {
                self.say(whom, Level::Error, &error.to_string());
                self.end(whom, "gone", now);
                false
            }
        }
    }
}

fn reason(ended: Ended) -> &'static str {
    match ended {
        Ended::Finished => "finished",
        Ended::Aged => "aged",
        Ended::Full => "full",
        Ended::HeldBack => "held back",
    }
}

/// The next multiple of `step` after `at`.
fn rounded_up(at: Duration, step: Duration) -> Duration {
    let step_ns = step.as_nanos().max(1);
    let rounded = at.as_nanos().div_ceil(step_ns) * step_ns;
    Duration::from_nanos(u64::try_from(rounded).unwrap_or(u64::MAX))
}
