//! FastCGI: sends requests to the responder, each on its own connection, as nginx does by
//! default.
//!
//! ```text
//!   run ─> responder   the process: started when it is wanted, and again when it has died
//!    └───> call        one request on one connection ─> record (FastCGI 1.0 on the wire)
//! ```

mod call;
mod record;
mod responder;

pub use call::Call;
pub use responder::Responder;

use super::access::printable;
use super::environment::ServerPaths;
use super::exchange::RoutedRequest;
use super::note;
use super::parsed::{self, Outcome, Output};
use super::route::Script;

/// Lets the responder serve the stream that `script` names. An error is a status; its reason is
/// in the log.
pub fn run(
    asked: &RoutedRequest<'_>,
    prefix: &str,
    responder: &Responder,
    script: &Script,
) -> Result<Outcome, u16> {
    let name = printable(
        [prefix.as_bytes(), script.name.as_encoded_bytes()]
            .concat()
            .as_slice(),
    );
    // As in nginx: the URL's path, below the folder of the pages.
    let programs = asked.site.pages.join(prefix.trim_matches('/'));
    let paths = ServerPaths {
        prefix,
        programs: &programs,
        pages: &asked.site.pages,
        search_path: &asked.site.search_path,
    };
    let settings = asked
        .site
        .settings
        .of_stream(&script.name, responder.has_settings_file());
    let mut variables = asked.variables(paths, script, settings);
    if script.name == "status" {
        // The name alone does not select the status page; here everybody may see it.
        let stream = variables.entry("SSE_STREAM".into());
        stream.or_insert_with(|| "status".into());
    }
    if !asked.input.is_empty() {
        // nginx knows the length even of a chunked body, since it has read the whole body.
        let length = asked.input.len().to_string();
        variables.insert("CONTENT_LENGTH".into(), length.into());
    }
    let stream = responder.connect().map_err(|error| {
        note(format_args!("{name}: {error}: 502"));
        502_u16
    })?;
    let call = Call::begin(name, stream, &variables, &asked.input);
    parsed::answer(asked, Output::Call(Box::new(call)), variables)
}
