//! The rows of the table.

use super::{Cause, Limit, Mark, Server};

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
            what: "http-response wait-for-body",
            fix: "no `http-response wait-for-body` for streams",
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
