//! The architecture of DESIGN: imports go down only, pure layers do not use the system, unsafe
//! code stays in its place, and binaries contain no logic.
//!
//! The source is parsed, so that comments and strings count for nothing; code under
//! `#[cfg(test)]` may do as it likes.

use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// From the bottom up. Modules that are not listed (`harness`, the binaries) are above all.
const LAYERS: [&str; 10] = [
    "event", "request", "source", "publish", "stream", "gateway", "system", "store", "cgi",
    "server",
];

/// The first layer that may use the system; the layers below it are functions of their input.
const FIRST_IMPURE: usize = 6;

/// Layers of the same rank: neither may import the other.
const PEERS: [(&str, &str); 1] = [("cgi", "server")];

/// Modules above all layers, beside the binaries.
const ABOVE: [&str; 4] = ["lib", "run", "harness", "clients"];

/// Names that only `system` and the layers above it may use.
const SYSTEM: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::os::fd",
    "std::os::unix::fs",
    "std::os::unix::net",
    "std::os::unix::io",
    "std::time::Instant",
    "std::time::SystemTime",
    "chrono::Local",
    "nix",
    "libc",
    "signal_hook",
    "fastrand",
    "tokio",
    "hyper",
];

/// Collects every path of a file, with `use` trees expanded and `self`, `super` and `crate`
/// resolved.
struct Paths {
    module: Vec<String>,
    found: Vec<Vec<String>>,
}

impl Paths {
    fn of(module: &[String], source: &syn::File) -> Vec<Vec<String>> {
        let mut paths = Self {
            module: module.to_vec(),
            found: Vec::new(),
        };
        paths.visit_file(source);
        paths.found
    }

    fn add(&mut self, segments: &[String]) {
        let mut place = match segments.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self" | "super") => self.module.clone(),
            _ => return self.found.push(segments.to_vec()),
        };
        for segment in segments {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => {
                    place.pop();
                }
                name => place.push(name.to_owned()),
            }
        }
        place.insert(0, "crate".into());
        self.found.push(place);
    }

    fn add_tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            UseTree::Name(name) => self.add(&with(&name.ident)),
            UseTree::Rename(rename) => self.add(&with(&rename.ident)),
            UseTree::Glob(_) => self.add(before),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(before, tree);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test_code(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&[], &item.tree);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.add(&segments);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        let text = mac.tokens.to_string();
        let words: Vec<&str> = text.split_whitespace().collect();
        for start in 0..words.len() {
            let names = words[start..].iter().step_by(2);
            let colons = words[start..].iter().skip(1).step_by(2);
            let length = 1 + colons.take_while(|word| **word == "::").count();
            let path: Vec<String> = names.take(length).map(|word| word.to_string()).collect();
            if length > 1 {
                self.add(&path);
            }
        }
        visit::visit_macro(self, mac);
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(i) => &i.attrs,
        Item::Enum(i) => &i.attrs,
        Item::Fn(i) => &i.attrs,
        Item::Impl(i) => &i.attrs,
        Item::Mod(i) => &i.attrs,
        Item::Static(i) => &i.attrs,
        Item::Struct(i) => &i.attrs,
        Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

fn has_attribute(attributes: &[Attribute], name: &str, argument: &str) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident(name)
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|path| path.is_ident(argument))
    })
}

fn is_test_code(attributes: &[Attribute]) -> bool {
    has_attribute(attributes, "cfg", "test")
}

/// The forbidden names in a file of the layer `rank`.
fn offences(rank: usize, module: &[String], source: &syn::File) -> Vec<String> {
    let mut offences = Vec::new();
    for path in Paths::of(module, source) {
        let text = path.join("::");
        let above = match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            // The re-exports of lib.rs, and the modules above all layers.
            ["crate", name, ..] if name.starts_with("run") => true,
            ["crate", name, ..] if ABOVE.contains(&name) => true,
            ["crate", layer, ..] => {
                LAYERS[rank + 1..].contains(&layer) || PEERS.contains(&(layer, LAYERS[rank]))
            }
            _ => false,
        };
        let begins_with = |start: &&str| text == **start || text.starts_with(&format!("{start}::"));
        // A layer may name a descriptor for an event loop without using it.
        let is_name = text == "std::os::fd::BorrowedFd";
        let system = rank < FIRST_IMPURE && !is_name && SYSTEM.iter().any(begins_with);
        let clock = rank < FIRST_IMPURE
            && matches!(&path[..], [.., a, b] if b == "now"
                && ["Utc", "Local", "Instant", "SystemTime"].contains(&a.as_str()));
        if above || system || clock {
            offences.push(text);
        }
    }
    offences
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}

/// One file of the library.
struct Module {
    path: Vec<String>,
    file: PathBuf,
    source: syn::File,
}

/// The modules of the whole library, each parsed once; test modules are left out.
fn modules() -> Vec<Module> {
    let src = root().join("src");
    let mut modules: Vec<Module> = sources(&src)
        .into_iter()
        .filter(|file| !file.starts_with(src.join("bin")))
        .map(|file| {
            let inside = file.strip_prefix(&src).unwrap().with_extension("");
            let mut path: Vec<String> = inside
                .iter()
                .map(|name| name.to_str().unwrap().to_owned())
                .collect();
            if ["mod", "lib"].contains(&path.last().unwrap().as_str()) {
                path.pop();
            }
            let source = syn::parse_file(&fs::read_to_string(&file).unwrap()).expect("Rust source");
            Module { path, file, source }
        })
        .collect();
    let mut tests = Vec::new();
    for module in &modules {
        for item in &module.source.items {
            if let Item::Mod(inner) = item {
                if inner.content.is_none() && is_test_code(&inner.attrs) {
                    tests.push([&module.path[..], &[inner.ident.to_string()]].concat());
                }
            }
        }
    }
    modules.retain(|module| !tests.iter().any(|test| module.path.starts_with(test)));
    modules
}

#[test]
fn imports_only_go_down_and_what_is_pure_touches_no_system() {
    let mut wrong = Vec::new();
    let mut files = [0; LAYERS.len()];
    for Module { path, file, source } in modules() {
        let Some(name) = path.first() else { continue };
        if let Some(rank) = LAYERS.iter().position(|layer| layer == name) {
            files[rank] += 1;
            for offence in offences(rank, &path, &source) {
                wrong.push(format!("{}: {offence}", file.display()));
            }
        } else if !ABOVE.contains(&name.as_str()) {
            wrong.push(format!("{}: in no layer", file.display()));
        }
    }
    for (layer, files) in LAYERS.iter().zip(files) {
        assert!(files > 0, "no file in {layer}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_import_that_goes_up_is_found_however_it_is_written() {
    let offences =
        |rank, module: &[String], text| offences(rank, module, &syn::parse_file(text).unwrap());
    let module = ["source".to_owned(), "tail".to_owned()];
    for bad in [
        "use crate::server::run;",
        "use crate::{event::Batch, stream::{Terms}};",
        "use super::super::gateway::Framing;",
        "use crate::run as walk;",
        "fn f() { crate::stream::Turn::More; }",
        "fn f() -> super::super::stream::Turn { g() }",
        "mod inner { use super::super::super::stream::Terms; }",
        "fn f() { println!(\"{}\", crate::server::x()); }",
        "use std::fs::File;",
        "use std::time::{Duration, Instant};",
        "fn f() { std::net::TcpStream::connect(1); }",
        "fn f() { let t = Utc::now(); }",
        "use nix as n;",
    ] {
        assert_ne!(offences(2, &module, bad), Vec::<String>::new(), "{bad}");
    }
    for (rank, bad) in [
        (9, "use crate::cgi::run_cgi;"),
        (9, "fn f() { crate::run_publish(); }"),
        (8, "use crate::server::run_responder;"),
        (7, "use crate::cgi::run_cgi;"),
        (6, "use crate::store::disk::RealDisk;"),
    ] {
        assert_ne!(offences(rank, &[], bad), Vec::<String>::new(), "{bad}");
    }
    for good in [
        "use super::super::event::Batch; use super::Next; use self::x::Y;",
        "use crate::request::{Settings, LastId};",
        "use std::time::Duration; use std::io;",
        "// use crate::server::run;\nconst A: &str = \"crate::server\";",
        "#[cfg(test)] mod tests { use std::fs; use crate::server::x; }",
    ] {
        assert_eq!(offences(2, &module, good), Vec::<String>::new(), "{good}");
    }
}

/// Counts the keyword `unsafe`, also of attributes.
#[derive(Default)]
struct Unsafe {
    count: usize,
}

impl<'ast> Visit<'ast> for Unsafe {
    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.count += 1;
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        self.count += usize::from(attribute.path().is_ident("unsafe"));
        visit::visit_attribute(self, attribute);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.count += usize::from(signature.unsafety.is_some());
        visit::visit_signature(self, signature);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.count += usize::from(item.unsafety.is_some());
        visit::visit_item_impl(self, item);
    }
}

#[test]
fn unsafe_code_is_one_line_and_one_name_and_forbidden_elsewhere() {
    let mut with_unsafe = Vec::new();
    for Module { path, source, .. } in modules() {
        let mut found = Unsafe::default();
        found.visit_file(&source);
        if found.count > 0 {
            with_unsafe.push((path.join("::"), found.count));
        }
        if !path.is_empty() {
            continue;
        }
        assert!(
            has_attribute(&source.attrs, "deny", "unsafe_code"),
            "lib.rs"
        );
        for item in source.items {
            if let Item::Mod(module) = item {
                if module.ident != "system" {
                    let forbids = has_attribute(&module.attrs, "forbid", "unsafe_code");
                    assert!(forbids, "mod {} does not forbid unsafe code", module.ident);
                }
            }
        }
    }
    with_unsafe.sort();
    let allowed = ["system::backtrace", "system::watch::dnotify"];
    assert_eq!(with_unsafe, allowed.map(|name| (name.to_owned(), 1)));
}

#[test]
fn binaries_are_short_and_forbid_unsafe_code() {
    let binaries = sources(&root().join("src/bin"));
    assert!(binaries.len() > 4);
    for file in binaries {
        let text = fs::read_to_string(&file).unwrap();
        let parsed = syn::parse_file(&text).unwrap();
        let name = file.display();
        assert!(
            has_attribute(&parsed.attrs, "forbid", "unsafe_code"),
            "{name} does not forbid unsafe code"
        );
        assert!(text.lines().count() <= 40, "{name} is too long");
    }
}

/// The longest source file, in lines before its unit tests.
const FILE_MAX_LINES: usize = 500;

/// The most source files in one folder.
const FOLDER_MAX_FILES: usize = 15;

/// Files that are longer. Split them: a limit here may only be lowered.
const LONG_FILES: [(&str, usize); 1] = [("src/server/connection.rs", 560)];

/// Folders with more files. Split them: a limit here may only be lowered.
const FULL_FOLDERS: [(&str, usize); 6] = [
    // A program each.
    ("src/bin", 17),
    ("src/harness", 19),
    ("src/request", 18),
    ("src/server", 24),
    ("src/source/tail", 21),
    ("src/system", 17),
];

#[test]
fn files_and_folders_are_small_except_for_a_list_that_may_only_shrink() {
    let limit = |name: &str, exceptions: &[(&str, usize)], usual: usize| {
        let found = exceptions.iter().find(|(exception, _)| *exception == name);
        found.map_or(usual, |(_, limit)| *limit)
    };
    let mut too_large = Vec::new();
    let mut folders = std::collections::BTreeMap::<String, usize>::new();
    for path in sources(&root().join("src")) {
        let name = path.strip_prefix(root()).unwrap();
        let folder = name.parent().unwrap().display().to_string();
        *folders.entry(folder).or_default() += 1;
        // The model tests are modules that consist of tests.
        if name.ends_with("model.rs") {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let name = name.display().to_string();
        let tests = source
            .find("\n#[cfg(test)]\nmod tests {")
            .unwrap_or(source.len());
        let lines = source[..tests].lines().count();
        let most = limit(&name, &LONG_FILES, FILE_MAX_LINES);
        if lines > most {
            too_large.push(format!("{name}: {lines} lines, at most {most}"));
        }
    }
    for (name, files) in folders {
        let most = limit(&name, &FULL_FOLDERS, FOLDER_MAX_FILES);
        if files > most {
            too_large.push(format!("{name}: {files} files, at most {most}"));
        }
    }
    assert!(too_large.is_empty(), "{}", too_large.join("\n"));
}
