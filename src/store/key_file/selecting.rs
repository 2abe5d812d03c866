//! Which of several streams a request gets: those that exist and that its client may read.

use std::rc::Rc;

use super::{AccessError, KeyFiles};
use crate::request::{
    AccessSettings, Admission, Chosen, MetaVariables, Method, NamedStream, Purpose, Request,
    Selection, Settings,
};
use crate::source::Now;

/// Who asks for streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A user, whose access is not checked.
    Terminal,
    /// A client, and `SCRIPT_NAME` is the path of the location.
    ClientAtLocation,
    /// A client, and `SCRIPT_NAME` may be the whole path.
    Client,
}

/// Decides about each stream that a request asks for at a location of several. `named` finds a
/// stream by its name.
///
/// A stream is authorised as if it were below the request's path, by the keys of its own section or
/// else those of the location. The access of the connection ends with the first one that ends.
/// A path that may be one below the location gets nothing.
///
/// # Errors
/// When it cannot be decided.
pub(crate) fn select(
    key_files: &KeyFiles,
    meta: &MetaVariables,
    settings: &Settings,
    request: &mut Request,
    named: impl Fn(&str) -> Option<Rc<NamedStream>>,
    asker: Asker,
    now: Now,
) -> Result<(), AccessError> {
    let is_checked = asker != Asker::Terminal && request.method != Method::Options;
    let grants = |access: &AccessSettings| match is_checked {
        true => key_files.grants(meta, access, Purpose::Read, now),
        false => Ok(None),
    };
    let location = location(meta).filter(|_| asker == Asker::ClientAtLocation);
    let of_location = grants(&settings.access)?;
    let mut admission: Option<Admission> = None;
    let selection = Selection::of(&request.query.streams, &settings.streams, |name| {
        let is_here = settings.streams.iter().any(|own| own == name);
        let stream = is_here.then(|| named(name)).flatten();
        let own = stream.as_ref().map(|stream| &stream.settings.access);
        let own = own
            .filter(|own| own.is_required())
            .map(grants)
            .transpose()?;
        match own.as_ref().unwrap_or(&of_location).as_ref().map(|grants| {
            let is_below = grants.may_be_below(&settings.streams, location);
            (!is_below).then(|| grants.admit(Some(name)))
        }) {
            None => {}
            Some(Some(Ok(admitted))) => {
                let is_sooner = |own: &Admission| admitted.until_unix_s < own.until_unix_s;
                if stream.is_some() && admission.as_ref().is_none_or(is_sooner) {
                    admission = Some(admitted);
                }
            }
            Some(None | Some(Err(_))) => return Ok(Chosen::Refused),
        }
        Ok(stream.map_or(Chosen::Unknown, Chosen::Served))
    })?;
    request.admission = admission;
    request.selection = Some(Rc::new(selection));
    Ok(())
}

/// The path of the location, if the request names nothing below it.
fn location(meta: &MetaVariables) -> Option<&[u8]> {
    let value = |name| meta.get(name).last().filter(|value| !value.is_empty());
    value("SCRIPT_NAME").filter(|_| value("PATH_INFO").is_none())
}
