//! The command line of the responder.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt as _};

use super::http::Site;
use super::workers::{self, Assignment};
use crate::gateway::http::AccessFormat;
use crate::request::settings::{PROCESS_SETTINGS, environment_help};
use crate::request::{duration, size};
use crate::system::accounts::{self, Account};
use crate::system::log::lines::LineTarget;
use crate::system::privilege::MayBeRoot;

/// The meaning of a command line.
pub(super) enum Invocation {
    /// Serve.
    Serve(Box<Options>),
    /// Check this settings file.
    Check(PathBuf),
    /// Print this text.
    Print(String),
    /// An invalid command line, and the reason.
    Wrong(String),
}

/// Where to listen, and the limits of a peer.
pub(super) struct Options {
    pub(super) places: Vec<ListenAddress>,
    /// How long streams may take to end after SIGTERM.
    pub(super) drain: Duration,
    /// How long a web server may take to send a request.
    pub(super) request_timeout: Duration,
    /// How long a client's connection is kept without a request. (A web server's is kept as
    /// long as the web server wants.)
    pub(super) idle_timeout: Duration,
    /// The maximum number of bytes of a request's PARAMS.
    pub(super) params_bytes: usize,
    /// The maximum number of their pairs.
    pub(super) pairs: usize,
    /// The user that the process becomes after the socket is bound (`--user`).
    pub(super) user: Option<Account>,
    pub(super) may_be_root: MayBeRoot,
    /// Whether requests may name programs to run.
    pub(super) commands: CommandsOption,
    /// The folders that must contain every path in a request; none: no restriction.
    pub(super) beneath: Vec<PathBuf>,
    /// The settings file.
    pub(super) config: Option<PathBuf>,
    /// How many processes serve.
    pub(super) workers: usize,
    /// Of a worker: which one it is.
    pub(super) assignment: Option<Assignment>,
    /// Where responses are logged, over HTTP.
    pub(super) access_log: Option<AccessLogOption>,
    /// What is served at which path, over HTTP; `None`: web servers say it, over FastCGI.
    pub(super) site: Option<Site>,
}

/// `--access-log` and `--access-log-format`.
pub(super) struct AccessLogOption {
    pub(super) target: LineTarget,
    pub(super) format: AccessFormat,
}

/// Whether `--allow-commands` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandsOption {
    Absent,
    Allowed,
}

/// The source of requests.
pub(super) enum ListenAddress {
    /// A socket that the parent process has opened: systemd's, or descriptor 0.
    Inherited,
    Unix(UnixAddress),
    Tcp(SocketAddr),
}

/// A socket in the file system.
pub(super) struct UnixAddress {
    /// What stands before the path on the command line: `--socket `.
    pub(super) option: &'static str,
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    /// The socket's user and group as numbers; `None`: those of `--user`, else of this process.
    pub(super) owner: Option<u32>,
    pub(super) group: Option<u32>,
    /// The user of `--user`, for whom its folder is created if it is missing.
    pub(super) folder_owner: Option<u32>,
}

impl UnixAddress {
    /// As it was written, for messages.
    pub(super) fn shown(&self) -> String {
        format!("{}{}", self.option, self.path.display())
    }
}

/// The mode of a socket: a user who can write to it determines the settings of requests.
const MODE: u32 = 0o660;

/// Whether a command line starts a responder.
pub(crate) fn asks_for_one(arguments: &[OsString]) -> bool {
    let is = |argument: &OsString, name: &str| {
        let text = argument.to_string_lossy();
        text == name
            || text
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('='))
    };
    arguments
        .iter()
        .any(|argument| is(argument, "--socket") || is(argument, "--listen"))
}

/// Reads the command line of `program`.
pub(super) fn read(program: &str, arguments: Vec<OsString>) -> Invocation {
    parse(program, arguments)
        .unwrap_or_else(|error| Invocation::Wrong(format!("{error}; try --help")))
}

fn parse(program: &str, arguments: Vec<OsString>) -> Result<Invocation, lexopt::Error> {
    let mut parser = Parser::from_args(arguments);
    let (mut socket, mut listen) = (None, None);
    let (mut mode, mut owner, mut group) = (None, None, None);
    let mut options = Options {
        places: Vec::new(),
        drain: Duration::from_secs(5),
        request_timeout: Duration::from_secs(10),
        idle_timeout: Duration::MAX,
        params_bytes: 256 * 1024,
        pairs: 2000,
        user: None,
        may_be_root: MayBeRoot::No,
        commands: CommandsOption::Absent,
        beneath: Vec::new(),
        config: None,
        workers: 1,
        assignment: None,
        access_log: None,
        site: None,
    };
    while let Some(argument) = parser.next()? {
        let name = match argument {
            Arg::Long(name) => name.to_owned(),
            Arg::Short('h') => "help".into(),
            Arg::Short('V') => "version".into(),
            _ => return Err(argument.unexpected()),
        };
        match name.as_str() {
            "help" => {
                return Ok(Invocation::Print(help(program)));
            }
            "version" => {
                let version = format!("sse-cgi {}\n", env!("CARGO_PKG_VERSION"));
                return Ok(Invocation::Print(version));
            }
            "socket" => socket = Some(path(&name, &mut parser)?),
            "listen" => listen = Some(address(&parser.value()?.string()?)?),
            "mode" => mode = Some(octal(&parser.value()?.string()?)?),
            "owner" => owner = Some(named(&name, &mut parser, accounts::uid)?),
            "group" => group = Some(named(&name, &mut parser, accounts::gid)?),
            "user" => options.user = Some(named(&name, &mut parser, accounts::account)?),
            "allow-root" => options.may_be_root = MayBeRoot::Yes,
            "allow-commands" => options.commands = CommandsOption::Allowed,
            "config" => options.config = Some(path(&name, &mut parser)?),
            "check" => return Ok(Invocation::Check(path(&name, &mut parser)?)),
            "beneath" => options.beneath.push(path(&name, &mut parser)?),
            "workers" => options.workers = workers::count(&parser.value()?.string()?)?,
            "drain" => options.drain = span(&name, &parser.value()?.string()?)?,
            "request-timeout" => options.request_timeout = timeout(&name, &mut parser)?,
            "params-max" => {
                let text = parser.value()?.string()?;
                let read = size(&text).and_then(|bytes| usize::try_from(bytes).ok());
                options.params_bytes =
                    read.ok_or_else(|| format!("--params-max {text}: no size such as 256K"))?;
            }
            "pairs-max" => options.pairs = parser.value()?.parse()?,
            _ => return Err(format!("invalid option '--{name}'").into()),
        }
    }
    let has_rights = mode.is_some() || owner.is_some() || group.is_some();
    let place = match (socket, listen) {
        (Some(_), Some(_)) => return Err("--socket and --listen: choose one of them".into()),
        (Some(path), None) => ListenAddress::Unix(UnixAddress {
            option: "--socket ",
            path,
            mode: mode.unwrap_or(MODE),
            folder_owner: options.user.as_ref().map(|user| user.uid),
            owner: owner.or(options.user.as_ref().map(|user| user.uid)),
            group: group.or(options.user.as_ref().map(|user| user.gid)),
        }),
        (None, _) if has_rights => {
            return Err("--mode, --owner and --group belong to --socket".into());
        }
        (None, Some(address)) => ListenAddress::Tcp(address),
        (None, None) => ListenAddress::Inherited,
    };
    options.places.push(place);
    Ok(Invocation::Serve(Box::new(options)))
}

/// Reads the value of an option that is a path. An empty one is probably a variable of a
/// start script that is not set.
pub(super) fn path(option: &str, parser: &mut Parser) -> Result<PathBuf, lexopt::Error> {
    let path = PathBuf::from(parser.value()?);
    if path.as_os_str().is_empty() {
        return Err(format!("--{option}: the path is empty; name one").into());
    }
    Ok(path)
}

pub(super) fn span(name: &str, text: &str) -> Result<Duration, lexopt::Error> {
    duration(text).ok_or_else(|| format!("--{name} {text}: no duration such as 5s").into())
}

/// Reads the value of an option that says how long somebody may take.
pub(super) fn timeout(option: &str, parser: &mut Parser) -> Result<Duration, lexopt::Error> {
    let text = parser.value()?.string()?;
    let read = span(option, &text)?;
    if read < Duration::from_millis(100) {
        return Err(format!("--{option} {text}: too short; write 100ms at least").into());
    }
    Ok(read)
}

/// Reads the value of an option that names a user or a group.
pub(super) fn named<T>(
    option: &str,
    parser: &mut Parser,
    find: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, lexopt::Error> {
    let text = parser.value()?.string()?;
    find(&text).map_err(|problem| format!("--{option} {text}: {problem}").into())
}

fn octal(text: &str) -> Result<u32, lexopt::Error> {
    let mode = u32::from_str_radix(text, 8).ok();
    mode.filter(|mode| *mode <= 0o777)
        .ok_or_else(|| format!("--mode {text}: no octal mode such as 0660").into())
}

pub(super) fn address(text: &str) -> Result<SocketAddr, lexopt::Error> {
    let is_port = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let full = match text.strip_prefix(':') {
        Some(port) => format!("127.0.0.1:{port}"),
        None if is_port => format!("127.0.0.1:{text}"),
        None => text.to_owned(),
    };
    full.parse()
        .map_err(|_| format!("--listen {text}: no address and port such as 127.0.0.1:9000").into())
}

fn help(program: &str) -> String {
    format!(
        "{program}: Server-Sent Events for a web server, as a FastCGI responder

usage: {program} --socket PATH [--mode 0660] [--owner USER] [--group GROUP] [--user USER]
       {program} --listen ADDRESS:PORT
       {program}                        the socket is inherited: systemd, spawn-fcgi, lighttpd

Settings such as SSE_STREAM, SSE_FILE and SSE_ROOT select a stream: as parameters for each
location of the web server, or in a settings file for each path. The web server's parameters
take precedence, then the section of the path, then the top of the file, then this process's
environment. See docs/settings-file.md.

A client of the socket determines these parameters. So it can read every file that this
process may read and, with SSE_STREAM=publish, append to every file that it may write. Give
the socket to the web server's user only, and confine the responder with --user and --beneath.

options:
  --config FILE           a settings file; SIGHUP reads it again. If it has a mistake, nothing
                          of it is used: the process does not start, or goes on with what it
                          had. Streams that are open keep their settings
  --check FILE            say what is wrong in a settings file, and exit: 0 nothing, 100
                          something
  --socket PATH           a socket in the file system; a stale one is replaced
  --mode MODE             its mode; default 0660
  --owner USER, --group GROUP
                          its owner and group; default: those of --user, else this
                          process's. Names are looked up in /etc/passwd and /etc/group; a
                          number is always accepted
  --listen ADDRESS:PORT   a TCP socket; the default address is 127.0.0.1. Only the web
                          server must reach it: FCGI_WEB_SERVER_ADDRS lists the permitted
                          addresses
  --user USER[:GROUP]     become this user after the socket is bound, with its groups in
                          /etc/group; SSE_LOG is opened as this user. Required for root.
                          The socket's folder is created for this user if it is missing
  --allow-root            serve as root nevertheless
  --allow-commands        run the programs that requests name by SSE_COMMAND. Default: only
                          those that SSE_COMMAND in its own environment or file names
  --beneath DIR           refuse files, folders and token files that are not below DIR,
                          also by links; may be repeated. Default: no restriction
  --workers N             serve by so many processes, 1 to 64; auto: one on each processor. One
                          that is killed is replaced. Default 1. A shared command runs once in
                          each
  --drain DURATION        after SIGTERM, how long streams may take to end; default 5s
  --request-timeout DURATION
                          how long a web server may take to send a request; default 10s
  --params-max SIZE       maximum bytes of a request's parameters; default 256K
  --pairs-max N           maximum number of parameters; default 2000
  -V, --version
  -h, --help

environment, or above the first section of the settings file, for the whole process:
{}
signals: SIGTERM and SIGINT end every stream at the end of an event, a second one at
once; SIGHUP reopens the log and reads the settings file again

exit codes: 0 done, 100 wrong option, 111 error of the system
",
        environment_help(PROCESS_SETTINGS.iter().copied())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], expected: &str) {
        let arguments = arguments.iter().map(OsString::from).collect();
        let got = match read("sse-fcgi", arguments) {
            Invocation::Serve(options) => match &options.places[0] {
                ListenAddress::Inherited => "inherited".into(),
                ListenAddress::Tcp(address) => address.to_string(),
                ListenAddress::Unix(place) => format!("{} {:o}", place.path.display(), place.mode),
            },
            Invocation::Print(text) => text,
            Invocation::Check(path) => format!("check {}", path.display()),
            Invocation::Wrong(problem) => problem,
        };
        assert!(got.starts_with(expected), "{got}");
    }

    #[test]
    fn a_socket_is_one_of_a_path_an_address_or_inherited() {
        check(&[], "inherited");
        check(&["--socket", "/run/s", "--mode", "0666"], "/run/s 666");
        check(&["--socket=/run/s"], "/run/s 660");
        check(&["--check", "/etc/f", "--socket", "/s"], "check /etc/f");
        check(&["--config", ""], "--config: the path is empty");
        check(&["--listen", "[::1]:9000"], "[::1]:9000");
        check(&["--listen", ":9000"], "127.0.0.1:9000");
        check(&["--listen", "9000"], "127.0.0.1:9000");
    }

    #[test]
    fn what_is_wrong_is_named() {
        check(
            &["--socket", "/a", "--listen", ":1"],
            "--socket and --listen",
        );
        check(&["--mode", "0660"], "--mode, --owner and --group belong");
        check(&["--socket", "/a", "--mode", "9"], "--mode 9: no octal");
        check(&["--listen", "here"], "--listen here: no address");
        check(&["--drain", "soon"], "--drain soon: no duration");
        check(
            &["--user", "no such"],
            "--user no such: no such user in /etc/passwd",
        );
        check(
            &["--socket", "/a", "--group", "no such"],
            "--group no such: no such group in /etc/group; correct the name, or give the number",
        );
        check(&["--beneath"], "missing argument for option '--beneath'");
        check(&["--socket", ""], "--socket: the path is empty");
        check(&["--socket="], "--socket: the path is empty");
        check(&["--beneath", ""], "--beneath: the path is empty");
        check(&["--listen", ""], "--listen : no address");
        check(&["--user", ""], "--user :");
        check(&["--socket", "/a", "--mode", ""], "--mode : no octal mode");
        check(
            &["--request-timeout", "1ms"],
            "--request-timeout 1ms: too short",
        );
        check(&["--nonsense"], "invalid option '--nonsense'");
        check(&["a"], "unexpected argument");
        check(&["--help"], "sse-fcgi: Server-Sent Events");
    }
}
