//! SettingError and Notice: a problem with a setting, as one line for the log.

use std::fmt;

/// A setting with an invalid value: the stream is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    name: String,
    value: String,
    remedy: String,
}

/// A setting that is ignored, or whose value was clamped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice(pub(super) String);

impl SettingError {
    /// `remedy` describes the problem and what to write instead.
    #[must_use]
    pub fn new(name: &str, value: &[u8], remedy: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: printable(value),
            remedy: remedy.into(),
        }
    }

    /// An error whose whole line is known: place, name, value and remedy.
    #[must_use]
    pub fn whole(line: String) -> Self {
        Self {
            name: String::new(),
            value: String::new(),
            remedy: line,
        }
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            return f.write_str(&self.remedy);
        }
        if self.value.is_empty() {
            return write!(f, "{}: {}", self.name, self.remedy);
        }
        write!(f, "{}={}: {}", self.name, self.value, self.remedy)
    }
}

impl std::error::Error for SettingError {}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value as one line for the log. A path is not truncated; anything else has at most 80
/// characters.
pub(super) fn printable(value: &[u8]) -> String {
    let text = value.escape_ascii().to_string();
    let most = if value.starts_with(b"/") { 1024 } else { 80 };
    if text.len() <= most {
        text
    } else {
        format!("{}...", &text[..most])
    }
}
