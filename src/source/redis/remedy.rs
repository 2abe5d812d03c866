//! Messages about keys and errors, for the administrator.

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
