//! The links of the documentation lead somewhere.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// The targets of the links and pictures of a page, outside of code, each with its line.
pub fn links(markdown: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (line, text) in prose(markdown) {
        let text = without_code(&text);
        let mut rest = text.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let (target, after) = after.split_once(')').unwrap_or((after, ""));
            links.push((line, target.to_owned()));
            rest = after;
        }
        for attribute in ["src=\"", "href=\"", "srcset=\""] {
            let mut rest = text.as_str();
            while let Some((_, after)) = rest.split_once(attribute) {
                let (target, after) = after.split_once('"').unwrap_or((after, ""));
                links.push((line, target.to_owned()));
                rest = after;
            }
        }
    }
    links
}

/// The anchors of a page's headings, as GitHub makes them.
pub fn anchors(markdown: &str) -> HashSet<String> {
    let mut anchors = HashSet::new();
    for (_, line) in prose(markdown) {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let anchor: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let number = (1..).map(|n| format!("{anchor}-{n}"));
        let mut names = std::iter::once(anchor.clone()).chain(number);
        let free = names.find(|name| !anchors.contains(name));
        anchors.extend(free);
    }
    anchors
}

/// The lines that are not in fenced blocks or comments.
fn prose(markdown: &str) -> Vec<(usize, String)> {
    let (mut in_fence, mut in_comment) = (false, false);
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(markdown.lines()) {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        } else if in_comment || (!in_fence && line.trim_start().starts_with("<!--")) {
            in_comment = !line.contains("-->");
        } else if !in_fence {
            lines.push((number, line.to_owned()));
        }
    }
    lines
}

fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// What is wrong with a link of the page.
pub fn problem(page: &Path, target: &str) -> Option<String> {
    if let Some((scheme, rest)) = target.split_once("://") {
        let host = rest.split('/').next().unwrap_or_default();
        let valid = scheme == "https" && host.contains('.') && !target.contains([' ', '<', '>']);
        return (!valid).then(|| format!("{target}: no address"));
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = match path {
        "" => page.to_owned(),
        _ => page.parent().expect("a file is in a folder").join(path),
    };
    if !file.exists() {
        return Some(format!("{target}: there is no such file"));
    }
    if anchor.is_empty() {
        return None;
    }
    let text = fs::read_to_string(&file).unwrap_or_default();
    (!anchors(&text).contains(anchor)).then(|| format!("{target}: there is no such heading"))
}

#[test]
fn links_and_anchors_are_found() {
    let page = "# A page, of `x`\n[a](b.md#c) and `[no](link)` and ![p](p.png)\n\
                ```sh\n[no](link)\n```\n## Twice\n## Twice\n";
    let found: Vec<_> = links(page).into_iter().map(|(_, target)| target).collect();
    assert_eq!(found, ["b.md#c", "p.png"]);
    let expected = ["a-page-of-x", "twice", "twice-1"].map(str::to_owned);
    assert_eq!(anchors(page), HashSet::from(expected));
}
