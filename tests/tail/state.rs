//! The format `state`: the whole file, whenever its content changes.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::stage::{Client, Next, Tail, random, shown};
use crate::support::folder::Folder;

/// What is to come at once, on a machine that has other things to do; well below the
/// second after which a follower looks by itself.
const SOON: Duration = Duration::from_millis(800);

fn state(file: &Path) -> Tail {
    let tail = Tail::of(file).set("SSE_FORMAT", "state");
    tail.set("SSE_HEARTBEAT", "1s")
}

/// Writes beside the file and renames into place.
fn replace(file: &Path, text: &str) {
    let beside = file.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, file).unwrap();
}

#[test]
fn what_is_renamed_into_place_is_taken_at_once() {
    let folder = Folder::new();
    let file = folder.join("status");
    replace(&file, "0\n");
    let mut follower = state(&file).start();
    follower.says(&["0"]);
    let mut took = Vec::new();
    for number in 1..20 {
        let start = Instant::now();
        replace(&file, &format!("{number}\n"));
        follower.says(&[&number.to_string()]);
        took.push(start.elapsed());
    }
    took.sort();
    // Waiting for it to settle would take 50 ms each time.
    assert!(took[took.len() / 2] < Duration::from_millis(40), "{took:?}");
}

#[test]
fn a_file_that_is_written_in_pieces_is_one_event() {
    let folder = Folder::new();
    let file = folder.join("status");
    fs::write(&file, "old").unwrap();
    // Longer than a busy machine keeps the writer from going on.
    let mut follower = state(&file).set("SSE_SETTLE", "2s").start();
    follower.says(&["old"]);
    for round in 0..3 {
        let mut writing = File::create(&file).unwrap();
        let mut whole = String::new();
        for piece in 0..12 {
            let text = format!("{round}.{piece}\n");
            writing.write_all(text.as_bytes()).unwrap();
            whole.push_str(&text);
            // The pace of the writer is what is tested: always less than the time to settle.
            std::thread::sleep(Duration::from_millis(15));
        }
        follower.says(&[whole.trim_end()]);
    }
    follower.beats();
}

#[test]
fn the_same_content_again_is_nothing() {
    let folder = Folder::new();
    let file = folder.join("status");
    fs::write(&file, "same\n").unwrap();
    let mut follower = state(&file).start();
    follower.says(&["same"]);
    for _ in 0..5 {
        fs::write(&file, "same\n").unwrap();
    }
    follower.beats();
    for _ in 0..5 {
        replace(&file, "same\n");
    }
    follower.beats();
    replace(&file, "other\n");
    follower.says_within(SOON, "other");
}

#[test]
fn a_client_that_returns_to_the_content_it_has_gets_nothing() {
    let folder = Folder::new();
    let file = folder.join("status");
    fs::write(&file, "1").unwrap();
    let id = state(&file).start().event().id;
    replace(&file, "2");
    replace(&file, "1");
    let returned = state(&file).last_id(&id);
    let (answer, _) = returned.answer();
    assert!(
        answer.ends_with(&format!(
            ": sse-cgi\nid: {id}\nevent: place\ndata: {{}}\n\n"
        )),
        "{answer}"
    );
    let mut follower = returned.start().idle();
    follower.beats();
    replace(&file, "2");
    follower.says_within(SOON, "2");
    returned.start().says(&["2"]);
}

#[test]
fn a_removed_file_is_an_event_and_so_is_the_next_one() {
    let folder = Folder::new();
    let file = folder.join("status");
    let mut follower = state(&file).start().idle();
    assert_eq!(follower.id(), "removed");
    fs::write(&file, "here").unwrap();
    follower.says_within(SOON, "here");
    fs::remove_file(&file).unwrap();
    follower.says_within(SOON, "removed: ");
    assert_eq!(follower.id(), "removed");
    // Who returns after the removal is told of it, too, once.
    let id = {
        replace(&file, "here");
        state(&file).start().event().id
    };
    fs::remove_file(&file).unwrap();
    state(&file).last_id(&id).start().says(&["removed: "]);
    state(&file).last_id("removed").start().idle().beats();
}

#[test]
fn a_file_that_is_too_large_is_a_gap_once_and_is_followed_on() {
    let folder = Folder::new();
    let file = folder.join("status");
    fs::write(&file, "x".repeat(2_000)).unwrap();
    let limited = state(&file).set("SSE_STATE_MAX", "1K");
    let mut follower = limited.start();
    follower.says(&["gap: {\"reason\":\"cut\",\"bytes\":2000}"]);
    let id = follower.id().to_owned();
    follower.beats();
    limited.clone().last_id(&id).start().idle().beats();
    fs::write(&file, "small").unwrap();
    follower.says_within(SOON, "small");
    replace(&file, &"y".repeat(3_000));
    follower.says_within(SOON, "gap: {\"reason\":\"cut\",\"bytes\":3000}");
    // In place: nothing tells of it but the file itself.
    fs::write(&file, "small again").unwrap();
    follower.says_within(SOON, "small again");
}

#[test]
fn a_file_that_was_too_large_when_it_appeared_is_seen_to_shrink() {
    let folder = Folder::new();
    let file = folder.join("status");
    let mut follower = state(&file).set("SSE_STATE_MAX", "1K").start().idle();
    replace(&file, &"y".repeat(3_000));
    follower.says_within(SOON, "gap: {\"reason\":\"cut\",\"bytes\":3000}");
    fs::write(&file, "small").unwrap();
    follower.says_within(SOON, "small");
}

#[test]
fn broken_json_is_held_back_until_it_is_whole() {
    let folder = Folder::new();
    let file = folder.join("status.json");
    fs::write(&file, "{\"a\":1}").unwrap();
    let mut follower = state(&file).start();
    follower.says(&["{\"a\":1}"]);
    let id = follower.id().to_owned();
    for broken in ["", "{", "{\"a\":", "{\"a\":2}}", "{\"a\":2} x", "\u{0}"] {
        replace(&file, broken);
        state(&file).last_id(&id).start().idle();
    }
    follower.beats();
    assert_eq!(follower.id(), id);
    replace(&file, "{\"a\":");
    OpenOptions::new()
        .append(true)
        .open(&file)
        .unwrap()
        .write_all(b"2}\n")
        .unwrap();
    follower.says_within(SOON, "{\"a\":2}");
    // Where the name does not say JSON, it is not looked for.
    let other = folder.join("status.txt");
    fs::write(&other, "{").unwrap();
    state(&other).start().says(&["{"]);
}

#[test]
fn a_storm_of_replacements_ends_in_the_last_content() {
    let folder = Folder::new();
    let file = folder.join("status.json");
    replace(&file, "0");
    let mut follower = state(&file).start();
    follower.says(&["0"]);
    for number in 1..=1_000 {
        replace(&file, &number.to_string());
    }
    let mut last = 0;
    while last < 1_000 {
        let number = follower.event_within(SOON).data.parse().unwrap();
        assert!(number > last, "{number} after {last}");
        last = number;
    }
    follower.beats();
}

#[test]
fn what_is_read_is_always_a_whole_content() {
    let mut random = random();
    let folder = Folder::new();
    let file = folder.join("status");
    let content = |number: usize| format!("{number} ").repeat(4_000);
    replace(&file, &content(0));
    let mut client = Client::new(state(&file));
    for number in 1..=300 {
        if random.bool() {
            replace(&file, &content(number));
        } else {
            // Whole files of another length, written in place over and over.
            fs::write(&file, content(number)).unwrap();
        }
        if random.u8(0..10) == 0 {
            client.come();
            client.leave();
        }
    }
    client.come();
    client.until(&content(300));
    for kept in &client.kept {
        let number: usize = kept.split(' ').next().unwrap().parse().unwrap();
        assert!(*kept == content(number), "{kept:.100}");
    }
}

#[test]
fn an_event_has_the_name_that_is_set_and_every_line_of_the_file() {
    let folder = Folder::new();
    let file = folder.join("status");
    fs::write(&file, "a\r\n\nb\rc\n\n").unwrap();
    let mut follower = state(&file).set("SSE_EVENT", "status").start();
    follower.says(&["status: a\n\nb\nc\n"]);
    replace(&file, "");
    follower.says(&["status: "]);
    fs::remove_file(&file).unwrap();
    follower.says(&["removed: "]);
}

fn permit(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_content_that_could_not_be_read_is_told_when_it_can() {
    let folder = Folder::new();
    let file = folder.join("status");
    fs::write(&file, "unreadable at first").unwrap();
    permit(&file, 0o000);
    let mut follower = state(&file).by_nobody().start().idle();
    permit(&file, 0o644);
    follower.says_within(SOON, "unreadable at first");
    permit(&file, 0o000);
    fs::write(&file, "changed behind the lock").unwrap();
    follower.beats();
    permit(&file, 0o644);
    follower.says_within(SOON, "changed behind the lock");
}

#[test]
fn what_is_no_file_any_more_is_removed() {
    let folder = Folder::new();
    let file = folder.join("status");
    fs::write(&file, "text").unwrap();
    let mut follower = state(&file).start();
    follower.says(&["text"]);
    fs::remove_file(&file).unwrap();
    follower.says(&["removed: "]);
    fs::write(&file, "text").unwrap();
    follower.says(&["text"]);
    let beside = folder.make("beside");
    fs::rename(&file, folder.join("gone")).unwrap();
    fs::rename(beside, &file).unwrap();
    follower.says_within(SOON, "removed: ");
    fs::remove_dir(&file).unwrap();
    fs::rename(folder.join("gone"), &file).unwrap();
    follower.says_within(SOON, "text");
}

#[test]
fn a_large_folder_in_the_place_of_a_file_is_no_large_file() {
    let folder = Folder::new();
    let file = folder.make("status");
    let mut follower = state(&folder.join("new"))
        .set("SSE_STATE_MAX", "1")
        .start()
        .idle();
    fs::rename(&file, folder.join("new")).unwrap();
    follower.beats();
}

#[test]
fn a_link_that_is_pointed_elsewhere_is_a_new_content() {
    let folder = Folder::new();
    for name in ["one", "two"] {
        folder.make(name);
        fs::write(folder.join(name).join("status"), name).unwrap();
    }
    symlink("one", folder.join("current")).unwrap();
    symlink("current/status", folder.join("status")).unwrap();
    for path in ["current/status", "status"] {
        let mut follower = state(&folder.join(path)).start();
        follower.says(&["one"]);
        symlink("two", folder.join("next")).unwrap();
        fs::rename(folder.join("next"), folder.join("current")).unwrap();
        follower.says_within(Duration::from_secs(2), "two");
        symlink("one", folder.join("next")).unwrap();
        fs::rename(folder.join("next"), folder.join("current")).unwrap();
        follower.says_within(Duration::from_secs(2), "one");
    }
}

#[test]
fn a_bad_id_is_a_gap_and_then_the_content() {
    let folder = Folder::new();
    let file = folder.join("status");
    fs::write(&file, "text").unwrap();
    let mut follower = state(&file).last_id("5, 6").start();
    follower.says(&["gap: {\"reason\":\"bad-id\"}", "text"]);
    let mut unknown = state(&file).last_id("0123456789abcdef").start();
    unknown.says(&["text"]);
    match unknown.next(SOON) {
        Next::Item(item) => panic!("{item:?}"),
        other => assert_eq!(other, Next::Silence),
    }
    drop(unknown);
    assert_eq!(shown(&state(&file).start().event()), "text");
}

#[test]
fn a_slow_writer_is_not_seen_as_an_empty_content() {
    let folder = Folder::new();
    let file = folder.join("status");
    fs::write(&file, "A\n").unwrap();
    let mut follower = state(&file).start();
    follower.says(&["A"]);
    let mut writing = File::create(&file).unwrap();
    // The pace of the writer is what is tested.
    std::thread::sleep(Duration::from_secs(1));
    writing.write_all(b"B\n").unwrap();
    follower.says(&["B"]);
    // One that stays empty is told, and the time can be set.
    let mut hasty = state(&file).set("SSE_SETTLE", "100ms").start();
    hasty.says(&["B"]);
    File::create(&file).unwrap();
    hasty.says_within(SOON, "");
    follower.says(&[""]);
}

#[test]
fn a_file_that_reports_a_wrong_size_is_read_to_its_end() {
    let mut random_number = state(Path::new("/proc/sys/kernel/random/uuid")).start();
    let first = random_number.event().data;
    assert_eq!(first.len(), 36);
    assert_ne!(random_number.event().data, first);
    let mut limited = state(Path::new("/proc/cpuinfo"))
        .set("SSE_STATE_MAX", "10")
        .start();
    assert_eq!(limited.event().name, "gap");
    let size = Path::new("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
    if size.exists() {
        let expected = fs::read_to_string(size).unwrap();
        state(size).start().says(&[expected.trim_end()]);
    }
}
