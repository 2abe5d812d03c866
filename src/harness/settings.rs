//! Settings: the variables that programs get in addition to the meta-variables, like Apache's
//! `SetEnv`. A meta-variable of the same name takes precedence, as in Apache.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Variables for all programs and for single ones. Later ones take precedence over earlier
/// ones, and those for one program over those for all.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Of the server's own environment.
    inherited: Vec<Variable>,
    for_all: Vec<Variable>,
    for_one: Vec<(OsString, Variable)>,
}

/// A name and a value.
pub type Variable = (OsString, OsString);

impl Settings {
    /// Adds the `SSE_*` variables of an environment, for all programs. What is set with
    /// [`Settings::add`], before or after, takes precedence.
    pub fn inherit(&mut self, environment: impl IntoIterator<Item = Variable>) {
        let inherited = environment
            .into_iter()
            .filter(|(name, _)| name.as_bytes().starts_with(b"SSE_"));
        self.inherited.extend(inherited);
    }

    /// Adds `NAME=VALUE` or `PROGRAM.cgi:NAME=VALUE`.
    pub fn add(&mut self, setting: &OsStr) -> Result<(), SettingError> {
        let bytes = setting.as_bytes();
        let refused = || SettingError(setting.to_os_string());
        let equals = memchr::memchr(b'=', bytes).ok_or_else(refused)?;
        let (left, value) = (&bytes[..equals], &bytes[equals + 1..]);
        let (program, name) = match memchr::memrchr(b':', left) {
            Some(colon) => (Some(&left[..colon]), &left[colon + 1..]),
            None => (None, left),
        };
        if !is_variable_name(name) || program.is_some_and(|program| program.is_empty()) {
            return Err(refused());
        }
        let owned = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let variable = (owned(name), owned(value));
        match program {
            Some(program) => self.for_one.push((owned(program), variable)),
            None => self.for_all.push(variable),
        }
        Ok(())
    }

    /// The variables of the program with this file name; later ones take precedence.
    pub fn of<'a>(&'a self, program: &'a OsStr) -> impl Iterator<Item = &'a Variable> {
        let own = self.for_one.iter().filter(move |(name, _)| name == program);
        self.of_all().chain(own.map(|(_, variable)| variable))
    }

    /// The variables of a responder's stream with this name: those of the program `NAME.cgi`,
    /// so that both ways to one stream need only one setup, and those of the bare name. Those
    /// of the environment are not among them if the responder has a settings file
    /// (`has_file`): it has that environment, too, and its file takes precedence over it.
    pub fn of_stream<'a>(
        &'a self,
        name: &'a OsStr,
        has_file: bool,
    ) -> impl Iterator<Item = &'a Variable> {
        let is_meant = move |program: &OsStr| {
            let bare = program.as_bytes().strip_suffix(b".cgi");
            program == name || bare == Some(name.as_bytes())
        };
        let own = self.for_one.iter();
        let own = own.filter(move |(program, _)| is_meant(program));
        let inherited = if has_file { &[] } else { &self.inherited[..] };
        let for_all = inherited.iter().chain(&self.for_all);
        for_all.chain(own.map(|(_, variable)| variable))
    }

    /// The variables for all programs.
    pub fn of_all(&self) -> impl Iterator<Item = &Variable> {
        self.inherited.iter().chain(&self.for_all)
    }
}

fn is_variable_name(name: &[u8]) -> bool {
    !name.is_empty()
        && !name[0].is_ascii_digit()
        && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

/// A `--set` whose value has neither of the two forms.
#[derive(Debug)]
pub struct SettingError(OsString);

impl std::fmt::Display for SettingError {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let given = Path::new(&self.0).display();
        write!(
            f,
            "--set {given}: want NAME=VALUE or PROGRAM.cgi:NAME=VALUE"
        )
    }
}

impl std::error::Error for SettingError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &[&str], program: &str, expected: &[(&str, &str)]) {
        let mut settings = Settings::default();
        for setting in given {
            settings.add(OsStr::new(setting)).expect(setting);
        }
        settings.inherit([
            ("SSE_RETRY".into(), "9s".into()),
            ("HOME".into(), "/".into()),
        ]);
        let got: Vec<_> = settings
            .of(OsStr::new(program))
            .map(|(name, value)| (name.to_str().unwrap(), value.to_str().unwrap()))
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn a_setting_for_one_program_comes_after_those_for_all() {
        let given = ["a.cgi:SSE_FILE=/one", "SSE_FILE=/all"];
        check(
            &given,
            "a.cgi",
            &[
                ("SSE_RETRY", "9s"),
                ("SSE_FILE", "/all"),
                ("SSE_FILE", "/one"),
            ],
        );
        check(
            &given,
            "b.cgi",
            &[("SSE_RETRY", "9s"), ("SSE_FILE", "/all")],
        );
    }

    #[test]
    fn a_stream_gets_what_its_program_gets() {
        let mut settings = Settings::default();
        for setting in ["A=all", "tail.cgi:A=1", "tail:A=2", "nph-tail.cgi:A=3"] {
            settings.add(OsStr::new(setting)).expect(setting);
        }
        for (name, expected) in [
            ("tail", &["all", "1", "2"][..]),
            ("tail.cgi", &["all", "1"]),
            ("nph-tail.cgi", &["all", "3"]),
            ("clock", &["all"]),
        ] {
            let values = settings.of_stream(OsStr::new(name), true);
            let values: Vec<_> = values.map(|(_, value)| value).collect();
            assert_eq!(values, expected, "{name}");
        }
    }

    #[test]
    fn the_environment_is_below_a_settings_file() {
        let mut settings = Settings::default();
        settings.add(OsStr::new("SSE_RETRY=1s")).unwrap();
        settings.inherit([("SSE_FILE".into(), "/a".into())]);
        let names = |has_file| -> Vec<_> {
            let all = settings.of_stream(OsStr::new("tail"), has_file);
            all.map(|(name, _)| name.to_str().unwrap()).collect()
        };
        assert_eq!(names(false), ["SSE_FILE", "SSE_RETRY"]);
        assert_eq!(names(true), ["SSE_RETRY"]);
    }

    #[test]
    fn a_value_may_hold_colons_and_equals_signs() {
        check(
            &["SSE_ALLOW_ORIGIN=http://a:1 b=c"],
            "x",
            &[("SSE_RETRY", "9s"), ("SSE_ALLOW_ORIGIN", "http://a:1 b=c")],
        );
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        for bad in ["", "A", "=x", "1A=x", "A B=x", ":A=x", "a.cgi:=x"] {
            assert!(Settings::default().add(OsStr::new(bad)).is_err(), "{bad:?}");
        }
    }
}
