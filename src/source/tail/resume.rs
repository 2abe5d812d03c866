//! Opening a tail: where a client was, and which files lie between there and now.

use std::io;
use std::rc::Rc;

use super::anchor::{self, TailId};
use super::backlog::Allowance;
use super::cursor::Cursor;
use super::disk::DiskFile;
use super::line_ends::AnyLineEnd;
use super::past::{AlsoIn, Rotated, find, is_start, newest_compressed, start_after_past, start_id};
use super::records::Encoding;
use super::replaced::{EditedIf, is_edited};
use super::{Later, Tail, backlog};
use super::{newline, nuls};
use crate::event::{Batch, Gap, Reason};
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
    // Before the file is opened: what is listed is older than what is written to it from now on.
    let listed = super::past::all_siblings(&mut *followed.disk).ok();
    let current = followed.open()?;
    if current.is_none() && extra.missing == Missing::IsReported && extra.name.is_none() {
        followed.warn_of_missing();
    }
    let display = followed.display();
    let (point, bad_id) = resume_point(&opening.request.last_id, TailId::parse);
    check_encoding(settings)?;
    let host = Rc::clone(opening.host);
    let name = extra.name.map_or_else(|| followed.path(), str::to_owned);
    let lines = LineEncoding::new(settings, followed.format, move |problem| {
        host.warn(&format!("{name}: {problem}"));
    });
    let mut encoding = Encoding::new(lines, settings, filters).counting_all_but(extra.uncounted);
    match current.as_deref().and_then(marked_encoding) {
        Some(marked) if marked.has_lines() => encoding.set_encoding(marked),
        Some(_) => opening.host.warn(&format!(
            "{}: the file is UTF-16, which has no lines here; convert it with iconv, or set \
             SSE_FORMAT=state",
            followed.path()
        )),
        None => {}
    }
    if current.as_deref().is_some_and(reports_wrong_size) {
        encoding.warn(
            "its size is not that of its content, as in /proc and /sys, so lines that are added \
             cannot be told from a new content; set SSE_FORMAT=state",
        );
    }
    let mut tail = Tail::new(followed.disk, encoding, settings, opening.now);
    tail.flush = settings.flush;
    tail.listed = listed;
    let gap = match point {
        Some(id) => tail.resume(current, id, settings),
        None => tail.first_time(current, settings).map(|()| bad_id),
    };
    // Where the folder cannot be listed now, times and names must do.
    let _ = tail.note_siblings(opening.now);
    let gap = gap.map_err(|error| OpenError::Temporary(format!("read {display}: {error}")))?;
    Ok(Opened::Stream(Box::new(tail), gap))
}

/// Whether a file that reports to be empty holds something.
fn reports_wrong_size(file: &dyn DiskFile) -> bool {
    let is_empty = || file.stat().is_ok_and(|stat| stat.size_bytes == 0);
    is_empty() && file.read_at(&mut [0], 0).is_ok_and(|read| read > 0) && is_empty()
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
        filters.push(Filter::of_setting(text)?);
    }
    if opening.settings.query_filter == QueryFilter::Used {
        if let Some(text) = &opening.request.query.filter {
            let text = std::str::from_utf8(text).map_err(|_| OpenError::BadQuery)?;
            filters.push(Filter::parse_asked(text).map_err(|_| OpenError::BadQuery)?);
        }
    }
    Ok(filters)
}

/// The search for the last records of a file, for a client that comes for the first time.
pub(super) struct LastRecords {
    search: backlog::Search,
    file: Rc<dyn DiskFile>,
    /// The place at the end of what is searched, which tells whether the file is still the
    /// same afterwards; `None` where it was truncated before.
    content: Option<TailId>,
    /// How many records, and how far back.
    bounds: (usize, u64),
}

impl LastRecords {
    fn in_file(
        file: Rc<dyn DiskFile>,
        bounds: (usize, u64),
        max_line_bytes: usize,
    ) -> io::Result<Self> {
        let end = file.stat()?.size_bytes;
        Ok(Self {
            search: backlog::Search::new(end, bounds.0, bounds.1, max_line_bytes),
            content: anchor::id_at(&*file, end)?,
            file,
            bounds,
        })
    }
}

fn is_place_in(file: &dyn DiskFile, id: TailId) -> bool {
    anchor::matches(file, id).unwrap_or(false)
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
        let bounds = (settings.backlog_records, settings.replay_bytes);
        self.search = Some(LastRecords::in_file(file, bounds, self.max_line_bytes)?);
        // Opening happens before others get their turns: an expression that a client wrote
        // goes on in turns of its own.
        let work = match self.encoding.is_costly() {
            true => Batch::WORK_MAX / 4,
            false => Batch::WORK_MAX,
        };
        self.search_within(Allowance {
            bytes: SEARCH_BYTES,
            work,
        })?;
        Ok(())
    }

    /// Searches on for the first of the last records, as far as one poll may. Tells
    /// whether it is found.
    pub(super) fn search_on(&mut self) -> io::Result<bool> {
        self.search_within(Allowance::of_bytes(SEARCH_BYTES))
    }

    fn search_within(&mut self, most: Allowance) -> io::Result<bool> {
        let Some(last) = &mut self.search else {
            return Ok(true);
        };
        let encoding = &self.encoding;
        let found = last
            .search
            .run(&*last.file, most, |line, work| encoding.counts(line, work))?;
        let Some(start) = found else {
            return Ok(false);
        };
        let (file, content, bounds) = (Rc::clone(&last.file), last.content, last.bounds);
        let cursor = self.cursor_at_line(&file, start)?;
        // Truncated meanwhile, the file has no such place, or another one.
        if cursor.is_none() || !content.is_some_and(|id| is_place_in(&*file, id)) {
            let last = LastRecords::in_file(file, bounds, self.max_line_bytes)?;
            self.search = Some(last);
            return Ok(false);
        }
        self.active = cursor;
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
        let own = current.as_ref().and_then(|file| file.stat().ok());
        if let Some(file) = &current {
            if let Some(cursor) = place_in_current(file, id, settings)? {
                let twin = find(&mut *self.disk, id, own, AlsoIn::Current)?;
                let has_more = own.is_some_and(|own| own.size_bytes > id.offset_bytes);
                let doubt = twin.as_ref().map(|_| Gap::new(Reason::Rotated));
                match twin {
                    // The older file is taken for the one that was read: nothing is lost then.
                    Some(twin) if has_more || twin.ends_at(id) => self.go_on(twin, current, id)?,
                    // There is nothing new, or no other file: it makes no difference.
                    _ => self.active = Some(cursor),
                }
                return Ok(self.within_replay(settings.replay_bytes)?.or(doubt));
            }
        }
        let unbound = start_after_past(&mut *self.disk, own)?;
        self.start = own.map_or(unbound, |own| unbound.bound_to(&own));
        // Unbound: there was no file at that time, or the id is of a previous version.
        if id.offset_bytes == 0 && is_start(&mut *self.disk, own, id)? {
            // The client waited for the first line of what is there, or is to come.
            let start = self.start;
            self.active = current.map(|file| Cursor::at_start(file, start, max_line_bytes));
            return self.within_replay(settings.replay_bytes);
        }
        if let Some(rotated) = find(&mut *self.disk, id, own, AlsoIn::Nothing)? {
            let doubt = rotated.doubt.clone();
            self.go_on(rotated, current, id)?;
            return Ok(self.within_replay(settings.replay_bytes)?.or(doubt));
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

    /// Goes on at a place in a rotated file; `current` is read last.
    fn go_on(
        &mut self,
        rotated: Rotated,
        current: Option<Rc<dyn DiskFile>>,
        id: TailId,
    ) -> io::Result<()> {
        let Some(cursor) = rotated.cursor(id, self.max_line_bytes)? else {
            return Err(io::Error::other("being truncated at this moment"));
        };
        self.active = Some(cursor);
        rotated.older.iter().for_each(|stat| self.seen.add(*stat));
        self.later.extend(rotated.newer.into_iter().rev());
        let mut gap = rotated.gap;
        if let (Some(file), None, true) = (&current, &gap, self.later.is_empty()) {
            // An editor may have kept the old file under a name such as a rotation gives.
            let half = EditedIf::HalfAreInBoth;
            if is_edited(&*rotated.file, id.offset_bytes, &**file, half)? {
                gap = Some(Gap::new(Reason::Rotated));
            }
        }
        self.later.extend(current.map(|file| Later {
            gap,
            ..Later::at_once(file)
        }));
        Ok(())
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
            let (end, _) = nuls::trimmed_end(&**file, from + *size, TRIM_BYTES)?;
            *size = nuls::data_bytes(&**file, from, end)?;
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
                let place = nuls::place_after(&*file, (from, end), over.min(size))?;
                let start = backlog::line_start_from(&*file, place, end)?;
                skipped += start - from;
                let Some(cursor) = self.cursor_at_line(&file, start)? else {
                    return Err(io::Error::other("being truncated at this moment"));
                };
                self.active = Some(cursor);
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
    pub(super) fn cursor_at_line(
        &mut self,
        file: &Rc<dyn DiskFile>,
        offset: u64,
    ) -> io::Result<Option<Cursor>> {
        if offset == 0 {
            let own = file.stat()?;
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

/// A cursor at the place in the file that the path names, if `id` is one.
fn place_in_current(
    file: &Rc<dyn DiskFile>,
    id: TailId,
    settings: &Settings,
) -> io::Result<Option<Cursor>> {
    if id.offset_bytes == 0 || !anchor::matches(&**file, id)? {
        return Ok(None);
    }
    // An unfinished line is held back as long as its file is followed. A place in the
    // middle of one was given in another file, and a few bytes can be alike.
    let cursor = cursor_at(file, id, settings.max_line_bytes)?;
    Ok(cursor.filter(|cursor| settings.flush.is_some() || cursor.is_at_record_end()))
}

/// A cursor at a place that may be in the middle of a line: then its first part was a
/// record that had been cut, or the last line of a file that had gone quiet.
pub(super) fn cursor_at(
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
    let data = nuls::data_end(before);
    let is_after_hole = data == 0 || read - data >= nuls::RUN_BYTES;
    Ok(offset >= least && !is_after_hole && newline::first(before).is_none())
}
