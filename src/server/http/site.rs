//! What a server without a web server in front serves, by path.

use super::hosts::Hosts;
use crate::gateway::http::{Network, apply_forwarded};
use crate::request::settings::place_of;
use crate::request::{Head, MetaVariables, Status};

/// A path, and the settings of what is served at it and below it: what a location is to a web
/// server.
#[derive(Clone, Debug)]
pub(in crate::server) struct Section {
    /// Decoded; it begins with a slash, and does not end with one.
    pub(super) path: Vec<u8>,
    pub(super) settings: Vec<(String, Vec<u8>)>,
}

/// All that is served.
#[derive(Debug, Default)]
pub(in crate::server) struct Site {
    pub(super) sections: Vec<Section>,
    pub(super) hosts: Hosts,
    /// The proxies that are believed what they say of a client.
    pub(super) trusted: Vec<Network>,
    /// They send a PROXY protocol header (`--proxy-protocol`).
    pub(super) awaits_proxy_header: bool,
    /// The page of the command line's streams.
    pub(super) page: Option<Box<dyn Pages>>,
}

/// Pages beside the sections. It is a trait so that the responder, which has none, need not
/// hold their text.
pub(super) trait Pages: std::fmt::Debug {
    /// The response to a request for this path; `None`: there is no such page.
    fn respond(&self, method: &[u8], path: &[u8]) -> Option<(Head, Vec<u8>)>;
}

/// Where a request leads.
#[derive(Debug)]
pub(in crate::server) enum Routed {
    /// To a section: this is the request with its settings.
    Section(MetaVariables),
    /// To this response.
    Response(Head, Vec<u8>),
}

impl Section {
    pub(super) fn set(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.settings.push((name.into(), value.into()));
    }
}

impl Site {
    /// The proxies that send a PROXY protocol header; `None`: nobody does.
    pub(in crate::server) fn proxies(&self) -> Option<&[Network]> {
        self.awaits_proxy_header.then_some(&self.trusted[..])
    }

    /// Has a request say who its client is, as far as that can be believed. Returns the response
    /// to a request that is for another host.
    pub(in crate::server) fn receive(&self, meta: &mut MetaVariables) -> Option<(Head, Vec<u8>)> {
        let server = meta.get("SERVER_ADDR").last();
        let server = server.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let is_for_us = self.hosts.allow(meta.get("HTTP_HOST").last(), server);
        apply_forwarded(&self.trusted, meta);
        (!is_for_us).then(|| {
            let text = "this server does not answer to this name; see --host\n";
            text_response(Status::MisdirectedRequest, text)
        })
    }

    /// Finds what a request is for.
    pub(in crate::server) fn route(&self, meta: MetaVariables) -> Routed {
        let path = meta.get("PATH_INFO").last().unwrap_or_default();
        let method = meta.get("REQUEST_METHOD").last().unwrap_or_default();
        if path == b"*" {
            let head = Head::new(Status::NoContent).with("Allow", "GET, HEAD, POST, OPTIONS");
            return Routed::Response(head, Vec::new());
        }
        if self.sections.is_empty() {
            // The settings file knows the paths.
            return Routed::Section(meta);
        }
        let locations = self.sections.iter();
        let locations = locations.map(|section| (&section.path[..], section));
        if let Some((section, _, rest)) = place_of(locations, path) {
            let rest = rest.to_vec();
            return Routed::Section(section.given(meta, &rest));
        }
        match self
            .page
            .as_ref()
            .and_then(|page| page.respond(method, path))
        {
            Some((head, body)) => Routed::Response(head, body),
            None => {
                let (head, body) = no_such_stream();
                Routed::Response(head, body)
            }
        }
    }
}

impl Section {
    /// A request for it, as a web server would pass it on.
    fn given(&self, mut meta: MetaVariables, rest: &[u8]) -> MetaVariables {
        meta.set("SCRIPT_NAME", &self.path);
        meta.set("PATH_INFO", rest);
        // Of a path without a rest nothing is left, whatever it looks like.
        meta.set("SSE_PREFIX", &self.path);
        for (name, value) in &self.settings {
            meta.set(name, value);
        }
        meta
    }
}

/// The response to a path at which there is nothing.
pub(in crate::server) fn no_such_stream() -> (Head, Vec<u8>) {
    text_response(Status::NotFound, "no such stream\n")
}

fn text_response(status: Status, text: &str) -> (Head, Vec<u8>) {
    let head = Head::new(status).with("Content-Type", "text/plain; charset=utf-8");
    (head, text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Value, path_below};

    fn site() -> Site {
        let section = |path: &str, name: &str, value: &str| Section {
            path: path.into(),
            settings: vec![(name.into(), value.into())],
        };
        Site {
            sections: vec![
                section("/events/app.log", "SSE_FILE", "/var/app.log"),
                section("/logs", "SSE_ROOT", "/var/log"),
                section("/logs/inner", "SSE_ROOT", "/srv"),
            ],
            ..Site::default()
        }
    }

    #[track_caller]
    fn check(path: &str, expected: Option<(&str, Option<&str>)>) {
        let meta = MetaVariables::of(&[("REQUEST_METHOD", "GET"), ("PATH_INFO", path)]);
        match (site().route(meta), expected) {
            (Routed::Section(meta), Some((script, below))) => {
                assert_eq!(
                    meta.get("SCRIPT_NAME"),
                    Value::One(script.as_bytes()),
                    "{path}"
                );
                let found = path_below(&meta);
                assert_eq!(found.as_deref(), below.map(str::as_bytes), "{path}");
            }
            (Routed::Response(head, _), None) => assert_eq!(head.status, Status::NotFound),
            (found, expected) => panic!("{path}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_section_is_found_at_a_slash_and_the_longest_wins() {
        check("/events/app.log", Some(("/events/app.log", None)));
        check("/events/app.log/x", Some(("/events/app.log", Some("/x"))));
        check("/logs", Some(("/logs", None)));
        check("/logs/", Some(("/logs", Some("/"))));
        check("/logs/a/b.log", Some(("/logs", Some("/a/b.log"))));
        check("/logs/inner/x", Some(("/logs/inner", Some("/x"))));
        check("/logs/innerx", Some(("/logs", Some("/innerx"))));
        for path in [
            "/",
            "/events",
            "/events/",
            "/events/app.logs",
            "/logsx",
            "//logs/a",
            "/x/../logs/a",
            "/LOGS/a",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn a_client_cannot_set_what_the_section_sets() {
        let meta = MetaVariables::of(&[
            ("PATH_INFO", "/logs/a"),
            ("SSE_ROOT", "/etc"),
            ("SSE_PREFIX", "/l"),
        ]);
        let Routed::Section(meta) = site().route(meta) else {
            panic!("no section");
        };
        assert_eq!(meta.get("SSE_ROOT"), Value::One(b"/var/log"));
        assert_eq!(meta.get("SSE_PREFIX"), Value::One(b"/logs"));
    }
}
