//! What `cargo package` puts into the archive for crates.io, and which compiler builds it.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use support::folder::Folder;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The files of the package, or `None` outside a checkout (an unpacked package, for example).
fn packaged() -> Option<Vec<String>> {
    if !Path::new(ROOT).join(".git").exists() {
        println!("skipped: only a checkout is packaged");
        return None;
    }
    let output = Command::new(env!("CARGO"))
        .args(["package", "--list", "--allow-dirty", "--offline"])
        .current_dir(ROOT)
        .output()
        .unwrap();
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{problems}");
    assert!(!problems.contains("warning"), "{problems}");
    let text = String::from_utf8(output.stdout).expect("names are text");
    Some(text.lines().map(str::to_owned).collect())
}

#[test]
fn the_package_contains_what_builds_and_explains_it_and_no_pictures() {
    let Some(files) = packaged() else { return };
    for needed in [
        "CHANGELOG.md",
        "Cargo.lock",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        // The book, the configurations that sse-doctor prints, the page of sse-httpd.
        "docs/getting-started.md",
        "apache/htaccess",
        "nginx/snippets/sse-cgi.conf",
        "systemd/sse-fcgi.service",
        "web/sse.js",
        "scripts/build",
        "scripts/build.d/glibc.c",
        "scripts/install",
        "tests/package.rs",
    ] {
        assert!(
            files.iter().any(|file| file == needed),
            "{needed} is missing"
        );
    }
    let root = Path::new(ROOT);
    let large: Vec<_> = files
        .iter()
        .filter(|file| fs::metadata(root.join(file)).is_ok_and(|file| file.len() > 100_000))
        .collect();
    assert!(
        large.is_empty(),
        "exclude what is larger than a source: {large:?}"
    );
    for unwanted in ["target/", "fuzz/", "node_modules/", ".ci/"] {
        let found = files.iter().find(|file| file.contains(unwanted));
        assert_eq!(found, None, "{unwanted} does not belong into a package");
    }
}

#[test]
fn each_program_of_the_package_has_a_name_that_cargo_installs() {
    let Some(files) = packaged() else { return };
    let programs = files
        .iter()
        .filter_map(|file| file.strip_prefix("src/bin/")?.strip_suffix(".rs"))
        .collect::<Vec<_>>();
    assert!(programs.contains(&"sse-httpd"), "{programs:?}");
    let manifest = fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).unwrap();
    for program in programs {
        let row = format!("[[bin]]\nname = \"{program}\"\n");
        assert!(
            manifest.contains(&row),
            "Cargo.toml has no [[bin]] {program}"
        );
    }
}

/// Stand-ins for cargo and rustc of this version.
fn toolchain(folder: &Path, version: &str) {
    fs::create_dir_all(folder).unwrap();
    for name in ["cargo", "rustc"] {
        let path = folder.join(name);
        let text = format!("#!/bin/sh\necho '{name} {version} (of a test)'\n");
        fs::write(&path, text).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, executable).unwrap();
    }
}

/// `scripts/build` with a PATH that begins with `first`.
fn build(first: &Path) -> Output {
    Command::new(Path::new(ROOT).join("scripts/build"))
        .env("PATH", format!("{}:/usr/bin:/bin", first.display()))
        .output()
        .unwrap()
}

#[test]
fn an_old_compiler_is_refused_with_the_version_that_is_needed() {
    if Path::new("/usr/bin/rustc").exists() {
        println!("skipped: scripts/build would use /usr/bin/rustc");
        return;
    }
    let folder = Folder::new();
    toolchain(&folder.path("old"), "1.63.0");
    let output = build(&folder.path("old"));
    assert_eq!(output.status.code(), Some(111));
    let said = String::from_utf8_lossy(&output.stderr);
    for part in ["1.85 or later", "1.63.0", "rustc-web cargo-web"] {
        assert!(said.contains(part), "no {part} in: {said}");
    }
}
