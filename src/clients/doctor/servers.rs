//! The measured table of servers: how each is recognised, what it does to a stream, and the
//! directive that undoes it. docs/doctor.md contains the table; a test compares.

use super::message::Head;

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

/// The table, from the client's side inwards: a proxy stands before a server behind it.
pub(super) static SERVERS: [Server; 13] = [
    Server {
        name: "Cloudflare",
        is_measured: false,
        marks: &[Mark::Server("cloudflare"), Mark::Field("cf-ray")],
        holds: &[Cause {
            what: "its buffering and compression of what it does not take for a stream",
            fix: "send Content-Type: text/event-stream and Cache-Control: no-cache, no-transform",
        }],
        compresses: &[Cause {
            what: "its compression",
            fix: "Cache-Control: no-transform (sse-cgi sends it)",
        }],
        compressed_flows: true,
        silence: &[Limit {
            directive: "its proxy read timeout",
            defaults_s: &[100, 120],
            fix: "a heartbeat at least every 45 s",
        }],
        age: &[],
        down: "the server behind it does not respond",
        log: "the log of the server behind it",
        http2: "it speaks HTTP/2 already",
    },
    Server {
        name: "Varnish",
        is_measured: false,
        marks: &[
            Mark::Field("x-varnish"),
            Mark::Via("varnish"),
            Mark::Server("varnish"),
        ],
        holds: &[Cause {
            what: "it fetches the whole response first",
            fix: "sub vcl_recv { if (req.url ~ \"^/events/\") { return (pipe); } }",
        }],
        compresses: &[Cause {
            what: "beresp.do_gzip",
            fix: "set beresp.do_gzip = false;",
        }],
        compressed_flows: false,
        silence: &[Limit {
            directive: "between_bytes_timeout, or pipe_timeout",
            defaults_s: &[60, 300],
            fix: "varnishd -p pipe_timeout=3600 -p between_bytes_timeout=120",
        }],
        age: &[],
        down: "its backend does not respond: varnishadm backend.list",
        log: "varnishlog",
        http2: "varnishd -p feature=+http2, with TLS in front",
    },
    Server {
        name: "HAProxy",
        is_measured: true,
        marks: &[Mark::LowerCaseNames],
        holds: &[Cause {
            what: "http-buffer-response, or option http-no-delay that is missing",
            fix: "option http-no-delay",
        }],
        compresses: &[Cause {
            what: "compression type text/event-stream",
            fix: "remove text/event-stream from `compression type`",
        }],
        compressed_flows: true,
        silence: &[Limit {
            directive: "timeout server",
            defaults_s: &[30, 50],
            fix: "timeout server 60s",
        }],
        age: &[Limit {
            directive: "timeout tunnel, or a reload with hard-stop-after",
            defaults_s: &[3600],
            fix: "hard-stop-after 1h",
        }],
        down: "no server of the backend responds: `server responder unix@…` names another socket than \
               the responder's, or nothing listens there (a chroot changes paths)",
        log: "the responder's own log (systemctl status sse-fcgi)",
        http2: "bind :443 ssl crt FILE alpn h2,http/1.1",
    },
    Server {
        name: "Caddy",
        is_measured: true,
        marks: &[Mark::Server("caddy"), Mark::Via("caddy")],
        holds: &[
            Cause {
                what: "encode, which holds events back",
                fix: "@compressible not path /events/*, and `encode @compressible gzip`",
            },
            Cause {
                what: "reverse_proxy to a server that does not send text/event-stream",
                fix: "flush_interval -1",
            },
        ],
        compresses: &[Cause {
            what: "encode, whatever no-transform says",
            fix: "@compressible not path /events/*, and `encode @compressible gzip`",
        }],
        compressed_flows: false,
        silence: &[Limit {
            directive: "read_timeout of the transport",
            defaults_s: &[],
            fix: "no read_timeout in the transport (write_timeout 60s)",
        }],
        age: &[Limit {
            directive: "read_timeout of the transport, which counts from the start of the answer",
            defaults_s: &[],
            fix: "no read_timeout in the transport (write_timeout 60s)",
        }],
        down: "nothing listens at the address of reverse_proxy, or Caddy's user may not connect to \
               the socket",
        log: "the responder's own log (systemctl status sse-fcgi)",
        http2: "a host name as the site's address, which gives TLS and with it HTTP/2",
    },
    Server {
        name: "nginx",
        is_measured: true,
        marks: &[Mark::Server("nginx"), Mark::Server("openresty")],
        holds: &[
            Cause {
                what: "fastcgi_buffering on (with fastcgi_ignore_headers X-Accel-Buffering, or a \
                       program that does not send it)",
                fix: "fastcgi_buffering off;",
            },
            Cause {
                what: "proxy_buffering on (the same, where it is a proxy)",
                fix: "proxy_buffering off;",
            },
            Cause {
                what: "fcgiwrap, which collects output",
                fix: "fastcgi_param NO_BUFFERING 1;",
            },
        ],
        compresses: &[Cause {
            what: "gzip_types text/event-stream",
            fix: "gzip off;",
        }],
        compressed_flows: true,
        silence: &[Limit {
            directive: "fastcgi_read_timeout (proxy_read_timeout, where it is a proxy)",
            defaults_s: &[60],
            fix: "fastcgi_read_timeout 60s; (proxy_read_timeout 60s;), above two heartbeats",
        }],
        age: &[Limit {
            directive: "worker_shutdown_timeout, at a reload",
            defaults_s: &[],
            fix: "no worker_shutdown_timeout",
        }],
        down: "nothing listens at the address of fastcgi_pass or proxy_pass, or nginx's user may not \
               connect to the socket: see error_log. \
               `error_page 502 503 504 = @sse_later;` lets clients return meanwhile",
        log: "error_log, usually /var/log/nginx/error.log",
        http2: "listen 443 ssl http2; (from 1.25.1: http2 on;)",
    },
    Server {
        name: "lighttpd",
        is_measured: true,
        marks: &[Mark::Server("lighttpd")],
        holds: &[Cause {
            what: "server.stream-response-body = 0, the default",
            fix: "server.stream-response-body = 2",
        }],
        compresses: &[Cause {
            what: "deflate.mimetypes with text/event-stream",
            fix: "remove text/event-stream from deflate.mimetypes",
        }],
        compressed_flows: true,
        silence: &[Limit {
            directive: "\"read-timeout\" of fastcgi.server, or server.max-write-idle",
            defaults_s: &[360],
            fix: "\"read-timeout\" => 60, above two heartbeats",
        }],
        age: &[],
        down: "nothing listens at the \"socket\" of fastcgi.server, or lighttpd's user may not \
               connect to it; \"disable-time\" => 0 lets it try again at once",
        log: "server.errorlog (of CGI programs nothing: their stderr is /dev/null)",
        http2: "ssl.engine = \"enable\"; HTTP/2 is the default from 1.4.59 on",
    },
    Server {
        name: "h2o",
        is_measured: true,
        marks: &[Mark::Server("h2o")],
        holds: &[],
        compresses: &[],
        compressed_flows: true,
        silence: &[Limit {
            directive: "fastcgi.timeout.io",
            defaults_s: &[30],
            fix: "fastcgi.timeout.io: 60000",
        }],
        age: &[],
        down: "nothing listens at the port of fastcgi.connect, or h2o's user may not connect to it",
        log: "error-log",
        http2: "listen: with ssl: (HTTP/2 is the default)",
    },
    Server {
        name: "Apache",
        is_measured: true,
        marks: &[Mark::Server("apache")],
        holds: &[
            Cause {
                what: "ProxyPass without flushpackets=on (mod_proxy_fcgi)",
                fix: "ProxyPass … flushpackets=on (each ProxyPass with an address of its own)",
            },
            Cause {
                what: "FcgidOutputBufferSize, 64 KiB by default (mod_fcgid)",
                fix: "FcgidOutputBufferSize 0",
            },
            Cause {
                what: "mod_deflate for text/event-stream",
                fix: "FilterChain ! for the stream's location, or an nph- name",
            },
            Cause {
                what: "an nph- program over HTTP/2",
                fix: "its name without nph-, or Protocols http/1.1",
            },
        ],
        compresses: &[Cause {
            what: "mod_deflate or mod_brotli for text/event-stream",
            fix: "FilterChain ! in the <Location> of the streams; and AddOutputFilterByType DEFLATE \
                  without text/event-stream instead of SetOutputFilter DEFLATE",
        }],
        compressed_flows: false,
        silence: &[
            Limit {
                directive: "timeout= of ProxyPass, ProxyTimeout or Timeout",
                // (The client sees the end KeepAliveTimeout, 5 s, later.)
                defaults_s: &[60, 65, 300, 305],
                fix: "ProxyPass … timeout=60, above two heartbeats",
            },
            Limit {
                directive: "FcgidIOTimeout",
                defaults_s: &[40],
                fix: "FcgidIOTimeout 60",
            },
            Limit {
                directive: "CGIDScriptTimeout, CGIScriptTimeout or Timeout",
                defaults_s: &[60, 300],
                fix: "CGIDScriptTimeout 60s (mod_cgi: CGIScriptTimeout 60s)",
            },
        ],
        age: &[Limit {
            directive: "FcgidBusyTimeout",
            defaults_s: &[300],
            fix: "FcgidBusyTimeout 4000, above SSE_MAX_AGE",
        }],
        down: "nothing listens at the address of ProxyPass, or Apache's user may not connect to the \
               socket: see ErrorLog. ProxyPass … retry=0 lets it try again at once",
        log: "ErrorLog, usually /var/log/apache2/error.log",
        http2: "Protocols h2 http/1.1, a2enmod http2, and names without nph-",
    },
    Server {
        name: "Express (Node.js)",
        is_measured: false,
        marks: &[Mark::Value("x-powered-by", "express")],
        holds: &[Cause {
            what: "a handler that does not flush",
            fix: "res.flushHeaders(), and res.flush() after each event where compression is used",
        }],
        compresses: &[Cause {
            what: "the middleware compression",
            fix: "Cache-Control: no-transform, or compression({ filter })",
        }],
        compressed_flows: false,
        silence: &[Limit {
            directive: "server.requestTimeout, or a proxy in front",
            defaults_s: &[300],
            fix: "a comment line at least every 15 s",
        }],
        age: &[],
        down: "the application says so itself",
        log: "the application's log",
        http2: "a proxy in front",
    },
    Server {
        name: "mini-httpd",
        is_measured: true,
        marks: &[Mark::Server("mini_httpd")],
        holds: &[],
        compresses: &[],
        compressed_flows: true,
        silence: &[],
        age: &[Limit {
            directive: "its alarm for CGI programs",
            defaults_s: &[300],
            fix: "an nph- name, or SSE_MAX_AGE=4m",
        }],
        down: "",
        log: "the response itself",
        http2: "a proxy in front",
    },
    Server {
        name: "LiteSpeed",
        is_measured: false,
        marks: &[Mark::Server("litespeed")],
        holds: &[Cause {
            what: "its buffering of responses",
            fix: "X-LiteSpeed-Cache-Control: no-cache, and no compression of text/event-stream",
        }],
        compresses: &[Cause {
            what: "its compression of dynamic content",
            fix: "RewriteRule .* - [E=no-gzip:1]",
        }],
        compressed_flows: false,
        silence: &[],
        age: &[],
        down: "",
        log: "the error log of the virtual host",
        http2: "it speaks HTTP/2 by default with TLS",
    },
    Server {
        name: "IIS",
        is_measured: false,
        marks: &[Mark::Server("microsoft-iis")],
        holds: &[Cause {
            what: "responseBufferLimit of the handler",
            fix: "responseBufferLimit=\"0\"",
        }],
        compresses: &[Cause {
            what: "dynamic compression",
            fix: "<urlCompression doDynamicCompression=\"false\" />",
        }],
        compressed_flows: false,
        silence: &[],
        age: &[],
        down: "",
        log: "the event log",
        http2: "TLS, on Windows 10 or Server 2016 and later",
    },
    Server {
        name: "Envoy",
        is_measured: false,
        marks: &[Mark::Server("envoy"), Mark::Server("istio")],
        holds: &[Cause {
            what: "the filter buffer",
            fix: "no filter envoy.filters.http.buffer for the route",
        }],
        compresses: &[Cause {
            what: "the filter compressor",
            fix: "content_type without text/event-stream",
        }],
        compressed_flows: true,
        silence: &[Limit {
            directive: "stream_idle_timeout",
            defaults_s: &[300],
            fix: "idle_timeout: 0s for the route",
        }],
        age: &[Limit {
            directive: "timeout of the route",
            defaults_s: &[15],
            fix: "timeout: 0s for the route",
        }],
        down: "no healthy upstream",
        log: "the log of the server behind it",
        http2: "alpn_protocols: h2",
    },
];

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
