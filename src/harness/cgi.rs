//! CGI: starts the requested program. The output of `nph-` programs goes to the client
//! unchanged; `parsed` makes a response of the output of others.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::access::printable;
use super::environment::{self, ServerPaths};
use super::exchange::RoutedRequest;
use super::note;
use super::parsed::{self, Outcome, Output};
use super::program::{LaunchSpec, StartError};
use super::route::Script;

/// Runs the program that `script` names. An error is a status; its reason is in the log.
pub fn run(
    asked: &RoutedRequest<'_>,
    prefix: &str,
    folder: &Path,
    script: &Script,
) -> Result<Outcome, u16> {
    let name = printable(script.name.as_bytes());
    match folder.join(&script.name).metadata() {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(403),
        Err(_) => return Err(404),
    }
    let paths = ServerPaths {
        prefix,
        programs: folder,
        pages: &asked.site.pages,
        search_path: &asked.site.search_path,
    };
    let settings = asked.site.settings.of(&script.name);
    let variables = asked.variables(paths, script, settings);
    let job = LaunchSpec {
        name: script.name.clone(),
        folder: folder.to_path_buf(),
        arguments: environment::arguments(asked.query.as_deref().unwrap_or_default()),
        variables: variables.clone(),
        input: asked.input.clone(),
    };
    let program = match asked.site.launcher.start(job) {
        Ok(program) => program,
        Err(StartError::TooMany) => {
            let most = asked.site.limits.programs;
            note(format_args!(
                "{name}: {most} programs run already (--max-programs): 503"
            ));
            return Err(503);
        }
        Err(StartError::System(error)) => {
            note(format_args!("start {name}: {error}: 500"));
            return Err(500);
        }
    };
    if script.is_nph() {
        return Ok(Outcome::Raw(program));
    }
    parsed::answer(asked, Output::Program(program), variables)
}
