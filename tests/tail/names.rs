//! What a client may ask for below `SSE_ROOT`, and with which ids: nothing outside is
//! ever read, nothing hidden is told from what is missing, and no id is an error.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::stat::Mode;

use crate::stage::{Follower, Next, Tail, number, random};
use crate::support::folder::{Folder, append};

/// Stands in every file that must not be read, and nowhere else.
const CANARY: &str = "c4n4ry";

/// What stands in those that may.
const INSIDE: &str = "inside";

/// A root with all that can be wrong in one.
struct Site {
    folder: Folder,
}

impl Site {
    fn new() -> Self {
        let folder = Folder::new();
        folder.make("root/sub/deep");
        folder.make("root/.git");
        folder.make("outside");
        let site = Self { folder };
        let outside = format!("{CANARY}\n").repeat(100);
        for name in ["f.log", "f.log.1", "secret", "secret.jsonl", "secret.json"] {
            fs::write(site.path("outside").join(name), &outside).unwrap();
        }
        let inside = format!("{INSIDE}\n").repeat(100);
        for name in ["f.log", "sub/f.log", "sub/deep/f.log", "f.txt"] {
            fs::write(site.path("root").join(name), &inside).unwrap();
        }
        for name in [".hidden", ".git/config", "sub/.hidden.log"] {
            fs::write(site.path("root").join(name), &outside).unwrap();
        }
        let link = |to: &str, name: &str| symlink(to, site.path("root").join(name)).unwrap();
        link("../outside", "out");
        link("../outside/secret", "secret.log");
        link("../../outside", "sub/out");
        link("/proc/self/root", "magic");
        link("/proc/self/cwd", "here");
        link(
            site.path("outside/secret").to_str().unwrap(),
            "absolute.log",
        );
        link("loop", "loop");
        link("sub/f.log", "fine.log");
        nix::unistd::mkfifo(&site.path("root/fifo"), Mode::S_IRWXU).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn ask(&self, path_info: impl Into<Vec<u8>>) -> Tail {
        let path_info = OsString::from_vec(path_info.into());
        Tail::below(&self.path("root"), path_info)
    }

    /// Names of what is there but must look as if it were not, and names that nothing has.
    fn forbidden(&self) -> Vec<Vec<u8>> {
        let names = [
            "/out/secret",
            "/out",
            "/sub/out/secret",
            "/secret.log",
            "/absolute.log",
            "/magic",
            "/magic/etc/passwd",
            "/here/Cargo.toml",
            "/loop",
            "/fifo",
            "/sub",
            "f.log/x",
            "/%2e%2e/outside/secret",
            "/\u{2025}/outside/secret",
            "/out/f.log",
            "/secret.jsonl",
            "/secret.json",
            // As long as a name can be.
            &format!("/{}", "x".repeat(255)),
        ];
        let mut all: Vec<Vec<u8>> = names.map(|name| name.as_bytes().to_vec()).into();
        all.push(b"/\xc0\xae\xc0\xae/outside/secret".to_vec());
        all
    }

    /// Names that no file could ever be served by, whether there is such a file or not.
    fn impossible(&self) -> Vec<Vec<u8>> {
        let outside = self.path("outside/.secret");
        let long = "x".repeat(256);
        let names = [
            "/.hidden",
            "/.git/config",
            "/sub/.hidden.log",
            "/../outside/secret",
            "/sub/../../outside/secret",
            "/sub/../f.log",
            "/./f.log",
            "/f.log/",
            "/f.log/.",
            "//f.log",
            "/sub/",
            "/",
            "",
            "/..%2foutside/secret",
            "/..\\outside\\secret",
            "/~root/.profile",
            outside.to_str().unwrap(),
            &format!("/{long}"),
            &format!("/sub/{long}/f.log"),
            &"/x".repeat(600),
            &"/..".repeat(40),
        ];
        let mut all: Vec<Vec<u8>> = names.map(|name| name.as_bytes().to_vec()).into();
        all.push(b"/\xff\xfe/../outside/secret".to_vec());
        all
    }
}

const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[test]
fn hidden_outside_and_missing_names_get_the_same_bytes() {
    let site = Site::new();
    let mut real = site.ask("/f.log").set("SSE_FORMAT", "lines").start();
    real.says(&[INSIDE]);
    let real_id = real.event().id;
    for (wait, format, id) in [
        ("no", "", ""),
        ("yes", "", ""),
        ("yes", "state", ""),
        ("yes", "jsonl", "nonsense, and more"),
        ("yes", "lines", "700-0123456789abcdef"),
        ("yes", "lines", real_id.as_str()),
        ("yes", "state", "0123456789abcdef"),
        ("no", "state", "removed"),
    ] {
        let told = |name: &[u8]| {
            let tail = site.ask(name).set("SSE_AWAIT", wait).last_id(id);
            let (answer, stderr) = tail.set("SSE_FORMAT", format).answer();
            // What is there and may not be read is told the administrator, and nobody else.
            assert!(stderr.lines().count() <= 1, "{name:?}: {stderr}");
            answer
        };
        let missing = told(b"/missing.log");
        assert_eq!(missing == NOT_FOUND, wait == "no", "{missing}");
        for name in site.forbidden() {
            let shown = String::from_utf8_lossy(&name).into_owned();
            assert_eq!(told(&name), missing, "{shown} {wait} {format} {id}");
        }
        for name in site.impossible() {
            let shown = String::from_utf8_lossy(&name).into_owned();
            assert_eq!(told(&name), NOT_FOUND, "{shown} {wait} {format} {id}");
        }
    }
}

#[test]
fn a_name_that_can_never_be_served_is_not_waited_for() {
    let site = Site::new();
    let awaited = |name: &str| {
        let tail = site.ask(name).set("SSE_AWAIT", "yes");
        tail.set("SSE_SUFFIXES", ".log .jsonl").answer().0
    };
    let parts = |part: &str, count: usize| format!("/{}.log", vec![part; count].join("/"));
    for name in [
        "/missing.txt".to_owned(),
        "/f.log.1".to_owned(),
        "/missing.LOG".to_owned(),
        "/.missing.log".to_owned(),
        "/no/../f.log".to_owned(),
        "/no//f.log".to_owned(),
        "/no/.git/f.log".to_owned(),
        parts(&"x".repeat(252), 1),
        parts(&"x".repeat(200), 6),
    ] {
        assert_eq!(awaited(&name), NOT_FOUND, "{name}");
    }
    for name in [
        "/missing.log".to_owned(),
        "/no/folder/yet.jsonl".to_owned(),
        "/f.log/x.log".to_owned(),
        "/a..b.log".to_owned(),
        parts(&"x".repeat(251), 1),
        parts(&"x".repeat(200), 5),
    ] {
        let answer = awaited(&name);
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n"),
            "{name}: {answer}"
        );
    }
}

#[test]
fn a_name_that_may_be_known_of_is_followed() {
    let site = Site::new();
    for name in [
        "/f.log",
        "f.log",
        "/sub/f.log",
        "/sub/deep/f.log",
        "/fine.log",
    ] {
        site.ask(name).start().says(&[INSIDE; 10]);
    }
}

#[test]
fn only_names_with_a_suffix_of_the_list_are_there() {
    let site = Site::new();
    let suffixes = |name: &str| site.ask(name).set("SSE_SUFFIXES", ".log .jsonl");
    suffixes("/f.log").start().says(&[INSIDE]);
    for name in ["/f.txt", "/f.log.1", "/log", "/f", "/f.log/.txt", "/fifo"] {
        assert_eq!(suffixes(name).answer().0, NOT_FOUND, "{name}");
    }
    let awaited = |name: &str| suffixes(name).set("SSE_AWAIT", "yes").answer();
    assert_eq!(awaited("/f.txt").0, NOT_FOUND);
    assert!(awaited("/missing.log").0.starts_with("HTTP/1.1 200 OK\r\n"));
}

/// A name made of all that has ever worked somewhere.
fn wild_name(random: &mut fastrand::Rng) -> Vec<u8> {
    const PARTS: [&[u8]; 30] = [
        b"..",
        b".",
        b"",
        b"f.log",
        b"sub",
        b"deep",
        b"out",
        b"outside",
        b"secret",
        b"secret.log",
        b"absolute.log",
        b"magic",
        b"here",
        b"loop",
        b"fifo",
        b".hidden",
        b".git",
        b"%2e%2e",
        b"%2f",
        b"\\..",
        b"..;",
        b"root",
        b"proc",
        b"self",
        b"etc",
        b"passwd",
        b"\xff",
        b"\x01\n",
        b"\r\nX: y",
        b"f.log.1",
    ];
    let mut name = Vec::new();
    for _ in 0..random.usize(0..9) {
        if random.u8(0..8) > 0 {
            name.push(b'/');
        }
        match random.u8(0..12) {
            0 => name.extend((0..random.usize(0..300)).map(|_| random.u8(1..))),
            _ => name.extend_from_slice(PARTS[random.usize(0..PARTS.len())]),
        }
    }
    name
}

fn wild_id(random: &mut fastrand::Rng, real: &str) -> Vec<u8> {
    let hex = format!("{:016x}", random.u64(..));
    match random.u8(0..9) {
        0 => Vec::new(),
        1 => real.as_bytes().to_vec(),
        2 => (0..random.usize(1..400)).map(|_| random.u8(1..)).collect(),
        3 => format!("{}-{hex}", random.u64(..)).into_bytes(),
        4 => format!("{}-{hex}", random.u64(0..3_000)).into_bytes(),
        5 => format!("{}-{hex}", u64::MAX - random.u64(0..300)).into_bytes(),
        6 => format!("{real}, {real}").into_bytes(),
        7 => {
            let mut id = real.as_bytes().to_vec();
            let at = random.usize(0..id.len());
            id[at] = random.u8(1..);
            id
        }
        _ => hex.into_bytes(),
    }
}

#[test]
fn no_name_and_no_id_reads_outside_or_is_an_error() {
    let mut random = random();
    let site = Site::new();
    let real = site.ask("/f.log").start().event().id;
    for _ in 0..number("SSE_TEST_NAMES", 300) {
        let name = if random.bool() {
            wild_name(&mut random)
        } else {
            b"/f.log".to_vec()
        };
        let id = wild_id(&mut random, &real);
        let format = ["", "lines", "jsonl", "state"][random.usize(0..4)];
        let tail = site
            .ask(name.clone())
            .set("SSE_AWAIT", ["yes", "no"][random.usize(0..2)])
            .set("SSE_FORMAT", format)
            .set("SSE_BACKLOG", "1000")
            .last_id(OsString::from_vec(id.clone()));
        let (answer, stderr) = tail.answer();
        let asked = format!("{} {} {format}", name.escape_ascii(), id.escape_ascii());
        assert!(!answer.contains(CANARY), "{asked}: {answer}");
        let is_one_line = stderr.lines().count() <= 1;
        let is_visible = !stderr.trim_end().contains(char::is_control);
        assert!(is_one_line && is_visible, "{asked}: {stderr:?}");
        let is_stream = answer.starts_with("HTTP/1.1 200 OK\r\n");
        assert!(is_stream || answer == NOT_FOUND, "{asked}: {answer}");
        if name == b"/f.log" {
            assert!(is_stream, "{asked}: {answer}");
        }
        assert!(!answer.contains("not available"), "{asked}: {answer}");
    }
}

#[test]
fn an_id_beyond_every_file_is_an_unknown_one_and_no_trouble() {
    let site = Site::new();
    for offset in [
        "18446744073709551615",
        "9223372036854775808",
        "9223372036854775807",
    ] {
        let tail = site
            .ask("/f.log")
            .last_id(format!("{offset}-0123456789abcdef"));
        tail.start()
            .says(&["gap: {\"reason\":\"unknown-id\"}", INSIDE]);
    }
}

/// All events that have come so far, of any name.
fn come_so_far(follower: Follower) -> Vec<String> {
    let (events, _) = follower.kill();
    events.into_iter().map(|event| event.data).collect()
}

#[test]
fn a_folder_that_turns_into_a_link_and_back_in_a_tight_loop_lets_nothing_out() {
    let site = Site::new();
    symlink("../outside", site.path("root/swap")).unwrap();
    let (one, other) = (site.path("root/sub"), site.path("root/swap"));
    let is_over = AtomicBool::new(false);
    let mut random = random();
    let mut inside = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let flags = RenameFlags::RENAME_EXCHANGE;
                renameat2(AT_FDCWD, &one, AT_FDCWD, &other, flags).unwrap();
            }
        });
        for _ in 0..number("SSE_TEST_RACES", 150) {
            let format = ["lines", "state"][random.usize(0..2)];
            let tail = site.ask("/sub/f.log").set("SSE_FORMAT", format);
            let tail = tail.set("SSE_AWAIT", ["yes", "no"][random.usize(0..2)]);
            let mut follower = tail.start();
            let first = follower.next(crate::stage::DEADLINE);
            assert_ne!(first, Next::Silence);
            append(&site.path("outside/f.log"), &format!("{CANARY}\n"));
            for data in come_so_far(follower) {
                assert!(!data.contains(CANARY), "{data}");
                inside += usize::from(data.contains(INSIDE));
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(inside > 0, "it was never seen as a folder");
}
