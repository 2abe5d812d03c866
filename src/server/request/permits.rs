//! What a request may name: `--beneath` limits the files of every request.

use std::path::Path;

use crate::request::{Selection, SettingError, Settings};
use crate::system::beneath;

/// Checks that a request may name this path.
pub(in crate::server) fn permit_path(name: &str, path: &Path) -> Result<(), SettingError> {
    beneath::check(path)
        .map_err(|problem| SettingError::new(name, path.as_os_str().as_encoded_bytes(), problem))
}

/// Checks that a request may name the files of these streams.
pub(super) fn permit_selection(selection: &Selection) -> Result<(), SettingError> {
    for named in &selection.streams {
        permit_files(&named.settings)?;
    }
    Ok(())
}

/// Checks that a request may name the files of these settings.
pub(super) fn permit_files(settings: &Settings) -> Result<(), SettingError> {
    let paths = [
        ("SSE_FILE", &settings.file),
        ("SSE_ROOT", &settings.root),
        ("SSE_SPOOL", &settings.spool),
        ("SSE_REDIS_PASSWORD_FILE", &settings.redis_password_file),
        ("SSE_REDIS_CA", &settings.redis_ca),
        ("SSE_REDIS_CERT", &settings.redis_cert),
        ("SSE_KEYS", &settings.access.keys),
        ("SSE_JWT_KEYS", &settings.access.token_keys),
    ];
    for (name, path) in paths {
        if let Some(path) = path {
            permit_path(name, path)?;
        }
    }
    Ok(())
}
