//! A Redis Stream: its entries are the events, and the stream is the history of many machines.
//!
//! ```text
//!           Feed (send, receive, watch)          `store::redis`, or memory in tests
//!                  │ replies
//!   open ──► Redis ──► query ──► resume ──► entry ──► Batch
//!              │        what was asked      what is lost
//!              └ asks for the next entries when it has sent those that it has
//! ```
//!
//! The id of an event is that of its entry, so any node resumes any client. Everything that is
//! read is read together with the stream's own figures, in one transaction: what Redis removed
//! before it was read is noticed, counted and reported by a `gap`.
//!
//! A signal that there is a new entry is only a reason to ask. The source also asks every second,
//! because Redis reports neither that a key was removed nor that a stream begins anew with smaller
//! ids.

mod address;
mod append;
mod entry;
mod feed;
mod id;
#[cfg(test)]
mod model;
mod open;
mod query;
mod rate;
mod resp;
mod resume;
mod search;
mod send;
pub mod session;
mod slots;

use std::rc::Rc;
use std::time::Duration;

pub use address::{Address, Certificates, Place as EnginePlace, Role, Server};
pub(crate) use append::Confirm;
pub use append::{Append, Confirmation, NotWritten, Writing, appended};
pub use feed::{Feed, Key};
pub use id::StreamId;
pub(crate) use open::{engine_of, key_of};
pub use rate::{admitted, count};
pub use resp::{Item, Malformed, Reader, Scanner, command};
pub use slots::{Elsewhere, elsewhere, slot_of};

use super::{Changes, Host, Next, Now, Source, Stream};
use crate::event::{Batch, EventId, Gap, Reason, Unavailable};
use entry::EntryEncoding;
use query::{Answer, Page, Query, Refused, Together, remedy, shown};
use resume::{Ledger, Look, Place, Resumed, Snapshot, resume};
use search::Search;

/// The stream `redis`.
pub static STREAM: Stream = Stream {
    name: "redis",
    summary: "the entries of a Redis Stream",
    open: open::open,
    settings: settings_of!("redis"),
    argument: Some("SSE_STREAM_KEY"),
    shared: Some(open::shared),
};

/// How often the stream is looked at although no new entry was reported.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The size of a page, in bytes, about which as many entries are asked for as fit. The next page
/// is asked for before this one is sent: a reader has at most two.
const PAGE_BYTES: usize = 64 * 1024;

/// The number of entries of the first page, and the largest number.
const PAGE_ENTRIES: (usize, usize) = (64, 2048);

/// The entries of a stream.
pub struct Redis {
    feed: Box<dyn Feed>,
    key: Vec<u8>,
    encoding: EntryEncoding,
    host: Rc<dyn Host>,
    /// The reconnection time that its client is sent when it ends without `close`.
    retry_ms: u64,
    state: State,
    /// What was asked and not answered.
    asked: Option<(Query, Together)>,
    /// What the feed may ask when there is an entry.
    ahead: Option<Query>,
    /// The number of entries to ask for.
    page_entries: usize,
    page: Page,
    /// The stream when the page was read; `None` if there was no such key.
    stream: Option<Snapshot>,
    /// The page contains everything up to the end of the stream.
    is_last_page: bool,
    /// Everything that the stream contained at the last look was sent.
    is_settled: bool,
    /// Everything up to this id was sent.
    position: StreamId,
    /// No entry ever had this id: XSETID has set it.
    set_id: Option<StreamId>,
    ledger: Ledger,
    /// A gap that is sent as soon as the position is known.
    gap: Option<Reason>,
    /// How many entries are not sent because of `replay_bytes`, if that is known; the gap follows
    /// the other one.
    skipped: Option<Option<u64>>,
    /// `SSE_REPLAY`: about how much a client is sent whose id is unknown. `None`: everything.
    replay_bytes: Option<usize>,
    /// Its client has been sent an event or a position.
    is_reported: bool,
    look_at: Duration,
    look_every: Duration,
    /// The data of a member's `welcome`, which is sent as soon as the position is known.
    greeting: Option<String>,
    /// It has sent a gap.
    has_gap: bool,
    /// An answer was used in this poll.
    has_looked: bool,
}

/// What it does.
enum State {
    /// It searches for the last records, for a client without an id.
    Searching(Search),
    /// It asks for the position of its client.
    Resuming(StreamId),
    /// It sends what follows the position.
    Reading,
    /// It has ended, because there is nothing to read now.
    Ended,
}

impl Redis {
    fn new(
        feed: Box<dyn Feed>,
        key: Vec<u8>,
        encoding: EntryEncoding,
        host: Rc<dyn Host>,
        state: State,
        gap: Option<Gap>,
    ) -> Self {
        Self {
            feed,
            key,
            encoding,
            host,
            retry_ms: 3000,
            state,
            asked: None,
            ahead: None,
            page_entries: PAGE_ENTRIES.0,
            page: Page::default(),
            stream: None,
            is_last_page: false,
            is_settled: false,
            position: StreamId::START,
            set_id: None,
            ledger: Ledger::default(),
            gap: gap.map(|gap| gap.reason),
            skipped: None,
            replay_bytes: None,
            is_reported: false,
            look_at: Duration::ZERO,
            look_every: LOOK_EVERY,
            greeting: None,
            has_gap: false,
            has_looked: false,
        }
    }

    fn ask(&mut self, query: Query, together: Together) {
        self.is_settled = false;
        let (commands, replies) = query.commands(&self.key, together);
        self.feed.send(commands, replies);
        self.asked = Some((query, together));
    }

    /// What to ask next.
    fn next_query(&self) -> Query {
        match &self.state {
            State::Resuming(id) => Query::Resume(*id, self.page_entries),
            // One more than is missing: its id is the position.
            State::Searching(search) => {
                let count = search.missing().saturating_add(1).min(self.page_entries);
                Query::Before(search.before(), count)
            }
            State::Reading | State::Ended => Query::After(self.position, self.page_entries),
        }
    }

    /// Uses an answer.
    fn take(
        &mut self,
        query: Query,
        answer: Answer,
        now: Now,
        out: &mut Batch,
    ) -> Result<(), Refused> {
        self.look_at = now.monotonic + self.look_every;
        self.has_looked = true;
        let entries = answer.page.left();
        if let Some(each) = answer.page.bytes().checked_div(entries) {
            self.page_entries = (PAGE_BYTES / each.max(1)).clamp(1, PAGE_ENTRIES.1);
        }
        match query {
            Query::Before(_, count) => self.search(answer, count),
            Query::Resume(id, count) => self.resume(id, count, answer, now, out),
            Query::After(_, count) => self.read_on(count, answer, now, out),
        }
    }

    fn search(&mut self, mut answer: Answer, count: usize) -> Result<(), Refused> {
        let State::Searching(search) = &mut self.state else {
            return Ok(());
        };
        let is_exhausted = answer.page.left() < count;
        let found = search.look(&mut answer.page, answer.stream.as_ref(), &self.encoding)?;
        let start = answer
            .stream
            .as_ref()
            .map_or(StreamId::START, Snapshot::start);
        if let Some(position) = found.or(is_exhausted.then_some(start)) {
            // Of a client whose id is unknown.
            self.skipped = match (&answer.stream, self.gap, found) {
                (Some(stream), Some(Reason::UnknownId | Reason::Expired), Some(_)) => {
                    Some(search.skipped(stream))
                }
                _ => None,
            };
            self.position = position;
            self.state = State::Reading;
            self.ledger = match &answer.stream {
                Some(stream) if position == stream.start() => Ledger::restart(stream),
                Some(_) => Ledger::default(),
                None => Ledger::at_end(None),
            };
        }
        Ok(())
    }

    fn resume(
        &mut self,
        id: StreamId,
        count: usize,
        answer: Answer,
        now: Now,
        out: &mut Batch,
    ) -> Result<(), Refused> {
        let place = Place {
            id,
            is_entry: answer.is_entry,
            before: answer.before,
        };
        let stream = answer.stream;
        let Resumed { after, gap } = resume(place, stream.as_ref(), now.unix_ms);
        let is_all = stream.is_some_and(|stream| stream.length > 0 && after == stream.start());
        if let (Some(_), true, Some(bytes)) = (gap, is_all, self.replay_bytes) {
            self.gap = gap;
            self.state = State::Searching(Search::within(bytes));
            return Ok(());
        }
        self.state = State::Reading;
        self.position = after;
        self.ledger = match stream {
            Some(stream) if after == stream.start() => Ledger::restart(&stream),
            stream => match gap {
                Some(_) if after == StreamId::START => Ledger::at_end(stream.as_ref()),
                _ => Ledger::default(),
            },
        };
        if let Some(reason) = gap {
            self.gap(reason, None, out);
        }
        self.stream = stream;
        // The page is what follows the id. After an id that was never generated there is nothing.
        let is_of_page = stream.is_none_or(|stream| id <= stream.last_generated);
        let is_at_end = stream.is_none_or(|stream| after == stream.last_generated);
        match is_of_page || is_at_end {
            true => self.hold(answer.page, stream, count),
            false => Ok(()),
        }
    }

    fn read_on(
        &mut self,
        count: usize,
        answer: Answer,
        now: Now,
        out: &mut Batch,
    ) -> Result<(), Refused> {
        let stream = answer.stream;
        let before = self.position;
        let following = answer.page.left() as u64;
        match self.ledger.look(
            before,
            stream.as_ref(),
            answer.is_entry || self.set_id == Some(before),
            following,
            now.unix_ms,
        ) {
            Look::Whole => {}
            Look::Lost(events, after) => {
                self.position = after;
                if let Some(stream) = &stream {
                    self.ledger = Ledger::restart(stream);
                }
                self.gap(Reason::Expired, events, out);
            }
            Look::Other(after) => {
                self.position = after;
                self.ledger = match &stream {
                    Some(stream) if after == stream.start() => Ledger::restart(stream),
                    Some(_) => Ledger::default(),
                    None => Ledger::at_end(None),
                };
                self.gap(Reason::UnknownId, None, out);
                let is_at_end = stream.is_none_or(|stream| after == stream.last_generated);
                if after < before && !is_at_end {
                    // What follows is not in the page.
                    self.stream = stream;
                    return Ok(());
                }
            }
        }
        self.hold(answer.page, stream, count)
    }

    /// Keeps the entries that follow the position, to send them. What follows them is asked
    /// already.
    fn hold(&mut self, page: Page, stream: Option<Snapshot>, count: usize) -> Result<(), Refused> {
        self.is_last_page = page.left() < count;
        self.page = page;
        self.stream = stream;
        if self.page.left() == 0 {
            self.page = Page::default();
        }
        let last = match self.is_last_page {
            true => None,
            false => self.page.last()?,
        };
        if let Some(last) = last {
            let query = Query::After(last, self.page_entries);
            self.ask(query, Together::Transaction);
        }
        Ok(())
    }

    /// The replies to what was asked ahead, if it is still what there is to ask.
    fn take_ahead(&mut self) -> Option<(Query, Vec<u8>)> {
        let query = self.ahead.take()?;
        match query {
            Query::After(after, _) if after == self.position => {
                Some((query, self.feed.take_ahead()?))
            }
            _ => None,
        }
    }

    /// Uses the replies to a question.
    fn answered(
        &mut self,
        query: Query,
        together: Together,
        bytes: Vec<u8>,
        now: Now,
        out: &mut Batch,
    ) -> Result<(), Refused> {
        self.is_settled = false;
        let answer = match query.answer(bytes, together) {
            Err(Refused::Full) => {
                self.ask(query, Together::Compared);
                return Ok(());
            }
            Err(Refused::Changed) => {
                self.ask(query, Together::Transaction);
                return Ok(());
            }
            answer => answer?,
        };
        let was_unknown = !matches!(self.state, State::Reading);
        self.take(query, answer, now, out)?;
        if was_unknown && matches!(self.state, State::Reading) {
            if let Some(reason) = self.gap.take() {
                self.gap(reason, None, out);
            }
            if let Some(events) = self.skipped.take() {
                self.gap(Reason::Expired, events, out);
            }
            self.say_greeting(out);
        }
        Ok(())
    }

    /// One step; `None` if there is another to take.
    fn step(&mut self, now: Now, out: &mut Batch) -> Result<Option<Next>, Refused> {
        if self.page.left() > 0 {
            self.emit(out)?;
        }
        if self.page.left() > 0 {
            return Ok(Some(Next::More));
        }
        if self.is_last_page {
            self.settle(out);
        }
        if let Some((query, together)) = self.asked {
            let Some(received) = self.feed.receive() else {
                return Ok(Some(Next::Change));
            };
            self.asked = None;
            let Ok(bytes) = received else {
                return Ok(Some(self.fail(out)));
            };
            self.answered(query, together, bytes, now, out)?;
            return Ok(None);
        }
        if out.is_full() {
            return Ok(Some(Next::More));
        }
        let is_reading = matches!(self.state, State::Reading);
        // What has just been answered is not asked again, even if nobody reports entries.
        let has_news = !self.has_looked && self.feed.take_signal();
        let ahead = match has_news {
            true => self.take_ahead(),
            false => None,
        };
        if let Some((query, bytes)) = ahead {
            self.answered(query, Together::Transaction, bytes, now, out)?;
            return Ok(None);
        }
        if is_reading && self.is_settled && !has_news && now.monotonic < self.look_at {
            return Ok(Some(Next::At(self.look_at)));
        }
        self.ask(self.next_query(), Together::Transaction);
        Ok(None)
    }
}

impl Source for Redis {
    fn poll(&mut self, now: Now, out: &mut Batch) -> Next {
        if matches!(self.state, State::Ended) {
            return Next::End;
        }
        self.has_looked = false;
        loop {
            match self.step(now, out) {
                Ok(None) => {}
                Ok(Some(next)) => return next,
                Err(refused) => return self.refuse(&refused, out),
            }
        }
    }

    fn position(&self) -> Option<EventId<'static>> {
        // A source that nobody wakes asks whenever it is polled, to reach the position of a channel.
        // Until the answer, comparing the two again would be in vain.
        let is_known = self.asked.is_none() || self.page.left() > 0 || self.feed.is_watching();
        let is_reading = matches!(self.state, State::Reading);
        (is_known && is_reading).then(|| self.position.event_id())
    }

    fn unavailable(&self) -> Option<Unavailable> {
        matches!(self.state, State::Ended).then_some(Unavailable::Other)
    }

    fn changes(&self) -> Option<Rc<dyn Changes>> {
        Some(self.feed.changes())
    }

    fn is_costly(&self) -> bool {
        self.encoding.is_costly()
    }

    fn rest(&mut self) {
        if self.page.left() == 0 {
            self.page = Page::default();
        }
    }
}
