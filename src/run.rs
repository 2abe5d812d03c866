//! The entry point of a program that is a CGI program or a FastCGI responder.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cgi::run_with;
use crate::server;
use crate::source::Stream;
use crate::store::answering;
use crate::store::host::Capabilities;

/// Runs a program that serves one stream: as nph-CGI, as plain CGI, in a terminal, or as a
/// FastCGI responder (with `--socket` or `--listen`, or if descriptor 0 is a listening socket).
/// It is all that a `main` has to call.
///
/// The exit code is 0 when the stream ended or its reader disconnected, 100 for a wrong option
/// or setting, 111 for an error of the system.
#[must_use]
pub fn run(stream: &'static Stream) -> ExitCode {
    // A responder that serves sessions starts this program itself with a special option.
    if let Some(code) = answering::run_if_asked() {
        return code;
    }
    let is_typed = std::env::var_os("GATEWAY_INTERFACE").is_none();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if is_typed && (server::asks_for_one(&arguments) || server::is_inherited()) {
        let only: &'static Stream = stream;
        return server::run_responder(Vec::leak(vec![only]));
    }
    run_with(stream, Capabilities::ALL)
}
