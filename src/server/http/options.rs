//! The command line of `sse-httpd`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt as _};

use super::page::{Listed, Page};
use super::site::{Section, Site};
use super::stdin::StdinFile;
use crate::gateway::http::{AccessFormat, Network};
use crate::request::settings::{PROCESS_SETTINGS, environment_help};
use crate::server::options::{
    AccessLogOption, CommandsOption, ListenAddress, Options, UnixAddress, address, named, path,
    span, timeout,
};
use crate::server::workers::{self, Assignment};
use crate::system::accounts;
use crate::system::log::lines::LineTarget;
use crate::system::privilege::MayBeRoot;

/// What a command line asks for.
pub(super) enum Invocation {
    /// To serve.
    Serve(Box<Serving>),
    /// To check this settings file.
    Check(PathBuf),
    /// To print a text.
    Print(String),
    /// Nothing that can be done, for this reason.
    Wrong(String),
}

/// What is served, and how.
pub(super) struct Serving {
    pub(super) options: Options,
    /// The file that standard input is copied to, where that is served.
    pub(super) stdin: Option<StdinFile>,
    /// Names of files that are not there (yet).
    pub(super) missing: Vec<String>,
}

/// Where it listens unless it is told.
const ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// The mode of a socket in the file system: whoever may connect to it reads the streams.
const MODE: u32 = 0o660;

/// Reads the command line of `program`.
pub(super) fn read(
    program: &str,
    arguments: Vec<OsString>,
    assignment: Option<Assignment>,
) -> Invocation {
    parse(program, arguments, assignment)
        .unwrap_or_else(|error| Invocation::Wrong(format!("{error}; try --help")))
}

fn parse(
    program: &str,
    arguments: Vec<OsString>,
    assignment: Option<Assignment>,
) -> Result<Invocation, lexopt::Error> {
    let mut parser = Parser::from_args(arguments);
    let mut options = Options {
        places: Vec::new(),
        drain: Duration::from_secs(5),
        request_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(15),
        params_bytes: 0,
        pairs: 0,
        user: None,
        may_be_root: MayBeRoot::No,
        // A client sets nothing: the command line does.
        commands: CommandsOption::Allowed,
        beneath: Vec::new(),
        config: None,
        workers: 1,
        assignment,
        access_log: None,
        site: None,
    };
    let mut site = Site::default();
    let given = options.assignment.as_ref();
    let mut streams = Streams {
        given_stdin: given.and_then(|assignment| assignment.stdin_folder.clone()),
        ..Streams::default()
    };
    let mut sockets = Vec::new();
    let (mut access_log, mut access_format) = (None, None);
    while let Some(argument) = parser.next()? {
        let name = match argument {
            Arg::Value(value) => {
                streams.add_path(value)?;
                continue;
            }
            Arg::Long(name) => name.to_owned(),
            Arg::Short('c') => "command".into(),
            Arg::Short('h') => "help".into(),
            Arg::Short('V') => "version".into(),
            _ => return Err(argument.unexpected()),
        };
        match name.as_str() {
            "help" => return Ok(Invocation::Print(help(program))),
            "version" => {
                let version = format!("sse-cgi {}\n", env!("CARGO_PKG_VERSION"));
                return Ok(Invocation::Print(version));
            }
            "command" => streams.add_command(&parser.value()?.string()?)?,
            "listen" => {
                let value = parser.value()?;
                match value.as_bytes().strip_prefix(b"unix:") {
                    Some(path) => sockets.push(PathBuf::from(OsString::from_vec(path.to_vec()))),
                    None => options
                        .places
                        .push(ListenAddress::Tcp(address(&value.string()?)?)),
                }
            }
            "check" => return Ok(Invocation::Check(path(&name, &mut parser)?)),
            "config" => options.config = Some(path(&name, &mut parser)?),
            "host" => site.hosts.add(&parser.value()?.string()?),
            "trusted-proxy" => {
                let text = parser.value()?.string()?;
                let network = Network::parse(&text).ok_or_else(|| {
                    format!("--trusted-proxy {text}: no address or network such as 10.0.0.0/8")
                })?;
                site.trusted.push(network);
            }
            "proxy-protocol" => site.awaits_proxy_header = true,
            "access-log" => access_log = Some(log_target(path(&name, &mut parser)?)?),
            "access-log-format" => {
                let text = parser.value()?.string()?;
                access_format = Some(AccessFormat::parse(&text).ok_or_else(|| {
                    format!("--access-log-format {text}: no such format; write combined or json")
                })?);
            }
            "user" => options.user = Some(named(&name, &mut parser, accounts::account)?),
            "allow-root" => options.may_be_root = MayBeRoot::Yes,
            "beneath" => options.beneath.push(path(&name, &mut parser)?),
            "workers" => options.workers = workers::count(&parser.value()?.string()?)?,
            "drain" => options.drain = span(&name, &parser.value()?.string()?)?,
            "request-timeout" => options.request_timeout = timeout(&name, &mut parser)?,
            "idle-timeout" => options.idle_timeout = timeout(&name, &mut parser)?,
            _ => return Err(format!("invalid option '--{name}'").into()),
        }
    }
    options.access_log = match (access_log, access_format) {
        (Some(target), format) => Some(AccessLogOption {
            target,
            format: format.unwrap_or(AccessFormat::Combined),
        }),
        (None, Some(_)) => return Err("--access-log-format belongs to --access-log".into()),
        (None, None) => None,
    };
    for path in sockets {
        if path.as_os_str().is_empty() {
            return Err("--listen unix:: the path is empty; name one".into());
        }
        options.places.push(ListenAddress::Unix(UnixAddress {
            option: "--listen unix:",
            path,
            mode: MODE,
            folder_owner: options.user.as_ref().map(|user| user.uid),
            owner: options.user.as_ref().map(|user| user.uid),
            group: options.user.as_ref().map(|user| user.gid),
        }));
    }
    if options.places.is_empty() {
        options.places.push(match crate::server::is_inherited() {
            true => ListenAddress::Inherited,
            false => ListenAddress::Tcp(ADDRESS),
        });
    }
    let is_tcp = |place: &ListenAddress| matches!(place, ListenAddress::Tcp(_));
    if site.awaits_proxy_header && site.trusted.is_empty() && options.places.iter().any(is_tcp) {
        return Err(
            "--proxy-protocol: no --trusted-proxy, so nobody would be served; name the \
                    proxy's address"
                .into(),
        );
    }
    if let Some(stdin) = &streams.stdin {
        if let Some(user) = &options.user {
            let given = stdin.give_to(user);
            given.map_err(|error| format!("-: give the folder to --user: {error}"))?;
        }
        if !options.beneath.is_empty() {
            options.beneath.push(stdin.folder().to_owned());
        }
    }
    if options.workers > 1 && streams.has_command {
        return Err(
            "-c and --workers: one run of a command is for all who read, so one process serves \
             it; leave --workers out, or write COMMAND | sse-httpd --workers N -"
                .into(),
        );
    }
    if options.config.is_some() {
        if !streams.sections.is_empty() {
            return Err("--config, or files and commands: choose one of them".into());
        }
        options.site = Some(site);
        return Ok(Invocation::Serve(Box::new(Serving {
            options,
            stdin: None,
            missing: Vec::new(),
        })));
    }
    if streams.sections.is_empty() {
        return Err(
            "nothing to serve; name files or folders, -c 'COMMAND', or - for standard \
                    input"
                .into(),
        );
    }
    site.sections = streams.sections;
    site.page = Some(Box::new(Page {
        listed: streams.listed,
    }));
    options.site = Some(site);
    Ok(Invocation::Serve(Box::new(Serving {
        options,
        stdin: streams.stdin,
        missing: streams.missing,
    })))
}

/// What the value of `--access-log` means.
fn log_target(path: PathBuf) -> Result<LineTarget, lexopt::Error> {
    if path.as_os_str() == "-" {
        return Ok(LineTarget::Stdout);
    }
    let full = std::path::absolute(&path);
    let full = full.map_err(|error| format!("--access-log {}: {error}", path.display()))?;
    Ok(LineTarget::File(full))
}

/// The streams that a command line names.
#[derive(Default)]
struct Streams {
    sections: Vec<Section>,
    listed: Vec<Listed>,
    stdin: Option<StdinFile>,
    /// Of a worker: the folder with standard input.
    given_stdin: Option<PathBuf>,
    has_command: bool,
    missing: Vec<String>,
}

impl Streams {
    fn add_path(&mut self, value: OsString) -> Result<(), lexopt::Error> {
        if value == "-" {
            return self.add_stdin();
        }
        let shown = value.to_string_lossy().into_owned();
        let full = std::path::absolute(&value).map_err(|error| format!("{shown}: {error}"))?;
        // Where it is a link, its own name is the stream's.
        let name = match full.file_name() {
            Some(name) => name.to_owned(),
            None => return Err(format!("{shown}: a path without a name; name a folder").into()),
        };
        let mut section = section(name.as_bytes(), "tail");
        let path = section.path.clone();
        if full.is_dir() {
            section.set("SSE_ROOT", full.as_os_str().as_bytes());
            self.listed.push(Listed::Folder { path, folder: full });
        } else {
            if !full.exists() {
                self.missing.push(shown);
            }
            section.set("SSE_FILE", full.as_os_str().as_bytes());
            let name = name.to_string_lossy().into_owned();
            self.listed.push(Listed::Stream { path, name });
        }
        self.add(section)
    }

    /// One run of it is for all who read, and the shell takes its words apart.
    fn add_command(&mut self, command: &str) -> Result<(), lexopt::Error> {
        self.has_command = true;
        let quoted = shlex::try_quote(command).map_err(|error| format!("-c: {error}"))?;
        let mut section = section(b"command", "command");
        section.set("SSE_COMMAND", format!("/bin/sh -c {quoted}"));
        section.set("SSE_COMMAND_SHARED", "yes");
        self.listed.push(Listed::Stream {
            path: section.path.clone(),
            name: "command".into(),
        });
        self.add(section)
    }

    fn add_stdin(&mut self) -> Result<(), lexopt::Error> {
        let file = match self.given_stdin.clone() {
            Some(folder) => Ok(StdinFile::given(folder)),
            None => StdinFile::make(),
        };
        let file = file.map_err(|error| {
            format!(
                "-: a folder for standard input: {error}; set TMPDIR to one that can be written"
            )
        })?;
        let mut section = section(b"stdin", "tail");
        section.set("SSE_FILE", file.path().as_os_str().as_bytes());
        self.listed.push(Listed::Stream {
            path: section.path.clone(),
            name: "stdin".into(),
        });
        self.stdin = Some(file);
        self.add(section)
    }

    fn add(&mut self, section: Section) -> Result<(), lexopt::Error> {
        if self.sections.iter().any(|own| own.path == section.path) {
            let path = String::from_utf8_lossy(&section.path).into_owned();
            return Err(format!(
                "two streams at {path}; give one another name, by a link for example"
            )
            .into());
        }
        self.sections.push(section);
        Ok(())
    }
}

fn section(name: &[u8], stream: &str) -> Section {
    Section {
        path: [b"/events/", name].concat(),
        settings: vec![("SSE_STREAM".into(), stream.into())],
    }
}

fn help(program: &str) -> String {
    format!(
        "{program}: Server-Sent Events over HTTP/1.1, without a web server

usage: {program} [--listen ADDRESS:PORT]… FILE…|FOLDER…|-c 'COMMAND'|-
       {program} [--listen ADDRESS:PORT]… --config FILE

  {program} app.log build.log       follow these files
  {program} /var/log/apache2        each file of a folder
  {program} -c 'vmstat 1'           the output of a command, one run for all who read
  make 2>&1 | {program} -           standard input

It prints its address. There is a page that shows the streams; the streams are at
/events/NAME: /events/app.log, /events/apache2/access.log, /events/command, /events/stdin.
Nothing else is served. Ctrl-C ends it.

Without --listen it can be reached from this machine only. Do not expose it to the internet
as it is: there is no TLS and no password, and whoever can connect reads every stream. Put it
behind a web server or a load balancer that has both; two lines of a Caddyfile do:

    logs.example.org
    reverse_proxy 127.0.0.1:8080

and start it with --host logs.example.org.

options:
  -c, --command COMMAND   run it by /bin/sh when the first client comes, for all of them
  --config FILE           serve what a settings file says, whose sections are paths: streams,
                          publish, rooms, status. SIGHUP reads it again. See
                          docs/settings-file.md
  --check FILE            say what is wrong in a settings file, and exit: 0 nothing, 100
                          something
  --listen ADDRESS:PORT   where to listen; default 127.0.0.1:8080. Port 0 takes a free one;
                          unix:PATH is a socket in the file system, for a proxy. May be
                          repeated. Sockets that systemd passes on are used without it
  --host NAME             answer requests for this host on a loopback address, too; * for
                          any. Default: localhost and loopback addresses only, so that no
                          page of another site can read the streams (DNS rebinding)
  --trusted-proxy ADDRESS[/BITS]
                          believe what such a proxy says of its client: Forwarded, else
                          X-Forwarded-For, -Proto, -Host. The client is the last address
                          that is not trusted. May be repeated; with it, the peers of
                          unix:PATH are believed, too
  --proxy-protocol        every connection begins with a PROXY protocol header, version 1 or 2,
                          which names the client. Only a --trusted-proxy and the peers of
                          unix:PATH may connect; others are disconnected, with or without a
                          header
  --access-log FILE       write a line for each response to FILE; - is stdout. A stream's line
                          is written when it ends. Queries are written without tokens and ids
  --access-log-format combined|json
                          default combined: Apache's, and the seconds that the response took
  --user USER[:GROUP]     become this user once the sockets are bound. Root must name one
  --allow-root            serve as root all the same
  --beneath DIR           refuse files that are not below DIR, by whatever links; may be
                          repeated. Default: anywhere
  --workers N             serve by so many processes, 1 to 64; auto: one on each processor. One
                          that is killed is replaced. Default 1. Not with -c
  --drain DURATION        after SIGTERM, how long streams may take to end; default 5s
  --request-timeout DURATION
                          how long a client may take to send a request's head; default 10s
  --idle-timeout DURATION
                          how long a connection is kept without a request; default 15s
  -V, --version
  -h, --help

environment: any setting of docs/settings.md, for all streams, and for the whole process:
{}
signals: SIGTERM and SIGINT end every stream at the end of an event, a second one at
once; SIGHUP opens the logs anew, and reads the settings file again

exit codes: 0 done, 100 wrong option, 111 the system refused (the port is taken)
",
        environment_help(PROCESS_SETTINGS.iter().copied())
    )
}

/// Where a stream can be looked at: the address of a listener as a client writes it.
pub(super) fn url(address: SocketAddr) -> String {
    let ip = address.ip();
    let host = match ip {
        ip if ip.is_unspecified() => "localhost".to_owned(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        ip => ip.to_string(),
    };
    format!("http://{host}:{}/", address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections(arguments: &[&str]) -> Result<Vec<String>, String> {
        let arguments = arguments.iter().map(OsString::from).collect();
        match read("sse-httpd", arguments, None) {
            Invocation::Serve(serving) => {
                let site = serving.options.site.expect("a site");
                let shown = |section: &Section| {
                    let mut text = String::from_utf8_lossy(&section.path).into_owned();
                    for (name, value) in &section.settings {
                        text.push_str(&format!(" {name}={}", String::from_utf8_lossy(value)));
                    }
                    text
                };
                Ok(site.sections.iter().map(shown).collect())
            }
            Invocation::Check(path) => Err(format!("check {}", path.display())),
            Invocation::Print(text) | Invocation::Wrong(text) => Err(text),
        }
    }

    #[test]
    fn a_command_line_names_streams() {
        let found = sections(&["/nowhere/app.log", "/usr", "-c", "echo 'a' | cat"]);
        assert_eq!(
            found.unwrap(),
            [
                "/events/app.log SSE_STREAM=tail SSE_FILE=/nowhere/app.log",
                "/events/usr SSE_STREAM=tail SSE_ROOT=/usr",
                "/events/command SSE_STREAM=command \
                 SSE_COMMAND=/bin/sh -c \"echo 'a' | cat\" SSE_COMMAND_SHARED=yes",
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (arguments, expected) in [
            (&[][..], "nothing to serve; name files"),
            (&["/x/a.log", "/y/a.log"], "two streams at /events/a.log"),
            (
                &["/x/command", "-c", "true"],
                "two streams at /events/command",
            ),
            (&["/"], "/: a path without a name"),
            (&["a", "--listen", "here"], "--listen here: no address"),
            (
                &["a", "--listen", "unix:"],
                "--listen unix:: the path is empty",
            ),
            (
                &["a", "--trusted-proxy", "x"],
                "--trusted-proxy x: no address",
            ),
            (&["a", "--proxy-protocol"], "--proxy-protocol: no --trusted"),
            (&["a", "--drain", "soon"], "--drain soon: no duration"),
            (
                &["a", "--idle-timeout", "1ms"],
                "--idle-timeout 1ms: too short",
            ),
            (
                &["a", "--access-log", "-", "--access-log-format", "common"],
                "--access-log-format common: no such format; write combined or json",
            ),
            (
                &["a", "--access-log-format", "json"],
                "--access-log-format belongs to --access-log",
            ),
            (
                &["a", "--access-log", ""],
                "--access-log: the path is empty",
            ),
            (
                &["-c", "true", "--workers", "2"],
                "-c and --workers: one run of a command",
            ),
            (
                &["a", "--workers", "0"],
                "--workers 0: write a number from 1 to 64, or auto",
            ),
            (&["a", "--workers", "65"], "--workers 65: write a number"),
            (&["a", "--nonsense"], "invalid option '--nonsense'"),
            (&["--help"], "sse-httpd: Server-Sent Events over HTTP/1.1"),
        ] {
            let found = sections(arguments).unwrap_err();
            assert!(found.starts_with(expected), "{found}");
        }
    }
}
