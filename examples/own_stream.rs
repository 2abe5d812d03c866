//! An application's own stream: the load of this machine, twice a second.
//!
//!     cargo run --example own_stream            in a terminal
//!     cp …/own_stream cgi-bin/nph-load.cgi      under a web server
//!     own_stream --socket /run/load.sock        as a FastCGI responder

use std::{process::ExitCode, time::Duration};

use sse_cgi::event::{Batch, Event, EventId, EventName};
use sse_cgi::source::{Next, Now, OpenError, Opened, Opening, Source, Stream};

static LOAD: Stream = Stream {
    name: "load",
    summary: "the load of this machine",
    open: |opening: &Opening| -> Result<Opened, OpenError> {
        Ok(Opened::Stream(
            Box::new(Load {
                due: opening.now.monotonic,
            }),
            None,
        ))
    },
    settings: &[],
    argument: None,
    shared: None,
};

struct Load {
    due: Duration,
}

impl Source for Load {
    fn poll(&mut self, now: Now, out: &mut Batch) -> Next {
        if now.monotonic < self.due {
            return Next::At(self.due);
        }
        self.due = now.monotonic + Duration::from_millis(500);
        let load = std::fs::read("/proc/loadavg").unwrap_or_default();
        let (id, name) = (
            EventId::new(now.unix_ms.to_string()).ok(),
            EventName::new("load").ok(),
        );
        out.event(&Event {
            id,
            name,
            data: load.trim_ascii(),
        });
        Next::At(self.due)
    }

    fn position(&self) -> Option<EventId<'static>> {
        None
    }
}

fn main() -> ExitCode {
    sse_cgi::run(&LOAD)
}
