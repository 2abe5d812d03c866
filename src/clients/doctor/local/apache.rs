//! Apache: MaxRequestWorkers, ServerLimit, ThreadsPerChild, ThreadLimit and descriptors.

use std::collections::HashMap;

use super::super::diagnosis::Check;
use super::{Found, Includes, SourceFile, fits, units};

/// Includes within includes end here.
const DEPTH_MAX: usize = 10;

#[derive(Default)]
struct Settings {
    values: HashMap<String, Found>,
    /// `event`, `worker` or `prefork`.
    mpm: Option<String>,
}

fn read(file: &SourceFile, files: &dyn Includes, depth: usize, into: &mut Settings) {
    // The sections of modules that are not loaded; other sections have none of these directives.
    let mut skipped: Vec<bool> = Vec::new();
    let text = file.text.replace("\\\n", " ");
    for line in text.lines().map(str::trim) {
        if line.starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace();
        let Some(name) = words.next().map(str::to_ascii_lowercase) else {
            continue;
        };
        let value = words
            .next()
            .unwrap_or_default()
            .trim_matches(['"', '>'])
            .to_owned();
        if name == "<ifmodule" {
            let mpm = ["event", "worker", "prefork"]
                .into_iter()
                .find(|mpm| value.contains(&format!("mpm_{mpm}")));
            let is_other = mpm.is_some_and(|mpm| into.mpm.as_deref().is_some_and(|own| own != mpm));
            skipped.push(is_other);
        } else if name == "</ifmodule>" {
            skipped.pop();
        } else if skipped.contains(&true) {
            // Of another process model.
        } else if name == "include" || name == "includeoptional" {
            if depth < DEPTH_MAX {
                for included in files.read(&value) {
                    read(&included, files, depth + 1, into);
                }
            }
        } else if name == "loadmodule" {
            if let Some(mpm) = value.strip_prefix("mpm_") {
                into.mpm = Some(mpm.trim_end_matches("_module").to_owned());
            }
        } else if [
            "maxrequestworkers",
            "maxclients",
            "serverlimit",
            "threadsperchild",
            "threadlimit",
        ]
        .contains(&&*name)
        {
            let name = if name == "maxclients" {
                "maxrequestworkers".into()
            } else {
                name
            };
            into.values.insert(
                name,
                Found {
                    value,
                    place: file.path.clone(),
                },
            );
        }
    }
}

/// Judges the limits for so many subscribers.
pub(super) fn judge(files: &dyn Includes, system: &dyn Includes, subscribers: u64) -> Vec<Check> {
    let mut settings = Settings::default();
    for name in ["apache2.conf", "conf/httpd.conf"] {
        for file in files.read(name) {
            read(&file, files, 0, &mut settings);
        }
    }
    let is_prefork = settings.mpm.as_deref() == Some("prefork");
    let value = |name: &str, default: u64| match settings.values.get(name) {
        Some(found) => (found.number().unwrap_or(default), found.place.clone()),
        None => (default, "the default".to_owned()),
    };
    let (threads, threads_place) = if is_prefork {
        (1, String::new())
    } else {
        value("threadsperchild", 25)
    };
    let threads = threads.max(1);
    let (servers, servers_place) = value("serverlimit", if is_prefork { 256 } else { 16 });
    let (workers, workers_place) = value(
        "maxrequestworkers",
        if is_prefork {
            256
        } else {
            servers.saturating_mul(threads)
        },
    );
    // Pages need workers, too.
    let needed = subscribers + subscribers.div_ceil(8).max(50);
    let mpm = settings.mpm.as_deref().unwrap_or("event");
    let mut checks = vec![
        Check::note(
            "mpm",
            format!(
                "mpm_{mpm}: each open stream takes one {}",
                if is_prefork { "process" } else { "thread" }
            ),
        ),
        fits(
            "MaxRequestWorkers",
            "MaxRequestWorkers",
            workers,
            &workers_place,
            needed,
            format!("MaxRequestWorkers {needed}"),
            "each stream takes one worker, pages included, and the next request waits",
        ),
    ];
    let total = needed;
    // After a graceful restart the old processes keep their places until their streams end.
    let per_child = if is_prefork {
        1
    } else {
        threads.max(if total > 1000 { 250 } else { threads })
    };
    let places = if is_prefork {
        total
    } else {
        total.div_ceil(per_child).saturating_mul(3)
    };
    let has_places = if is_prefork {
        servers
    } else {
        servers.saturating_mul(threads) / per_child.max(1)
    };
    let mut check = fits(
        "ServerLimit",
        "ServerLimit",
        if is_prefork {
            servers
        } else {
            has_places.min(servers)
        },
        &servers_place,
        places,
        format!("ServerLimit {places}"),
        "a graceful restart (logrotate does one each night) ends no stream, and the new processes need places beside the old ones",
    );
    if !is_prefork && per_child > threads {
        check = check.fix(format!(
            "ThreadsPerChild {per_child} (now {threads}, {threads_place})"
        ));
        check = check.fix(format!("ThreadLimit {per_child}"));
    }
    checks.push(check);
    let (limit, limit_place) = value("threadlimit", 64);
    if !is_prefork && threads > limit {
        checks.push(
            Check::fault("ThreadLimit", format!("ThreadsPerChild {threads} is more than ThreadLimit {limit} ({limit_place}), which lowers it"))
                .by(limit_place)
                .fix(format!("ThreadLimit {threads}")),
        );
    }
    // Debian's apache2ctl raises the limit to 8192, unless envvars says something else.
    let by_file = files.read("envvars").into_iter().find_map(|file| {
        let mut lines = file
            .text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with('#'));
        let line = lines.find_map(|line| {
            line.split_once("APACHE_ULIMIT_MAX_FILES=")
                .map(|(_, value)| value.to_owned())
        })?;
        let number = line
            .chars()
            .filter(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .ok()?;
        Some((number, file.path))
    });
    let (has, place) = by_file.unwrap_or((8192, "ulimit -n of apache2ctl".into()));
    // The connections of one process, each with the pipe or socket of its program.
    let each = per_child.saturating_mul(3) + 200;
    checks.push(fits(
        "descriptors",
        "the number of descriptors",
        has,
        &place,
        each,
        format!(
            "in envvars: APACHE_ULIMIT_MAX_FILES='ulimit -n {}'",
            each.next_power_of_two()
        ),
        "a process has one for each connection, and two for each program",
    ));
    if let Some(tasks) = units::setting(system, "apache2.service", "TasksMax")
        .filter(|tasks| tasks.number().is_some())
    {
        let needed = subscribers.saturating_mul(2) + 100;
        checks.push(fits(
            "TasksMax",
            "TasksMax",
            tasks.number().unwrap_or(u64::MAX),
            &tasks.place,
            needed,
            format!("systemctl edit apache2: [Service] TasksMax={needed}"),
            "each stream of a CGI program is a process beside a thread",
        ));
    }
    checks.extend(super::nginx::responder(system, subscribers));
    checks
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Memory, faults};
    use super::*;

    const DEBIAN: Memory = Memory(&[
        (
            "apache2.conf",
            "Timeout 300\nIncludeOptional mods-enabled/*.load\nIncludeOptional mods-enabled/*.conf\n# MaxRequestWorkers 9\n",
        ),
        (
            "mods-enabled/mpm_event.load",
            "LoadModule mpm_event_module /usr/lib/x.so\n",
        ),
        (
            "mods-enabled/mpm_event.conf",
            "<IfModule mpm_event_module>\n\tStartServers 2\n\tThreadLimit 64\n\tThreadsPerChild 25\n\tMaxRequestWorkers 150\n</IfModule>\n<IfModule mpm_prefork_module>\n MaxRequestWorkers 7\n</IfModule>\n",
        ),
    ]);
    const NO_UNITS: Memory = Memory(&[]);

    #[test]
    fn debians_limits_fit_some_dozens() {
        assert_eq!(faults(&judge(&DEBIAN, &NO_UNITS, 50)), [""; 0]);
        assert_eq!(
            faults(&judge(&DEBIAN, &NO_UNITS, 2000)),
            [
                "MaxRequestWorkers: MaxRequestWorkers 2250",
                "ServerLimit: ServerLimit 27 ThreadsPerChild 250 (now 25, mods-enabled/mpm_event.conf) ThreadLimit 250",
            ]
        );
    }

    #[test]
    fn the_numbers_of_the_shipped_file_fit_2000() {
        let conf = Memory(&[(
            "apache2.conf",
            "LoadModule mpm_event_module x\nThreadsPerChild 250\nThreadLimit 250\nMaxRequestWorkers 2250\nServerLimit 27\n",
        )]);
        assert_eq!(faults(&judge(&conf, &NO_UNITS, 2000)), [""; 0]);
    }

    #[test]
    fn prefork_has_a_process_for_each() {
        let conf = Memory(&[(
            "apache2.conf",
            "LoadModule mpm_prefork_module x\nMaxRequestWorkers 500\n",
        )]);
        assert_eq!(
            faults(&judge(&conf, &NO_UNITS, 300)),
            ["ServerLimit: ServerLimit 350"]
        );
    }
}
