//! Man pages and completions, which scripts/pages makes of each program's own --help.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

#[path = "support/mod.rs"]
mod support;

use support::folder::Folder;

fn names_in(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("it can be read")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// The programs of src/bin.
fn programs() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
    let names = names_in(&folder).into_iter();
    names
        .filter_map(|name| Some(name.strip_suffix(".rs")?.to_owned()))
        .collect()
}

#[track_caller]
fn output_of(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{command:?}: {said}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_program_has_a_page_and_completions() {
    let folder = Folder::new();
    let built = Path::new(env!("CARGO_BIN_EXE_sse-cat"))
        .parent()
        .expect("a folder");
    output_of(
        Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/pages"))
            .arg("--from")
            .arg(built)
            .arg("--to")
            .arg(&*folder),
    );
    let programs = programs();
    let of = |kind: &str, name: &dyn Fn(&String) -> String| {
        let mut expected: Vec<String> = programs.iter().map(name).collect();
        expected.sort();
        assert_eq!(names_in(&folder.join(kind)), expected, "{kind}");
    };
    of("man", &|name| format!("{name}.1"));
    of("bash", &|name| name.clone());
    of("zsh", &|name| format!("_{name}"));
    of("fish", &|name| format!("{name}.fish"));
    for name in &programs {
        let page =
            fs::read_to_string(folder.join("man").join(format!("{name}.1"))).expect("a page");
        assert!(
            page.contains(".SH NAME\n") && page.contains(".SH SYNOPSIS\n"),
            "{name}"
        );
        let help = output_of(
            Command::new(built.join(name))
                .arg("--help")
                .env_remove("GATEWAY_INTERFACE"),
        );
        let options: BTreeSet<&str> = help
            .lines()
            .filter(|line| line.find("--").is_some_and(|at| (2..8).contains(&at)))
            .filter(|line| line.trim_start().starts_with('-'))
            .filter_map(|line| {
                line.split([' ', ',', '='])
                    .find(|word| word.starts_with("--"))
            })
            .collect();
        assert!(!options.is_empty(), "{name}");
        for kind in [
            format!("bash/{name}"),
            format!("zsh/_{name}"),
            format!("fish/{name}.fish"),
        ] {
            let text = fs::read_to_string(folder.join(&kind)).expect("completions");
            for option in &options {
                let written = match kind.starts_with("fish") {
                    true => format!("-l {} ", &option[2..]),
                    false => (*option).to_owned(),
                };
                assert!(text.contains(&written), "{kind}: {option}\n{text}");
            }
        }
    }
}

#[test]
fn bash_completes_options_and_files() {
    let folder = Folder::new();
    let built = Path::new(env!("CARGO_BIN_EXE_sse-cat"))
        .parent()
        .expect("a folder");
    output_of(
        Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/pages"))
            .arg("--from")
            .arg(built)
            .arg("--to")
            .arg(&*folder),
    );
    let completed = |words: &str| {
        let script = format!(
            "source {0}/bash/sse-cat; cd {0}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _sse_cat; echo \"${{COMPREPLY[*]}}\"",
            folder.display()
        );
        output_of(Command::new("bash").args(["--norc", "-c", &script]))
    };
    assert_eq!(completed("sse-cat --js"), "--json\n");
    assert_eq!(completed("sse-cat --token-file ma"), "man\n");
    assert_eq!(completed("sse-cat fi"), "fish\n");
}
