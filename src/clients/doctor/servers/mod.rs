//! The measured table of servers: how each is recognised, what it does to a stream, and the
//! directive that undoes it. docs/doctor.md contains the table; a test compares.

mod table;

use super::message::Head;
use table::SERVERS;

/// What a server does, and the remedy.
#[derive(Debug)]
pub(super) struct Cause {
    /// The setting or the module that has the effect.
    pub(super) what: &'static str,
    /// What to write instead.
    pub(super) fix: &'static str,
}

/// A limit that ends a stream.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) directive: &'static str,
    /// Its defaults, in seconds.
    pub(super) defaults_s: &'static [u64],
    pub(super) fix: &'static str,
}

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: &'static str,
    /// Whether this was measured with the real server, not read in its documentation.
    pub(super) is_measured: bool,
    marks: &'static [Mark],
    /// What holds events back.
    pub(super) holds: &'static [Cause],
    /// What compresses a stream.
    pub(super) compresses: &'static [Cause],
    /// Whether a compressed stream still flows, event by event.
    pub(super) compressed_flows: bool,
    /// What ends a silent stream.
    pub(super) silence: &'static [Limit],
    /// What ends a stream that is not silent.
    pub(super) age: &'static [Limit],
    /// What to look at when it answers 502, 503 or 504.
    pub(super) down: &'static str,
    /// Where the reason of a 500 is.
    pub(super) log: &'static str,
    /// How it learns HTTP/2.
    pub(super) http2: &'static str,
}

/// By what a server is recognised in the head of a response.
#[derive(Clone, Copy, Debug)]
enum Mark {
    /// `Server` contains this, in lower case.
    Server(&'static str),
    /// `Via` contains this, in lower case.
    Via(&'static str),
    /// The field is there.
    Field(&'static str),
    /// The field has this value, in lower case, at its beginning.
    Value(&'static str, &'static str),
    /// Every name of a field is in lower case over HTTP/1: HAProxy, which sends no `Server`. (Rust's
    /// hyper does so too, and `date` is its last field.)
    LowerCaseNames,
}

/// The table as Markdown, for docs/doctor.md.
pub(super) fn table() -> String {
    let mut text = String::from(
        "| server | holds events back | compresses | ends a silent stream | ends any stream | |\n\
         |---|---|---|---|---|---|\n",
    );
    let cell = |parts: Vec<String>| match parts.is_empty() {
        true => "nothing known".to_owned(),
        false => parts.join("; ").replace('|', "or"),
    };
    let causes = |causes: &[Cause]| {
        let causes = causes.iter();
        cell(
            causes
                .map(|cause| format!("{}: `{}`", cause.what, cause.fix))
                .collect(),
        )
    };
    let limits = |limits: &[Limit]| {
        let of = |limit: &Limit| {
            let defaults: Vec<_> = limit.defaults_s.iter().map(|s| format!("{s} s")).collect();
            let defaults = match defaults.is_empty() {
                true => String::new(),
                false => format!(" ({})", defaults.join(", ")),
            };
            format!("{}{defaults}: `{}`", limit.directive, limit.fix)
        };
        cell(limits.iter().map(of).collect())
    };
    for server in &SERVERS {
        let mut compresses = causes(server.compresses);
        if !server.compresses.is_empty() {
            compresses.push_str(match server.compressed_flows {
                true => "; events still flow",
                false => "; events are held back",
            });
        }
        text.push_str(&format!(
            "| {} | {} | {compresses} | {} | {} | {} |\n",
            server.name,
            causes(server.holds),
            limits(server.silence),
            limits(server.age),
            if server.is_measured {
                "measured"
            } else {
                "from its documentation"
            },
        ));
    }
    text
}

/// The servers that the heads of responses show, from the client inwards.
pub(super) fn recognise<'a>(heads: impl IntoIterator<Item = &'a Head>) -> Vec<&'static Server> {
    let heads: Vec<&Head> = heads.into_iter().collect();
    let has = |mark: &Mark| heads.iter().any(|head| mark.is_in(head));
    SERVERS
        .iter()
        .filter(|server| server.marks.iter().any(has))
        .collect()
}

impl Mark {
    fn is_in(self, head: &Head) -> bool {
        let contains = |name: &'static str, text: &str| {
            head.all(name)
                .any(|value| value.to_ascii_lowercase().contains(text))
        };
        match self {
            Self::Server(text) => contains("server", text),
            Self::Via(text) => contains("via", text),
            Self::Field(name) => head.field(name).is_some(),
            Self::Value(name, start) => {
                let value = head.field(name).map(str::to_ascii_lowercase);
                value.is_some_and(|value| value.starts_with(start))
            }
            Self::LowerCaseNames => {
                let mut names = head.fields.iter().map(|(name, _)| name);
                let server = head.field("server").unwrap_or_default();
                // (These write small letters too, and say who they are.)
                let is_other = ["envoy", "istio", "uvicorn", "hypercorn"].contains(&server);
                head.fields.len() >= 3
                    && !is_other
                    && names.all(|name| !name.bytes().any(|byte| byte.is_ascii_uppercase()))
                    && head.fields.last().is_none_or(|(name, _)| name != "date")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fields: &[(&str, &str)], expected: &[&str]) {
        let owned = fields
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let head = Head {
            minor: 1,
            status: 200,
            fields: owned.collect(),
        };
        let names: Vec<_> = recognise([&head])
            .iter()
            .map(|server| server.name)
            .collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn servers_are_recognised_from_the_client_inwards() {
        let stream = ("Content-Type", "text/event-stream");
        check(&[stream, ("Server", "nginx/1.22.1")], &["nginx"]);
        check(
            &[stream, ("Server", "Caddy"), ("Server", "Apache/2.4.6")],
            &["Caddy", "Apache"],
        );
        check(
            &[
                stream,
                ("Server", "Apache"),
                ("Via", "1.1 varnish (Varnish/7.1)"),
            ],
            &["Varnish", "Apache"],
        );
        check(
            &[stream, ("X-Powered-By", "Express"), ("Date", "x")],
            &["Express (Node.js)"],
        );
        check(&[stream, ("Date", "x")], &[]);
    }

    #[test]
    fn haproxy_is_recognised_by_small_letters() {
        let lower = [
            ("content-type", "x"),
            ("cache-control", "y"),
            ("transfer-encoding", "chunked"),
        ];
        check(&lower, &["HAProxy"]);
        check(
            &[("content-type", "x"), ("server", "uvicorn"), ("date", "z")],
            &[],
        );
    }
}
