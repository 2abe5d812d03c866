//! The settings in the text of `--help`.

use super::row::{Kind, Setting};

/// The settings as options of a program in a terminal.
pub(crate) fn options_help(settings: impl Iterator<Item = &'static Setting>) -> String {
    let mut text = String::new();
    for setting in settings {
        let option = format!("{} {}", setting.option(), setting.spec.kind.placeholder());
        let line = format!("  {option:<30} {}\n      ", setting.spec.name);
        text.push_str(&line);
        text.push_str(&meaning(setting));
        text.push('\n');
    }
    text
}

/// The settings as variables of an environment.
pub(crate) fn environment_help(settings: impl Iterator<Item = &'static Setting>) -> String {
    let mut text = String::new();
    for setting in settings {
        let name = setting.spec.name;
        let line = format!("  {name} {}\n      ", setting.spec.kind.placeholder());
        text.push_str(&line);
        text.push_str(&meaning(setting));
        text.push('\n');
    }
    text
}

/// Its help, its range, its default and the reason for the default.
fn meaning(setting: &Setting) -> String {
    let mut text = setting.help.to_owned();
    let range = setting.spec.kind.range();
    // The placeholder of a choice already shows its values, such as `yes|no`.
    if !range.is_empty() && !matches!(setting.spec.kind, Kind::YesNo | Kind::Choice(_)) {
        text.push_str(&format!("; {range}"));
    }
    let default = setting.default_text();
    if !default.is_empty() {
        text.push_str(&format!("; default: {default}"));
    }
    if !setting.reason.is_empty() {
        text.push_str(&format!(" ({})", setting.reason));
    }
    text
}
