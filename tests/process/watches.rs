//! Followers beyond the number of inotify instances, and how often an idle one wakes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::stage::{Folder, Program, Running};

/// A user that no other test uses, whose instances are all used up here.
const USER: u32 = 54_321;

fn limit() -> usize {
    let text = fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap();
    text.trim().parse().unwrap()
}

fn has_inotify(stream: &Running) -> bool {
    fs::read_dir(format!("/proc/{}/fd", stream.pid()))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .any(|link| link == Path::new("anon_inode:inotify"))
}

/// How often each wakes in two seconds without changes.
fn wakes(streams: &[&Running]) -> Vec<u64> {
    for stream in streams {
        crate::reader::wait_until_asleep(stream);
    }
    let counts = || -> Vec<u64> {
        let count = |stream: &&Running| stream.status("voluntary_ctxt_switches");
        streams.iter().map(count).collect()
    };
    let before = counts();
    std::thread::sleep(Duration::from_secs(2));
    counts()
        .iter()
        .zip(before)
        .map(|(now, then)| now - then)
        .collect()
}

#[test]
fn followers_beyond_the_last_inotify_instance_get_every_line_promptly_and_rest() {
    // If the limit is high, using it up would take too long.
    let count = limit() + 12;
    if count > 600 {
        return;
    }
    let folder = Folder::in_memory();
    fs::create_dir(folder.path("quiet")).unwrap();
    let file = folder.write("quiet/log", "first\n");
    let mut streams: Vec<Running> = (0..count)
        .map(|_| Program::tail(&file).by_user(USER, &folder).start())
        .collect();
    for stream in &mut streams {
        stream.says(&["first"]);
    }
    let without = streams.iter().position(|stream| !has_inotify(stream));
    let without = without.expect("a follower that found no instance left");
    let with = streams.iter().position(has_inotify).expect("one that did");

    let wakes = wakes(&[&streams[with], &streams[without]]);
    assert!(wakes[0] <= 1 && wakes[1] <= 4, "{wakes:?}");

    for number in 0..20 {
        folder.append("quiet/log", format!("{number}\n"));
    }
    let lines: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    for stream in &mut streams {
        stream.says(&lines);
    }
    // By its own notification, much sooner than by polling.
    let late = &mut streams[without];
    let mut slowest = Duration::ZERO;
    for number in 0..5 {
        crate::reader::wait_until_asleep(late);
        let start = std::time::Instant::now();
        folder.append("quiet/log", format!("late {number}\n"));
        late.says(&[&format!("late {number}")]);
        slowest = slowest.max(start.elapsed());
    }
    assert!(slowest < Duration::from_millis(400), "{slowest:?}");
    // Rotation, and a folder that is created again.
    folder.rename("quiet/log", "quiet/log.1");
    folder.write("quiet/log", "rotated\n");
    for stream in &mut streams[without..] {
        while stream.event().data != "rotated" {}
    }
}

/// Starts a follower of a path that it cannot read, by itself or by `command`.
fn awaiting(file: &Path, command: &[&str]) -> Running {
    let tail = Program::tail(file).by(command);
    tail.start().opened()
}

/// A new user namespace, in which nothing that inotify needs is left.
fn without(what: &str) -> [String; 6] {
    let script = format!("echo 0 >/proc/sys/user/max_inotify_{what} && exec \"$@\"");
    ["unshare", "-U", "--map-root-user", "sh", "-c", &script].map(str::to_owned)
}

#[test]
fn a_path_that_cannot_be_read_costs_no_processor_time() {
    let memory = Folder::in_memory();
    let disk = Folder::new();
    let mut streams = Vec::new();
    for folder in [&memory, &disk] {
        fs::create_dir(folder.path("quiet")).unwrap();
        folder.write("quiet/plain", "x\n");
        for (link, target) in [("nowhere", "absent"), ("one", "other"), ("other", "one")] {
            std::os::unix::fs::symlink(target, folder.path(&format!("quiet/{link}"))).unwrap();
        }
        for path in ["missing", "no/such/folder/log", "plain/log", "nowhere"] {
            streams.push(awaiting(&folder.path(&format!("quiet/{path}")), &[]));
        }
        let below = Program::nph("tail").set("SSE_ROOT", folder.path("quiet"));
        let below = below
            .set("SSE_AWAIT", "yes")
            .set("PATH_INFO", "/missing.log");
        streams.push(below.start().opened());
        let state = Program::tail(&folder.path("quiet/state")).set("SSE_FORMAT", "state");
        streams.push(state.start().opened());
    }
    // A file that was followed and can no longer be.
    let mut replaced = Vec::new();
    for kind in ["folder", "fifo", "link", "loop", "gone", "remade"] {
        fs::create_dir(memory.path(kind)).unwrap();
        let file = memory.write(&format!("{kind}/log"), "x\n");
        let mut stream = Program::tail(&file).start();
        stream.says(&["x"]);
        fs::remove_file(&file).unwrap();
        match kind {
            "folder" => fs::create_dir(&file).unwrap(),
            "fifo" => nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            "link" => std::os::unix::fs::symlink("absent", &file).unwrap(),
            "loop" => std::os::unix::fs::symlink("log", &file).unwrap(),
            _ => fs::remove_dir(memory.path(kind)).unwrap(),
        }
        if kind == "remade" {
            fs::create_dir(memory.path(kind)).unwrap();
        }
        replaced.push((file, stream));
    }
    let mut all: Vec<&Running> = streams.iter().collect();
    all.extend(replaced.iter().map(|(_, stream)| stream));
    let wakes = wakes(&all);
    assert!(wakes.iter().all(|wakes| *wakes <= 6), "{wakes:?}");
    for stream in &all {
        assert!(stream.processor_ticks() < 20, "{wakes:?}");
    }
    // Each still notices new lines.
    for (file, stream) in &mut replaced {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::remove_dir(&*file)
            .or_else(|_| fs::remove_file(&*file))
            .ok();
        fs::write(&*file, "back\n").unwrap();
        while stream.event().data != "back" {}
    }
    for (stream, file) in streams.iter_mut().zip(["missing", "no/such/folder/log"]) {
        let file = memory.path(&format!("quiet/{file}"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "there\n").unwrap();
        stream.says(&["there"]);
    }
}

#[test]
fn a_missing_path_costs_no_processor_time_where_inotify_has_nothing_left() {
    let folder = Folder::in_memory();
    fs::create_dir(folder.path("quiet")).unwrap();
    let mut streams = Vec::new();
    for what in ["instances", "watches"] {
        let command = without(what);
        let command = command.each_ref().map(String::as_str);
        let probe = std::process::Command::new(command[0])
            .args(&command[1..])
            .args(["sh", "true"])
            .output();
        if !probe.is_ok_and(|output| output.status.success()) {
            println!("skipped: no user namespace can be made here");
            return;
        }
        let command = [&command[..], &["sh"]].concat();
        streams.push(awaiting(&folder.path("quiet/missing"), &command));
        streams.push(awaiting(&folder.path("no/such/log"), &command));
    }
    let all: Vec<&Running> = streams.iter().collect();
    let wakes = wakes(&all);
    assert!(wakes.iter().all(|wakes| *wakes <= 6), "{wakes:?}");
    folder.write("quiet/missing", "there\n");
    for stream in streams.iter_mut().step_by(2) {
        stream.says(&["there"]);
    }
}

#[test]
fn an_idle_follower_wakes_up_only_for_its_heartbeat() {
    let memory = Folder::in_memory();
    let disk = Folder::new();
    // The folder above reports removals in it, and other tests remove their folders there.
    for folder in [&memory, &disk] {
        fs::create_dir(folder.path("quiet")).unwrap();
    }
    let one = memory.write("quiet/log", "x\n");
    let two = disk.write("quiet/log", "x\n");
    let link = disk.path("quiet/link");
    std::os::unix::fs::symlink(&one, &link).unwrap();
    let mut beating = Program::tail(&one).set("SSE_HEARTBEAT", "1s").start();
    let mut quiet = Program::tail(&one).start();
    let mut on_disk = Program::tail(&two).start();
    let mut linked = Program::tail(&link).start();
    for stream in [&mut beating, &mut quiet, &mut on_disk, &mut linked] {
        stream.says(&["x"]);
    }
    let clock = Program::nph("clock")
        .set("SSE_INTERVAL", "1h")
        .start()
        .opened();
    let wakes = wakes(&[&beating, &quiet, &on_disk, &linked, &clock]);
    // A disk may be an overlay, whose lower layer changes without a report.
    assert!(
        (1..=3).contains(&wakes[0])
            && wakes[1] <= 1
            && wakes[2] <= 4
            && (1..=4).contains(&wakes[3])
            && wakes[4] <= 1,
        "{wakes:?}"
    );
}
