//! `sse-cat`, `sse-publish` and `sse-doctor`: clients of a stream, for scripts, cron and
//! administrators.
//!
//! ```text
//!  cat:     options ─> reading ─┬─> endpoint ─> HTTP     (by ureq, used nowhere else)
//!                               ├─> answer             what a head means
//!                               ├─> parser ─> delivery ─> stdout, a command
//!                               ├─> pace               when to come back
//!                               ├─> state              the last id, in a file
//!                               └─> ending             signals, a closed stdout
//!  publish: options ─> send ─> endpoint ─> HTTP
//! ```
//!
//! `doctor` has an HTTP client of its own, see there.
//!
//! Pure: `answer`, `options`, `pace`, `parser`, `gap`, `record`. The clients use none of the
//! servers' layers, so the parser follows the standard and is not an inversion of our encoder.
//!
//! One thread reads and writes, and blocks in HTTP; a second one waits for signals. So no async
//! runtime is needed, and an event costs only a read and a write.

mod cat;
mod doctor;
mod endpoint;
mod exit;
mod pace;
mod publish;
mod sign;
mod units;

pub use cat::main as cat;
pub use doctor::main as doctor;
pub use publish::main as publish;

use std::ffi::OsString;
use std::fmt;
use std::io::Write;

use exit::Exit;

/// The command line is wrong. The text is for people.
#[derive(Debug)]
struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self(error.to_string())
    }
}

/// Why a program ends before its work is done.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self {
            exit,
            text: text.into(),
        }
    }
}

/// Prints `--help` or `--version`. A reader that closes its end is not an error.
fn print(text: &str) -> Exit {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Exit::System,
        _ => Exit::Done,
    }
}

/// Prints one line on stderr. Control characters from a server are escaped: they would be
/// commands to a terminal. Unlike `eprintln!`, it does not panic if the terminal is gone.
fn note(program: &str, text: &str) {
    let text: String = text
        .chars()
        .flat_map(|c| {
            let shown: Box<dyn Iterator<Item = char>> = match c {
                '\n' => Box::new(Some(c).into_iter()),
                c if c.is_control() => Box::new(c.escape_default()),
                c => Box::new(Some(c).into_iter()),
            };
            shown
        })
        .collect();
    let _ = writeln!(std::io::stderr(), "{program}: {text}");
}

/// The arguments of a program, without its name.
type Arguments = Box<dyn Iterator<Item = OsString>>;

fn arguments() -> Arguments {
    Box::new(std::env::args_os().skip(1))
}
