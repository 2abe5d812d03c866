//! Options: the command line of `sse-harness`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use super::settings::{SettingError, Settings};
use super::site::Limits;

pub const HELP: &str = "\
sse-harness: pages, CGI and FastCGI on this machine, without an installed web server

usage: sse-harness [option]...

It responds like Apache with mod_cgid, so that programs that work here work there. It
is for local use and not for the internet: no TLS, no passwords, no access rules.

  --web DIR             pages, served at / [./web]
  --cgi-bin DIR         programs, served at /cgi-bin/ [./cgi-bin]
                        links may lead out of this folder, those in --web may not
  --fcgi PROGRAM        FastCGI responder [sse-fcgi beside this program], served at
                        /events/NAME: the stream NAME, or that of SSE_STREAM;
                        the first request starts it, and it is restarted if it ends
  --config FILE         the responder's settings file, with a section for each path,
                        such as [/events/log]; --set takes precedence over it.
                        SIGHUP has it read again. (Programs in --cgi-bin have .htsse)
  --listen ADDR:PORT    [127.0.0.1:8080] other machines cannot reach 127.0.0.1;
                        port 0 selects a free one and prints it
  --set NAME=VALUE      a variable for all programs, like Apache's SetEnv;
                        SSE_* of its own environment are passed on without this
  --set FILE.cgi:NAME=VALUE
                        for one program, and for /events/FILE; takes precedence
                        over one for all
  --timeout TIME        longest silence of a program before it is ended, as Apache's
                        Timeout [300s, as in Debian]; units: ms, s, m, h
  --max-header SIZE     longest request head [16K: twice Apache's longest line]
  --max-body SIZE       longest request body [1M: it is kept in memory]
  --max-programs N      programs that run at once [256: more on one machine is
                        probably a mistake]; the next request gets 503
  --help, --version

stdout: one line with the address, when it is ready
stderr: the access log (Common Log Format and seconds), the stderr of programs, and
        errors
exit:   0 after SIGINT or SIGTERM, when every program has ended (SIGTERM, and
        SIGKILL after 3 s); 100 wrong usage; 111 error of the system
";

/// The meaning of the command line.
#[derive(Debug)]
pub enum Command {
    Serve(Box<Options>),
    Help,
    Version,
}

#[derive(Debug)]
pub struct Options {
    pub web: PathBuf,
    pub cgi_bin: PathBuf,
    /// `None`: the one in the folder of this program.
    pub fcgi: Option<PathBuf>,
    /// The responder's settings file.
    pub config: Option<PathBuf>,
    pub listen: String,
    pub settings: Settings,
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            web: "./web".into(),
            cgi_bin: "./cgi-bin".into(),
            fcgi: None,
            config: None,
            listen: "127.0.0.1:8080".to_string(),
            settings: Settings::default(),
            limits: Limits {
                silence: Duration::from_secs(300),
                header_bytes: 16 * 1024,
                body_bytes: 1024 * 1024,
                programs: 256,
            },
        }
    }
}

/// Reads the arguments, without the program's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut options = Options::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Command::Help),
            Long("version") | Short('V') => return Ok(Command::Version),
            Long("web") => options.web = parser.value()?.into(),
            Long("cgi-bin") => options.cgi_bin = parser.value()?.into(),
            Long("fcgi") => options.fcgi = Some(parser.value()?.into()),
            Long("config") => options.config = Some(parser.value()?.into()),
            Long("listen") => options.listen = parser.value()?.string()?,
            Long("set") => options.settings.add(&parser.value()?)?,
            Long("timeout") => {
                let wanted = "a time from 1ms to 24h, such as 300s";
                options.limits.silence = parsed(&mut parser, "--timeout", wanted, duration)?;
            }
            Long("max-header") => {
                let wanted = "a size from 1K to 1M, such as 16K";
                let range = |text: &str| size(text).filter(|n| (1024..=1 << 20).contains(n));
                options.limits.header_bytes = parsed(&mut parser, "--max-header", wanted, range)?;
            }
            Long("max-body") => {
                let wanted = "a size from 0 to 1G, such as 1M";
                let range = |text: &str| size(text).filter(|n| *n <= 1 << 30);
                options.limits.body_bytes = parsed(&mut parser, "--max-body", wanted, range)?;
            }
            Long("max-programs") => {
                let wanted = "a number from 1 to 10000";
                let range = |text: &str| text.parse().ok().filter(|n| (1..=10_000).contains(n));
                options.limits.programs = parsed(&mut parser, "--max-programs", wanted, range)?;
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::Serve(Box::new(options)))
}

fn parsed<T>(
    parser: &mut lexopt::Parser,
    option: &'static str,
    wanted: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, UsageError> {
    let text = parser.value()?.string()?;
    parse(&text).ok_or(UsageError(format!("{option} {text}: want {wanted}")))
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let milliseconds: u64 = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let total = digits.parse::<u64>().ok()?.checked_mul(milliseconds)?;
    (1..=86_400_000)
        .contains(&total)
        .then(|| Duration::from_millis(total))
}

fn size(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: usize = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

/// The problem of the arguments.
#[derive(Debug)]
pub struct UsageError(String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> UsageError {
        UsageError(error.to_string())
    }
}

impl From<SettingError> for UsageError {
    fn from(error: SettingError) -> UsageError {
        UsageError(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(arguments: &str) -> Option<Limits> {
        let arguments = arguments.split_whitespace().map(OsString::from);
        match parse(arguments) {
            Ok(Command::Serve(options)) => Some(options.limits),
            _ => None,
        }
    }

    #[test]
    fn times_and_sizes_have_units() {
        let all = "--timeout 2m --max-header 8K --max-body 0 --max-programs 3";
        let expected = Limits {
            silence: Duration::from_secs(120),
            header_bytes: 8192,
            body_bytes: 0,
            programs: 3,
        };
        assert_eq!(limits(all), Some(expected));
        assert_eq!(limits("--timeout=500ms").unwrap().silence.as_millis(), 500);
    }

    #[test]
    fn what_is_out_of_range_or_unknown_is_refused() {
        for wrong in [
            "--timeout 5",
            "--timeout 0s",
            "--timeout s",
            "--timeout 25h",
            "--timeout 99999999999999999999h",
            "--max-header 1",
            "--max-body 2G",
            "--max-body 1k",
            "--max-programs 0",
            "--max-programs",
            "--port 8080",
            "--set A",
            "file",
        ] {
            assert_eq!(limits(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_help_names_the_real_defaults() {
        let limits = limits("").unwrap();
        assert_eq!(limits.silence, Duration::from_secs(300));
        assert_eq!(limits.header_bytes, 16 << 10);
        assert_eq!(limits.body_bytes, 1 << 20);
        for default in ["[300s", "[16K", "[1M", "[256", "[127.0.0.1:8080]"] {
            assert!(HELP.contains(default), "{default}");
        }
    }
}
