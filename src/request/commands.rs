//! Which programs a responder runs for requests.
//!
//! Whoever can connect to a responder's socket chooses the settings of its requests,
//! `SSE_COMMAND` among them. So the process itself has to be told that it may run programs.

use super::settings::Reader;
use super::{MetaVariables, SettingError};

/// The programs that requests may have run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commands {
    /// All of them.
    Any,
    /// This one; none where it is empty.
    Only(Vec<String>),
}

impl Commands {
    /// What the environment of a process says: any where `SSE_ALLOW_COMMANDS` is `yes`, else
    /// the one that its own `SSE_COMMAND` names.
    ///
    /// # Errors
    /// When one of the two cannot be read.
    pub fn of_process(environment: &MetaVariables) -> Result<Self, SettingError> {
        let reader = Reader {
            meta: environment,
            notices: Vec::new(),
        };
        let only = Self::Only(reader.command("SSE_COMMAND")?);
        let name = "SSE_ALLOW_COMMANDS";
        Ok(match reader.choice(name, false, true)? {
            true => Self::Any,
            false => only,
        })
    }

    /// Whether a request may have `command` run; without one there is nothing to decide.
    ///
    /// # Errors
    /// Names the remedy.
    pub fn permit(&self, command: &[String]) -> Result<(), SettingError> {
        match self {
            Self::Any => Ok(()),
            Self::Only(own) if own == command || command.is_empty() => Ok(()),
            Self::Only(_) => {
                let value = command.join(" ");
                let remedy = "this responder does not run programs that requests name; start it \
                              with --allow-commands (or SSE_ALLOW_COMMANDS=yes in its own \
                              environment), or set this SSE_COMMAND in its own environment";
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
    fn a_request_has_a_program_run_only_where_the_process_was_told_so() {
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
