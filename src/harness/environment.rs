//! Environment: the meta-variables (RFC 3875 §4.1) and the arguments of one request, as Apache
//! 2.4 with `mod_cgid` sets them; the set of names was compared with a real one. It starts
//! nothing and reads no file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use percent_encoding::percent_decode_str;

use crate::request::MetaVariables;

use super::SOFTWARE;
use super::route::Script;
use super::settings::Variable;

/// Sorted, so that a program sees the same order at every request.
pub type Variables = BTreeMap<OsString, OsString>;

/// The request from which the variables are derived.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    /// Path and query as the client sent them.
    pub uri: &'a str,
    /// The part after the first `?`; empty if there is none.
    pub query: &'a str,
    /// The request's fields under their names as meta-variables, and SERVER_PROTOCOL.
    pub meta: &'a MetaVariables,
    /// A local redirect omits the body.
    pub has_body: bool,
    /// Host name the client used, in lower case, without a port.
    pub server_name: &'a str,
    /// Port the client used, or that of the socket.
    pub server_port: u16,
    pub client: SocketAddr,
    pub server: SocketAddr,
}

/// The server's paths.
#[derive(Debug, Clone, Copy)]
pub struct ServerPaths<'a> {
    /// The part of the URL before `script.name`; begins and ends with `/`.
    pub prefix: &'a str,
    /// Folder of the programs. For a responder it is only a name, and does not exist.
    pub programs: &'a Path,
    /// Folder of the pages.
    pub pages: &'a Path,
    /// `PATH` of the programs.
    pub search_path: &'a OsStr,
}

/// Builds the whole environment of a program: nothing else is passed to it.
pub fn variables<'s>(
    request: Request,
    paths: ServerPaths,
    script: &Script,
    settings: impl Iterator<Item = &'s Variable>,
) -> Variables {
    let mut variables: Variables = settings.cloned().collect();
    // As in Apache, meta-variables take precedence over SetEnv, so they come after the
    // settings.
    variables.extend(http_variables(request.meta));
    variables.extend(meta_variables(request, paths, script));
    variables
}

fn meta_variables(
    request: Request,
    paths: ServerPaths,
    script: &Script,
) -> Vec<(OsString, OsString)> {
    let mut own: Vec<(OsString, OsString)> = Vec::with_capacity(32);
    let mut set = |name: &str, value: &OsStr| own.push((name.into(), value.into()));

    set("GATEWAY_INTERFACE", "CGI/1.1".as_ref());
    set("SERVER_PROTOCOL", &joined(request.meta, "SERVER_PROTOCOL"));
    set("SERVER_SOFTWARE", SOFTWARE.as_ref());
    set("SERVER_SIGNATURE", "".as_ref());
    set("SERVER_ADMIN", "[no address given]".as_ref());
    set("SERVER_NAME", request.server_name.as_ref());
    set("SERVER_PORT", request.server_port.to_string().as_ref());
    set("SERVER_ADDR", request.server.ip().to_string().as_ref());
    set("REMOTE_ADDR", request.client.ip().to_string().as_ref());
    set("REMOTE_PORT", request.client.port().to_string().as_ref());
    set("REQUEST_METHOD", request.method.as_ref());
    set("REQUEST_SCHEME", "http".as_ref());
    set("REQUEST_URI", request.uri.as_ref());
    set("QUERY_STRING", request.query.as_ref());
    set("PATH", paths.search_path);

    let mut script_name = OsString::from(paths.prefix);
    script_name.push(&script.name);
    set("SCRIPT_NAME", &script_name);
    set(
        "SCRIPT_FILENAME",
        paths.programs.join(&script.name).as_os_str(),
    );
    set("DOCUMENT_ROOT", paths.pages.as_os_str());
    set("CONTEXT_PREFIX", paths.prefix.as_ref());
    set("CONTEXT_DOCUMENT_ROOT", paths.programs.join("").as_os_str());
    if !script.path_info.is_empty() {
        set("PATH_INFO", &script.path_info);
        let mut translated = paths.pages.as_os_str().to_os_string();
        translated.push(&script.path_info);
        set("PATH_TRANSLATED", &translated);
    }
    for name in ["CONTENT_TYPE", "CONTENT_LENGTH"] {
        let is_omitted = name == "CONTENT_LENGTH" && !request.has_body;
        if has(request.meta, name) && !is_omitted {
            set(name, &joined(request.meta, name));
        }
    }
    own
}

/// The fields of the request, without the passwords. A Bearer token is passed on, as Apache does
/// with `CGIPassAuth On`: signed links and tokens for publishing are for the programs. (Of `Proxy`, which would become HTTP_PROXY,
/// and of names with characters other than letters, digits and `-`, no meta-variable is made.)
fn http_variables(meta: &MetaVariables) -> Vec<(OsString, OsString)> {
    let hidden = ["HTTP_AUTHORIZATION", "HTTP_PROXY_AUTHORIZATION"];
    meta.names()
        .filter_map(|name| std::str::from_utf8(name).ok())
        .filter(|name| name.starts_with("HTTP_"))
        .filter(|name| !hidden.contains(name) || (*name == hidden[0] && is_bearer(meta)))
        .map(|name| (name.into(), joined(meta, name)))
        .collect()
}

fn is_bearer(meta: &MetaVariables) -> bool {
    let field = meta.joined("HTTP_AUTHORIZATION").unwrap_or_default();
    field
        .get(..7)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
}

fn has(meta: &MetaVariables, name: &str) -> bool {
    meta.names().any(|own| own == name.as_bytes())
}

/// The values of a field that was sent more than once, joined with `, ` (RFC 9110 §5.2).
fn joined(meta: &MetaVariables, name: &str) -> OsString {
    OsString::from_vec(meta.joined(name).unwrap_or_default())
}

/// The environment of a program after a local redirect (`Location: /path`) of another program:
/// all variables of the first one are kept, with `REDIRECT_` before their names.
pub fn redirected(before: &Variables, url: &OsStr) -> Variables {
    let mut variables: Variables = before
        .iter()
        .filter(|(name, _)| !name.as_bytes().starts_with(b"REDIRECT_"))
        .map(|(name, value)| {
            let mut prefixed = OsString::from("REDIRECT_");
            prefixed.push(name);
            (prefixed, value.clone())
        })
        .collect();
    variables.insert("REDIRECT_STATUS".into(), "200".into());
    variables.insert("REDIRECT_URL".into(), url.into());
    variables
}

/// The arguments of a query without `=` (RFC 3875 §4.4): split at `+`, decoded, and with a
/// backslash before every character that is special in a shell, as in Apache.
pub fn arguments(query: &str) -> Vec<OsString> {
    if query.is_empty() || query.contains('=') {
        return Vec::new();
    }
    query
        .split('+')
        .map(|word| {
            let decoded = percent_decode_str(word).take_while(|byte| *byte != 0);
            OsString::from_vec(decoded.flat_map(shell_escaped).collect())
        })
        .collect()
}

fn shell_escaped(byte: u8) -> impl Iterator<Item = u8> {
    let special = b"&;`'\"|*?~<>^()[]{}$\\\n".contains(&byte);
    special.then_some(b'\\').into_iter().chain([byte])
}

#[cfg(test)]
mod tests {
    use super::super::settings::Settings;
    use super::*;
    use crate::gateway::http::{Connection, Incoming, Limits, Peer};
    use proptest::prelude::*;

    /// The meta-variables of a request with these fields.
    fn meta(fields: &[(&str, &str)]) -> MetaVariables {
        let mut text = "POST /cgi-bin/a.cgi HTTP/1.1\r\nHost:\r\n".to_string();
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut connection = Connection::new(Limits::default(), Peer::default());
        let (mut input, mut reply) = (text.as_bytes(), Vec::new());
        match connection.take(&mut input, &mut reply) {
            Ok(Some(Incoming::Request(meta))) => meta,
            // A field that no request may have reaches no program.
            other => {
                assert!(
                    matches!(other, Ok(Some(Incoming::Rejected(_)))),
                    "{other:?}"
                );
                MetaVariables::new(vec![(b"SERVER_PROTOCOL".into(), b"HTTP/1.1".into())])
            }
        }
    }

    fn build(fields: &[(&str, &str)], script: &str, path_info: &str) -> Vec<String> {
        let meta = meta(fields);
        let request = Request {
            method: "GET",
            uri: "/cgi-bin/a.cgi/p%20q?x=1",
            query: "x=1",
            meta: &meta,
            has_body: true,
            server_name: "localhost",
            server_port: 8080,
            client: "127.0.0.1:4000".parse().unwrap(),
            server: "127.0.0.1:8080".parse().unwrap(),
        };
        let paths = ServerPaths {
            prefix: "/cgi-bin/",
            programs: Path::new("/p"),
            pages: Path::new("/w"),
            search_path: "/bin".as_ref(),
        };
        let script = Script {
            name: script.into(),
            path_info: path_info.into(),
        };
        let mut settings = Settings::default();
        for setting in ["SSE_FILE=/f", "REQUEST_METHOD=EVIL", "b.cgi:SSE_FILE=/b"] {
            settings.add(setting.as_ref()).unwrap();
        }
        variables(request, paths, &script, settings.of(&script.name))
            .into_iter()
            .map(|(name, value)| {
                format!(
                    "{}={}",
                    Path::new(&name).display(),
                    Path::new(&value).display()
                )
            })
            .collect()
    }

    #[test]
    fn the_whole_environment_of_a_plain_request() {
        let expected = [
            "CONTEXT_DOCUMENT_ROOT=/p/",
            "CONTEXT_PREFIX=/cgi-bin/",
            "DOCUMENT_ROOT=/w",
            "GATEWAY_INTERFACE=CGI/1.1",
            "HTTP_HOST=",
            "HTTP_LAST_EVENT_ID=5, 6",
            "PATH=/bin",
            "PATH_INFO=/p q",
            "PATH_TRANSLATED=/w/p q",
            "QUERY_STRING=x=1",
            "REMOTE_ADDR=127.0.0.1",
            "REMOTE_PORT=4000",
            "REQUEST_METHOD=GET",
            "REQUEST_SCHEME=http",
            "REQUEST_URI=/cgi-bin/a.cgi/p%20q?x=1",
            "SCRIPT_FILENAME=/p/a.cgi",
            "SCRIPT_NAME=/cgi-bin/a.cgi",
            "SERVER_ADDR=127.0.0.1",
            "SERVER_ADMIN=[no address given]",
            "SERVER_NAME=localhost",
            "SERVER_PORT=8080",
            "SERVER_PROTOCOL=HTTP/1.1",
            "SERVER_SIGNATURE=",
            concat!("SERVER_SOFTWARE=sse-harness/", env!("CARGO_PKG_VERSION")),
            "SSE_FILE=/f",
        ];
        let fields = [("Last-Event-ID", "5"), ("Last-Event-ID", "6")];
        assert_eq!(build(&fields, "a.cgi", "/p q"), expected);
    }

    #[test]
    fn without_path_info_there_are_no_path_variables() {
        let built = build(&[], "a.cgi", "");
        assert!(!built.iter().any(|pair| pair.starts_with("PATH_")));
    }

    #[test]
    fn a_setting_for_one_program_reaches_only_that() {
        assert!(build(&[], "b.cgi", "").contains(&"SSE_FILE=/b".to_string()));
        assert!(build(&[], "a.cgi", "").contains(&"SSE_FILE=/f".to_string()));
    }

    #[test]
    fn a_body_has_its_own_variables() {
        let built = build(&[("Content-Type", "a/b"), ("Content-Length", "3")], "a", "");
        assert!(built.contains(&"CONTENT_TYPE=a/b".to_string()));
        assert!(built.contains(&"CONTENT_LENGTH=3".to_string()));
        assert!(!built.iter().any(|pair| pair.starts_with("HTTP_CONTENT")));
    }

    #[test]
    fn fields_that_could_deceive_are_dropped() {
        let fields = [
            ("Proxy", "x"),
            ("Authorization", "x"),
            ("Proxy-Authorization", "x"),
            ("Last_Event_ID", "x"),
            ("X.Y", "x"),
        ];
        let built = build(&fields, "a", "");
        let of_fields = built.iter().filter(|v| v.starts_with("HTTP_"));
        assert_eq!(of_fields.collect::<Vec<_>>(), ["HTTP_HOST="]);
        let built = build(&[("Authorization", "Bearer x")], "a", "");
        assert!(built.contains(&"HTTP_AUTHORIZATION=Bearer x".to_string()));
    }

    #[test]
    fn a_redirect_keeps_the_first_programs_variables_under_a_prefix() {
        let before: Variables = [("A", "1"), ("REDIRECT_A", "0")]
            .map(|(name, value)| (name.into(), value.into()))
            .into();
        let expected: Variables = [
            ("REDIRECT_A", "1"),
            ("REDIRECT_STATUS", "200"),
            ("REDIRECT_URL", "/x"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
        assert_eq!(redirected(&before, "/x".as_ref()), expected);
    }

    #[test]
    fn a_query_without_an_equals_sign_becomes_arguments() {
        // Every row was observed under Apache 2.4.
        for (query, expected) in [
            ("", &[][..]),
            ("a=1", &[]),
            ("--config+/etc/passwd", &["--config", "/etc/passwd"]),
            ("a;b%26+c%20d+%zz+$x", &["a\\;b\\&", "c d", "%zz", "\\$x"]),
            ("a++b", &["a", "", "b"]),
        ] {
            assert_eq!(arguments(query), expected, "{query}");
        }
    }

    proptest! {
        #[test]
        fn a_client_sets_nothing_but_http_variables(
            name in "[A-Za-z_.!-][A-Za-z0-9_.!-]{0,20}",
            value in "[ -~]{0,20}",
        ) {
            let known = build(&[], "a.cgi", "/p q");
            for pair in build(&[(name.as_str(), value.trim())], "a.cgi", "/p q") {
                let is_of_the_client = pair.starts_with("HTTP_") || pair.starts_with("CONTENT_");
                prop_assert!(known.contains(&pair) || is_of_the_client, "{pair}");
            }
        }
    }
}
