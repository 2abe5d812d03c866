//! The settings of a responder process.

use super::reader::Reader;
use super::table::{self, PROCESS_SETTINGS};
use super::{Notice, SettingError, error::printable};
use crate::request::MetaVariables;

/// `SSE_MAX_SUBSCRIBERS`: how many streams a process serves at the same time.
///
/// # Errors
/// When it is not a number.
pub fn subscribers_max(meta: &MetaVariables) -> Result<(usize, Vec<Notice>), SettingError> {
    let mut read = Reader::new(meta);
    let most = read.count(&table::MAX_SUBSCRIBERS)?;
    Ok((most as usize, read.notices()))
}

/// The settings of the whole process that a request contains: they have no effect there. A
/// setting with the same value as in the process's environment needs no notice.
#[must_use]
pub fn misplaced(request: &MetaVariables, environment: &MetaVariables) -> Vec<Notice> {
    let notice = |name: &str| {
        let value = request.get(name).last()?;
        let own = environment.get(name).last();
        (own != Some(value)).then(|| {
            Notice(format!(
                "{name}={}: it is ignored here, for it belongs to the whole process; set it in \
                 the environment of sse-fcgi",
                printable(value)
            ))
        })
    };
    let names = PROCESS_SETTINGS.iter().map(|row| row.spec.name);
    names.filter_map(notice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_of_the_process_in_a_request_is_reported() {
        let check = |request: &[(&str, &str)], environment: &[(&str, &str)], expected: &[&str]| {
            let notices = misplaced(&MetaVariables::of(request), &MetaVariables::of(environment));
            let names: Vec<String> = notices
                .iter()
                .filter_map(|notice| Some(notice.to_string().split_once(": ")?.0.to_owned()))
                .collect();
            assert_eq!(names, expected);
        };
        let log = ("SSE_LOG", "/l");
        check(&[], &[log], &[]);
        check(&[log, ("SSE_RETRY", "9s")], &[], &["SSE_LOG=/l"]);
        check(&[log], &[("SSE_LOG", "/other")], &["SSE_LOG=/l"]);
        check(&[log], &[log], &[]);
        check(
            &[("SSE_MAX_SUBSCRIBERS", "5"), ("SSE_ALLOW_COMMANDS", "yes")],
            &[],
            &["SSE_MAX_SUBSCRIBERS=5", "SSE_ALLOW_COMMANDS=yes"],
        );
    }
}
