//! Names of users and groups, from /etc/passwd and /etc/group.
//!
//! libc's getpwnam, getgrnam and initgroups are not used: they load the modules that
//! nsswitch.conf names, and a statically linked glibc crashes when it does so. So names from
//! other sources (LDAP, systemd) are unknown here; their numbers can be used.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// A longer line is skipped. (The members of a large group are on one line.)
const LINE_MAX_BYTES: u64 = 1 << 20;

/// The maximum that is read of a file.
const FILE_MAX_BYTES: u64 = 64 << 20;

/// The maximum number of supplementary groups of a process (NGROUPS_MAX).
const GROUPS_MAX: usize = 65_536;

/// A user that a process can become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    /// The primary group.
    pub(crate) gid: u32,
    /// The supplementary groups, without the primary one.
    pub(crate) groups: Vec<u32>,
    /// The name, or the number if /etc/passwd does not list it.
    pub(crate) name: OsString,
    /// The home folder; `/` if /etc/passwd does not list it.
    pub(crate) home: PathBuf,
}

/// The user of this process, for messages: `www-data (uid 33)`.
pub(crate) fn own_name() -> String {
    let uid = nix::unistd::geteuid().as_raw();
    let found = find(Path::new(PASSWD), |line| {
        let user = User::parse(line)?;
        (user.uid == uid).then_some(user.name)
    });
    match found {
        Ok(Some(name)) => format!("{} (uid {uid})", name.escape_ascii()),
        _ => format!("uid {uid}"),
    }
}

/// The number of the user `text`, which is a name or a number.
///
/// # Errors
/// The problem and the remedy.
pub(crate) fn uid(text: &str) -> Result<u32, String> {
    if let Some(number) = number(text.as_bytes()) {
        return Ok(number);
    }
    let found = find(Path::new(PASSWD), |line| {
        let user = User::parse(line)?;
        (user.name == text.as_bytes()).then_some(user.uid)
    })?;
    found.ok_or_else(|| unknown("user", PASSWD, "id -u NAME"))
}

/// The number of the group `text`, which is a name or a number.
///
/// # Errors
/// The problem and the remedy.
pub(crate) fn gid(text: &str) -> Result<u32, String> {
    if let Some(number) = number(text.as_bytes()) {
        return Ok(number);
    }
    let found = find(Path::new(GROUP), |line| {
        let group = Group::parse(line)?;
        (group.name == text.as_bytes()).then_some(group.gid)
    })?;
    found.ok_or_else(|| unknown("group", GROUP, "getent group NAME"))
}

/// The user `text` with all groups: `NAME`, `UID`, `NAME:GROUP` or `UID:GID`. If /etc/passwd
/// does not list a number, its primary group is the same number.
///
/// # Errors
/// The problem and the remedy.
pub(crate) fn account(text: &str) -> Result<Account, String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(gid(group)?)),
        None => (text, None),
    };
    let uid = uid(user)?;
    let is_named = number(user.as_bytes()).is_none();
    let found = find(Path::new(PASSWD), |line| {
        User::parse(line)
            .filter(|found| found.uid == uid && (!is_named || found.name == user.as_bytes()))
    });
    // A number needs no entry in the file.
    let found = if is_named {
        found?
    } else {
        found.unwrap_or_default()
    };
    let gid = group
        .or(found.as_ref().map(|found| found.gid))
        .unwrap_or(uid);
    let mut groups = Vec::new();
    if let Some(found) = &found {
        // If the file cannot be read, there are no supplementary groups.
        let _ = find(Path::new(GROUP), |line| -> Option<()> {
            let group = Group::parse(line)?;
            let is_new = group.gid != gid && !groups.contains(&group.gid);
            if is_new && group.has_member(&found.name) && groups.len() < GROUPS_MAX {
                groups.push(group.gid);
            }
            None
        });
    }
    let (name, home) = found.map_or_else(
        || (uid.to_string().into(), "/".into()),
        |found| (OsString::from_vec(found.name), found.home),
    );
    Ok(Account {
        uid,
        gid,
        groups,
        name,
        home,
    })
}

/// A line of /etc/passwd.
struct User {
    name: Vec<u8>,
    uid: u32,
    gid: u32,
    home: PathBuf,
}

impl User {
    /// `name:password:uid:gid:comment:home:shell`; `None` for any other line.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| is_name(name))?.to_vec();
        let uid = number(fields.nth(1)?)?;
        let gid = number(fields.next()?)?;
        let home = fields.nth(1).unwrap_or_default();
        let home = PathBuf::from(OsStr::from_bytes(home));
        Some(Self {
            name,
            uid,
            gid,
            home,
        })
    }
}

/// A line of /etc/group.
struct Group<'a> {
    name: &'a [u8],
    gid: u32,
    /// Names, separated by commas.
    members: &'a [u8],
}

impl<'a> Group<'a> {
    /// `name:password:gid:member,member`; `None` for any other line.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| is_name(name))?;
        let gid = number(fields.nth(1)?)?;
        let members = fields.next().unwrap_or_default();
        Some(Self { name, gid, members })
    }

    fn has_member(&self, name: &[u8]) -> bool {
        let mut members = self.members.split(|byte| *byte == b',');
        members.any(|member| member.trim_ascii() == name)
    }
}

/// Comments and the entries of NIS (`+`, `-`) are not names.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && !matches!(name[0], b'#' | b'+' | b'-')
}

/// A plain decimal number. The highest one means "unchanged" to the kernel.
fn number(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| *number != u32::MAX);
    number.filter(|_| is_plain)
}

/// The first result of `pick` for a line of `file`.
fn find<T>(file: &Path, pick: impl FnMut(&[u8]) -> Option<T>) -> Result<Option<T>, String> {
    let opened = File::open(file);
    let found = opened.and_then(|file| find_in(BufReader::new(file.take(FILE_MAX_BYTES)), pick));
    found.map_err(|error| format!("{}: {error}; give a number instead", file.display()))
}

fn find_in<T>(
    mut lines: impl io::BufRead,
    mut pick: impl FnMut(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = (&mut lines)
            .take(LINE_MAX_BYTES)
            .read_until(b'\n', &mut line)?;
        if count == 0 {
            return Ok(None);
        }
        if line.last() != Some(&b'\n') && count as u64 == LINE_MAX_BYTES {
            lines.skip_until(b'\n')?;
            continue;
        }
        if let Some(found) = pick(line.trim_ascii_end()) {
            return Ok(Some(found));
        }
    }
}

fn unknown(kind: &str, file: &str, ask: &str) -> String {
    format!(
        "no such {kind} in {file}; correct the name, or give the number of a {kind} from \
         another source (LDAP, systemd), as `{ask}` shows it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(line: &str) -> Option<(String, u32, u32, PathBuf)> {
        let user = User::parse(line.as_bytes())?;
        Some((
            String::from_utf8(user.name).unwrap(),
            user.uid,
            user.gid,
            user.home,
        ))
    }

    #[test]
    fn a_line_of_passwd_is_a_user_or_nothing() {
        let www = ("www-data".to_owned(), 33, 33, PathBuf::from("/var/www"));
        assert_eq!(
            user("www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin"),
            Some(www)
        );
        assert_eq!(user("a:x:1:2"), Some(("a".into(), 1, 2, PathBuf::new())));
        for line in [
            "",
            "#www-data:x:33:33::/:/bin/sh",
            "+::::::",
            "-a:x:1:2:::",
            ":x:1:2:::",
            "a:x:1",
            "a:x::2:::",
            "a:x:-1:2:::",
            "a:x:+1:2:::",
            "a:x:4294967295:2:::",
            "a:x:99999999999:2:::",
            "a:x: 1:2:::",
            "www-data",
        ] {
            assert_eq!(user(line), None, "{line}");
        }
    }

    #[test]
    fn a_line_of_group_lists_its_members() {
        let group = Group::parse(b"adm:x:4:syslog,www-data,").unwrap();
        assert_eq!((group.name, group.gid), (&b"adm"[..], 4));
        assert!(group.has_member(b"www-data") && group.has_member(b"syslog"));
        assert!(!group.has_member(b"www") && !group.has_member(b"www-data2"));
        assert!(!Group::parse(b"adm:x:4").unwrap().has_member(b"adm"));
        for line in [&b"adm:x:four:"[..], b"# adm:x:4:", b"adm", b"+:::"] {
            assert!(Group::parse(line).is_none(), "{line:?}");
        }
    }

    #[test]
    fn a_line_of_any_length_ends_nothing() {
        let long = vec![b'x'; 3 * LINE_MAX_BYTES as usize];
        let mut text = [&b"a:x:1:\n"[..], &long, b"\nb:x:2:\r\n\n\xff\xfe:x\nc:x:3:"].concat();
        let gid = |text: &[u8], wanted: &[u8]| {
            find_in(text, |line| {
                let group = Group::parse(line)?;
                (group.name == wanted).then_some(group.gid)
            })
            .unwrap()
        };
        assert_eq!(gid(&text, b"a"), Some(1));
        assert_eq!(gid(&text, b"b"), Some(2));
        assert_eq!(gid(&text, b"c"), Some(3));
        assert_eq!(gid(&text, b"d"), None);
        // The end of a line that is too long is not a line of its own.
        text.splice(text.len() - 7.., long.iter().chain(b":x:9:\n").copied());
        assert_eq!(gid(&text, &[b'x'; 10]), None);
    }

    #[test]
    fn a_number_needs_no_file_and_a_name_that_is_unknown_asks_for_one() {
        assert_eq!(uid("4000000"), Ok(4_000_000));
        assert_eq!(gid("0"), Ok(0));
        for name in ["no such", "", "-1", "4294967295", "root\n"] {
            let problem = gid(name).unwrap_err();
            assert!(
                problem.contains("in /etc/group") && problem.contains("number"),
                "{problem}"
            );
        }
        let number = account("4000000").unwrap();
        assert_eq!((number.uid, number.gid), (4_000_000, 4_000_000));
        assert_eq!((number.name, number.home), ("4000000".into(), "/".into()));
        let other = account("0:7").unwrap();
        assert_eq!((other.uid, other.gid), (0, 7));
        assert!(account("root:no such").is_err() && account(":0").is_err());
    }
}
