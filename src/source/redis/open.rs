//! Opens a stream of an engine as its settings and the request say.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::entry::EntryEncoding;
use super::{Address, Key, Redis, Search, State, StreamId, shown};
use crate::request::{BelowRoot, Filter, Format, QueryFilter, Request, SettingError, Settings};
use crate::source::lines::LineEncoding;
use crate::source::{Host, OpenError, Opened, Opening, explain, resume_point};

/// The longest key, and the longest file with a password, in bytes.
const TEXT_MAX_BYTES: usize = 1024;

/// The longest file with certificates, in bytes. A system's own has 0.2 MB.
const PEM_MAX_BYTES: usize = 1 << 20;

/// The key of a request.
///
/// # Errors
/// When the settings name none, or the name in the path is not permitted.
pub(crate) fn key_of(settings: &Settings, request: &Request) -> Result<Vec<u8>, OpenError> {
    let name = match (&settings.stream_key, &settings.stream_key_prefix) {
        (Some(_), Some(prefix)) => {
            let remedy = "SSE_STREAM_KEY is set as well; set one of them, and the other to nothing";
            let wrong = SettingError::new("SSE_STREAM_KEY_PREFIX", prefix.as_bytes(), remedy);
            return Err(wrong.into());
        }
        (Some(key), None) => key.as_bytes().to_vec(),
        (None, Some(prefix)) => {
            let asked = request.path_info.as_deref().unwrap_or_default();
            let below = BelowRoot::parse(asked, &settings.suffixes).ok_or(OpenError::NotFound)?;
            [
                prefix.as_bytes(),
                below.as_path().as_os_str().as_encoded_bytes(),
            ]
            .concat()
        }
        (None, None) => {
            let remedy = "not set; set SSE_STREAM_KEY to the key of the stream, or \
                          SSE_STREAM_KEY_PREFIX to what comes before the name in the path";
            return Err(SettingError::new("SSE_STREAM_KEY", b"", remedy).into());
        }
    };
    match name.len() {
        0..=TEXT_MAX_BYTES => Ok(name),
        _ => Err(OpenError::NotFound),
    }
}

/// The engine of a location.
///
/// # Errors
/// When the settings name none, or the password cannot be read.
pub(crate) fn engine_of(settings: &Settings, host: &dyn Host) -> Result<Address, SettingError> {
    let Some(text) = &settings.redis else {
        let remedy = "not set; set SSE_REDIS to the engine, such as redis://127.0.0.1:6379";
        return Err(SettingError::new("SSE_REDIS", b"", remedy));
    };
    // Its value may contain a password.
    let mut engine = Address::parse(text).map_err(|remedy| {
        SettingError::new("SSE_REDIS", b"", format!("not an address; {remedy}"))
    })?;
    if let Some(user) = &settings.redis_user {
        engine.user = Some(user.clone());
    }
    if let Some(path) = &settings.redis_password_file {
        let remedy = "name a file with the password that it can read";
        let setting = "SSE_REDIS_PASSWORD_FILE";
        let bytes = content(host, setting, path, TEXT_MAX_BYTES, remedy)?;
        let text = String::from_utf8(bytes).map_err(|_| {
            let value = path.as_os_str().as_encoded_bytes();
            SettingError::new(setting, value, "it is not UTF-8")
        })?;
        engine.password = Some(text.lines().next().unwrap_or_default().to_owned());
    }
    if let Some(tls) = &mut engine.tls {
        let read = |setting, path: &Option<PathBuf>, remedy| match path {
            Some(path) => content(host, setting, path, PEM_MAX_BYTES, remedy).map(Some),
            None => Ok(None),
        };
        let remedy = "name a file with certificates in PEM that it can read";
        tls.authority = read("SSE_REDIS_CA", &settings.redis_ca, remedy)?;
        let remedy = "name a file with a certificate and its private key in PEM that it can read";
        tls.own = read("SSE_REDIS_CERT", &settings.redis_cert, remedy)?;
    }
    Ok(engine)
}

/// The content of a file that a setting names.
fn content(
    host: &dyn Host,
    setting: &'static str,
    path: &Path,
    limit_bytes: usize,
    remedy: &str,
) -> Result<Vec<u8>, SettingError> {
    host.read(path, limit_bytes as u64).map_err(|error| {
        let text = explain(&error, &host.user(), remedy);
        SettingError::new(setting, path.as_os_str().as_encoded_bytes(), text)
    })
}

/// What two subscribers must have in common besides their settings.
pub(super) fn shared(settings: &Settings, request: &Request) -> Option<Vec<u8>> {
    let key = key_of(settings, request).unwrap_or_default();
    let filter = request.query.filter.as_deref();
    let filter = filter.filter(|_| settings.query_filter == QueryFilter::Used);
    let length = (key.len() as u64).to_le_bytes();
    Some([&length, key.as_slice(), filter.unwrap_or_default()].concat())
}

pub(super) fn filters(opening: &Opening<'_>) -> Result<Vec<Filter>, OpenError> {
    let mut filters = Vec::new();
    if let Some(text) = &opening.settings.filter {
        filters.push(Filter::parse(text).map_err(|error| {
            let remedy = format!("{error}; write a text, or /.../ for a regular expression");
            SettingError::new("SSE_FILTER", text.as_bytes(), remedy)
        })?);
    }
    if opening.settings.query_filter == QueryFilter::Used {
        if let Some(text) = &opening.request.query.filter {
            let text = std::str::from_utf8(text).map_err(|_| OpenError::BadQuery)?;
            filters.push(Filter::parse_asked(text).map_err(|_| OpenError::BadQuery)?);
        }
    }
    Ok(filters)
}

/// Why an engine cannot be accessed.
pub(super) fn feed_error(error: &io::Error, key: &Key) -> OpenError {
    match error.kind() {
        io::ErrorKind::Unsupported => {
            let remedy = match error.get_ref() {
                Some(error) => error.to_string(),
                None => "this program does not read from Redis; use nph-redis, sse-fcgi or \
                         sse-httpd"
                    .into(),
            };
            SettingError::new("SSE_REDIS", b"", remedy).into()
        }
        _ => OpenError::Temporary(format!("SSE_REDIS={}: {error}", key.engine)),
    }
}

/// The reconnection time that a client is sent with `unavailable`. The clients of one stream must
/// not all return at the same moment.
pub(super) fn retry_ms(opening: &Opening<'_>) -> u64 {
    let random = opening.host.secret().map_or(0, |bytes| bytes[0]);
    let factor = 0.75 + 0.75 * f64::from(random) / 255.0;
    let retry = opening.settings.retry.mul_f64(factor);
    (retry.as_millis() as u64).max(1000)
}

pub(super) fn open(opening: &Opening<'_>) -> Result<Opened, OpenError> {
    let settings = opening.settings;
    let engine = engine_of(settings, &**opening.host)?;
    let name = key_of(settings, opening.request)?;
    let (host, shown) = (Rc::clone(opening.host), shown(&name));
    let lines = LineEncoding::new(settings, Format::Jsonl, move |problem| {
        host.warn(&format!("{shown}: {problem}"));
    });
    let encoding = EntryEncoding::new(lines, settings, filters(opening)?);
    let (last_id, gap) = resume_point(&opening.request.last_id, StreamId::of_last_id);
    let key = Key { engine, name };
    let feed = opening.host.feed(&key);
    let feed = feed.map_err(|error| feed_error(&error, &key))?;
    let state = match last_id {
        Some(id) => State::Resuming(id),
        None => State::Searching(Search::new(settings.backlog_records)),
    };
    let source = Redis {
        retry_ms: retry_ms(opening),
        replay_bytes: usize::try_from(settings.replay_bytes).ok(),
        ..Redis::new(
            feed,
            key.name,
            encoding,
            Rc::clone(opening.host),
            state,
            gap,
        )
    };
    Ok(Opened::Stream(Box::new(source), None))
}
