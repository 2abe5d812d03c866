//! The documentation is true: every command and snippet of README and docs/ runs, and every
//! link leads somewhere.

#[path = "../support/mod.rs"]
mod support;

mod links;
mod page;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use page::Step;
use support::folder::Folder;
use support::root::can;

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages of the project: README, what is beside it, and docs/.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for folder in [
        "",
        "docs",
        "docs/ja",
        "apache",
        "nginx",
        "web",
        "examples/react-flights",
    ] {
        for entry in fs::read_dir(project().join(folder)).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "md") {
                pages.push(path.strip_prefix(project()).unwrap().to_owned());
            }
        }
    }
    pages.sort();
    pages
}

/// Those whose commands and snippets are run.
fn is_run(page: &Path) -> bool {
    page.starts_with("docs") || page.to_string_lossy().starts_with("README")
}

fn read(page: &Path) -> String {
    fs::read_to_string(project().join(page)).unwrap()
}

#[test]
fn every_link_leads_somewhere() {
    let mut problems = Vec::new();
    for page in pages() {
        let file = project().join(&page);
        for (line, target) in links::links(&read(&page)) {
            if let Some(problem) = links::problem(&file, &target) {
                problems.push(format!("{}:{line}: {problem}", page.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn readme_is_short() {
    let lines = read(Path::new("README.md")).lines().count();
    assert!(lines < 200, "README.md has {lines} lines");
}

fn bench(arguments: &[&str]) {
    let output = Command::new(project().join("scripts/bench"))
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", output.status);
}

#[test]
fn the_plots_are_those_of_the_tables() {
    let folder = Folder::new();
    bench(&["--plot", "--into", folder.to_str().unwrap()]);
    let mut made = Vec::new();
    for entry in fs::read_dir(&*folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let made_now = fs::read_to_string(folder.path(&name)).unwrap();
        let kept = fs::read_to_string(project().join("docs").join(&name)).unwrap_or_default();
        assert!(made_now == kept, "docs/{name}: run scripts/bench --plot");
        made.push(name);
    }
    made.sort();
    assert_eq!(
        made,
        ["bench-cgi.svg", "bench-http.svg", "bench-nginx.svg"].map(String::from)
    );
}

#[test]
fn results_of_the_benchmark_are_plotted() {
    let folder = Folder::new();
    let results = concat!(
        r#"{"date": "2026-01-02", "quick": true, "machine": "a"}"#,
        "\n",
        r#"{"what": "CPU", "unit": "µs", "ours": [3, 1, 2], "against": "C < D", "theirs": [4, 4], "bound": ["<=", 0.25]}"#,
        "\n",
        r#"{"what": "size", "unit": "MB", "ours": [1.5], "against": null, "theirs": null, "bound": ["<=", 2]}"#,
        "\n",
    );
    folder.write("cgi.jsonl", results);
    bench(&["--plot", "--results", folder.to_str().unwrap(), "cgi"]);
    let plot = fs::read_to_string(folder.path("cgi.svg")).unwrap();
    for text in [
        ">scripts/bench cgi, 2026-01-02, --quick<",
        ">CPU, µs<",
        ">C &lt; D<",
        ">0.50, at most 0.25: missed<",
        ">1.50 MB, at most 2<",
    ] {
        assert!(plot.contains(text), "no {text} in {plot}");
    }
}

/// Runs what the page shows, in its order, on a machine of its own.
#[track_caller]
fn run(page: &str) {
    let steps = page::steps(&read(Path::new(page))).unwrap_or_else(|what| panic!("{page}: {what}"));
    for (line, step) in &steps {
        if let Step::In { file, text } = step {
            let whole = read(Path::new(file));
            let has = page::without_indents(&whole).contains(&page::without_indents(text));
            assert!(has, "{page}:{line}: {file} has no such lines");
        }
    }
    let unshare = [
        "unshare",
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
    ];
    let tried = [&unshare[..], &["true"]].concat();
    if !can("a machine of its own", &tried) {
        return;
    }
    let folder = Folder::new();
    let script = folder.write("page.sh", page::program(page, &steps));
    let programs = Path::new(env!("CARGO_BIN_EXE_sse-fcgi")).parent().unwrap();
    let output = Command::new("timeout")
        .arg("--kill-after=5")
        .arg("150")
        .args(unshare)
        .arg(project().join("tests/docs/machine.sh"))
        .args([project(), programs, &script])
        .output()
        .unwrap();
    if std::env::var_os("SSE_DOCS_TRACE").is_some() {
        println!("{}", String::from_utf8_lossy(&output.stdout));
    }
    assert!(
        output.status.success(),
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// One test for each page, so that they run at the same time.
macro_rules! run_pages {
    ($($name:ident $page:literal)*) => {
        $(
            #[test]
            fn $name() {
                run($page);
            }
        )*

        #[test]
        fn every_page_is_run() {
            let known = [$($page),*];
            for page in pages() {
                let is_known = known.iter().any(|known| Path::new(known) == page);
                assert!(is_known || !is_run(&page), "no test runs {}", page.display());
            }
        }
    };
}

run_pages! {
    readme "README.md"
    readme_ja "README.ja.md"
    ja_events_and_ids "docs/ja/events-and-ids.md"
    ja_getting_started "docs/ja/getting-started.md"
    ja_shared_hosting "docs/ja/shared-hosting.md"
    ja_troubleshooting "docs/ja/troubleshooting.md"
    at_scale "docs/running-at-scale.md"
    behind_a_proxy "docs/behind-a-proxy.md"
    command_line_tools "docs/command-line-tools.md"
    comparison "docs/comparison.md"
    doctor "docs/doctor.md"
    events_and_ids "docs/events-and-ids.md"
    getting_started "docs/getting-started.md"
    index "docs/README.md"
    pages_of_your_own "docs/in-a-page.md"
    limits "docs/limits.md"
    many_machines "docs/many-machines.md"
    packages "docs/packages.md"
    permissions "docs/permissions.md"
    probe "docs/probe.md"
    publishing "docs/publishing.md"
    security "docs/security.md"
    several_streams "docs/several-streams.md"
    settings "docs/settings.md"
    signed_links "docs/signed-links.md"
    settings_file "docs/settings-file.md"
    shared_hosting "docs/shared-hosting.md"
    tail_compared "docs/tail-compared.md"
    troubleshooting "docs/troubleshooting.md"
    two_way "docs/two-way.md"
    upgrading "docs/upgrading.md"
    without_a_web_server "docs/without-a-web-server.md"
}
