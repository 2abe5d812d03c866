//! Opening a tail: where a client was, and which files lie between there and now.

use std::collections::HashSet;
use std::io;
use std::rc::Rc;

use super::anchor::{self, TailId};
use super::cursor::Cursor;
use super::disk::{Disk, DiskFile, Sibling};
use super::line_ends::AnyLineEnd;
use super::records::Encoding;
use super::siblings::{SIBLINGS_MAX, is_compressed, newest_first};
use super::{Later, Tail, backlog};
use super::{newline, nul};
use crate::event::{Gap, Reason};
use crate::request::{Filter, Format, LineEnd, QueryFilter, SettingError, Settings, TextEncoding};
use crate::source::followed::Followed;
use crate::source::lines::LineEncoding;
use crate::source::{OpenError, Opened, Opening, charset, resume_point, state};

/// How much is looked through at once for the last records: a regular expression takes
/// 25 ms for it, and in a responder all others wait so long.
const SEARCH_BYTES: u64 = 256 * 1024;

/// How far back NULs that were written at the end of a file are looked through at once.
const TRIM_BYTES: u64 = 256 << 20;

/// Opens the stream `tail`.
pub(super) fn open(opening: &Opening<'_>) -> Result<Opened, OpenError> {
    open_with(opening, Extra::default())
}

/// What a source that wraps a tail wants besides.
pub(in crate::source) struct Extra {
    /// One more condition on records.
    pub(in crate::source) filter: Option<Filter>,
    /// Which records do not count in a backlog.
    pub(in crate::source) uncounted: fn(&[u8]) -> bool,
    /// What the file is called in messages, where its path is a secret.
    pub(in crate::source) name: Option<&'static str>,
    /// Whether a missing file is reported to the administrator.
    pub(in crate::source) missing: Missing,
}

/// What a missing file means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Missing {
    /// Perhaps a wrong path.
    IsReported,
    /// It is made when there is something to write.
    IsUsual,
}

impl Default for Extra {
    fn default() -> Self {
        Self {
            filter: None,
            uncounted: |_| false,
            name: None,
            missing: Missing::IsReported,
        }
    }
}

/// Opens a tail for another source.
pub(in crate::source) fn open_with(
    opening: &Opening<'_>,
    extra: Extra,
) -> Result<Opened, OpenError> {
    let mut followed = Followed::of(opening)?;
    if followed.format == Format::State {
        return state::open(opening, followed);
    }
    let settings = opening.settings;
    let mut filters = filters(opening)?;
    filters.extend(extra.filter);
    if settings.line_end == LineEnd::Any {
        followed.disk = Box::new(AnyLineEnd(followed.disk));
    }
    let current = followed.open()?;
    if current.is_none() && extra.missing == Missing::IsReported && extra.name.is_none() {
        followed.warn_of_missing();
    }
    let display = followed.display();
    let (point, bad_id) = resume_point(&opening.request.last_id, TailId::parse);
    check_encoding(settings)?;
    let world = Rc::clone(opening.world);
    let name = extra.name.map_or_else(|| followed.path(), str::to_owned);
    let lines = LineEncoding::new(settings, followed.format, move |problem| {
        world.warn(&format!("{name}: {problem}"));
    });
    let mut encoding = Encoding::new(lines, settings, filters).counting_all_but(extra.uncounted);
    match current.as_deref().and_then(marked_encoding) {
        Some(marked) if marked.has_lines() => encoding.set_encoding(marked),
        Some(_) => opening.world.warn(&format!(
            "{}: the file is UTF-16, which has no lines here; convert it with iconv, or set \
             SSE_FORMAT=state",
            followed.path()
        )),
        None => {}
    }
    let mut tail = Tail::new(
        followed.disk,
        encoding,
        settings.max_line_bytes,
        opening.now,
    );
    tail.flush = settings.flush;
    let gap = match point {
        Some(id) => tail.resume(current, id, settings),
        None => tail.first_time(current, settings).map(|()| bad_id),
    };
    let gap = gap.map_err(|error| OpenError::Temporary(format!("read {display}: {error}")))?;
    Ok(Opened::Stream(Box::new(tail), gap))
}

/// Only in some encodings, a byte that looks like a line end is one.
fn check_encoding(settings: &Settings) -> Result<(), SettingError> {
    if settings.encoding.has_lines() {
        return Ok(());
    }
    let remedy = "for the format state only, since the follower splits lines at bytes; convert \
                  the file with iconv, or write utf-8 or latin1";
    Err(SettingError::new("SSE_ENCODING", b"utf-16", remedy))
}

fn marked_encoding(file: &dyn DiskFile) -> Option<TextEncoding> {
    let mut start = [0; 3];
    let read = anchor::read_full(file, &mut start, 0).ok()?;
    charset::of_mark(&start[..read])
}

/// The server's condition, and the client's on top where it is heard.
fn filters(opening: &Opening<'_>) -> Result<Vec<Filter>, OpenError> {
    let mut filters = Vec::new();
    if let Some(text) = &opening.settings.filter {
        filters.push(Filter::parse(text).map_err(|error| {
            let remedy = format!("{error}; write a text, or /.../ for a regular expression");
            SettingError::new("SSE_FILTER", text.as_bytes(), remedy)
        })?);
    }
    if opening.settings.query_filter == QueryFilter::Heard
        && let Some(text) = &opening.request.query.filter
    {
        let text = std::str::from_utf8(text).map_err(|_| OpenError::BadFilter)?;
        filters.push(Filter::parse_asked(text).map_err(|_| OpenError::BadFilter)?);
    }
    Ok(filters)
}

impl Tail {
    /// A client that comes for the first time gets the last records of the file.
    fn first_time(
        &mut self,
        current: Option<Rc<dyn DiskFile>>,
        settings: &Settings,
    ) -> io::Result<()> {
        let Some(file) = current else {
            self.start = start_id(&mut *self.disk, None)?;
            return Ok(());
        };
        let end = file.stat()?.size_bytes;
        let (records, reach_bytes) = (settings.backlog_records, settings.replay_bytes);
        let search = backlog::Search::new(end, records, reach_bytes, self.max_line_bytes);
        self.search = Some((search, file));
        self.search_on()?;
        Ok(())
    }

    /// Searches on for the first of the last records, as far as one poll may. Tells
    /// whether it is found.
    pub(super) fn search_on(&mut self) -> io::Result<bool> {
        let Some((search, file)) = &mut self.search else {
            return Ok(true);
        };
        let encoding = &self.encoding;
        let found = search.run(&**file, SEARCH_BYTES, |line| encoding.counts(line))?;
        let Some(start) = found else {
            return Ok(false);
        };
        let file = Rc::clone(file);
        self.active = self.cursor_at_line(&file, start)?;
        self.search = None;
        Ok(true)
    }

    /// A client that was here goes on where it was, or is told why it cannot.
    fn resume(
        &mut self,
        current: Option<Rc<dyn DiskFile>>,
        id: TailId,
        settings: &Settings,
    ) -> io::Result<Option<Gap>> {
        let max_line_bytes = self.max_line_bytes;
        if let Some(file) = &current
            && id.offset_bytes > 0
            && anchor::matches(&**file, id)?
        {
            let cursor = cursor_at(file, id, max_line_bytes)?;
            // An unfinished line is held back as long as its file is followed. A place in
            // the middle of one was given in another file, and a few bytes can be alike.
            let is_flushed = settings.flush.is_some();
            if is_flushed || cursor.as_ref().is_none_or(Cursor::is_at_record_end) {
                self.active = cursor;
                return self.within_replay(settings.replay_bytes);
            }
        }
        let own = current
            .as_ref()
            .and_then(|file| file.stat().ok())
            .map(|stat| stat.identity);
        self.start = start_id(&mut *self.disk, own)?;
        if id == self.start {
            // The client waited for the first line of what is there, or is to come.
            self.active = current.map(|file| Cursor::at_start(file, id, max_line_bytes));
            return self.within_replay(settings.replay_bytes);
        }
        if let Some(rotated) = find_rotated(&mut *self.disk, id, own)? {
            self.active = rotated.cursor(id, max_line_bytes)?;
            self.later.extend(rotated.newer.into_iter().rev());
            let gap = rotated.gap;
            self.later.extend(current.map(|file| Later { file, gap }));
            return self.within_replay(settings.replay_bytes);
        }
        let gap = Gap {
            file: newest_compressed(&mut *self.disk),
            ..Gap::new(Reason::UnknownId)
        };
        if let Some(file) = &current {
            let start = self.start;
            self.active = Some(Cursor::at_start(Rc::clone(file), start, max_line_bytes));
            // Where the file is too long to be replayed whole, the gap stays what it is.
            self.within_replay(settings.replay_bytes)?;
        }
        Ok(Some(gap))
    }

    /// Moves the place forward until no more than `replay_bytes` lie before the end of
    /// all files, and says so.
    fn within_replay(&mut self, replay_bytes: u64) -> io::Result<Option<Gap>> {
        let Some(active) = &self.active else {
            return Ok(None);
        };
        let mut sizes = Vec::with_capacity(1 + self.later.len());
        sizes.push(
            active
                .file()
                .stat()?
                .size_bytes
                .saturating_sub(active.offset()),
        );
        for later in &self.later {
            sizes.push(later.file.stat()?.size_bytes);
        }
        if sizes.iter().sum::<u64>() <= replay_bytes {
            return Ok(None);
        }
        // Only what is not in a hole is sent.
        let (active, from) = (Rc::clone(active.file()), active.offset());
        let files = std::iter::once((&active, from));
        let files = files.chain(self.later.iter().map(|later| (&later.file, 0)));
        for (size, (file, from)) in sizes.iter_mut().zip(files) {
            let (end, _) = nul::trimmed_end(&**file, from + *size, TRIM_BYTES)?;
            *size = nul::data_bytes(&**file, from, end)?;
        }
        let total: u64 = sizes.iter().sum();
        if total <= replay_bytes {
            return Ok(None);
        }
        let mut skipped = 0;
        let (mut file, mut from) = (active, from);
        for size in sizes {
            let over = total - skipped - replay_bytes.min(total - skipped);
            if over < size || self.later.is_empty() {
                let end = file.stat()?.size_bytes;
                let place = nul::place_after(&*file, (from, end), over.min(size))?;
                let start = backlog::line_start_from(&*file, place, end)?;
                skipped += start - from;
                self.active = self.cursor_at_line(&file, start)?;
                break;
            }
            skipped += size;
            if let Some(next) = self.later.pop_front() {
                file = next.file;
                from = 0;
            }
        }
        Ok(Some(Gap::of(Reason::Expired, skipped)))
    }

    /// A cursor at the start of a line, or, where a line was too long to look for its
    /// end, in the middle of one that is then left out.
    fn cursor_at_line(
        &mut self,
        file: &Rc<dyn DiskFile>,
        offset: u64,
    ) -> io::Result<Option<Cursor>> {
        if offset == 0 {
            let own = file.stat()?.identity;
            self.start = start_id(&mut *self.disk, Some(own))?;
            let cursor = Cursor::at_start(Rc::clone(file), self.start, self.max_line_bytes);
            return Ok(Some(cursor));
        }
        let cursor = Cursor::at(Rc::clone(file), offset, self.max_line_bytes)?;
        Ok(cursor.map(|cursor| match cursor.byte_before() {
            // (After a hole, a line begins.)
            None | Some(b'\n' | 0) => cursor,
            Some(_) => cursor.skip_rest_of_line(),
        }))
    }
}

/// A cursor at a place that may be in the middle of a line: then its first part was a
/// record that had been cut, or the last line of a file that had gone quiet.
fn cursor_at(
    file: &Rc<dyn DiskFile>,
    id: TailId,
    max_line_bytes: usize,
) -> io::Result<Option<Cursor>> {
    if id.offset_bytes == 0 {
        return Ok(Some(Cursor::at_start(Rc::clone(file), id, max_line_bytes)));
    }
    let Some(cursor) = Cursor::at(Rc::clone(file), id.offset_bytes, max_line_bytes)? else {
        return Ok(None);
    };
    let in_mid_line = cursor.byte_before().is_some_and(|byte| byte != b'\n');
    if in_mid_line && was_cut(&**file, id.offset_bytes, max_line_bytes)? {
        return Ok(Some(cursor.skip_rest_of_line()));
    }
    Ok(Some(cursor))
}

/// Whether the line that holds `offset` begins so far before it that a record was cut
/// here.
fn was_cut(file: &dyn DiskFile, offset: u64, max_line_bytes: usize) -> io::Result<bool> {
    // A cut goes back up to three bytes to the start of a character.
    let least = (max_line_bytes as u64).saturating_sub(3).max(1);
    let from = offset.saturating_sub(least);
    let mut before = vec![0; (offset - from) as usize];
    let read = anchor::read_full(file, &mut before, from)?;
    let before = &before[..read];
    // A place after a hole is the start of a line.
    let data = nul::data_end(before);
    let is_after_hole = data == 0 || read - data >= nul::RUN_BYTES;
    Ok(offset >= least && !is_after_hole && newline::first(before).is_none())
}

/// The rotated files, newest first, that are older than the one with the identity `own`.
///
/// # Errors
/// A chain is renamed file by file, and a listing in the middle of that can miss one or
/// show one twice: it is believed when two in a row agree.
fn past(disk: &mut dyn Disk, own: Option<(u64, u64)>) -> io::Result<Vec<Sibling>> {
    let before = all_siblings(disk)?;
    let mut past = all_siblings(disk)?;
    if !is_same(&before, &past) {
        return Err(rotating());
    }
    // Two names of one file are one file.
    let mut identities = HashSet::new();
    past.retain(|sibling| identities.insert(sibling.stat.identity));
    // Rotated between our opening it and now, a file is not its own past, and what has
    // come after it will be found by looking at the path again.
    let at = past.iter().position(|s| own == Some(s.stat.identity));
    past.drain(..at.map_or(0, |at| at + 1));
    past.truncate(SIBLINGS_MAX);
    Ok(past)
}

/// Whether two listings show the same files under the same names. One that is written to
/// meanwhile is still the same.
pub(super) fn is_same(one: &[Sibling], other: &[Sibling]) -> bool {
    let file = |s: &Sibling| (s.name.clone(), s.stat.identity);
    one.iter().map(file).eq(other.iter().map(file))
}

/// Opens a file that was listed; `None` when it cannot be read.
///
/// # Errors
/// When its name is another's by now.
fn open_listed(disk: &mut dyn Disk, sibling: &Sibling) -> io::Result<Option<Rc<dyn DiskFile>>> {
    match disk.open_sibling(&sibling.name) {
        Ok(file) if file.stat()?.identity == sibling.stat.identity => Ok(Some(file)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Ok(None),
        _ => Err(rotating()),
    }
}

fn rotating() -> io::Error {
    io::Error::other("being rotated at this moment")
}

/// Does what a rotation in the middle of it can spoil, again if it did.
fn unspoilt<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..ATTEMPTS_MAX {
        if let Ok(done) = attempt() {
            return Ok(done);
        }
    }
    attempt()
}

/// A rotation is over in a fraction of this. Whoever rotates for longer is not waited for.
const ATTEMPTS_MAX: usize = 64;

pub(super) fn all_siblings(disk: &mut dyn Disk) -> io::Result<Vec<Sibling>> {
    Ok(newest_first(disk.siblings()?))
}

/// That a rotated file cannot be read.
pub(super) fn lost(name: &str) -> Gap {
    Gap {
        file: Some(name.into()),
        ..Gap::new(Reason::Rotated)
    }
}

/// A rotated file that a client was reading, and those that are newer.
pub(super) struct Rotated {
    pub(super) file: Rc<dyn DiskFile>,
    /// Newest first.
    pub(super) newer: Vec<Later>,
    /// What to say after these, before the file that was not rotated.
    pub(super) gap: Option<Gap>,
}

impl Rotated {
    /// A cursor in the file at the place that it was found by.
    pub(super) fn cursor(&self, id: TailId, max_line_bytes: usize) -> io::Result<Option<Cursor>> {
        cursor_at(&self.file, id, max_line_bytes)
    }
}

/// The rotated file in which `id` is a place, tried from the newest of those that are
/// older than the one with the identity `own`, which is the file that is followed.
///
/// # Errors
/// When the files are being rotated all the time.
pub(super) fn find_rotated(
    disk: &mut dyn Disk,
    id: TailId,
    own: Option<(u64, u64)>,
) -> io::Result<Option<Rotated>> {
    unspoilt(|| find_in_past(disk, id, own))
}

fn find_in_past(
    disk: &mut dyn Disk,
    id: TailId,
    own: Option<(u64, u64)>,
) -> io::Result<Option<Rotated>> {
    let mut past = past(disk, own)?;
    // An empty file holds no place, and leaves nothing to anchor in.
    past.retain(|s| s.stat.size_bytes > 0);
    let mut newer: Vec<Later> = Vec::new();
    let mut gap = None;
    for (at, sibling) in past.iter().enumerate() {
        let opened = match is_compressed(&sibling.suffix) {
            true => None,
            false => open_listed(disk, sibling)?,
        };
        let Some(file) = opened else {
            let place = newer.last_mut().map_or(&mut gap, |later| &mut later.gap);
            *place = place.take().or_else(|| Some(lost(&sibling.name)));
            continue;
        };
        let is_it = match id.offset_bytes {
            0 => starts_at(disk, &past[at + 1..], id)?,
            _ => anchor::matches(&*file, id).is_ok_and(|same| same),
        };
        if is_it {
            return Ok(Some(Rotated { file, newer, gap }));
        }
        newer.push(Later::at_once(file));
    }
    Ok(None)
}

/// Whether `id` is the start of the file that came after all of `older`, newest first:
/// after the newest of them, or, where a gap was said, after the newest that can be read.
fn starts_at(disk: &mut dyn Disk, older: &[Sibling], id: TailId) -> io::Result<bool> {
    let mut starts_after = |predecessor: Option<&Sibling>| -> io::Result<bool> {
        let opened = match predecessor {
            Some(older) => open_listed(disk, older)?,
            None => None,
        };
        Ok(TailId::start_after(opened.as_deref()) == id)
    };
    if starts_after(older.first())? {
        return Ok(true);
    }
    match older.iter().find(|s| !is_compressed(&s.suffix)) {
        Some(readable) => starts_after(Some(readable)),
        None => Ok(false),
    }
}

/// The id of the start of the file with the identity `own`, or, without, of the file that
/// the path will name.
///
/// # Errors
/// As [`find_rotated`].
pub(super) fn start_id(disk: &mut dyn Disk, own: Option<(u64, u64)>) -> io::Result<TailId> {
    unspoilt(|| {
        let past = past(disk, own)?;
        let newest = match past.iter().find(|s| s.stat.size_bytes > 0) {
            Some(newest) => open_listed(disk, newest)?,
            None => None,
        };
        Ok(TailId::start_after(newest.as_deref()))
    })
}

/// The newest rotated file that may hold what is missing, but cannot be read.
pub(super) fn newest_compressed(disk: &mut dyn Disk) -> Option<String> {
    let siblings = all_siblings(disk).unwrap_or_default();
    { siblings.into_iter() }
        .take(SIBLINGS_MAX)
        .find(|s| is_compressed(&s.suffix))
        .map(|s| s.name)
}
