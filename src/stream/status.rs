//! The figures of a responder's status page.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

/// The figures of a status page. Counters count from the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusReport {
    /// Open streams, by the name of the stream.
    pub subscribers: BTreeMap<&'static str, u64>,
    /// How many of them read by themselves what others share.
    pub catching_up: u64,
    /// The sum of the events sent to each subscriber.
    pub events: u64,
    /// The bytes sent, including the gateway's framing.
    pub bytes: u64,
    /// Subscribers that were disconnected because they did not read, or violated the protocol.
    pub dropped: u64,
    /// How many connections could not be accepted.
    pub accept_errors: u64,
    /// The age of the oldest stream; 0 where there is none.
    pub oldest_seconds: u64,
    /// Whether the engines of streams that are stored elsewhere can be reached, by their addresses.
    pub engines: BTreeMap<String, bool>,
    /// The age of the process.
    pub uptime_seconds: u64,
}

/// The version of this crate.
const VERSION: &str = env!("CARGO_PKG_VERSION");

impl StatusReport {
    fn all_subscribers(&self) -> u64 {
        self.subscribers.values().sum()
    }

    /// As a JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        let by_stream: serde_json::Map<String, Value> = self
            .subscribers
            .iter()
            .map(|(name, count)| ((*name).to_owned(), json!(count)))
            .collect();
        let mut object = json!({
            "subscribers": self.all_subscribers(),
            "subscribers_by_stream": by_stream,
            "catching_up": self.catching_up,
            "events": self.events,
            "bytes": self.bytes,
            "dropped": self.dropped,
            "accept_errors": self.accept_errors,
            "oldest_seconds": self.oldest_seconds,
            "uptime_seconds": self.uptime_seconds,
            "version": VERSION,
        });
        if !self.engines.is_empty() {
            let up = |is_up: &bool| if *is_up { "up" } else { "down" };
            let states = self.engines.iter();
            let states: BTreeMap<&String, &str> = states.map(|(name, is)| (name, up(is))).collect();
            object["engines"] = json!(states);
        }
        format!("{object}\n")
    }

    /// In Prometheus's text format (exposition format 0.0.4).
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        let mut figure = |name: &str, kind: &str, help: &str, values: &[(String, u64)]| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let one = |value: u64| [(String::new(), value)];
        let by_stream: Vec<(String, u64)> = self
            .subscribers
            .iter()
            .map(|(name, count)| (format!("{{stream=\"{name}\"}}"), *count))
            .collect();
        figure(
            "sse_subscribers",
            "gauge",
            "Open streams.",
            &one(self.all_subscribers()),
        );
        figure(
            "sse_subscribers_by_stream",
            "gauge",
            "Open streams, by the name of the stream.",
            &by_stream,
        );
        figure(
            "sse_catching_up",
            "gauge",
            "Streams that read by themselves what others share.",
            &one(self.catching_up),
        );
        figure(
            "sse_events_total",
            "counter",
            "Events sent, counted for each subscriber.",
            &one(self.events),
        );
        figure(
            "sse_bytes_total",
            "counter",
            "Bytes sent.",
            &one(self.bytes),
        );
        figure(
            "sse_dropped_total",
            "counter",
            "Peers closed because they took nothing or sent nonsense.",
            &one(self.dropped),
        );
        figure(
            "sse_accept_errors_total",
            "counter",
            "Connections that could not be taken.",
            &one(self.accept_errors),
        );
        figure(
            "sse_oldest_seconds",
            "gauge",
            "Age of the oldest stream.",
            &one(self.oldest_seconds),
        );
        figure(
            "sse_uptime_seconds",
            "gauge",
            "Age of the process.",
            &one(self.uptime_seconds),
        );
        if !self.engines.is_empty() {
            let up = |(name, is_up): (&String, &bool)| {
                (format!("{{engine=\"{name}\"}}"), u64::from(*is_up))
            };
            let states: Vec<(String, u64)> = self.engines.iter().map(up).collect();
            figure(
                "sse_engine_up",
                "gauge",
                "Whether an engine that keeps streams can be reached.",
                &states,
            );
        }
        let version = format!("{{version=\"{VERSION}\"}}");
        figure("sse_build_info", "gauge", "The build.", &[(version, 1)]);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> StatusReport {
        StatusReport {
            subscribers: [("clock", 2), ("tail", 40)].into(),
            catching_up: 3,
            events: 1000,
            bytes: 123_456,
            dropped: 1,
            accept_errors: 0,
            oldest_seconds: 77,
            uptime_seconds: 99,
            engines: [("unix:/r".to_owned(), true), ("unix:/s".to_owned(), false)].into(),
        }
    }

    #[test]
    fn both_forms_tell_the_same_figures() {
        let json: Value = serde_json::from_str(&status().to_json()).unwrap();
        let text = status().to_prometheus();
        for (name, metric) in [
            ("subscribers", "sse_subscribers"),
            ("catching_up", "sse_catching_up"),
            ("events", "sse_events_total"),
            ("bytes", "sse_bytes_total"),
            ("dropped", "sse_dropped_total"),
            ("accept_errors", "sse_accept_errors_total"),
            ("oldest_seconds", "sse_oldest_seconds"),
            ("uptime_seconds", "sse_uptime_seconds"),
        ] {
            let line = format!("\n{metric} {}\n", json[name]);
            assert!(text.contains(&line), "{line:?} in {text}");
        }
        assert_eq!(json["subscribers"], 42);
        assert_eq!(json["subscribers_by_stream"]["tail"], 40);
        assert!(text.contains("\nsse_subscribers_by_stream{stream=\"tail\"} 40\n"));
        assert_eq!(json["engines"], json!({"unix:/r": "up", "unix:/s": "down"}));
        assert!(text.contains("\nsse_engine_up{engine=\"unix:/s\"} 0\n"));
    }
}
