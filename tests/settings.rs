//! The table of settings, and everything that must agree with it: the documents and the
//! options.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use sse_cgi::request::settings::{Streams, TABLE, page, table_row};

/// Each program for a terminal, and the stream whose settings it reads.
const PROGRAMS: [(&str, &str); 11] = [
    (env!("CARGO_BIN_EXE_nph-clock"), "clock"),
    (env!("CARGO_BIN_EXE_nph-countdown"), "countdown"),
    (env!("CARGO_BIN_EXE_nph-script"), "script"),
    (env!("CARGO_BIN_EXE_nph-tail"), "tail"),
    (env!("CARGO_BIN_EXE_nph-command"), "command"),
    (env!("CARGO_BIN_EXE_nph-redis"), "redis"),
    (env!("CARGO_BIN_EXE_nph-session"), "session"),
    (env!("CARGO_BIN_EXE_nph-room"), "room"),
    (env!("CARGO_BIN_EXE_nph-streams"), "streams"),
    (env!("CARGO_BIN_EXE_publish"), "publish"),
    (env!("CARGO_BIN_EXE_publish-redis"), "publish-redis"),
];

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn help_of(program: &str, options: &[String]) -> String {
    let output = Command::new(program)
        .args(options)
        .arg("--help")
        .env_clear()
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{program}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_setting_of_a_program_is_an_option_of_it() {
    for (program, stream) in PROGRAMS {
        let settings = || TABLE.iter().filter(|setting| setting.is_for(stream));
        let options: Vec<String> = settings()
            .flat_map(|setting| [setting.option(), "value".into()])
            .collect();
        let help = help_of(program, &options);
        for setting in settings() {
            let (option, name) = (setting.option(), setting.spec.name);
            assert!(help.contains(&format!("  {option} ")), "{program} {option}");
            assert!(help.contains(name), "{program} {name}");
        }
    }
}

#[test]
fn the_responder_s_help_names_the_settings_of_the_process() {
    let help = help_of(env!("CARGO_BIN_EXE_sse-fcgi"), &[]);
    for setting in sse_cgi::request::settings::PROCESS_SETTINGS {
        assert!(help.contains(setting.spec.name), "{help}");
        assert!(help.contains(setting.default_text()), "{help}");
    }
}

#[test]
fn every_setting_is_read_by_a_program() {
    for setting in TABLE {
        let count = PROGRAMS
            .iter()
            .filter(|(_, stream)| setting.is_for(stream))
            .count();
        let is_responder_s = matches!(setting.streams, Streams::Responder);
        assert_ne!(count > 0, is_responder_s, "{}", setting.spec.name);
    }
}

#[test]
fn the_page_of_settings_is_made_from_the_table() {
    let file = path("docs/settings.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, page()).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == page(),
        "docs/settings.md differs from the table; run UPDATE_DOCS=1 cargo test --test settings"
    );
}

#[test]
fn the_table_of_settings_has_each_with_its_range_and_default() {
    let page = fs::read_to_string(path("docs/settings-file.md")).unwrap();
    // A pipe within a cell is written `\|`.
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `SSE_") && line.matches(" |").count() >= 4)
        .map(|line| {
            line.split(" |")
                .map(|cell| cell.trim_start_matches('|').trim())
                .collect()
        })
        .collect();
    let mut missing: BTreeSet<&str> = TABLE.iter().map(|setting| setting.spec.name).collect();
    for row in &rows {
        let name = row[0].trim_matches('`');
        assert!(
            missing.remove(name),
            "docs/settings-file.md: {name} is no setting, or comes twice"
        );
        let setting = TABLE
            .iter()
            .find(|setting| setting.spec.name == name)
            .unwrap();
        let [name, range, default] = table_row(setting);
        assert_eq!(
            [row[0], row[2], row[3]],
            [name.as_str(), range.as_str(), default.as_str()],
            "docs/settings-file.md: name, range and default"
        );
    }
    assert!(
        missing.is_empty(),
        "docs/settings-file.md lacks {missing:?}"
    );
}
