//! Filter: which records a client receives.

use std::fmt;

use memchr::memmem;
use regex_lite::{Regex, RegexBuilder};

use super::SettingError;

/// A condition on a record's bytes, in the notation of `SSE_FILTER` and the query's `filter`: a
/// text that the record must contain, or `/…/` for a regular expression; a leading `!` inverts
/// it.
#[derive(Clone, Debug)]
pub struct Filter {
    text: String,
    wanted: bool,
    pattern: Pattern,
    author: FilterAuthor,
}

#[derive(Clone, Debug)]
enum Pattern {
    Contains(Box<memmem::Finder<'static>>),
    Matches {
        expression: Box<Regex>,
        /// States of the compiled expression, rounded up to a power of two. Matching one byte
        /// visits each of them at most once.
        states: u64,
    },
    StartsWith(Box<[u8]>),
}

/// Who wrote a filter, which determines how much it may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FilterAuthor {
    Administrator,
    Client,
}

/// The result of applying a filter to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The record is sent.
    Passes,
    /// It is not sent.
    Fails,
    /// It is too long for a client's expression of this size, and was not matched.
    TooLong,
}

/// Why a text is not a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFilter(String);

impl FilterAuthor {
    /// The longest filter, in bytes: it is matched against every record.
    fn text_max_bytes(self) -> usize {
        match self {
            Self::Administrator => 1024,
            Self::Client => 256,
        }
    }

    /// The largest compiled expression, in bytes. Ten words take 1 KiB.
    fn compiled_max_bytes(self) -> usize {
        match self {
            Self::Administrator => 256 * 1024,
            Self::Client => 4 * 1024,
        }
    }

    /// The maximum work of one match.
    fn match_max_work(self) -> u64 {
        match self {
            Self::Administrator => u64::MAX,
            Self::Client => Filter::CLIENT_MATCH_MAX_WORK,
        }
    }
}

impl Filter {
    /// The maximum work of one match of a client's expression: at 1 to 12 ns per state and
    /// byte, 2 to 25 ms. So a record may be 12 KiB long for the largest expression, and 48 KiB
    /// for one such as `/ERROR.*timeout/`.
    pub const CLIENT_MATCH_MAX_WORK: u64 = 2 << 20;

    /// The minimum size of a state of a compiled expression (regex-lite, 64 bits).
    const STATE_BYTES: usize = 24;

    /// Reads a filter of the administrator. Matching takes linear time for every expression,
    /// but a line of 1 MiB takes a minute with the largest. Its classes such as `\d` and `\w`,
    /// and `(?i)`, match ASCII only.
    ///
    /// # Errors
    /// When it is too long, empty, or its expression cannot be read or is too large.
    pub fn parse(text: &str) -> Result<Self, InvalidFilter> {
        Self::of(FilterAuthor::Administrator, text)
    }

    /// Reads `SSE_FILTER`.
    ///
    /// # Errors
    /// As of [`Filter::parse`], with the remedy.
    pub fn of_setting(text: &str) -> Result<Self, SettingError> {
        Self::parse(text).map_err(|error| {
            let remedy = format!("{error}; write a text, or /.../ for a regular expression");
            SettingError::new("SSE_FILTER", text.as_bytes(), remedy)
        })
    }

    /// Reads a filter that a client requests.
    ///
    /// # Errors
    /// As [`Filter::parse`], with smaller limits.
    pub fn parse_asked(text: &str) -> Result<Self, InvalidFilter> {
        Self::of(FilterAuthor::Client, text)
    }

    /// Passes records that do not begin with `start`.
    #[must_use]
    pub fn unless_starts_with(start: &str) -> Self {
        Self {
            text: format!("not {start}"),
            wanted: false,
            pattern: Pattern::StartsWith(start.as_bytes().into()),
            author: FilterAuthor::Administrator,
        }
    }

    fn of(author: FilterAuthor, text: &str) -> Result<Self, InvalidFilter> {
        let max_bytes = author.text_max_bytes();
        if text.len() > max_bytes {
            return Err(InvalidFilter(format!("longer than {max_bytes} bytes")));
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
                let (expression, bytes) = compile(expression, author.compiled_max_bytes())?;
                Pattern::Matches {
                    expression: Box::new(expression),
                    states: bytes.div_ceil(Self::STATE_BYTES) as u64,
                }
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
            author,
        })
    }

    /// Whether a client determines how much a match costs.
    #[must_use]
    pub fn is_clients_expression(&self) -> bool {
        self.author == FilterAuthor::Client && matches!(self.pattern, Pattern::Matches { .. })
    }

    /// Whether a record passes. Adds to `work` what the match may have cost: states of the
    /// expression times bytes of the record. (Searching for a text costs no more than reading
    /// it.)
    #[must_use]
    pub fn judge(&self, record: &[u8], work: &mut u64) -> Verdict {
        let found = match &self.pattern {
            Pattern::Contains(finder) => finder.find(record).is_some(),
            Pattern::StartsWith(start) => record.starts_with(start),
            Pattern::Matches { expression, states } => {
                let cost = states.saturating_mul(record.len() as u64);
                if cost > self.author.match_max_work() {
                    return Verdict::TooLong;
                }
                *work = work.saturating_add(cost);
                expression.is_match(&String::from_utf8_lossy(record))
            }
        };
        match found == self.wanted {
            true => Verdict::Passes,
            false => Verdict::Fails,
        }
    }
}

/// Compiles an expression. Returns with it a power of two that its size in bytes does not
/// exceed: regex-lite can limit the size, but does not report it.
fn compile(expression: &str, max_bytes: usize) -> Result<(Regex, usize), InvalidFilter> {
    let mut bytes = 256;
    loop {
        let limit = bytes.min(max_bytes);
        match RegexBuilder::new(expression).size_limit(limit).build() {
            Ok(compiled) => return Ok((compiled, limit)),
            Err(error) if limit == max_bytes => return Err(InvalidFilter(error.to_string())),
            Err(_) => bytes *= 2,
        }
    }
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
            let verdict = parsed.judge(record.as_bytes(), &mut 0);
            assert_eq!(verdict == Verdict::Passes, expected, "{filter} {record}");
        }
        let not_utf_8 = Filter::parse("/x/").unwrap().judge(b"\xFFx", &mut 0);
        assert_eq!(not_utf_8, Verdict::Passes);
    }

    #[test]
    fn a_clients_expression_is_limited_by_its_size_its_length_and_the_length_of_a_record() {
        for large in [
            r"/(?:\w?){0,90}#/",
            "/(a{0,30}){0,6}b/",
            "/(?:(?:(?:){999}){999}){999}/",
            &format!("/{}/", "x".repeat(255)),
            &"x".repeat(257),
        ] {
            assert!(Filter::parse_asked(large).is_err(), "{large:.30}");
        }
        let asked = Filter::parse_asked("!/ERROR.*timeout/").unwrap();
        let mut work = 0;
        assert_eq!(asked.judge(&[b'x'; 130], &mut work), Verdict::Passes);
        assert!((130 * 15..130 * 50).contains(&work), "{work}");
        assert_eq!(asked.judge(&[b'x'; 1 << 20], &mut work), Verdict::TooLong);
        assert!(work < 130 * 50, "what is not matched costs nothing: {work}");
        // An expression of the administrator is matched at any cost.
        let own = Filter::parse("!/ERROR.*timeout/").unwrap();
        assert_eq!(own.judge(&[b'x'; 1 << 20], &mut work), Verdict::Passes);
        assert!(work > 15 << 20, "{work}");
    }

    #[test]
    fn what_is_wrong_or_too_large_is_refused() {
        for bad in ["", "!", "/(/", "/(a{1000}){1000}/", &"x".repeat(1025)] {
            assert!(Filter::parse(bad).is_err(), "{bad:.20}");
        }
    }
}
