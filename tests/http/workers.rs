//! `--workers N`: several processes that serve the same.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::stage::{Client, Folder, Httpd, Start, get, wait_for};
use crate::support::pipe::pipe;
use crate::support::process::runs;
use crate::support::redis::Redis;

const FILE: &str = "\
SSE_BACKLOG = 1000
[/flights]
SSE_STREAM = tail
SSE_FILE = {folder}/flights.jsonl
[/publish]
SSE_STREAM = publish
SSE_FILE = {folder}/flights.jsonl
SSE_PUBLISH_ALLOW = anyone
[/room]
SSE_STREAM = room
SSE_FILE = {folder}/room.jsonl
SSE_SPOOL = {folder}/spool
SSE_PUBLISH_ALLOW = anyone
[/status]
SSE_STREAM = status
";

fn write_file(folder: &Folder, text: &str) {
    let text = text.replace("{folder}", &folder.display().to_string());
    folder.write("streams.conf", text);
}

fn start(folder: &Folder, workers: &str) -> Start {
    folder.write("flights.jsonl", "");
    folder.write("room.jsonl", "");
    folder.make("spool");
    write_file(folder, FILE);
    let start = Start::new(folder).argument("--config");
    let start = start.argument(folder.path("streams.conf"));
    start.argument("--workers").argument(workers)
}

/// The processes of its workers.
fn workers(httpd: &Httpd) -> Vec<i32> {
    let pid = httpd.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let numbers = children.split_whitespace();
    numbers.map(|number| number.parse().unwrap()).collect()
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// Kills a worker, and waits until another one has taken its place.
#[track_caller]
fn replace(httpd: &Httpd, pid: i32) {
    let before = workers(httpd);
    signal(pid, Signal::SIGKILL);
    wait_for("the worker that replaces it", || {
        let now = workers(httpd);
        (now.len() == before.len() && !now.contains(&pid)).then_some(())
    });
}

/// The worker that serves a client.
fn worker_of(httpd: &Httpd, client: &Client) -> Option<i32> {
    let port = client.socket.local_addr().unwrap().port();
    let own = httpd.address().port();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().skip(1).find(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words[1].ends_with(&format!(":{own:04X}")) && words[2].ends_with(&format!(":{port:04X}"))
    })?;
    let inode = line.split_whitespace().nth(9)?.to_owned();
    let link = format!("socket:[{inode}]");
    workers(httpd).into_iter().find(|pid| {
        let entries = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        let mut links = entries
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok());
        links.any(|found| found.as_os_str() == link.as_str())
    })
}

/// Clients of a path, at least one of each worker.
#[track_caller]
fn clients_of_all(httpd: &Httpd, path: &str, at_least: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = Vec::new();
    wait_for("a client of each worker", || {
        let mut client = httpd.ask(get(path));
        client.until("\r\n\r\n");
        clients.push(client);
        let served = clients.iter().filter_map(|client| worker_of(httpd, client));
        let is_all = served.collect::<BTreeSet<_>>().len() == workers(httpd).len();
        (is_all && clients.len() >= at_least).then_some(())
    });
    clients
}

fn figures(httpd: &Httpd) -> Value {
    serde_json::from_slice(&httpd.get("/status").body).unwrap()
}

fn figure(httpd: &Httpd, name: &str) -> u64 {
    figures(httpd)[name].as_u64().unwrap()
}

fn publish(httpd: &Httpd, body: &str) {
    let response = httpd
        .ask(format!(
            "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .response();
    assert_eq!(response.status(), 201, "{response:?}");
}

#[test]
fn what_one_worker_publishes_all_clients_of_all_workers_get_once_and_in_order() {
    let folder = Folder::new();
    let httpd = start(&folder, "3").start();
    let mut clients = clients_of_all(&httpd, "/flights", 9);
    for number in 0..60 {
        publish(&httpd, &format!("number {number}."));
    }
    for client in &mut clients {
        let text = client.until("data: number 59.\n");
        let data: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("data: number"))
            .collect();
        let expected: Vec<String> = (0..60).map(|n| format!("data: number {n}.")).collect();
        assert_eq!(data, expected);
    }
    // Those of one worker return to any of the others.
    let killed = worker_of(&httpd, &clients[0]).unwrap();
    replace(&httpd, killed);
    publish(&httpd, "the last.");
    for mut client in clients {
        if worker_of(&httpd, &client).is_some() {
            client.until("data: the last.\n");
        }
    }
}

#[test]
fn workers_publish_to_one_redis_stream_that_all_clients_of_all_workers_get() {
    let folder = Folder::new();
    let mut redis = Redis::start(&folder, &[]);
    let engine = format!(
        "SSE_REDIS = {}\nSSE_REDIS_PASSWORD_FILE = {}\nSSE_STREAM_KEY = live:a\n",
        redis.address(),
        folder.path("password").display()
    );
    let start = start(&folder, "2");
    let file = format!(
        "{engine}SSE_BACKLOG = 1000\n\
         [/flights]\nSSE_STREAM = redis\nSSE_REDIS_USER = sse\n\
         [/publish]\nSSE_STREAM = publish\nSSE_REDIS_USER = publisher\n\
         SSE_PUBLISH_ALLOW = anyone\n[/status]\nSSE_STREAM = status\n"
    );
    write_file(&folder, &file);
    let httpd = start.start();
    let mut clients = clients_of_all(&httpd, "/flights", 6);
    for number in 0..40 {
        publish(&httpd, &format!("number {number}."));
        if number % 10 == 5 {
            redis.run(&["CLIENT", "KILL", "USER", "sse"]);
        }
    }
    let expected: Vec<String> = (0..40).map(|n| format!("data: number {n}.")).collect();
    for client in &mut clients {
        let text = client.until("data: number 39.\n");
        let data = text.lines().filter(|line| line.starts_with("data: number"));
        assert_eq!(data.collect::<Vec<_>>(), expected);
    }
    let killed = worker_of(&httpd, &clients[0]).unwrap();
    replace(&httpd, killed);
    publish(&httpd, "the last.");
    for mut client in clients {
        if worker_of(&httpd, &client).is_some() {
            client.until("data: the last.\n");
        }
    }
}

#[test]
fn the_figures_are_those_of_all_workers_and_no_counter_goes_down() {
    let folder = Folder::new();
    let httpd = start(&folder, "3").start();
    let clients = clients_of_all(&httpd, "/flights", 12);
    let count = clients.len() as u64;
    publish(&httpd, "one");
    let is_all = |count: u64| {
        move |httpd: &Httpd| {
            let found = figures(httpd);
            (found["subscribers"] == count && found["subscribers_by_stream"]["tail"] == count)
                .then_some(found)
        }
    };
    wait_for("the events", || {
        (figure(&httpd, "events") == count).then_some(())
    });
    // Whichever worker is asked.
    for _ in 0..20 {
        is_all(count)(&httpd).expect("the same figures at every worker");
    }
    let before = figures(&httpd);
    let killed = worker_of(&httpd, &clients[0]).unwrap();
    let left = clients
        .iter()
        .filter(|client| worker_of(&httpd, client) != Some(killed))
        .count() as u64;
    replace(&httpd, killed);
    let after = wait_for("the figures without the killed ones", || {
        is_all(left)(&httpd)
    });
    for counter in [
        "events",
        "bytes",
        "dropped",
        "accept_errors",
        "uptime_seconds",
    ] {
        let (before, after) = (before[counter].as_u64(), after[counter].as_u64());
        assert!(after >= before, "{counter}: {before:?}, {after:?}");
    }
    assert_eq!(after["events"], count);
    assert!(
        httpd
            .stderr()
            .contains(&format!("(process {killed}) ended by SIGKILL"))
    );
}

#[test]
fn the_limit_of_subscribers_holds_for_all_workers_together() {
    let folder = Folder::new();
    let httpd = start(&folder, "3").set("SSE_MAX_SUBSCRIBERS", "10").start();
    let mut served: Vec<Client> = Vec::new();
    let fill = |served: &mut Vec<Client>| {
        // They come all at once.
        let clients: Vec<Client> = (0..40).map(|_| httpd.ask(get("/flights"))).collect();
        for mut client in clients {
            let head = client.until("\r\n\r\n");
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            // A stream that is open says where it is, one that is not, why.
            if client.until("\n\n").contains("event: unavailable") {
                continue;
            }
            served.push(client);
        }
    };
    fill(&mut served);
    assert_eq!(served.len(), 10);
    wait_for("the figures of all workers", || {
        (figure(&httpd, "subscribers") == 10).then_some(())
    });
    let killed = worker_of(&httpd, &served[0]).unwrap();
    served.retain(|client| worker_of(&httpd, client) != Some(killed));
    replace(&httpd, killed);
    wait_for("places", || {
        (figure(&httpd, "subscribers") == served.len() as u64).then_some(())
    });
    fill(&mut served);
    assert_eq!(served.len(), 10);
}

#[test]
fn members_of_a_room_see_those_of_other_workers() {
    let folder = Folder::new();
    let httpd = start(&folder, "3").start();
    let mut members = clients_of_all(&httpd, "/room?nick=first", 4);
    let count = members.len() + 1;
    let mut last = httpd.ask(get("/room?nick=last"));
    last.until("event: welcome");
    let welcome = last.until("\n\n");
    assert_eq!(
        welcome.matches("\"nick\":\"first\"").count(),
        count - 1,
        "{welcome}"
    );
    for member in &mut members {
        member.until("\"nick\":\"last\"");
    }
    // A record of the room's file is for all of them.
    folder.append("room.jsonl", "{\"data\":\"to all\"}\n");
    for member in members.iter_mut().chain([&mut last]) {
        member.until("to all");
    }
}

#[test]
fn connections_that_wait_for_a_worker_that_is_killed_are_served_by_the_next_one() {
    let folder = Folder::new();
    let httpd = start(&folder, "2").start();
    let before = workers(&httpd);
    for pid in &before {
        signal(*pid, Signal::SIGSTOP);
    }
    let mut clients: Vec<Client> = (0..30).map(|_| httpd.ask(get("/status"))).collect();
    for pid in before {
        signal(pid, Signal::SIGKILL);
    }
    for client in &mut clients {
        assert_eq!(client.response().status(), 200);
    }
}

#[test]
fn a_mistake_in_the_file_changes_no_worker_nor_the_one_that_replaces_one() {
    let folder = Folder::new();
    let httpd = start(&folder, "2").start();
    let reload = |words: &str| {
        httpd.signal(Signal::SIGHUP);
        wait_for(words, || httpd.stderr().contains(words).then_some(()));
    };
    let all = |path: &str, status: u16| {
        wait_for("the same answer of all workers", || {
            let mut answers = (0..12).map(|_| httpd.get(path).status());
            answers.all(|found| found == status).then_some(())
        });
    };
    write_file(
        &folder,
        &(FILE.to_owned() + "[/more]\nSSE_STREAM = nonsense\n"),
    );
    reload("not used; the settings from before stay");
    all("/status", 200);
    all("/more", 404);
    for pid in workers(&httpd) {
        replace(&httpd, pid);
    }
    all("/status", 200);
    all("/more", 404);
    write_file(
        &folder,
        &(FILE.to_owned() + "[/more]\nSSE_STREAM = status\n"),
    );
    reload("read again; sections: 5");
    all("/more", 200);
    for pid in workers(&httpd) {
        replace(&httpd, pid);
    }
    all("/more", 200);
    assert_eq!(httpd.stderr().matches("read again").count(), 1);
}

#[test]
fn all_workers_append_whole_lines_to_one_access_log_and_open_it_anew() {
    let folder = Folder::new();
    let httpd = start(&folder, "3")
        .argument("--access-log")
        .argument(folder.path("access.log"))
        .start();
    let lines = |name: &str, count: usize| {
        wait_for("the lines", || {
            let text = folder.read(name);
            assert!(text.lines().all(|line| line.starts_with("127.0.0.1 - - [")));
            (text.lines().count() == count && text.ends_with('\n')).then_some(())
        });
    };
    for _ in 0..60 {
        httpd.get("/status");
    }
    lines("access.log", 60);
    folder.rename("access.log", "access.log.1");
    httpd.signal(Signal::SIGHUP);
    // Each worker opens it by itself.
    wait_for("all workers with the new file", || {
        let is_new = |pid: &i32| {
            let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
            let mut links = entries
                .flatten()
                .filter_map(|entry| fs::read_link(entry.path()).ok());
            links.any(|link| link == folder.path("access.log"))
        };
        workers(&httpd).iter().all(is_new).then_some(())
    });
    for _ in 0..60 {
        httpd.get("/status");
    }
    lines("access.log", 60);
    lines("access.log.1", 60);
}

#[test]
fn sigterm_ends_the_streams_of_all_workers_and_the_death_of_the_supervisor_too() {
    let folder = Folder::new();
    for how in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGKILL] {
        let mut httpd = start(&folder, "3").start();
        let pids = workers(&httpd);
        let clients = clients_of_all(&httpd, "/flights", 6);
        httpd.signal(how);
        for mut client in clients {
            let rest = String::from_utf8(client.rest()).unwrap();
            assert!(rest.contains("retry: "), "{rest}");
        }
        if how != Signal::SIGKILL {
            assert_eq!(httpd.code(), 0);
        }
        wait_for("the end of all workers", || {
            pids.iter().all(|pid| !runs(pid)).then_some(())
        });
    }
}

#[test]
fn a_socket_in_the_file_system_is_shared_and_removed_at_the_end() {
    use std::os::unix::net::UnixStream;

    let folder = Folder::new();
    let socket = folder.path("socket");
    let listen = format!("unix:{}", socket.display());
    let mut httpd = start(&folder, "2")
        .argument("--listen")
        .argument(listen)
        .start();
    let ask = || {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let request = get("/status").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    };
    for _ in 0..10 {
        ask();
    }
    for pid in workers(&httpd) {
        replace(&httpd, pid);
        ask();
    }
    httpd.signal(Signal::SIGTERM);
    assert_eq!(httpd.code(), 0);
    assert!(!socket.exists());
}

#[test]
fn one_process_reads_standard_input_for_all_workers() {
    let folder = Folder::new();
    let (reader, mut writer) = pipe();
    let mut httpd = Start::new(&folder)
        .set("TMPDIR", folder.path(""))
        .stdin(Stdio::from(reader))
        .argument("-")
        .argument("--workers=2")
        .start();
    let mut clients = clients_of_all(&httpd, "/events/stdin", 4);
    writer.write_all(b"one\ntwo\n").unwrap();
    for client in &mut clients {
        client.until("data: one\n\n");
        client.until("data: two\n\n");
    }
    for pid in workers(&httpd) {
        replace(&httpd, pid);
    }
    writer.write_all(b"three\n").unwrap();
    let mut client = httpd.ask(get("/events/stdin"));
    client.until("data: two\n\n");
    client.until("data: three\n\n");
    httpd.signal(Signal::SIGTERM);
    assert_eq!(httpd.code(), 0);
    let is_folder = |entry: &fs::DirEntry| entry.path().is_dir();
    let entries = fs::read_dir(folder.path("")).unwrap().flatten();
    assert_eq!(entries.filter(is_folder).count(), 0);
}

#[test]
fn a_worker_that_is_told_to_end_is_replaced_and_one_that_ends_at_once_is_started_later() {
    let folder = Folder::new();
    let httpd = start(&folder, "2").start();
    let first = workers(&httpd)[0];
    signal(first, Signal::SIGTERM);
    let say = |words: &str| {
        wait_for(words, || httpd.stderr().contains(words).then_some(()));
    };
    say("ended with code 0; it is replaced");
    for _ in 0..3 {
        let pids = wait_for("both", || {
            Some(workers(&httpd)).filter(|pids| pids.len() == 2)
        });
        // The one that was started last is the last child.
        signal(pids[1], Signal::SIGKILL);
        wait_for("its end", || (!runs(pids[1])).then_some(()));
    }
    say("since it ended soon before");
    assert_eq!(httpd.get("/status").status(), 200);
}

#[test]
fn a_port_that_is_taken_is_an_error_also_if_the_other_one_has_workers() {
    let folder = Folder::new();
    let first = start(&folder, "2").start();
    let second = Folder::new();
    second.write("a.log", "");
    let listen = first.address().to_string();
    for workers in ["1", "2"] {
        let mut httpd = Start::bare(&second)
            .argument("--listen")
            .argument(&listen)
            .argument("--workers")
            .argument(workers)
            .argument(second.path("a.log"))
            .spawn();
        assert_eq!(httpd.code(), 111, "{}", httpd.stderr());
        let text = httpd.stderr();
        assert!(text.contains("is another one running"), "{text}");
    }
}
