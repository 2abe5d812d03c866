//! What the programs that we run get of our environment.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::accounts::Account;

/// Nothing that a client sent is in it.
const PASSED_ON: [&str; 8] = [
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
];

/// HOME and USER of the user that this process became, instead of root's.
static ACCOUNT: OnceLock<(PathBuf, OsString)> = OnceLock::new();

/// Gives programs the HOME and USER of this user from now on.
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
