//! nginx, started from the project's own nginx/ files.

use std::fs;
use std::process::Command;

use super::configured::configured;
use super::daemon::{SERVER_USER, becomes_server_user, require};
use super::responder::socket;
use crate::support::folder::Folder;

const NGINX: &str = "/usr/sbin/nginx";

/// What a proxy passes requests on to over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFrontOf {
    /// A server with CGI programs.
    Cgi,
    /// `sse-httpd`.
    Httpd,
}

/// The changes of a test.
#[derive(Clone, Default)]
pub struct Edits {
    /// Lines of the `http` block before the site.
    pub http: Vec<String>,
    /// Replacements in the site, whose old texts must be there.
    pub site: Vec<(String, String)>,
    /// Replacements in the snippet.
    pub snippet: Vec<(String, String)>,
}

/// Writes the configuration for `port` and returns the command.
#[track_caller]
pub fn configure(folder: &Folder, port: u16, edits: &Edits) -> Vec<String> {
    require(NGINX, "nginx-light");
    let root = folder.display().to_string();
    let etc = folder.make("etc");
    folder.make("etc/snippets");
    folder.make("run");
    let listen = format!("listen 127.0.0.1:{port};");
    let responder = format!("unix:{};", socket(folder).display());
    let site = configured(
        "nginx/sse-cgi.conf",
        &[
            ("listen 80;", &listen),
            ("    listen [::]:80;\n", ""),
            ("unix:/run/sse-fcgi/sse-fcgi.sock;", &responder),
            ("/var/www/sse-cgi;", &format!("{root}/pages;")),
            ("/var/lib/sse-cgi/", &format!("{root}/data/")),
        ],
    );
    let snippet = configured("nginx/snippets/sse-cgi.conf", &[]);
    let write = |name: &str, text: String, edits: &[(String, String)]| {
        let text = edits.iter().fold(text, |text, (from, to)| {
            assert!(text.contains(from), "{name} does not contain {from:?}");
            text.replace(from, &to.replace("{root}", &root))
        });
        fs::write(etc.join(name), text).expect("the new folder can be written");
    };
    write("site.conf", site, &edits.site);
    write("snippets/sse-cgi.conf", snippet, &edits.snippet);
    fs::copy("/etc/nginx/fastcgi_params", etc.join("fastcgi_params"))
        .unwrap_or_else(|error| panic!("/etc/nginx/fastcgi_params: {error}"));
    command(folder, &edits.http)
}

/// Writes the configuration of a proxy for the server on another port, and returns the command.
#[track_caller]
pub fn configure_in_front(
    folder: &Folder,
    port: u16,
    of: InFrontOf,
    behind: u16,
    edits: &Edits,
) -> Vec<String> {
    require(NGINX, "nginx-light");
    folder.make("etc");
    folder.make("run");
    let site = configured(
        match of {
            InFrontOf::Cgi => "nginx/in-front-of-cgi.conf",
            InFrontOf::Httpd => "nginx/in-front-of-httpd.conf",
        },
        &[
            ("listen 80;", &format!("listen 127.0.0.1:{port};")),
            ("    listen [::]:80;\n", ""),
            ("127.0.0.1:8080;", &format!("127.0.0.1:{behind};")),
        ],
    );
    let site = edits.site.iter().fold(site, |text, (from, to)| {
        assert!(text.contains(from), "the site does not contain {from:?}");
        text.replace(from, to)
    });
    folder.write("etc/site.conf", site);
    command(folder, &edits.http)
}

/// Writes the configuration for CGI programs in pages/cgi-bin, by an fcgiwrap at wrap.sock, and
/// returns the command.
#[track_caller]
pub fn configure_fcgiwrap(folder: &Folder, port: u16, edits: &[(&str, &str)]) -> Vec<String> {
    require(NGINX, "nginx-light");
    folder.make("etc");
    folder.make("run");
    let root = folder.display().to_string();
    let site = configured(
        "nginx/fcgiwrap.conf",
        &[
            ("listen 80;", &format!("listen 127.0.0.1:{port};")),
            ("    listen [::]:80;\n", ""),
            ("/var/www/sse-cgi;", &format!("{root}/pages;")),
            (
                "/usr/local/lib/sse-cgi/cgi-bin/",
                &format!("{root}/pages/cgi-bin/"),
            ),
            (
                "unix:/run/fcgiwrap.socket;",
                &format!("unix:{root}/wrap.sock;"),
            ),
        ],
    );
    let site = edits.iter().fold(site, |text, (from, to)| {
        assert!(text.contains(from), "the site does not contain {from:?}");
        text.replace(from, to)
    });
    folder.write("etc/site.conf", site);
    fs::copy(
        "/etc/nginx/fastcgi_params",
        folder.join("etc/fastcgi_params"),
    )
    .unwrap_or_else(|error| panic!("/etc/nginx/fastcgi_params: {error}"));
    command(folder, &[])
}

/// Writes what Debian's nginx.conf says, where it says something, and returns the command.
fn command(folder: &Folder, lines: &[String]) -> Vec<String> {
    let root = folder.display().to_string();
    let user = match becomes_server_user() {
        true => format!("user {SERVER_USER};\n"),
        false => String::new(),
    };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {root}/run/{name};\n"))
        .concat();
    let http = lines.join("\n    ");
    let text = format!(
        "{user}daemon off;\n\
         worker_processes 2;\n\
         pid {root}/run/nginx.pid;\n\
         error_log {root}/logs/error.log notice;\n\
         events {{ worker_connections 768; }}\n\
         http {{\n\
         {temporary}    \
         access_log {root}/logs/access.log;\n    \
         sendfile on;\n    \
         tcp_nopush on;\n    \
         include /etc/nginx/mime.types;\n    \
         default_type application/octet-stream;\n    \
         gzip on;\n    \
         {http}\n    \
         include site.conf;\n\
         }}\n",
    );
    folder.write("etc/nginx.conf", text);
    let file = format!("{root}/etc/nginx.conf");
    [NGINX, "-p", &root, "-c", &file].map(str::to_owned).into()
}

/// Creates the certificate of an authority, `ca.pem` of the folder, and one for localhost that it
/// has signed, `cert.pem` and `key.pem`.
#[track_caller]
pub fn make_certificate(folder: &Folder) {
    let authority = ["-subj", "/CN=authority of the tests"];
    openssl_req(folder, "ca", &authority);
    let site = "-subj /CN=localhost -addext subjectAltName=DNS:localhost -addext \
                basicConstraints=critical,CA:FALSE -CA ca.pem -CAkey ca-key.pem";
    openssl_req(folder, "cert", &site.split(' ').collect::<Vec<_>>());
}

/// Creates a key, and a certificate `name`.pem for it.
#[track_caller]
fn openssl_req(folder: &Folder, name: &str, arguments: &[&str]) {
    let key = match name {
        "cert" => "key.pem".to_owned(),
        name => format!("{name}-key.pem"),
    };
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(arguments)
        .args(["-keyout", &key, "-out", &format!("{name}.pem")])
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| panic!("openssl: {error}: apt-get install openssl"));
    assert!(
        output.status.success(),
        "openssl: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
