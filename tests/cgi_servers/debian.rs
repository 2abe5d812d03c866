//! Apache with the configuration that Debian ships.

use std::fs;

use crate::servers::apache_base::require_apache;
use crate::servers::daemon::{SERVER_USER, becomes_server_user, require};
use crate::stage::Site;
use crate::support::folder::Folder;

const CONFIGURATION: &str = "/etc/apache2/apache2.conf";

/// For the programs.
const SETTINGS: &str = "[nph-tail.cgi]\nSSE_FILE = {root}/data/app.log\n";

/// The rule of Debian's configuration that hides the file.
const RULE: &str = "<FilesMatch \"^\\.ht\">\n\tRequire all denied\n</FilesMatch>\n";

/// Debian's apache2.conf, with the folders and the port of the test, and a folder of programs
/// below the document root, as on a shared host.
fn configuration(folder: &Folder, port: u16, edit: &dyn Fn(String) -> String) -> String {
    require_apache(&[]);
    require(CONFIGURATION, "apache2");
    let root = folder.display().to_string();
    let user = match becomes_server_user() {
        true => SERVER_USER.to_owned(),
        false => format!("#{}", nix::unistd::geteuid()),
    };
    let mut text = String::new();
    for (name, value) in [
        ("APACHE_LOCK_DIR", format!("{root}/run")),
        ("APACHE_RUN_DIR", format!("{root}/run")),
        ("APACHE_PID_FILE", format!("{root}/run/apache.pid")),
        ("APACHE_LOG_DIR", format!("{root}/logs")),
        ("APACHE_RUN_USER", user.clone()),
        ("APACHE_RUN_GROUP", user),
    ] {
        text.push_str(&format!("Define {name} \"{value}\"\n"));
    }
    for module in [
        "mpm_event",
        "cgid",
        "alias",
        "authz_core",
        "authz_host",
        "dir",
        "env",
        "mime",
        "setenvif",
    ] {
        let file = format!("/usr/lib/apache2/modules/mod_{module}.so");
        text.push_str(&format!("LoadModule {module}_module {file}\n"));
    }
    text.push_str(&edit(fs::read_to_string(CONFIGURATION).unwrap()));
    // Modules that this machine's administrator has enabled are not Debian's default.
    text.lines()
        .map(|line| match line.split_whitespace().next() {
            Some("IncludeOptional" | "Include") => "",
            Some("User" | "Group") if !becomes_server_user() => "",
            _ => line,
        })
        .chain([
            format!("Listen 127.0.0.1:{port}").as_str(),
            "ServerName localhost",
            "TypesConfig /etc/mime.types",
            &format!("DocumentRoot {root}/pages"),
            &format!("<Directory {root}/pages>"),
            "  Require all granted",
            "  Options ExecCGI",
            "  AddHandler cgi-script .cgi",
            "</Directory>",
        ])
        .flat_map(|line| [line, "\n"])
        .collect()
}

#[track_caller]
pub fn start(settings: &str, edit: &dyn Fn(String) -> String) -> Site {
    Site::start(settings, |folder, port| {
        let file = folder.write("apache.conf", configuration(folder, port, edit));
        let file = file.display().to_string();
        ["/usr/sbin/apache2", "-DFOREGROUND", "-f", &file]
            .map(str::to_owned)
            .into()
    })
}

#[test]
fn debian_s_default_serves_the_settings_file_to_nobody_and_programs_read_it() {
    let site = start(SETTINGS, &|text| text);
    let answer = site.get(".htsse").field("Connection", "close").send();
    assert_eq!(answer.head.status, 403);
    assert!(!answer.text().contains("SSE_FILE"));
    site.folder.write("data/app.log", "a\n");
    assert_eq!(site.get("nph-tail.cgi").send().event().data, "a");
}

#[test]
fn what_hides_the_file_is_the_rule_for_names_that_begin_with_ht() {
    let site = start(SETTINGS, &|text| {
        assert!(
            text.contains(RULE),
            "{CONFIGURATION} has no rule for .ht files"
        );
        text.replace(RULE, "")
    });
    let answer = site.get(".htsse").field("Connection", "close").send();
    assert_eq!(answer.head.status, 200);
    assert!(answer.text().contains("SSE_FILE"));
}
