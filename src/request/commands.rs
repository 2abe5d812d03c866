//! Commands: the programs that a responder runs for requests.
//!
//! A client of the responder's socket determines the settings of its requests, including
//! `SSE_COMMAND`. So only the process's own environment and options can permit programs.

use super::settings::{Reader, table};
use super::{MetaVariables, SettingError};

/// The programs that requests may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commands {
    /// All of them.
    Any,
    /// These programs with these arguments.
    Only(Vec<Vec<String>>),
}

impl Commands {
    /// What these settings of a process permit: every program if `SSE_ALLOW_COMMANDS` is
    /// `yes`, otherwise the one that `SSE_COMMAND` names.
    ///
    /// # Errors
    /// When one of the two cannot be read.
    pub fn of_process(environment: &MetaVariables) -> Result<Self, SettingError> {
        let mut read = Reader::new(environment);
        let own = read.command(&table::COMMAND)?;
        let only = Self::Only(Vec::from_iter(Some(own).filter(|own| !own.is_empty())));
        Ok(match read.is_yes(&table::ALLOW_COMMANDS)? {
            true => Self::Any,
            false => only,
        })
    }

    /// Permits what `others` permits, too.
    pub fn permit_also(&mut self, others: Self) {
        match (self, others) {
            (Self::Only(own), Self::Only(more)) => own.extend(more),
            (own, others @ Self::Any) => *own = others,
            (Self::Any, Self::Only(_)) => {}
        }
    }

    /// Whether a request may name `command`; an empty one is always permitted.
    ///
    /// # Errors
    /// When it may not; the error contains the remedy.
    pub fn permit(&self, command: &[String]) -> Result<(), SettingError> {
        match self {
            Self::Any => Ok(()),
            Self::Only(_) if command.is_empty() => Ok(()),
            Self::Only(own) if own.iter().any(|own| own == command) => Ok(()),
            Self::Only(_) => {
                let value = command.join(" ");
                let remedy = "this responder does not run programs that requests name; start it \
                              with --allow-commands (or SSE_ALLOW_COMMANDS=yes in its own \
                              environment), or set this SSE_COMMAND in its own environment or \
                              settings file";
                Err(SettingError::new("SSE_COMMAND", value.as_bytes(), remedy))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(environment: &[(&str, &str)], command: &str, expected: Result<(), &str>) {
        let commands = Commands::of_process(&MetaVariables::of(environment)).unwrap();
        let words = shlex::split(command).unwrap();
        let got = commands.permit(&words).map_err(|error| error.to_string());
        match expected {
            Ok(()) => assert_eq!(got, Ok(())),
            Err(text) => assert!(got.unwrap_err().starts_with(text)),
        }
    }

    #[test]
    fn a_request_may_name_a_program_only_where_the_process_allows_it() {
        let refused = "SSE_COMMAND=id -u: this responder does not run programs";
        check(&[], "", Ok(()));
        check(&[], "id -u", Err(refused));
        check(&[("SSE_ALLOW_COMMANDS", "no")], "id -u", Err(refused));
        check(&[("SSE_ALLOW_COMMANDS", "yes")], "id -u", Ok(()));
        check(&[("SSE_COMMAND", "id '-u'")], "id -u", Ok(()));
        check(&[("SSE_COMMAND", "id")], "id -u", Err(refused));
        check(&[("SSE_COMMAND", "id")], "", Ok(()));
        let wrong = MetaVariables::of(&[("SSE_ALLOW_COMMANDS", "1")]);
        let error = Commands::of_process(&wrong).unwrap_err().to_string();
        assert!(
            error.starts_with("SSE_ALLOW_COMMANDS=1: neither yes nor no"),
            "{error}"
        );
    }
}
