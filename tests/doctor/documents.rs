//! docs/doctor.md, and the configurations that `sse-doctor config` prints.

use std::fs;
use std::process::Command;

use crate::support::folder::Folder;

#[track_caller]
fn output_of(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sse-doctor"))
        .args(arguments)
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

/// `UPDATE_DOCS=1 cargo test --test doctor documents` writes the table.
#[test]
fn the_document_has_the_table_of_servers() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/doctor.md");
    let text = fs::read_to_string(path).expect("docs/doctor.md");
    let (start, end) = ("<!-- servers -->\n", "<!-- /servers -->\n");
    let (before, rest) = text.split_once(start).expect("a place for the table");
    let (table, after) = rest.split_once(end).expect("the end of the table");
    let expected = output_of(&["servers"]);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, format!("{before}{start}{expected}{end}{after}")).expect("written");
    } else {
        assert_eq!(table, expected, "run it with UPDATE_DOCS=1");
    }
}

/// Checks a configuration by the server itself; `{}` is the folder of the file `conf`.
#[track_caller]
fn accepts(text: &str, prefix: &str, command: &[&str]) {
    let folder = Folder::new();
    let root = folder.display().to_string();
    folder.make("logs");
    for name in ["pages", "data", "cgi-bin"] {
        folder.make(name);
    }
    folder.write("conf", format!("{}{text}", prefix.replace("{}", &root)));
    let words: Vec<String> = command
        .iter()
        .map(|word| word.replace("{}", &root))
        .collect();
    let output = Command::new(&words[0])
        .args(&words[1..])
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", words[0]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}: {said}\n{text}");
}

#[test]
fn every_server_accepts_its_configuration_of_one_stream() {
    let one = |name: &str, more: &[&str]| {
        let stream = [
            "--stream",
            "tail",
            "--at",
            "/sse/builds",
            "--file",
            "/srv/b.jsonl",
        ];
        output_of(&[&["config", name], &stream[..], more].concat())
    };
    accepts(
        &one("haproxy", &["--port", "18080"]),
        "global\n    log stderr format raw local0\n",
        &["haproxy", "-c", "-f", "{}/conf"],
    );
    accepts(
        &one("h2o", &["--port", "18080"]),
        "",
        &["h2o", "-t", "-c", "{}/conf"],
    );
    accepts(
        &one("caddy", &["--port", "18080"]),
        "",
        &[
            "caddy",
            "adapt",
            "--adapter",
            "caddyfile",
            "--config",
            "{}/conf",
        ],
    );
    accepts(
        &one("lighttpd", &[]),
        "server.document-root = \"{}/pages\"\nserver.port = 18080\n",
        &["lighttpd", "-tt", "-f", "{}/conf"],
    );
    let both = one("nginx", &["--host", "events.example", "--port", "18080"]);
    let (site, snippet) = both
        .split_once("\n# ---- The following is a file of its own")
        .expect("two files");
    let snippet = snippet.split_once("(delete this line").expect("a remark").1;
    let snippet = snippet.split_once('\n').expect("a line").1;
    let folder = Folder::new();
    folder.make("snippets");
    folder.make("run");
    folder.write("snippets/sse-cgi.conf", snippet);
    folder.write("site.conf", site);
    fs::copy("/etc/nginx/fastcgi_params", folder.join("fastcgi_params")).expect("nginx's own");
    folder.write(
        "nginx.conf",
        format!(
            "pid {0}/run/pid;\nerror_log stderr;\nevents {{}}\nhttp {{ include site.conf; }}\n",
            folder.display()
        ),
    );
    let tested = Command::new("/usr/sbin/nginx")
        .args(["-t", "-p"])
        .arg(&*folder)
        .arg("-c")
        .arg(folder.join("nginx.conf"))
        .output()
        .expect("nginx starts");
    assert!(
        tested.status.success(),
        "{}",
        String::from_utf8_lossy(&tested.stderr)
    );
    for name in ["apache", "apache-h2"] {
        let text = output_of(&[
            "config",
            name,
            "--stream",
            "tail",
            "--file",
            "/srv/b.jsonl",
            "--host",
            "events.example",
        ]);
        let modules: String = [
            "authz_core",
            "mpm_event",
            "cgid",
            "alias",
            "env",
            "dir",
            "filter",
            "http2",
        ]
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .concat();
        accepts(
            &text,
            &format!(
                "ServerRoot {{}}\nErrorLog {{}}/logs/error\nListen 127.0.0.1:18080\nLogFormat \"%h\" combined\nDefine EVENTS_LOGS {{}}/logs\nDefine EVENTS_PAGES {{}}/pages\nDefine EVENTS_CGI_BIN {{}}/cgi-bin\nServerName localhost\n{modules}"
            ),
            &["/usr/sbin/apache2", "-t", "-f", "{}/conf"],
        );
        assert_eq!(
            text.contains("\"h2 http/1.1\"\n</IfDefine>"),
            name == "apache-h2"
        );
    }
}
