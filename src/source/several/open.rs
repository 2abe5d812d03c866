//! Opens the streams of a selection, each at its position in the client's id.

use std::rc::Rc;

use super::member::Member;
use super::places::{Packing, Places};
use super::relay::Relay;
use super::{AllChanges, Several};
use crate::event::{CompositeId, Gap, Reason, Tag, Unavailable};
use crate::request::{
    Absent, Format, LastId, NamedStream, NoneServed, Query, Request, Selection, SettingError,
    Settings,
};
use crate::source::{Host, Now, OpenError, Opened, Opening, Stream, redis, tail};

/// The kinds of streams that can be members.
type Kinds = &'static [&'static Stream];

const ANY: Kinds = &[&tail::STREAM, &redis::STREAM];
const FILES: Kinds = &[&tail::STREAM];

pub(super) fn of_any(opening: &Opening<'_>) -> Result<Opened, OpenError> {
    open(opening, ANY)
}

pub(super) fn of_files(opening: &Opening<'_>) -> Result<Opened, OpenError> {
    open(opening, FILES)
}

pub(super) fn key_of_any(_: &Settings, request: &Request) -> Option<Vec<u8>> {
    key(request, ANY)
}

pub(super) fn key_of_files(_: &Settings, request: &Request) -> Option<Vec<u8>> {
    key(request, FILES)
}

/// Why a member could not be opened.
pub(super) struct Failure {
    pub(super) reason: Unavailable,
    error: OpenError,
}

/// Checks that streams can share a connection.
///
/// # Errors
/// The setting that prevents it.
pub fn check(streams: &[Rc<NamedStream>]) -> Result<(), SettingError> {
    check_among(streams, ANY)
}

/// The same for a program that serves files only.
///
/// # Errors
/// The setting that is wrong.
pub fn check_files(streams: &[Rc<NamedStream>]) -> Result<(), SettingError> {
    check_among(streams, FILES)
}

fn check_among(streams: &[Rc<NamedStream>], kinds: Kinds) -> Result<(), SettingError> {
    for named in streams {
        kind_of(named, kinds)?;
    }
    if fits(streams) {
        return Ok(());
    }
    let names: Vec<&str> = streams.iter().map(|named| &named.name[..]).collect();
    let remedy = "too many streams for one connection; write 13 files or 19 Redis Streams at most, \
                  and the others into another location";
    let value = names.join(" ");
    Err(SettingError::new("SSE_STREAMS", value.as_bytes(), remedy))
}

/// Whether the positions of these streams fit into one id.
fn fits(streams: &[Rc<NamedStream>]) -> bool {
    let chars = streams.iter().map(|named| packing_of(named).chars());
    chars.sum::<usize>() < CompositeId::MAX_CHARS
}

fn kind_of(named: &NamedStream, kinds: Kinds) -> Result<&'static Stream, SettingError> {
    let found = kinds.iter().find(|kind| kind.name == named.kind);
    found.copied().ok_or_else(|| {
        let can = kinds.iter().map(|kind| kind.name).collect::<Vec<_>>();
        let remedy = format!(
            "[stream {}]: it cannot be one of several streams here, for it has no position that \
             fits into their id; write {}, or give it a location of its own",
            named.name,
            can.join(" or ")
        );
        SettingError::new("SSE_STREAM", named.kind.as_bytes(), remedy)
    })
}

fn packing_of(named: &NamedStream) -> Packing {
    match (&named.kind[..], named.settings.format) {
        ("redis", _) => Packing::Redis,
        (_, Some(Format::State)) => Packing::State,
        _ => Packing::File,
    }
}

/// What two subscribers must have in common: the set of streams, and how they are labelled.
fn key(request: &Request, kinds: Kinds) -> Option<Vec<u8>> {
    let selection = request.selection.as_deref()?;
    let request = member_s(request, LastId::None);
    let mut key = vec![selection.labelling as u8];
    let mut add = |bytes: &[u8]| {
        key.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        key.extend_from_slice(bytes);
    };
    for named in &selection.streams {
        let stream = kind_of(named, kinds).ok()?;
        add(named.name.as_bytes());
        add(&stream.share_key(&named.settings, &request)?);
    }
    Some(key)
}

/// The request as one member sees it.
fn member_s(request: &Request, last_id: LastId) -> Request {
    Request {
        last_id,
        query: Query::default(),
        path_info: None,
        selection: None,
        ..request.clone()
    }
}

/// Opens a member. Of one that `continues`, whose client has been connected, `SSE_REPLAY` does not
/// limit how far it may be behind.
pub(super) fn open_member(
    stream: &'static Stream,
    named: &NamedStream,
    last_id: LastId,
    continues: bool,
    request: &Request,
    now: Now,
    host: &Rc<dyn Host>,
) -> Result<Opened, Failure> {
    let continued = continues.then(|| Settings {
        replay_bytes: u64::MAX,
        absent: Absent::Awaited,
        ..named.settings.clone()
    });
    let opened = (stream.open)(&Opening {
        settings: continued.as_ref().unwrap_or(&named.settings),
        request: &member_s(request, last_id),
        now,
        host,
        live: None,
    });
    opened.map_err(|error| {
        host.warn(&format!("[stream {}]: {error}", named.name));
        Failure {
            reason: Unavailable::of_stream(stream.name),
            error,
        }
    })
}

fn open(opening: &Opening<'_>, kinds: Kinds) -> Result<Opened, OpenError> {
    let selection = selection_of(opening)?;
    check_among(&selection.streams, kinds).map_err(|error| match fits(&selection.streams) {
        true => OpenError::Setting(error),
        false => OpenError::BadQuery,
    })?;
    let tags = selection.streams.iter().map(|named| Tag::of(&named.name));
    let mut places = Places::new(tags);
    let (given, gap) = match &opening.request.last_id {
        LastId::None => (None, None),
        LastId::Malformed => (None, Some(Gap::new(Reason::BadId))),
        LastId::Given(id) => match places.read(id) {
            Some(positions) => (Some(positions), None),
            None => (None, Some(Gap::new(Reason::BadId))),
        },
    };
    let mut members = Vec::new();
    let mut failures = Vec::new();
    for (number, named) in selection.streams.iter().enumerate() {
        let stream = kind_of(named, kinds)?;
        let packing = packing_of(named);
        let position = given.as_ref().and_then(|positions| positions[number]);
        let last_id = match position.map(|position| packing.unpack(position)) {
            None => LastId::None,
            Some(Some(id)) => LastId::Given(id),
            // Its stream was of another kind.
            Some(None) => LastId::Malformed,
        };
        let is_given = matches!(last_id, LastId::Given(_));
        if let Some(position) = position.filter(|_| is_given) {
            // It is of an id, so it fits.
            let _ = places.set(number, position);
        }
        let relay = Relay::new(&named.name, selection.labelling);
        let mut member = Member::new(Rc::clone(named), stream, packing, relay);
        let opened = open_member(
            stream,
            named,
            last_id,
            selection.continues,
            opening.request,
            opening.now,
            opening.host,
        );
        match opened {
            Ok(opened) => member.begin(Ok(opened), opening.now),
            Err(failure) => {
                member.begin(Err(&failure), opening.now);
                failures.push(failure);
            }
        }
        members.push(member);
    }
    let failed = failures.len();
    if let Some(first) = (failures.into_iter().next()).filter(|_| failed == members.len()) {
        return Err(first.error);
    }
    if members.iter().all(Member::is_closed) {
        return Ok(Opened::Finished);
    }
    let source = Several {
        changes: Rc::new(AllChanges::of(&members)),
        members,
        places,
        untold: selection.unavailable.clone(),
        labelling: selection.labelling,
        target: None,
        first: 0,
        request: member_s(opening.request, LastId::None),
        host: Rc::clone(opening.host),
    };
    Ok(Opened::Stream(Box::new(source), gap))
}

/// The streams to serve.
fn selection_of<'o>(opening: &Opening<'o>) -> Result<&'o Selection, OpenError> {
    let Some(selection) = opening.request.selection.as_deref() else {
        let remedy = "not set; write the names of the streams, and the settings of each into \
                      [stream NAME] of the settings file";
        return Err(SettingError::new("SSE_STREAMS", b"", remedy).into());
    };
    match selection.none {
        None => Ok(selection),
        Some(NoneServed::BadQuery) => Err(OpenError::BadQuery),
        Some(NoneServed::Forbidden) => Err(OpenError::Forbidden),
        Some(NoneServed::NotFound) => Err(OpenError::NotFound),
    }
}
