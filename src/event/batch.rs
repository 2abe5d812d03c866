//! Batch: encoded output for a client.

use std::rc::Rc;
use std::time::Duration;

use super::{Event, EventId, EventName, Gap, Unavailable, encode};

/// Encoded events that are sent together, their number and the last id among them.
///
/// A source appends to it; the caller sends its bytes. It is one growing buffer because
/// events that are ready together leave in one write. Under a burst this saves more than
/// any other optimization.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    events: u64,
    /// The last id that was written before the last [`Batch::clear`]; empty if there was none.
    last_id: Vec<u8>,
    /// The last id in `bytes`, as a range while the batch is filled: a copy for each event
    /// would cost more than encoding it.
    last_id_range: Option<(usize, usize)>,
    /// The prefix of every id.
    id_prefix: Option<Rc<str>>,
    /// A length below [`Batch::TARGET_BYTES`] at which the batch is full; see
    /// [`Batch::limit`].
    limit_bytes: Option<usize>,
    /// The cost of matching records since [`Batch::begin_turn`].
    work: u64,
}

impl Batch {
    /// A source stops adding when matching records has cost this much in one turn: the unit is
    /// states of the expression times bytes, and the limit corresponds to 0.2 to 2.5 ms.
    /// Records that do not match add no bytes, so the size of the batch does not limit the
    /// time.
    pub const WORK_MAX: u64 = 200_000;

    /// A source stops adding when the batch contains this many bytes. It is large enough that a
    /// catch-up needs few system calls, and small enough that most batches, with the event that
    /// exceeds it, fit into an empty pipe (64 KiB). What does not fit would cost a second
    /// write, and a wait before it.
    pub const TARGET_BYTES: usize = 60 * 1024;

    /// The bytes that an idle batch keeps allocated.
    pub const IDLE_BYTES: usize = 4 * 1024;

    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch for a client that has received the id `last_id`.
    #[must_use]
    pub fn after(last_id: &EventId<'_>) -> Self {
        Self {
            last_id: last_id.as_bytes().to_vec(),
            ..Self::default()
        }
    }

    /// Puts this prefix before every id that is appended from now on. It is visible ASCII, and
    /// so short that no id exceeds its maximum. A source that contains another source uses it
    /// for the ids of the inner source.
    pub fn prefix_ids(&mut self, prefix: Option<Rc<str>>) {
        self.id_prefix = prefix;
    }

    /// Appends an event.
    pub fn event(&mut self, event: &Event<'_>) {
        let start = self.bytes.len();
        match (&event.id, &self.id_prefix) {
            (Some(id), Some(prefix)) => {
                let id = id.prefixed(prefix);
                self.note_id(start, &id);
                Event {
                    id: Some(id),
                    ..event.clone()
                }
                .encode(&mut self.bytes);
            }
            (id, _) => {
                event.encode(&mut self.bytes);
                if let Some(id) = id {
                    self.note_id(start, id);
                }
            }
        }
        self.events += 1;
    }

    /// Appends a `gap` event with the id of the position at which the stream continues.
    pub fn gap(&mut self, gap: &Gap, id: Option<EventId<'_>>) {
        let data = gap.to_string();
        self.event(&Event {
            id,
            name: Some(EventName::GAP),
            data: data.as_bytes(),
        });
    }

    /// Appends an `unavailable` event. It has no id, so the client's position stays.
    pub fn unavailable(&mut self, reason: Unavailable) {
        let data = reason.to_string();
        self.event(&Event {
            id: None,
            name: Some(EventName::UNAVAILABLE),
            data: data.as_bytes(),
        });
    }

    /// Appends the `unavailable` event of a stream that ends now, with the reconnection time in
    /// the same block: clients that read block by block drop a last line that no blank line
    /// follows.
    pub fn come_again(&mut self, reason: Unavailable, retry_ms: u64) {
        self.unavailable(reason);
        // Reopens the block by removing its last byte, the blank line.
        self.bytes.pop();
        self.retry(retry_ms);
        self.bytes.push(b'\n');
    }

    /// Appends the event `expired`: the client's access ends in `left`, and the stream with it.
    /// The same block brings the time after which the client may reconnect by itself, as in
    /// [`Batch::come_again`]. It has no id, so the client's position stays.
    pub fn expired(&mut self, left: Duration, retry_ms: u64) {
        let data = format!("{{\"ends_in_ms\":{}}}", left.as_millis());
        self.event(&Event {
            id: None,
            name: Some(EventName::EXPIRED),
            data: data.as_bytes(),
        });
        self.bytes.pop();
        self.retry(retry_ms);
        self.bytes.push(b'\n');
    }

    /// Appends the event `heartbeat`. Its data is the interval at which it is sent while there
    /// is no other event. It has no id and is not counted as an event, like a comment.
    pub fn heartbeat(&mut self, interval: Duration) {
        let data = format!("{{\"interval_ms\":{}}}", interval.as_millis());
        Event {
            id: None,
            name: Some(EventName::HEARTBEAT),
            data: data.as_bytes(),
        }
        .encode(&mut self.bytes);
    }

    /// Appends the event that ends a finite stream: `close` with empty data.
    pub fn close(&mut self, id: Option<EventId<'_>>) {
        self.event(&Event {
            id,
            name: Some(EventName::CLOSE),
            data: b"",
        });
    }

    /// Appends an event `place` with the data `{}`, which brings the id of the position if no
    /// other event has. It is not counted in [`Batch::events`].
    ///
    /// A block with only an id would be enough for browsers. But httpx-sse, sseclient,
    /// fetch-event-source and others dispatch it as an empty message, and Yaffle's polyfill and
    /// eventsource 3 lose its id. The data is `{}` because some readers parse the data of every
    /// event as JSON.
    pub fn place(&mut self, id: &EventId<'_>) {
        let start = self.bytes.len();
        let id = match &self.id_prefix {
            Some(prefix) => id.prefixed(prefix),
            None => id.clone(),
        };
        self.note_id(start, &id);
        let place = Event {
            id: Some(id),
            name: Some(EventName::PLACE),
            data: b"{}",
        };
        place.encode(&mut self.bytes);
    }

    /// Appends an event whose lines another batch has encoded: its name in parts that are written
    /// one after another (none for a message), and its `data:` lines with the blank line.
    pub(crate) fn relay(&mut self, id: Option<&EventId<'_>>, name: &[&[u8]], data_lines: &[u8]) {
        let start = self.bytes.len();
        if let Some(id) = id {
            self.bytes.extend_from_slice(b"id: ");
            self.bytes.extend_from_slice(id.as_bytes());
            self.bytes.push(b'\n');
            self.note_id(start, id);
        }
        if !name.is_empty() {
            self.bytes.extend_from_slice(b"event: ");
            for part in name {
                self.bytes.extend_from_slice(part);
            }
            self.bytes.push(b'\n');
        }
        self.bytes.extend_from_slice(data_lines);
        self.events += 1;
    }

    /// Appends a line that another batch has encoded and that belongs to no event.
    pub(crate) fn relay_line(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
    }

    /// Appends a comment.
    pub fn comment(&mut self, text: &[u8]) {
        encode::comment(text, &mut self.bytes);
    }

    /// Appends a comment line of exactly `length_bytes` bytes (at least 2), for clients that
    /// process nothing before they have received so many bytes.
    pub fn padding(&mut self, length_bytes: usize) {
        let spaces = length_bytes.max(2) - 2;
        self.bytes.push(b':');
        self.bytes.resize(self.bytes.len() + spaces, b' ');
        self.bytes.push(b'\n');
    }

    /// Appends a reconnection time in milliseconds.
    pub fn retry(&mut self, retry_ms: u64) {
        self.bytes.extend_from_slice(b"retry: ");
        self.bytes
            .extend_from_slice(retry_ms.to_string().as_bytes());
        self.bytes.push(b'\n');
    }

    /// Appends the bytes of a response head.
    pub fn head(&mut self, head: &[u8]) {
        self.bytes.extend_from_slice(head);
    }

    /// Makes the batch full after this many more bytes (at least one), until it is cleared. A
    /// source that appends events one by one exceeds the limit by at most one event.
    pub fn limit(&mut self, more_bytes: u64) {
        let more = usize::try_from(more_bytes).unwrap_or(usize::MAX).max(1);
        self.limit_bytes = Some(self.bytes.len().saturating_add(more));
    }

    /// Begins a turn of the source, which may spend [`Batch::WORK_MAX`].
    pub fn begin_turn(&mut self) {
        self.work = 0;
    }

    /// Adds the cost of matching a record.
    pub fn spend(&mut self, work: u64) {
        self.work = self.work.saturating_add(work);
    }

    /// Whether the source has spent [`Batch::WORK_MAX`] in this turn.
    #[must_use]
    pub fn has_spent_turn(&self) -> bool {
        self.work >= Self::WORK_MAX
    }

    /// Whether the source should stop adding for now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        if self.has_spent_turn() {
            return true;
        }
        let limit = self.limit_bytes.unwrap_or(Self::TARGET_BYTES);
        self.bytes.len() >= limit.min(Self::TARGET_BYTES)
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes to send.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of events that were appended since the batch was created.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether `id` is the last id that was appended, so the last that this batch's client has.
    #[must_use]
    pub fn ends_at(&self, id: &EventId<'_>) -> bool {
        let last = match self.last_id_range {
            Some((start, end)) => &self.bytes[start..end],
            None => &self.last_id,
        };
        last == id.as_bytes()
    }

    /// Removes what follows the last event or `place` with this `id`; `false` if there is none.
    pub fn cut_after(&mut self, id: &EventId<'_>) -> bool {
        // Every line of data begins with its field's name, so a line equal to this is an id.
        let line = [b"\nid: ", id.as_bytes(), b"\n"].concat();
        let start = match memchr::memmem::rfind(&self.bytes, &line) {
            Some(before) => before + 1,
            None if self.bytes.starts_with(&line[1..]) => 0,
            None => return false,
        };
        let Some(length) = memchr::memmem::find(&self.bytes[start..], b"\n\n") else {
            return false;
        };
        let end = start + length + 2;
        let mut events = 0;
        let mut from = end;
        while let Some(length) = memchr::memmem::find(&self.bytes[from..], b"\n\n") {
            events += u64::from(is_event(&self.bytes[from..from + length]));
            from += length + 2;
        }
        self.events = self.events.saturating_sub(events);
        self.bytes.truncate(end);
        let from = start + b"id: ".len();
        self.last_id_range = Some((from, from + id.as_bytes().len()));
        true
    }

    /// Empties the batch after its bytes have been sent.
    pub fn clear(&mut self) {
        if let Some((start, end)) = self.last_id_range.take() {
            self.last_id.clear();
            self.last_id.extend_from_slice(&self.bytes[start..end]);
        }
        self.bytes.clear();
        self.limit_bytes = None;
    }

    /// Releases the memory of a burst, so that an idle stream uses almost none. Doing so after
    /// every write would cost more than encoding.
    pub fn rest(&mut self) {
        self.bytes.shrink_to(Self::IDLE_BYTES);
    }

    fn note_id(&mut self, start: usize, id: &EventId<'_>) {
        let from = start + b"id: ".len();
        self.last_id_range = Some((from, from + id.as_bytes().len()));
    }
}

/// Whether a block counts as an event: a position and a heartbeat do not.
fn is_event(block: &[u8]) -> bool {
    let is_named = |name: &[u8]| {
        let line = [b"event: ", name, b"\n"].concat();
        block.starts_with(&line)
            || memchr::memmem::find(block, &[b"\n", &line[..]].concat()).is_some()
    };
    !is_named(b"heartbeat") && !is_named(b"place")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> EventId<'_> {
        EventId::new(text).unwrap()
    }

    #[test]
    fn single_lines_have_no_blank_line_after_them() {
        let mut batch = Batch::new();
        batch.retry(3000);
        batch.comment(b"hello");
        batch.comment(b"");
        batch.padding(5);
        assert_eq!(batch.as_bytes(), b"retry: 3000\n: hello\n:\n:   \n");
        assert_eq!(batch.events(), 0);
    }

    #[test]
    fn the_retry_of_an_unavailable_stream_is_not_lost_by_clients_that_read_blocks() {
        let mut batch = Batch::new();
        batch.come_again(Unavailable::Full, 3000);
        let expected = "event: unavailable\ndata: {\"reason\":\"too many subscribers\"}\n\
                        retry: 3000\n\n";
        assert_eq!(batch.as_bytes(), expected.as_bytes());
        assert_eq!(batch.events(), 1);
    }

    #[test]
    fn the_end_of_access_is_an_event_with_a_time_to_reconnect() {
        let mut batch = Batch::new();
        batch.expired(Duration::from_millis(12_345), 20_000);
        let expected = "event: expired\ndata: {\"ends_in_ms\":12345}\nretry: 20000\n\n";
        assert_eq!(batch.as_bytes(), expected.as_bytes());
        assert_eq!(batch.events(), 1);
    }

    #[test]
    fn a_batch_is_cut_between_two_events() {
        let mut batch = Batch::new();
        for (number, data) in [("1", "a"), ("2", "id: 3\nid: 2"), ("3", "c")] {
            batch.event(&Event {
                id: Some(id(number)),
                name: None,
                data: data.as_bytes(),
            });
        }
        assert!(!batch.cut_after(&id("4")));
        assert!(batch.cut_after(&id("2")));
        let expected = "id: 1\ndata: a\n\nid: 2\ndata: id: 3\ndata: id: 2\n\n";
        assert_eq!(batch.as_bytes(), expected.as_bytes());
        assert_eq!(batch.events(), 2);
        assert!(batch.ends_at(&id("2")));
    }

    #[test]
    fn a_batch_without_bytes_is_full_when_its_turn_has_cost_enough() {
        let mut batch = Batch::new();
        batch.spend(Batch::WORK_MAX - 1);
        assert!(!batch.is_full());
        batch.spend(1);
        assert!(batch.is_full() && batch.is_empty());
        batch.begin_turn();
        assert!(!batch.is_full());
        batch.spend(u64::MAX);
        batch.spend(u64::MAX);
        assert!(batch.is_full());
    }

    #[test]
    fn positions_and_heartbeats_that_are_cut_off_do_not_count_as_events() {
        let mut batch = Batch::new();
        let event = |number| Event {
            id: Some(id(number)),
            name: None,
            data: b"a",
        };
        batch.event(&event("1"));
        batch.event(&event("2"));
        batch.place(&id("3"));
        batch.heartbeat(Duration::from_secs(1));
        assert!(batch.cut_after(&id("1")));
        assert_eq!(batch.events(), 1);
    }

    #[test]
    fn ids_that_are_given_a_prefix_are_known_with_it() {
        let mut batch = Batch::new();
        let event = |number| Event {
            id: Some(id(number)),
            name: None,
            data: b"a",
        };
        batch.prefix_ids(Some("s.".into()));
        batch.event(&event("1"));
        assert!(batch.ends_at(&id("s.1")));
        batch.place(&id("3"));
        assert!(batch.ends_at(&id("s.3")));
        batch.prefix_ids(None);
        batch.event(&event("2"));
        let place = "id: s.3\nevent: place\ndata: {}\n\n";
        let expected = format!("id: s.1\ndata: a\n\n{place}id: 2\ndata: a\n\n");
        assert_eq!(batch.as_bytes(), expected.as_bytes());
    }

    #[test]
    fn the_end_of_a_stream_has_an_empty_data_line() {
        let mut batch = Batch::new();
        batch.close(Some(id("end")));
        assert_eq!(batch.as_bytes(), b"id: end\nevent: close\ndata:\n\n");
    }

    #[test]
    fn the_last_id_is_known_before_and_after_sending() {
        let mut batch = Batch::new();
        batch.event(&Event {
            id: Some(id("1")),
            name: None,
            data: b"",
        });
        batch.place(&id("2"));
        batch.comment(b"x");
        assert!(batch.ends_at(&id("2")) && !batch.ends_at(&id("1")));
        batch.clear();
        assert!(batch.ends_at(&id("2")));
    }
}
