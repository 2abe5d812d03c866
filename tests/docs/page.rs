//! A page of the documentation as steps that can be run.
//!
//! A fenced block of `sh` is run. Any other block needs a comment before it that says what to
//! do with it; readers do not see comments:
//!
//! | comment | the block that follows |
//! |---|---|
//! | `<!-- test: file PATH -->` | is written to PATH |
//! | `<!-- test: until REGEX -->` | is run until its output matches, and then ended |
//! | `<!-- test: background REGEX -->` | is run until its output matches, and goes on |
//! | `<!-- test: output -->` | is in the output of the block before it; `…` is any text |
//! | `<!-- test: in FILE -->` | is in a file of the project that another test runs |
//! | `<!-- test: not run: REASON -->` | is not run |
//!
//! `<!-- test: hidden`, with lines of shell up to `-->`, is run too.

#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Run(String),
    Until { script: String, pattern: String },
    Background { script: String, pattern: String },
    File { path: String, text: String },
    Output(String),
    In { file: String, text: String },
    Skipped,
}

/// The steps of a page, each with its line.
///
/// # Errors
/// What is wrong with the page, and in which line.
pub fn steps(markdown: &str) -> Result<Vec<(usize, Step)>, String> {
    let mut steps = Vec::new();
    let mut directive: Option<String> = None;
    let mut lines = (1..).zip(markdown.lines());
    let mut after_blank = true;
    let mut in_list = false;
    while let Some((number, line)) = lines.next() {
        let problem = |what: &str| Err(format!("line {number}: {what}"));
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(rest) = text.strip_prefix("<!-- test: ") {
            if directive.is_some() {
                return problem("two comments without a block between them");
            }
            directive = Some(rest.trim_end_matches("-->").trim().to_owned());
            if rest.trim_end() == "hidden" {
                directive = None;
                let code = lines
                    .by_ref()
                    .map(|(_, line)| line)
                    .take_while(|line| line.trim() != "-->");
                steps.push((number, Step::Run(code.collect::<Vec<_>>().join("\n"))));
            }
        } else if let Some(language) = text.strip_prefix("```") {
            let mut block = String::new();
            loop {
                let Some((_, line)) = lines.next() else {
                    return problem("a block without an end");
                };
                if line.trim() == "```" {
                    break;
                }
                // Within a list, a block is indented as its item is.
                let own = line.len() - line.trim_start().len();
                block.push_str(&line[own.min(indent)..]);
                block.push('\n');
            }
            match step(language.trim(), directive.take().as_deref(), block) {
                Ok(step) => steps.push((number, step)),
                Err(what) => return problem(&what),
            }
        } else {
            in_list = match text {
                "" => in_list,
                _ if text.starts_with(['-', '*', '|']) => true,
                _ if text.starts_with(|first: char| first.is_ascii_digit()) => true,
                _ => in_list && indent > 0,
            };
            if indent >= 4 && after_blank && !in_list {
                return problem("an indented block; use a fence, which names the language");
            }
        }
        after_blank = text.is_empty();
    }
    match directive {
        Some(directive) => Err(format!("a comment without a block: {directive}")),
        None => Ok(steps),
    }
}

fn step(language: &str, directive: Option<&str>, block: String) -> Result<Step, String> {
    let Some(directive) = directive else {
        return match language {
            "sh" => Ok(Step::Run(block)),
            _ => Err(format!(
                "a block of {language:?} that nothing runs; say why, or what to do with it"
            )),
        };
    };
    let (word, rest) = directive.split_once(' ').unwrap_or((directive, ""));
    Ok(match word {
        "file" => Step::File {
            path: rest.to_owned(),
            text: block,
        },
        "until" => Step::Until {
            script: block,
            pattern: rest.to_owned(),
        },
        "background" => Step::Background {
            script: block,
            pattern: rest.to_owned(),
        },
        "output" => Step::Output(block),
        "in" => Step::In {
            file: rest.to_owned(),
            text: block,
        },
        "not" if rest.strip_prefix("run: ").is_some_and(|why| why.len() > 8) => Step::Skipped,
        _ => return Err(format!("unknown: {directive:?}")),
    })
}

/// The whole page as a program for `machine.sh`.
pub fn program(name: &str, steps: &[(usize, Step)]) -> String {
    let mut program = String::new();
    for (line, step) in steps {
        let body = match step {
            Step::Run(script) => format!("{{\n{script}\n}} >\"$out\" 2>&1 </dev/null\n"),
            Step::Until { script, pattern } => {
                format!(
                    "run_until {} <<'END-OF-STEP'\n{script}END-OF-STEP\n",
                    quoted(pattern)
                )
            }
            Step::Background { script, pattern } => format!(
                "run_in_background {} <<'END-OF-STEP'\n{script}END-OF-STEP\n",
                quoted(pattern)
            ),
            Step::File { path, text } => {
                format!(
                    "write_file {} <<'END-OF-STEP'\n{text}END-OF-STEP\n",
                    quoted(path)
                )
            }
            Step::Output(text) => {
                format!("expect_output <<'END-OF-STEP'\n{text}END-OF-STEP\n")
            }
            Step::In { .. } | Step::Skipped => continue,
        };
        program.push_str(&format!("at {}:{line}\n{body}", quoted(name)));
    }
    program
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[test]
fn blocks_become_steps() {
    let page = "\
text
<!-- test: hidden
cd /
-->
```sh
ls
```
<!-- test: output -->
```text
bin
```
- item

  <!-- test: file a b.conf -->
  ```nginx
  x {
    y
  }
  ```
<!-- test: not run: it needs a phone -->
```sh
call
```
";
    let steps = steps(page).unwrap();
    let expected = [
        (2, Step::Run("cd /".to_owned())),
        (5, Step::Run("ls\n".to_owned())),
        (9, Step::Output("bin\n".to_owned())),
        (
            15,
            Step::File {
                path: "a b.conf".to_owned(),
                text: "x {\n  y\n}\n".to_owned(),
            },
        ),
        (21, Step::Skipped),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn a_block_that_nothing_runs_is_a_fault() {
    for page in [
        "```json\n{}\n```\n",
        "```\nls\n```\n",
        "text\n\n    ls\n",
        "<!-- test: not run: -->\n```sh\nls\n```\n",
        "<!-- test: output -->\n",
        "```sh\nls\n",
    ] {
        assert!(steps(page).is_err(), "{page}");
    }
}

/// The text with each line's own indentation removed: a snippet may stand deeper in a file.
pub fn without_indents(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}
