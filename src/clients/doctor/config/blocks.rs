//! Blocks: the sections of single streams in a shipped configuration.

/// How the section of a stream is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Blocks {
    /// From the line that begins so, with the stream's name for `{}`, to the line that is `end`.
    Between {
        start: &'static str,
        logs: &'static str,
        end: &'static str,
    },
    /// From that line to the next one that is not indented more (h2o).
    Indented {
        start: &'static str,
        logs: &'static str,
    },
    /// Paragraphs that contain this, with the stream's name for `{}` (HAProxy).
    Paragraphs {
        mark: &'static str,
        logs: &'static str,
    },
    /// Streams have no sections.
    None,
}

/// The streams that the shipped files have.
pub(super) const NAMES: [&str; 9] = [
    "clock",
    "countdown",
    "flights",
    "timers",
    "tail",
    "publish",
    "room",
    "logs",
    "status",
];

/// Only the sections of these streams. The error is a stream without a section.
pub(super) fn only(text: &str, blocks: Blocks, streams: &[String]) -> Result<String, String> {
    let mut lines: Vec<&str> = text.lines().collect();
    for stream in streams {
        let found =
            NAMES.contains(&stream.as_str()) && !sections(&lines, blocks, stream).is_empty();
        if !found {
            return Err(stream.clone());
        }
    }
    for name in NAMES {
        if streams.iter().any(|stream| stream == name) {
            continue;
        }
        while let Some(&(from, until)) = sections(&lines, blocks, name).first() {
            lines.drain(from..until);
        }
    }
    let mut text = lines.join("\n");
    text.push('\n');
    // h2o's address of the responder is written once, in the section that comes first.
    if !text.contains("&responder") {
        let address =
            "&responder\n          port: /run/sse-fcgi/sse-fcgi.sock\n          type: unix";
        text = text.replacen("*responder", address, 1);
    }
    Ok(text)
}

/// Where the sections of a stream are, with the comments and the blank line before each.
fn sections(lines: &[&str], blocks: Blocks, name: &str) -> Vec<(usize, usize)> {
    let of = |start: &str, logs: &str| match name {
        "logs" => logs.to_owned(),
        name => start.replace("{}", name),
    };
    let mut found = Vec::new();
    match blocks {
        Blocks::Between { start, logs, end } => {
            let start = of(start, logs);
            for (at, line) in lines.iter().enumerate() {
                if line.starts_with(&start) && !start.is_empty() {
                    let length = lines[at..].iter().position(|line| *line == end);
                    let until = at + length.map_or(0, |length| length + 1);
                    found.push((with_comments(lines, at), until.max(at + 1)));
                }
            }
        }
        Blocks::Indented { start, logs } => {
            let start = of(start, logs);
            let indent = |line: &str| line.len() - line.trim_start().len();
            for (at, line) in lines.iter().enumerate() {
                if line.starts_with(&start) {
                    let rest = lines[at + 1..].iter();
                    let length = rest.take_while(|next| indent(next) > indent(line)).count();
                    found.push((with_comments(lines, at), at + 1 + length));
                }
            }
        }
        Blocks::Paragraphs { mark, logs } => {
            let mark = of(mark, logs);
            let mut from = 0;
            while from < lines.len() {
                let length = lines[from..]
                    .iter()
                    .take_while(|line| !line.is_empty())
                    .count();
                let until = from + length;
                let is_own = lines[from..until].iter().any(|line| line.contains(&mark));
                if is_own
                    && lines[from..until]
                        .iter()
                        .any(|line| line.contains("set-param SSE_"))
                {
                    found.push((from, (until + 1).min(lines.len())));
                }
                from = until + 1;
            }
        }
        Blocks::None => {}
    }
    found
}

/// The first line of the comments directly before a line.
fn with_comments(lines: &[&str], at: usize) -> usize {
    let before = lines[..at].iter().rev();
    at - before
        .take_while(|line| line.trim_start().starts_with('#'))
        .count()
}
