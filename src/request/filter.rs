//! Which records a client gets.

use std::fmt;

use memchr::memmem;
use regex_lite::{Regex, RegexBuilder};

/// A condition on a record's bytes, as `SSE_FILTER` and the query's `filter` write it:
/// a text that the record must contain, or `/…/` for a regular expression; a leading
/// `!` inverts.
#[derive(Clone, Debug)]
pub struct Filter {
    text: String,
    wanted: bool,
    pattern: Pattern,
}

#[derive(Clone, Debug)]
enum Pattern {
    Contains(Box<memmem::Finder<'static>>),
    Matches(Box<Regex>),
    StartsWith(Box<[u8]>),
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFilter(String);

impl Filter {
    /// The longest filter, in bytes: it is matched against every record.
    pub const MAX_BYTES: usize = 1024;

    /// What a compiled expression may take. Matching takes linear time, whatever the
    /// expression, but a line of 1 MiB takes a minute with the largest; its classes such
    /// as `\d` and `\w`, and `(?i)`, speak of ASCII.
    const COMPILED_MAX_BYTES: usize = 256 * 1024;

    /// The same for a client's, who need not care what it costs. Whatever is written to
    /// be read by people takes less than 4 KiB.
    const ASKED_MAX_BYTES: usize = 16 * 1024;

    /// Reads a filter of the administrator's.
    ///
    /// # Errors
    /// When it is too long, empty, or its expression cannot be read or is too large.
    pub fn parse(text: &str) -> Result<Self, InvalidFilter> {
        Self::within(Self::COMPILED_MAX_BYTES, text)
    }

    /// Reads a filter that a client asks for.
    ///
    /// # Errors
    /// As [`Filter::parse`]; its expression may be less large.
    pub fn parse_asked(text: &str) -> Result<Self, InvalidFilter> {
        Self::within(Self::ASKED_MAX_BYTES, text)
    }

    /// Passes what does not begin with `start`.
    #[must_use]
    pub fn unless_starts_with(start: &str) -> Self {
        Self {
            text: format!("not {start}"),
            wanted: false,
            pattern: Pattern::StartsWith(start.as_bytes().into()),
        }
    }

    fn within(compiled_max_bytes: usize, text: &str) -> Result<Self, InvalidFilter> {
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidFilter(format!(
                "longer than {} bytes",
                Self::MAX_BYTES
            )));
        }
        let (wanted, condition) = match text.strip_prefix('!') {
            Some(rest) => (false, rest),
            None => (true, text),
        };
        let expression = condition
            .strip_prefix('/')
            .and_then(|rest| rest.strip_suffix('/'));
        let pattern = match expression {
            Some(expression) => {
                Pattern::Matches(Box::new(compile(expression, compiled_max_bytes)?))
            }
            None if condition.is_empty() => return Err(InvalidFilter("empty".into())),
            None => {
                let finder = memmem::Finder::new(condition.as_bytes()).into_owned();
                Pattern::Contains(Box::new(finder))
            }
        };
        Ok(Self {
            text: text.into(),
            wanted,
            pattern,
        })
    }

    /// Whether a record passes.
    #[must_use]
    pub fn passes(&self, record: &[u8]) -> bool {
        let found = match &self.pattern {
            Pattern::Contains(finder) => finder.find(record).is_some(),
            Pattern::StartsWith(start) => record.starts_with(start),
            Pattern::Matches(expression) => expression.is_match(&String::from_utf8_lossy(record)),
        };
        found == self.wanted
    }
}

fn compile(expression: &str, max_bytes: usize) -> Result<Regex, InvalidFilter> {
    RegexBuilder::new(expression)
        .size_limit(max_bytes)
        .build()
        .map_err(|error| InvalidFilter(error.to_string()))
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for InvalidFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::error::Error for InvalidFilter {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_text_or_an_expression_and_can_be_inverted() {
        for (filter, record, expected) in [
            ("ERROR", "an ERROR", true),
            ("ERROR", "an error", false),
            ("!ERROR", "an error", true),
            ("!ERROR", "ERROR", false),
            ("/err(or)?/", "an err", true),
            ("/(?i)ERROR$/", "an error", true),
            ("!/^an/", "an error", false),
            ("/é/", "café", true),
            ("/[é]x./", "éxä", true),
            (r"/^\d+ \w+$/", "12 ab", true),
            ("/", "a/b", true),
            ("//", "anything", true),
            ("/a", "x/a", true),
        ] {
            let parsed = Filter::parse(filter).unwrap();
            assert_eq!(
                parsed.passes(record.as_bytes()),
                expected,
                "{filter} {record}"
            );
        }
        assert!(Filter::parse("/x/").unwrap().passes(b"\xFFx"));
    }

    #[test]
    fn what_is_wrong_or_too_large_is_refused() {
        for bad in ["", "!", "/(/", "/(a{1000}){1000}/", &"x".repeat(1025)] {
            assert!(Filter::parse(bad).is_err(), "{bad:.20}");
        }
    }
}
