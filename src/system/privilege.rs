//! The user of this process.

use nix::unistd::{Gid, Uid, geteuid, getresgid, getresuid, setgroups, setresgid, setresuid};

use super::accounts::Account;

/// Whether this process may serve as its present user, or can become `wanted`.
///
/// # Errors
/// The problem and the remedy.
pub(crate) fn check(wanted: Option<&Account>, may_be_root: MayBeRoot) -> Result<(), String> {
    decide(
        geteuid().as_raw(),
        wanted.map(|account| account.uid),
        may_be_root,
    )
}

/// Whether serving as root was permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MayBeRoot {
    No,
    /// `--allow-root`
    Yes,
}

fn decide(own: u32, wanted: Option<u32>, may_be_root: MayBeRoot) -> Result<(), String> {
    let root = Uid::from_raw(0).as_raw();
    match wanted {
        Some(wanted) if own != root && wanted != own => Err(format!(
            "--user: this process belongs to user {own}, and only root can become another \
             user; leave --user out, or start it as root"
        )),
        _ if wanted.unwrap_or(own) == root && may_be_root == MayBeRoot::No => Err(
            "this would serve as root: whoever can connect could then read any file of this \
             machine; name a user to serve as (--user www-data), or --allow-root if that is \
             what you want"
                .into(),
        ),
        _ => Ok(()),
    }
}

/// Becomes `account` permanently: user, group and supplementary groups.
///
/// # Errors
/// The system call that failed. Then the process must not continue.
pub(crate) fn become_account(account: &Account) -> Result<(), String> {
    if !geteuid().is_root() {
        // Already checked: it is this user.
        return Ok(());
    }
    let failed = |what: &str, error: nix::Error| {
        format!("--user: {what}: {error}; is this process root, with all its capabilities?")
    };
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let groups: Vec<Gid> = account.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).map_err(|error| failed("setgroups", error))?;
    setresgid(gid, gid, gid).map_err(|error| failed("setresgid", error))?;
    setresuid(uid, uid, uid).map_err(|error| failed("setresuid", error))?;
    let users = getresuid().map_err(|error| failed("getresuid", error))?;
    let groups = getresgid().map_err(|error| failed("getresgid", error))?;
    let is_done = [users.real, users.effective, users.saved] == [uid; 3]
        && [groups.real, groups.effective, groups.saved] == [gid; 3];
    let root = Uid::from_raw(0);
    // If root can be regained, by a remaining capability or a special kernel mode, nothing was
    // dropped.
    let is_final = account.uid == 0 || setresuid(root, root, root).is_err();
    if is_done && is_final {
        Ok(())
    } else {
        Err("--user: the process still has root's rights after it gave them up".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_serves_only_where_it_is_asked_to() {
        use MayBeRoot::{No, Yes};
        let check = |own, wanted, may, expected: &str| match decide(own, wanted, may) {
            Ok(()) => assert_eq!(expected, ""),
            Err(problem) => assert!(
                !expected.is_empty() && problem.contains(expected),
                "{problem}"
            ),
        };
        check(0, None, No, "would serve as root");
        check(0, Some(0), No, "would serve as root");
        check(0, Some(33), No, "");
        check(0, None, Yes, "");
        check(33, None, No, "");
        check(33, Some(33), No, "");
        check(33, Some(34), No, "only root can become");
        check(33, Some(0), Yes, "only root can become");
    }
}
