//! nginx: worker_processes, worker_connections, worker_rlimit_nofile.

use super::super::diagnosis::Check;
use super::{Found, Includes, SourceFile, fits, units};

/// Includes within includes end here.
const DEPTH_MAX: usize = 10;

#[derive(Default)]
struct Settings {
    processes: Option<Found>,
    connections: Option<Found>,
    descriptors: Option<Found>,
}

/// The words of a configuration: `;`, `{` and `}` are words of their own.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            c if c.is_whitespace() => {}
            '#' => while characters.next_if(|c| *c != '\n').is_some() {},
            ';' | '{' | '}' => words.push(c.to_string()),
            '"' | '\'' => {
                let mut word = String::new();
                while let Some(next) = characters.next() {
                    match next {
                        '\\' => word.extend(characters.next()),
                        next if next == c => break,
                        next => word.push(next),
                    }
                }
                words.push(word);
            }
            c => {
                let mut word = c.to_string();
                while let Some(next) =
                    characters.next_if(|c| !c.is_whitespace() && !";{}".contains(*c))
                {
                    word.push(next);
                }
                words.push(word);
            }
        }
    }
    words
}

fn read(
    file: &SourceFile,
    files: &dyn Includes,
    context: &mut Vec<String>,
    depth: usize,
    into: &mut Settings,
) {
    let mut directive: Vec<String> = Vec::new();
    for word in words(&file.text) {
        match word.as_str() {
            "{" => context.push(directive.drain(..).next().unwrap_or_default()),
            "}" => {
                context.pop();
                directive.clear();
            }
            ";" => {
                let [name, value, ..] = &directive[..] else {
                    directive.clear();
                    continue;
                };
                let found = || {
                    Some(Found {
                        value: value.clone(),
                        place: file.path.clone(),
                    })
                };
                match (context.last().map(String::as_str), name.as_str()) {
                    (None, "worker_processes") => into.processes = found(),
                    (None, "worker_rlimit_nofile") => into.descriptors = found(),
                    (Some("events"), "worker_connections") => into.connections = found(),
                    (_, "include") if depth < DEPTH_MAX => {
                        for included in files.read(value) {
                            read(&included, files, context, depth + 1, into);
                        }
                    }
                    _ => {}
                }
                directive.clear();
            }
            _ => directive.push(word),
        }
    }
}

/// Judges the limits for so many subscribers.
pub(super) fn judge(
    files: &dyn Includes,
    system: &dyn Includes,
    subscribers: u64,
    processors: u64,
) -> Vec<Check> {
    let mut settings = Settings::default();
    for file in files.read("nginx.conf") {
        read(&file, files, &mut Vec::new(), 0, &mut settings);
    }
    let place = |found: &Option<Found>, default: &str| {
        found
            .as_ref()
            .map_or_else(|| default.to_owned(), |found| found.place.clone())
    };
    let workers = match &settings.processes {
        Some(found) if found.value == "auto" => processors,
        Some(found) => found.number().unwrap_or(1),
        None => 1,
    }
    .max(1);
    // Two connections for each stream, a sixteenth that nginx keeps free, and half as much again,
    // since several workers do not share evenly (nginx/sse-cgi.conf).
    let each = subscribers
        .saturating_mul(2)
        .div_ceil(workers)
        .saturating_mul(17)
        .div_ceil(16);
    let needed = if workers > 1 {
        each.saturating_mul(3).div_ceil(2)
    } else {
        each
    };
    let has = settings
        .connections
        .as_ref()
        .and_then(Found::number)
        .unwrap_or(512);
    let mut checks = vec![
        Check::note(
            "workers",
            format!(
                "{workers} processes ({})",
                place(&settings.processes, "the default")
            ),
        ),
        fits(
            "worker_connections",
            "worker_connections",
            has,
            &place(&settings.connections, "the default"),
            needed,
            format!("events {{ worker_connections {needed}; }}"),
            "each stream takes two, and what is beyond is dropped, not refused",
        ),
    ];
    let connections = has.max(needed);
    let (files_max, files_place) = match settings
        .descriptors
        .as_ref()
        .and_then(|found| Some((found.number()?, found.place.clone())))
    {
        Some((number, place)) => (number, format!("worker_rlimit_nofile of {place}")),
        None => units::descriptors(system, "nginx.service"),
    };
    checks.push(fits(
        "worker_rlimit_nofile",
        "the number of descriptors",
        files_max,
        &files_place,
        connections + 64,
        format!(
            "worker_rlimit_nofile {};",
            (connections + 64).next_power_of_two()
        ),
        "each connection is one",
    ));
    checks.extend(responder(system, subscribers));
    checks
}

/// The responder behind it, where its unit is installed.
pub(super) fn responder(system: &dyn Includes, subscribers: u64) -> Option<Check> {
    units::setting(system, "sse-fcgi.service", "ExecStart")?;
    let (has, place) = units::descriptors(system, "sse-fcgi.service");
    // An eighth is reserved (SSE_MAX_SUBSCRIBERS in docs/settings.md).
    let needed = subscribers.saturating_mul(8).div_ceil(7) + 64;
    let fix = format!(
        "systemctl edit sse-fcgi: [Service] LimitNOFILE={}",
        needed.next_power_of_two()
    );
    Some(fits(
        "sse-fcgi",
        "the number of descriptors",
        has,
        &place,
        needed,
        fix,
        "each stream takes one",
    ))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Memory, faults};
    use super::*;

    const DEBIAN: Memory = Memory(&[
        (
            "nginx.conf",
            "user www-data;\nworker_processes auto; # as many\ninclude modules/*.conf;\nevents {\n\tworker_connections 768;\n}\nhttp { log_format x '{;}'; include sites/*; }\n",
        ),
        ("modules/a.conf", "worker_rlimit_nofile 4096;"),
        ("sites/a", "server { worker_processes 77; }"),
    ]);
    const NO_UNITS: Memory = Memory(&[]);

    #[test]
    fn debians_limits_fit_some_hundred() {
        assert_eq!(faults(&judge(&DEBIAN, &NO_UNITS, 300, 2)), [""; 0]);
        assert_eq!(
            faults(&judge(&DEBIAN, &NO_UNITS, 4000, 2)),
            [
                "worker_connections: events { worker_connections 6375; }",
                "worker_rlimit_nofile: worker_rlimit_nofile 8192;",
            ]
        );
    }

    #[test]
    fn without_a_line_the_limit_is_that_of_the_unit() {
        let conf = Memory(&[("nginx.conf", "events { worker_connections 9000; }")]);
        let unit = Memory(&[(
            "lib/systemd/system/nginx.service",
            "[Service]\nLimitNOFILE=65536\n",
        )]);
        assert_eq!(faults(&judge(&conf, &unit, 4000, 2)), [""; 0]);
        assert_eq!(faults(&judge(&conf, &NO_UNITS, 4000, 2)).len(), 1);
    }

    #[test]
    fn the_responder_is_judged_where_it_is_installed() {
        let unit = Memory(&[(
            "etc/systemd/system/sse-fcgi.service",
            "ExecStart=/x\nLimitNOFILE=1024\n",
        )]);
        assert_eq!(
            faults(&judge(&DEBIAN, &unit, 1000, 8)),
            ["sse-fcgi: systemctl edit sse-fcgi: [Service] LimitNOFILE=2048"]
        );
    }
}
