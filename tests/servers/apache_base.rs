//! The configuration that Debian's apache2.conf would contain: modules, user and port.
//! Everything about streams comes from the project's own files.

use std::fs;

use super::daemon::{SERVER_USER, becomes_server_user, require};
use crate::support::folder::Folder;

const APACHE: &str = "/usr/sbin/apache2";
const MODULES: &str = "/usr/lib/apache2/modules";

/// One of Apache's process models, and its module for running programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mpm {
    EventWithCgid,
    PreforkWithCgi,
}

/// A server without a site.
pub struct Base<'a> {
    pub mpm: Mpm,
    /// Modules that the site needs besides those that Debian enables.
    pub modules: &'a [&'a str],
    /// How many requests may be served at a time.
    pub workers: u32,
    /// Lines that come before the site; `{root}` stands for the folder.
    pub directives: &'a [String],
}

/// Names the package to install when the server or one of its modules is missing.
#[track_caller]
pub fn require_apache(modules: &[(&str, &str)]) {
    require(APACHE, "apache2-bin");
    for (module, package) in modules {
        require(&format!("{MODULES}/mod_{module}.so"), package);
    }
}

/// Writes the configuration and returns how the server is started with it.
#[track_caller]
pub fn command(folder: &Folder, configuration: &str) -> Vec<String> {
    let file = folder.join("apache.conf");
    fs::write(&file, configuration).expect("the new folder can be written");
    let file = file.to_str().expect("the path is text").to_owned();
    [APACHE, "-DFOREGROUND", "-f", &file]
        .map(str::to_owned)
        .into()
}

impl Base<'_> {
    /// The configuration, to which a site has to be added.
    pub fn text(&self, folder: &Folder, port: u16) -> String {
        let root = folder.display();
        let workers = self.workers;
        // The modules that Debian enables by default and that could affect streams are here
        // too: compression and request timeouts.
        let mut modules = vec![
            "alias",
            "authz_core",
            "authz_host",
            "autoindex",
            "deflate",
            "dir",
            "env",
            "filter",
            "http2",
            "mime",
            "reqtimeout",
            "setenvif",
        ];
        modules.extend(self.modules);
        let processes = match self.mpm {
            Mpm::EventWithCgid => {
                modules.extend(["mpm_event", "cgid"]);
                // Many at once need few processes, with as many threads as a process may have.
                let per_child = workers.min(if workers > 1_000 { 256 } else { 100 });
                let children = workers.div_ceil(per_child);
                // After a graceful restart the old children keep their places
                // until their streams end, hence twice as many.
                format!(
                    "StartServers 1\nServerLimit {}\nThreadLimit {per_child}\n\
                     ThreadsPerChild {per_child}\nMinSpareThreads 1\n\
                     MaxSpareThreads {workers}\nMaxRequestWorkers {}\n",
                    2 * children,
                    children * per_child,
                )
            }
            Mpm::PreforkWithCgi => {
                modules.extend(["mpm_prefork", "cgi"]);
                // All at once, since it starts more only once a second.
                format!(
                    "StartServers {workers}\nServerLimit {workers}\nMinSpareServers 1\n\
                     MaxSpareServers {workers}\nMaxRequestWorkers {workers}\n",
                )
            }
        };
        let mut text = String::new();
        for module in modules {
            text.push_str(&format!(
                "LoadModule {module}_module {MODULES}/mod_{module}.so\n"
            ));
        }
        if becomes_server_user() {
            text.push_str(&format!("User {SERVER_USER}\nGroup {SERVER_USER}\n"));
        }
        text.push_str(&format!(
            "ServerRoot {root}\n\
             DefaultRuntimeDir {root}/run\n\
             PidFile {root}/run/apache.pid\n\
             ErrorLog {root}/logs/server.log\n\
             ServerName localhost\n\
             Listen 127.0.0.1:{port}\n\
             {processes}\
             Timeout 300\n\
             TypesConfig /etc/mime.types\n\
             LogFormat \"%h %l %u %t \\\"%r\\\" %>s %O\" combined\n\
             <Directory />\n  Options FollowSymLinks\n  AllowOverride None\n  \
             Require all denied\n</Directory>\n\
             AddOutputFilterByType DEFLATE text/html text/plain text/css text/javascript\n\
             RequestReadTimeout header=20-40,minrate=500 body=10,minrate=500\n",
        ));
        for line in self.directives {
            text.push_str(&line.replace("{root}", &root.to_string()));
            text.push('\n');
        }
        text
    }
}
