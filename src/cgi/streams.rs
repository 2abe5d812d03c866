//! The streams of a connection of several, as the settings file beside the program says.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::program::Given;
use crate::request::{NamedStream, Request, SettingError, Settings};
use crate::source::Now;
use crate::store::key_file::{AccessError, KeyFiles, selecting};

/// Chooses the streams of a request.
///
/// # Errors
/// When a stream has no section, or a wrong one, and when it cannot be decided who may read.
pub(super) fn select(
    given: &Given<'_>,
    settings: &Settings,
    request: &mut Request,
    now: Now,
) -> Result<(), AccessError> {
    if settings.streams.is_empty() {
        // Opening it says so.
        return Ok(());
    }
    let asked = request.query.streams.names(&settings.streams);
    let asked = asked.unwrap_or_default().to_vec();
    let mut streams = BTreeMap::new();
    for name in &settings.streams {
        let Some(file) = given.file else {
            let remedy = format!(
                "there is no settings file; write [stream {name}] into .htsse beside this program"
            );
            let error = SettingError::new("SSE_STREAMS", name.as_bytes(), remedy);
            return Err(AccessError::Setting(error));
        };
        if asked.contains(name) {
            let read = NamedStream::read(file, name, given.environment);
            let (stream, _) =
                read.map_err(|problem| AccessError::Setting(SettingError::whole(problem)))?;
            streams.insert(name.clone(), Rc::new(stream));
        }
    }
    let named = |name: &str| streams.get(name).cloned();
    let key_files = KeyFiles::default();
    let asker = match given.has_client {
        true => selecting::Asker::ClientAtLocation,
        false => selecting::Asker::Terminal,
    };
    selecting::select(&key_files, given.meta, settings, request, named, asker, now)
}
