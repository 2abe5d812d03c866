//! The meta-variables of a request, as the gateway passes them (RFC 3875 §4.1).

use super::settings::{Origin, PROCESS_SETTINGS};

/// The meta-variables of one request, in the order in which they arrived.
///
/// Names and values are bytes: gateways pass what clients sent, which need not be UTF-8. A name
/// can occur twice (nginx repeats a doubled header; lighttpd and h2o give `Last_Event_ID` and
/// `Last-Event-ID` the same name), so a lookup returns a [`Value`] and not a single string.
#[derive(Clone, Debug, Default)]
pub struct MetaVariables {
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The settings among them that a settings file has set, and where.
    origins: Vec<(&'static str, Origin)>,
}

/// The value of a name. An empty value counts as absent: nginx sends unset parameters as empty
/// strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// No such name, or only empty values.
    Absent,
    /// One value.
    One(&'a [u8]),
    /// The name occurred more than once; at least two values are not empty.
    Repeated(Vec<&'a [u8]>),
}

impl<'a> Value<'a> {
    /// The value, or the last one of several: a server appends the values of its configuration
    /// after those of the client.
    #[must_use]
    pub fn last(&self) -> Option<&'a [u8]> {
        match self {
            Self::Absent => None,
            Self::One(value) => Some(value),
            Self::Repeated(values) => values.last().copied(),
        }
    }
}

impl MetaVariables {
    /// Takes the pairs in the order in which they arrived.
    #[must_use]
    pub fn new(pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        let origins = Vec::new();
        Self { pairs, origins }
    }

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Value<'_> {
        let mut values = self
            .pairs
            .iter()
            .filter(|(n, v)| n == name.as_bytes() && !v.is_empty())
            .map(|(_, v)| v.as_slice());
        let Some(first) = values.next() else {
            return Value::Absent;
        };
        let rest: Vec<&[u8]> = values.collect();
        if rest.is_empty() {
            return Value::One(first);
        }
        Value::Repeated(std::iter::once(first).chain(rest).collect())
    }

    /// All values of `name` joined by `, `, as RFC 9110 §5.3 joins repeated fields.
    #[must_use]
    pub fn joined(&self, name: &str) -> Option<Vec<u8>> {
        match self.get(name) {
            Value::Absent => None,
            Value::One(value) => Some(value.to_vec()),
            Value::Repeated(values) => Some(values.join(&b", "[..])),
        }
    }

    /// Whether a gateway started the program. Then the client determines the command line (a
    /// query without `=` becomes arguments), and it must not be read.
    #[must_use]
    pub fn from_gateway(&self) -> bool {
        self.pairs
            .iter()
            .any(|(n, _)| n == b"GATEWAY_INTERFACE" || n == b"REQUEST_METHOD")
    }

    /// The variables of a request, with the process's settings as defaults. A value of the
    /// request's location takes precedence. Settings of the whole process
    /// ([`PROCESS_SETTINGS`]) are read from `defaults` only.
    #[must_use]
    pub fn over(mut self, defaults: &Self) -> Self {
        self.remove_process_settings();
        self.add_below(defaults);
        self
    }

    /// Adds the settings of a process's environment that are not set yet.
    pub fn add_below(&mut self, environment: &Self) {
        self.add_below_of(environment, |_| true);
    }

    /// The same for those settings that `takes` accepts by their names.
    pub fn add_below_of(&mut self, environment: &Self, takes: impl Fn(&str) -> bool) {
        let is_set = self.those_set();
        let below = environment.pairs.iter().filter(|(name, _)| {
            let is_taken = || std::str::from_utf8(name).is_ok_and(&takes);
            name.starts_with(b"SSE_") && !is_set.covers(name) && is_taken()
        });
        let below: Vec<_> = below.cloned().collect();
        self.pairs.extend(below);
    }

    /// Says that the request's path consists of a location and what is below it, whatever the
    /// gateway has called them.
    pub fn place_at(&mut self, location: &[u8], below: &[u8]) {
        const NAMES: [&str; 3] = ["SCRIPT_NAME", "PATH_INFO", "SSE_PREFIX"];
        let is_one = |name: &[u8]| NAMES.iter().any(|own| own.as_bytes() == name);
        self.pairs.retain(|(name, _)| !is_one(name));
        // (An empty prefix would count as not set.)
        let prefix = if location.is_empty() { b"/" } else { location };
        for (name, value) in NAMES.iter().zip([location, below, prefix]) {
            self.push(name, value);
        }
    }

    /// Removes what belongs to the whole process: a request cannot set it.
    pub fn remove_process_settings(&mut self) {
        let belongs_to_process = |name: &[u8]| {
            let mut rows = PROCESS_SETTINGS.iter();
            rows.any(|row| row.spec.name.as_bytes() == name)
        };
        self.pairs.retain(|(name, _)| !belongs_to_process(name));
    }

    /// Adds settings of a file: those that are not set yet.
    pub fn complete(&mut self, below: impl Iterator<Item = (&'static str, Vec<u8>, Origin)>) {
        let is_set = self.those_set();
        for (name, value, origin) in below {
            if !is_set.covers(name.as_bytes()) && !value.is_empty() {
                self.pairs.push((name.as_bytes().to_vec(), value));
                self.origins.push((name, origin));
            }
        }
    }

    /// The settings that have a value.
    fn those_set(&self) -> SettingsSet {
        let set = self.pairs.iter().filter(|(_, value)| !value.is_empty());
        let names = set.map(|(name, _)| name).filter(|n| n.starts_with(b"SSE_"));
        SettingsSet(names.cloned().collect())
    }

    /// The settings that a settings file has set, and where.
    #[must_use]
    pub fn origins(&self) -> &[(&'static str, Origin)] {
        &self.origins
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.pairs.iter().map(|(name, _)| name.as_slice())
    }

    /// Has `name` stand for `value` and nothing else; for nothing if it is empty.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.pairs.retain(|(own, _)| own != name.as_bytes());
        self.push(name, value);
    }

    /// Adds a pair after all others, so that it takes precedence over an earlier one.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.pairs.push((name.as_bytes().to_vec(), value.to_vec()));
    }
}

/// Settings that have a value: the same ones of a lower layer do not count.
struct SettingsSet(Vec<Vec<u8>>);

impl SettingsSet {
    fn covers(&self, name: &[u8]) -> bool {
        // Two of a pair exclude each other: whichever a layer sets, it means that one.
        const PLACES: [[&[u8]; 2]; 3] = [
            [b"SSE_FILE", b"SSE_ROOT"],
            [b"SSE_STREAM", b"SSE_STREAMS"],
            [b"SSE_STREAM_KEY", b"SSE_STREAM_KEY_PREFIX"],
        ];
        let pair = PLACES.iter().find(|pair| pair.contains(&name));
        let covers = |own: &[u8]| own == name || pair.is_some_and(|pair| pair.contains(&own));
        self.0.iter().any(|own| covers(own))
    }
}

#[cfg(test)]
impl MetaVariables {
    /// Meta-variables for tests, from text.
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        let owned = |(n, v): &(&str, &str)| (n.as_bytes().to_vec(), v.as_bytes().to_vec());
        Self::new(pairs.iter().map(owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_value_is_an_absent_one() {
        let meta = MetaVariables::of(&[("A", ""), ("B", ""), ("B", "x")]);
        assert_eq!(meta.get("A"), Value::Absent);
        assert_eq!(meta.get("B"), Value::One(b"x"));
        assert_eq!(meta.get("C"), Value::Absent);
    }

    #[test]
    fn a_location_wins_over_the_environment() {
        let environment = MetaVariables::of(&[
            ("SSE_FILE", "/a"),
            ("SSE_RETRY", "9s"),
            ("SSE_LOG", "/l"),
            ("PATH", "/bin"),
        ]);
        let location = [("SSE_ROOT", "/r"), ("SSE_RETRY", "2s"), ("SSE_LOG", "/x")];
        let both = MetaVariables::of(&location).over(&environment);
        assert_eq!(both.get("SSE_FILE"), Value::Absent);
        assert_eq!(both.get("SSE_RETRY").last(), Some(&b"2s"[..]));
        assert_eq!(both.get("SSE_LOG"), Value::One(b"/l"));
        assert_eq!(both.get("PATH"), Value::Absent);
        let unset = MetaVariables::of(&[("SSE_FILE", ""), ("SSE_RETRY", "")]);
        let both = unset.over(&environment);
        assert_eq!(both.get("SSE_FILE"), Value::One(b"/a"));
        assert_eq!(both.get("SSE_RETRY").last(), Some(&b"9s"[..]));
    }

    #[test]
    fn a_name_that_comes_twice_is_seen_to_come_twice() {
        let meta = MetaVariables::of(&[("A", "1"), ("B", "x"), ("A", "2")]);
        assert_eq!(meta.get("A"), Value::Repeated(vec![b"1", b"2"]));
        assert_eq!(meta.get("A").last(), Some(&b"2"[..]));
        assert_eq!(meta.joined("A"), Some(b"1, 2".to_vec()));
    }
}
