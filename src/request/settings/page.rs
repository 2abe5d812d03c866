//! `docs/settings.md`, and a setting's row in the table of docs/settings-file.md.

use super::row::{Scope, Setting, Streams};
use super::table::TABLE;

const HEAD: &str = "# Settings

<!-- Made from src/request/settings/table.rs: edit that, then run
     `UPDATE_DOCS=1 cargo test --test settings`. -->

Settings are environment variables of a program: Apache `SetEnv`, nginx `fastcgi_param`,
lighttpd `setenv`, or the shell. A client cannot set them. In a terminal, each setting of a
program is an option too: `SSE_MAX_AGE` is `--max-age`. Or they are in a settings file: `.htsse`
beside a CGI program, `--config FILE` of `sse-fcgi` and `sse-httpd`. [settings-file.md](settings-file.md) describes it. The order, first
wins: the request's settings, the file's section, the file's top, the process's environment.
(The environment of a CGI program is the request's settings.)

- Durations are `500ms`, `15s`, `2m` or `1h`; sizes are bytes, or `K`, `M` or `G` of 1024.
- An empty value counts as not set.
- A value out of range is clamped, and the log says so. A value that cannot be read is a 500,
  and one line in the log names the setting and the remedy.
- `publish-redis` stands for its program, and for `SSE_STREAM=publish` with `SSE_STREAM_KEY` or
  `SSE_STREAM_KEY_PREFIX`.
- Under `sse-fcgi`, the process's environment has the defaults of all locations. What belongs
  to the whole process can be set only there, or above the first section of its settings file.
";

/// The whole page.
#[must_use]
pub fn page() -> String {
    let mut text = HEAD.to_owned();
    for setting in TABLE {
        let name = setting.spec.name;
        text.push_str(&format!("\n## {name}\n\n{}.\n\n", sentence(setting.help)));
        let kind = setting.spec.kind;
        let values = match (kind.placeholder(), kind.range()) {
            (placeholder, range) if range.is_empty() => placeholder,
            // The placeholder of a choice already lists its words.
            (placeholder, range) if placeholder.contains('|') => range,
            (placeholder, range) => format!("{placeholder}, {range}"),
        };
        text.push_str(&format!("- value: {}\n", code_free(&values)));
        if !setting.default_text().is_empty() {
            text.push_str(&format!("- default: {}", setting.default_text()));
            if !setting.reason.is_empty() {
                text.push_str(&format!(" ({})", setting.reason));
            }
            text.push('\n');
        }
        let streams = match setting.streams {
            Streams::Every => "every stream".to_owned(),
            Streams::Only(names) => names.join(", "),
            Streams::Responder => "sse-fcgi".to_owned(),
        };
        text.push_str(&format!("- read by: {streams}\n"));
        if setting.scope == Scope::Process {
            text.push_str(
                "- belongs to the whole process: under `sse-fcgi`, its environment or file\n",
            );
        }
        if !matches!(setting.streams, Streams::Responder) {
            text.push_str(&format!("- option: `{}`\n", setting.option()));
        }
    }
    text
}

/// Name, range and default of a setting, as in the columns of that table.
#[must_use]
pub fn table_row(setting: &Setting) -> [String; 3] {
    [
        format!("`{}`", setting.spec.name),
        setting.spec.kind.range(),
        setting.default_text().to_owned(),
    ]
}

/// The text with a capital first letter, unless it begins with a name.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + characters.as_str()
}

/// The text without characters that Markdown would interpret as a table or HTML.
fn code_free(text: &str) -> String {
    text.replace('|', " or ")
}
