//! The shipped files, and the places in them that differ from one machine to the next.

use super::blocks::Blocks;

/// A text of a file that an option replaces.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) option: &'static str,
    pub(super) from: &'static str,
    /// `{}` is the option's value.
    pub(super) to: &'static str,
}

/// One file.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
    pub(super) places: &'static [Place],
    pub(super) blocks: Blocks,
    /// What is changed in the file whatever the options are.
    pub(super) always: Option<(&'static str, &'static str)>,
}

impl Template {
    /// What else a stream needs at another path: the prefix of its location.
    pub(super) fn after_move(&self, text: &str, path: &str) -> String {
        let first = path.split('/').nth(1).unwrap_or_default();
        match self.name {
            "lighttpd" if first != "events" => text
                .replace("\"^/(events|logs)/\"", &format!("\"^/({first}|logs)/\""))
                .replace("\"/events\" => ((", &format!("\"/{first}\" => ((")),
            "haproxy" if first != "events" => {
                text.replace("path_beg /events/ ", &format!("path_beg /{first}/ "))
            }
            "apache-fastcgi" | "apache-fcgid" if first != "events" => text
                .replace("\"/events/\"", &format!("\"/{first}/\""))
                .replace(
                    "fcgi://sse-fcgi/events/",
                    &format!("fcgi://sse-fcgi/{first}/"),
                )
                .replace("^/(events|logs)/", &format!("^/({first}|logs)/")),
            "caddy" if first != "events" => text.replace("/events/*", &format!("/{first}/*")),
            _ => text.to_owned(),
        }
    }
}

const fn place(option: &'static str, from: &'static str, to: &'static str) -> Place {
    Place { option, from, to }
}

const SOCKET: &str = "/run/sse-fcgi/sse-fcgi.sock";
const DATA: &str = "/var/lib/sse-cgi";
const PAGES: &str = "/var/www/sse-cgi";
const EVENTS: &str = "/var/lib/sse-cgi/events.jsonl";
const RESPONDER: &str = "/usr/local/bin/sse-fcgi";

const APACHE_CGI: &str = include_str!("../../../../apache/sse-cgi.conf");
const APACHE_PROXY: &str = include_str!("../../../../apache/sse-cgi-proxy-fcgi.conf");

const APACHE_PLACES: &[Place] = &[
    place(
        "host",
        "Define EVENTS_NAME localhost",
        "Define EVENTS_NAME {}",
    ),
    place("port", "Define EVENTS_PORT 80", "Define EVENTS_PORT {}"),
    place(
        "file",
        "Define EVENTS_TAIL_FILE ${EVENTS_DATA}/events.jsonl",
        "Define EVENTS_TAIL_FILE {}",
    ),
    place(
        "data",
        "Define EVENTS_DATA /var/lib/sse-cgi",
        "Define EVENTS_DATA {}",
    ),
    place(
        "pages",
        "Define EVENTS_PAGES /var/www/sse-cgi",
        "Define EVENTS_PAGES {}",
    ),
    place(
        "cgi-bin",
        "Define EVENTS_CGI_BIN /usr/local/lib/sse-cgi/cgi-bin",
        "Define EVENTS_CGI_BIN {}",
    ),
    place(
        "socket",
        "Define EVENTS_SOCKET /run/sse-fcgi/sse-fcgi.sock",
        "Define EVENTS_SOCKET {}",
    ),
    place(
        "responder",
        "Define EVENTS_RESPONDER /usr/local/bin/sse-fcgi",
        "Define EVENTS_RESPONDER {}",
    ),
];

const PROGRAMS: Blocks = Blocks::Between {
    start: "        <FilesMatch \"^(nph-)?{}\\.cgi$\">",
    logs: "",
    end: "        </FilesMatch>",
};

const LOCATIONS: Blocks = Blocks::Between {
    start: "    <Location \"/events/{}\">",
    logs: "    <Location \"/logs/\">",
    end: "    </Location>",
};

pub(super) static TEMPLATES: [Template; 11] = [
    Template {
        name: "apache",
        text: APACHE_CGI,
        places: APACHE_PLACES,
        blocks: PROGRAMS,
        always: None,
    },
    Template {
        name: "apache-h2",
        text: APACHE_CGI,
        places: APACHE_PLACES,
        blocks: PROGRAMS,
        // Names without nph- stream over HTTP/2.
        always: Some((
            "Define EVENTS_PROTOCOLS \"http/1.1\"",
            "Define EVENTS_PROTOCOLS \"h2 http/1.1\"",
        )),
    },
    Template {
        name: "apache-fastcgi",
        text: APACHE_PROXY,
        places: APACHE_PLACES,
        blocks: LOCATIONS,
        always: None,
    },
    Template {
        name: "apache-fcgid",
        text: include_str!("../../../../apache/sse-cgi-fcgid.conf"),
        places: APACHE_PLACES,
        blocks: LOCATIONS,
        always: None,
    },
    Template {
        name: "htaccess",
        text: include_str!("../../../../apache/htaccess"),
        places: &[place("file", "SSE_FILE events.jsonl", "SSE_FILE {}")],
        blocks: Blocks::Between {
            start: "<FilesMatch \"^(nph-)?{}\\.cgi$\">",
            logs: "",
            end: "</FilesMatch>",
        },
        always: None,
    },
    Template {
        name: "nginx",
        text: concat!(
            include_str!("../../../../nginx/sse-cgi.conf"),
            "\n# ---- The following is a file of its own: /etc/nginx/snippets/sse-cgi.conf\n",
            "# (delete this line and what is above it there).\n",
            include_str!("../../../../nginx/snippets/sse-cgi.conf"),
        ),
        places: &[
            place("host", "server_name localhost;", "server_name {};"),
            place(
                "port",
                "    listen 80;\n    listen [::]:80;\n",
                "    listen {};\n    listen [::]:{};\n",
            ),
            place("socket", SOCKET, "{}"),
            place("file", EVENTS, "{}"),
            place("data", DATA, "{}"),
            place("pages", PAGES, "{}"),
        ],
        blocks: Blocks::Between {
            start: "    location = /events/{} {",
            logs: "    location /logs/ {",
            end: "    }",
        },
        always: None,
    },
    Template {
        name: "lighttpd",
        text: include_str!("../../../../lighttpd/sse-cgi.conf"),
        places: &[
            place("socket", SOCKET, "{}"),
            place("file", "var.sse_data + \"/events.jsonl\"", "\"{}\""),
            place("data", DATA, "{}"),
        ],
        blocks: Blocks::Between {
            start: "$HTTP[\"url\"] == \"/events/{}\" {",
            logs: "$HTTP[\"url\"] =~ \"^/logs/\" {",
            end: "}",
        },
        always: None,
    },
    Template {
        name: "h2o",
        text: include_str!("../../../../h2o/sse-cgi.conf"),
        places: &[
            place("port", "listen: 8080", "listen: {}"),
            place("host", "  default:\n", "  {}:\n"),
            place("socket", SOCKET, "{}"),
            place("file", EVENTS, "{}"),
            place("data", DATA, "{}"),
            place("pages", PAGES, "{}"),
            place("user", "user: www-data", "user: {}"),
        ],
        blocks: Blocks::Indented {
            start: "      /events/{}:",
            logs: "      /logs:",
        },
        always: None,
    },
    Template {
        name: "caddy",
        text: include_str!("../../../../caddy/Caddyfile"),
        places: &[
            place("host", "\n:80 {\n", "\n{} {\n"),
            place("port", "\n:80 {\n", "\n:{} {\n"),
            place("socket", SOCKET, "{}"),
            place("file", EVENTS, "{}"),
            place("data", DATA, "{}"),
            place("pages", PAGES, "{}"),
        ],
        blocks: Blocks::Between {
            start: "\thandle /events/{} {",
            logs: "\thandle /logs/* {",
            end: "\t}",
        },
        always: None,
    },
    Template {
        name: "haproxy",
        text: include_str!("../../../../haproxy/sse-cgi.cfg"),
        places: &[
            place("port", "bind :80\n", "bind :{}\n"),
            place("socket", SOCKET, "{}"),
            place("file", EVENTS, "{}"),
            place("data", DATA, "{}"),
            place("pages", PAGES, "{}"),
        ],
        blocks: Blocks::Paragraphs {
            mark: "if { path /events/{} }",
            logs: "path_beg /logs/",
        },
        always: None,
    },
    Template {
        name: "systemd",
        text: concat!(
            "# /etc/systemd/system/sse-fcgi.socket\n",
            include_str!("../../../../systemd/sse-fcgi.socket"),
            "\n# ---- The following is a file of its own: /etc/systemd/system/sse-fcgi.service\n",
            include_str!("../../../../systemd/sse-fcgi.service"),
        ),
        places: &[
            place("socket", SOCKET, "{}"),
            place(
                "user",
                "SocketUser=www-data\nSocketGroup=www-data",
                "SocketUser={}\nSocketGroup={}",
            ),
            place("responder", RESPONDER, "{}"),
            place("data", DATA, "{}"),
        ],
        blocks: Blocks::None,
        always: None,
    },
];
