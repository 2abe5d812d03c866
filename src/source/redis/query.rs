//! The commands that read a stream, and their replies.

use super::entry::Field;
use super::id::StreamId;
use super::resp::{Item, Malformed, Reader, command};
use super::resume::Snapshot;
use crate::event::EventId;

/// A question about a stream. Its answers are of one moment: see [`Together`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Query {
    /// Whether there is an entry of this id, and at most so many entries after it.
    Resume(StreamId, usize),
    /// At most so many entries after a position, and whether there is an entry at the position.
    After(StreamId, usize),
    /// At most so many entries up to a position, the last one first.
    Before(StreamId, usize),
}

/// How the commands of a question are of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Together {
    /// In a transaction. An engine that has reached its limit of memory refuses it.
    Transaction,
    /// One after the other, with the stream's figures first and last: they must be equal.
    Compared,
}

/// The answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// `None`: there is no such key.
    pub(super) stream: Option<Snapshot>,
    /// Whether the id in the query is that of an entry.
    pub(super) is_entry: bool,
    /// Of [`Query::Resume`]: the entry before it.
    pub(super) before: Option<StreamId>,
    /// The entries.
    pub(super) page: Page,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Refused {
    /// The engine's error, such as `WRONGTYPE …`.
    Error(String),
    /// It is no answer.
    Malformed(Malformed),
    /// The engine accepts no transaction: it has reached its limit of memory, or a cluster is
    /// moving the key to another node.
    Full,
    /// The stream has changed between two commands.
    Changed,
}

impl From<Malformed> for Refused {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

/// Entries, in the bytes that were received.
#[derive(Debug, Default)]
pub(super) struct Page {
    bytes: Vec<u8>,
    at: usize,
    left: usize,
}

impl Query {
    /// The commands, and the number of their replies.
    pub(super) fn commands(self, key: &[u8], together: Together) -> (Vec<u8>, usize) {
        let mut out = Vec::new();
        let mut replies = 0;
        let mut add = |words: &[&[u8]]| {
            command(words, &mut out);
            replies += 1;
        };
        let text = |id: StreamId| id.to_string().into_bytes();
        let number = |count: usize| count.to_string().into_bytes();
        if together == Together::Transaction {
            add(&[b"MULTI"]);
        }
        add(&[b"XINFO", b"STREAM", key]);
        match self {
            Self::Resume(id, count) => {
                let (own, before, after) = (text(id), text(id.previous()), text(id.next()));
                add(&[b"XRANGE", key, &own, &own]);
                add(&[b"XREVRANGE", key, &before, b"-", b"COUNT", b"1"]);
                add(&[b"XRANGE", key, &after, b"+", b"COUNT", &number(count)]);
            }
            Self::After(id, count) => {
                let (own, after) = (text(id), text(id.next()));
                add(&[b"XRANGE", key, &own, &own]);
                add(&[b"XRANGE", key, &after, b"+", b"COUNT", &number(count)]);
            }
            Self::Before(id, count) => {
                add(&[b"XREVRANGE", key, &text(id), b"-", b"COUNT", &number(count)]);
            }
        }
        match together {
            Together::Transaction => add(&[b"EXEC"]),
            Together::Compared => add(&[b"XINFO", b"STREAM", key]),
        }
        (out, replies)
    }

    /// Reads the replies.
    pub(super) fn answer(self, bytes: Vec<u8>, together: Together) -> Result<Answer, Refused> {
        let mut reader = Reader::new(&bytes);
        if together == Together::Transaction {
            self.executed(&mut reader)?;
        }
        let stream = snapshot(&mut reader)?;
        let (mut is_entry, mut before) = (false, None);
        if let Self::Resume(..) | Self::After(..) = self {
            is_entry = first_id(&mut reader)?.is_some();
        }
        if let Self::Resume(..) = self {
            before = first_id(&mut reader)?;
        }
        let left = entries(&mut reader)?;
        let at = reader.place();
        if together == Together::Compared {
            for _ in 0..left {
                reader.skip()?;
            }
            if snapshot(&mut reader)? != stream {
                return Err(Refused::Changed);
            }
        }
        Ok(Answer {
            stream,
            is_entry,
            before,
            page: Page { bytes, at, left },
        })
    }

    /// Reads the replies up to the first one of the transaction itself.
    fn executed(self, reader: &mut Reader<'_>) -> Result<(), Refused> {
        let queued = match self {
            Self::Resume(..) => 5,
            Self::After(..) => 4,
            Self::Before(..) => 3,
        };
        for _ in 0..queued {
            match reader.item()? {
                Item::Error(text) if text.starts_with(b"OOM ") || text.starts_with(b"ASK ") => {
                    return Err(Refused::Full);
                }
                Item::Error(text) => return Err(refused(text)),
                _ => {}
            }
        }
        match reader.item()? {
            Item::Error(text) => Err(refused(text)),
            Item::Array(length) if length == queued - 1 => Ok(()),
            _ => Err(Refused::Error("the transaction was not executed".into())),
        }
    }
}

fn refused(text: &[u8]) -> Refused {
    Refused::Error(String::from_utf8_lossy(text).into_owned())
}

/// The reply of XINFO STREAM; `None` if there is no such key.
fn snapshot(reader: &mut Reader<'_>) -> Result<Option<Snapshot>, Refused> {
    let length = match reader.item()? {
        Item::Error(text) if text.starts_with(b"ERR no such key") => return Ok(None),
        Item::Error(text) => return Err(refused(text)),
        Item::Array(length) => length,
        _ => return Err(Refused::Error("XINFO STREAM has another form".into())),
    };
    let mut stream = Snapshot::default();
    for _ in 0..length / 2 {
        match reader.string()? {
            b"length" => stream.length = number(reader)?,
            b"max-deleted-entry-id" => stream.max_deleted = StreamId::from_bytes(reader.string()?),
            b"entries-added" => stream.entries_added = Some(number(reader)?),
            b"last-generated-id" => {
                let id = StreamId::from_bytes(reader.string()?);
                stream.last_generated = id.ok_or_else(not_an_id)?;
            }
            b"first-entry" => match reader.item()? {
                Item::Array(2) => {
                    let id = StreamId::from_bytes(reader.string()?);
                    stream.first = Some(id.ok_or_else(not_an_id)?);
                    reader.skip()?;
                }
                _ => stream.first = None,
            },
            _ => reader.skip()?,
        }
    }
    Ok(Some(stream))
}

fn number(reader: &mut Reader<'_>) -> Result<u64, Refused> {
    match reader.item()? {
        Item::Integer(number) => Ok(number.unsigned_abs()),
        _ => Err(Refused::Error("XINFO STREAM has another form".into())),
    }
}

fn not_an_id() -> Refused {
    Refused::Error("an id is not two numbers".into())
}

/// The number of entries that follow.
fn entries(reader: &mut Reader<'_>) -> Result<usize, Refused> {
    match reader.item()? {
        Item::Array(length) => Ok(length),
        Item::Nil => Ok(0),
        Item::Error(text) => Err(refused(text)),
        _ => Err(Refused::Error("a range has another form".into())),
    }
}

/// The id of the first entry of a range.
fn first_id(reader: &mut Reader<'_>) -> Result<Option<StreamId>, Refused> {
    let mut id = None;
    for _ in 0..entries(reader)? {
        reader.array()?;
        id = Some(StreamId::from_bytes(reader.string()?).ok_or_else(not_an_id)?);
        reader.skip()?;
    }
    Ok(id)
}

impl Page {
    /// How many entries have not been read.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Its size.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The id of the last entry that has not been read; `None` if there is none.
    pub(super) fn last(&self) -> Result<Option<StreamId>, Refused> {
        let mut reader = Reader::at(&self.bytes, self.at);
        for left in (1..=self.left).rev() {
            reader.array()?;
            if left == 1 {
                return Ok(Some(
                    StreamId::from_bytes(reader.string()?).ok_or_else(not_an_id)?,
                ));
            }
            reader.string()?;
            for _ in 0..reader.array()? {
                reader.string()?;
            }
        }
        Ok(None)
    }

    /// Passes the next entry to `read`: its id, also as an event's, and its fields. `None` at the
    /// end.
    pub(super) fn next<T>(
        &mut self,
        read: impl FnOnce(StreamId, EventId<'_>, &[Field<'_>]) -> T,
    ) -> Result<Option<T>, Refused> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut reader = Reader::at(&self.bytes, self.at);
        reader.array()?;
        let text = reader.string()?;
        let id = StreamId::from_bytes(text).ok_or_else(not_an_id)?;
        // Digits and a hyphen.
        let own = EventId::from_valid(text);
        let count = reader.array()? / 2;
        let result = match count {
            // Without an allocation.
            1 => read(id, own, &[field(&mut reader)?]),
            2 => read(id, own, &[field(&mut reader)?, field(&mut reader)?]),
            3 => {
                let fields = [(); 3].map(|()| field(&mut reader));
                let [one, two, three] = fields;
                read(id, own, &[one?, two?, three?])
            }
            _ => {
                let mut fields = Vec::new();
                for _ in 0..count {
                    fields.push(field(&mut reader)?);
                }
                read(id, own, &fields)
            }
        };
        self.at = reader.place();
        self.left -= 1;
        Ok(Some(result))
    }
}

fn field<'a>(reader: &mut Reader<'a>) -> Result<Field<'a>, Malformed> {
    Ok((reader.string()?, reader.string()?))
}

/// A key, for messages.
pub(super) fn shown(key: &[u8]) -> String {
    format!("the stream {}", key.escape_ascii())
}

/// What the administrator can do about an error of the engine.
pub(super) fn remedy(text: &str) -> &'static str {
    match text.split(' ').next().unwrap_or_default() {
        "WRONGTYPE" => "the key is not a stream; name another, or remove it",
        "NOAUTH" | "WRONGPASS" => "set SSE_REDIS_USER and SSE_REDIS_PASSWORD_FILE",
        "NOPERM" => "let the user run the commands that docs/many-machines.md lists, on this key",
        "LOADING" | "MASTERDOWN" | "TRYAGAIN" | "CLUSTERDOWN" | "BUSY" => {
            "clients are asked to come again"
        }
        _ => "clients are asked to come again; see the log of the engine",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Redis 7.0 replies for a stream with the entries 5-0 and 6-0.
    const XINFO: &str = "*20\r\n$6\r\nlength\r\n:2\r\n$15\r\nradix-tree-keys\r\n:1\r\n\
        $16\r\nradix-tree-nodes\r\n:2\r\n$17\r\nlast-generated-id\r\n$3\r\n6-0\r\n\
        $20\r\nmax-deleted-entry-id\r\n$3\r\n0-0\r\n$13\r\nentries-added\r\n:9\r\n\
        $23\r\nrecorded-first-entry-id\r\n$3\r\n5-0\r\n$6\r\ngroups\r\n:0\r\n\
        $11\r\nfirst-entry\r\n*2\r\n$3\r\n5-0\r\n*2\r\n$4\r\ndata\r\n$1\r\na\r\n\
        $10\r\nlast-entry\r\n*2\r\n$3\r\n6-0\r\n*2\r\n$4\r\ndata\r\n$1\r\nb\r\n";

    fn id(text: &str) -> StreamId {
        StreamId::parse(text).unwrap()
    }

    #[test]
    fn a_transaction_is_answered_as_a_whole() {
        let query = Query::After(id("5-0"), 10);
        let (commands, replies) = query.commands(b"k", Together::Transaction);
        assert_eq!(replies, 5);
        let text = String::from_utf8(commands).unwrap();
        assert!(
            text.starts_with("*1\r\n$5\r\nMULTI\r\n*3\r\n$5\r\nXINFO\r\n"),
            "{text}"
        );
        assert!(text.contains("$3\r\n5-1\r\n$1\r\n+\r\n"), "{text}");
        let wire = format!(
            "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n{XINFO}*0\r\n\
             *1\r\n*2\r\n$3\r\n6-0\r\n*2\r\n$4\r\ndata\r\n$1\r\nb\r\n"
        );
        let mut answer = query
            .answer(wire.into_bytes(), Together::Transaction)
            .unwrap();
        let expected = Snapshot {
            length: 2,
            last_generated: id("6-0"),
            entries_added: Some(9),
            max_deleted: Some(StreamId::START),
            first: Some(id("5-0")),
        };
        assert_eq!(answer.stream, Some(expected));
        assert_eq!(answer.page.last().unwrap(), Some(id("6-0")));
        let read = answer.page.next(|id, _, fields| (id, fields[0].1.to_vec()));
        assert_eq!(read.unwrap(), Some((id("6-0"), b"b".to_vec())));
        assert_eq!(answer.page.next(|_, _, _| ()).unwrap(), None);
    }

    #[test]
    fn a_resume_finds_the_id_and_the_entry_before_it() {
        let query = Query::Resume(id("6-0"), 1);
        assert_eq!(query.commands(b"k", Together::Transaction).1, 6);
        let entry = |id: &str| format!("*1\r\n*2\r\n$3\r\n{id}\r\n*2\r\n$1\r\nf\r\n$0\r\n\r\n");
        let wire = format!(
            "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*4\r\n{XINFO}{}{}*0\r\n",
            entry("6-0"),
            entry("5-0")
        );
        let answer = query
            .answer(wire.into_bytes(), Together::Transaction)
            .unwrap();
        assert!(answer.is_entry);
        assert_eq!(answer.before, Some(id("5-0")));
        assert_eq!(answer.page.left(), 0);
    }

    #[test]
    fn no_key_is_no_error_and_everything_else_is() {
        let query = Query::After(id("5-0"), 10);
        let queued = "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n";
        let wire = format!("{queued}*3\r\n-ERR no such key\r\n*0\r\n*0\r\n");
        assert_eq!(
            query
                .answer(wire.into_bytes(), Together::Transaction)
                .unwrap()
                .stream,
            None
        );
        for (wire, expected) in [
            (
                format!("{queued}*3\r\n-WRONGTYPE Operation\r\n-WRONGTYPE Operation\r\n"),
                "WRONGTYPE Operation",
            ),
            (
                "+OK\r\n-NOPERM no\r\n+QUEUED\r\n-EXECABORT x\r\n".into(),
                "NOPERM no",
            ),
            ("-LOADING x\r\n".into(), "LOADING x"),
        ] {
            match query.answer(wire.into_bytes(), Together::Transaction) {
                Err(Refused::Error(text)) => assert_eq!(text, expected),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(
            query.answer(
                format!("{queued}*3\r\n").into_bytes(),
                Together::Transaction
            ),
            Err(Refused::Malformed(_))
        ));
    }

    #[test]
    fn an_engine_that_is_full_is_asked_without_a_transaction() {
        let query = Query::After(id("5-0"), 10);
        let full = "+OK\r\n-OOM command not allowed\r\n-OOM x\r\n-OOM x\r\n-EXECABORT x\r\n";
        let refused = query.answer(full.into(), Together::Transaction);
        assert!(matches!(refused, Err(Refused::Full)), "{refused:?}");
        let (commands, replies) = query.commands(b"k", Together::Compared);
        assert_eq!(replies, 4);
        let text = String::from_utf8(commands).unwrap();
        assert!(!text.contains("MULTI"), "{text}");
        let entries = "*0\r\n*1\r\n*2\r\n$3\r\n6-0\r\n*2\r\n$4\r\ndata\r\n$1\r\nb\r\n";
        let wire = format!("{XINFO}{entries}{XINFO}");
        let answer = query.answer(wire.into_bytes(), Together::Compared).unwrap();
        assert_eq!(answer.page.left(), 1);
        let trimmed = XINFO.replacen(":2\r\n", ":1\r\n", 1);
        let wire = format!("{XINFO}{entries}{trimmed}");
        let refused = query.answer(wire.into_bytes(), Together::Compared);
        assert!(matches!(refused, Err(Refused::Changed)), "{refused:?}");
    }
}
