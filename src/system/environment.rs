//! The environment of the programs that this process starts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::accounts::Account;

/// The variables that are passed on. None of them comes from a client.
const PASSED_ON: [&str; 8] = [
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
];

/// HOME and USER of the user that this process has become, instead of root's.
static ACCOUNT: OnceLock<(PathBuf, OsString)> = OnceLock::new();

/// From now on, programs get the HOME and USER of this user.
pub(crate) fn belongs_to(account: &Account) {
    let _ = ACCOUNT.set((account.home.clone(), account.name.clone()));
}

/// The environment of a program.
pub(crate) fn for_programs() -> impl Iterator<Item = (&'static str, OsString)> {
    PASSED_ON.iter().filter_map(|name| {
        let value = match (*name, ACCOUNT.get()) {
            ("HOME", Some((home, _))) => Some(home.clone().into()),
            ("USER", Some((_, user))) => Some(user.clone()),
            _ => std::env::var_os(name),
        };
        Some((*name, value?))
    })
}
