//! A program's output: one run for each subscriber, or one for all.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::peer::{COMPLETE, Client, DEADLINE, Folder, Request, Start, wait_for};
use crate::support::event_stream::Item;
use crate::support::process::{processor_ticks, runs};

/// A script whose `$0` is a file to which each run adds its number.
fn command(folder: &Folder, text: &str) -> Request {
    let pids = folder.path("pids");
    let script = format!("echo $$ >>\"$0\"; {text}");
    let words = ["sh", "-c", &script, pids.to_str().unwrap()];
    Request::of("command")
        .set("SSE_COMMAND", shlex::try_join(words).unwrap())
        .set("SSE_HEARTBEAT", "25s")
}

fn shared(folder: &Folder, text: &str) -> Request {
    command(folder, text).set("SSE_COMMAND_SHARED", "yes")
}

/// Prints the lines that are appended to a file, until `end`.
fn follow(path: &Path) -> String {
    let path = path.display();
    format!(
        "tail -n +1 -f '{path}' | while read -r line; do test \"$line\" = end && exit 4; echo \"$line\"; done"
    )
}

fn pids(folder: &Folder, count: usize) -> Vec<u32> {
    wait_for("the numbers of processes", || {
        let text = folder.read("pids");
        let pids: Vec<u32> = text
            .lines()
            .map(|line| line.trim().parse().unwrap())
            .collect();
        assert!(pids.len() <= count, "{pids:?} run or ran");
        (text.ends_with('\n') && pids.len() == count).then_some(pids)
    })
}

fn are_gone_soon(pids: &[u32]) {
    let gone = || pids.iter().all(|pid| !runs(*pid)).then_some(());
    wait_for("the end of all processes", gone);
}

fn is_gone_within_a_second(pids: &[u32], cause: impl FnOnce()) {
    assert!(pids.iter().all(|pid| runs(*pid)), "ended before");
    let start = Instant::now();
    cause();
    are_gone_soon(pids);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(1), "took {took:?}");
}

#[test]
fn everybody_has_a_run_of_its_own_whose_end_is_told() {
    let folder = Folder::in_memory();
    let responder = Start::at_socket(&folder).allowing_commands().start();
    let request = command(&folder, "echo one; echo two; exit 3");
    for count in 1..=3 {
        let mut client = responder.ask(&request);
        client.says(&["one", "two", "close: 3"]);
        assert_eq!(client.whole(), COMPLETE);
        pids(&folder, count);
        let end = client.last_id().to_owned();
        let mut again = responder.ask(&request.clone().last_id(&end));
        assert_eq!(again.status(), 204);
    }
}

#[test]
fn a_program_deaf_to_sigterm_is_gone_a_second_after_its_client() {
    let folder = Folder::in_memory();
    let responder = Start::at_socket(&folder).allowing_commands().start();
    let text = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    for request in [command(&folder, text), shared(&folder, text)] {
        let _ = fs::remove_file(folder.path("pids"));
        let mut client = responder.ask(&request);
        client.says(&["ready"]);
        is_gone_within_a_second(&pids(&folder, 1), || drop(client));
    }
}

#[test]
fn all_programs_are_gone_when_the_responder_has_ended() {
    for text in [
        "trap '' TERM; echo ready; while :; do sleep 0.05; done",
        "echo ready; exec sleep 600",
    ] {
        let folder = Folder::in_memory();
        let mut responder = Start::at_socket(&folder).allowing_commands().start();
        let requests = [
            command(&folder, text),
            shared(&folder, text),
            shared(&folder, text),
        ];
        let mut clients: Vec<Client> = requests
            .iter()
            .map(|request| responder.ask(request))
            .collect();
        clients[0].says(&["ready"]);
        clients[1].says(&["ready"]);
        let pids = pids(&folder, 2);
        is_gone_within_a_second(&pids, || {
            responder.signal(Signal::SIGTERM);
            for client in &mut clients {
                client.whole();
            }
        });
        drop(clients);
        assert_eq!(responder.code(), 0);
    }
}

#[test]
fn a_program_ends_at_its_time_and_at_the_age_of_its_stream() {
    let folder = Folder::in_memory();
    let responder = Start::at_socket(&folder).allowing_commands().start();
    let text = "trap '' TERM; while :; do sleep 0.05; done";
    for request in [command(&folder, text), shared(&folder, text)] {
        for (name, said) in [
            ("SSE_COMMAND_TIMEOUT", &["close: timeout"][..]),
            ("SSE_MAX_AGE", &[]),
        ] {
            let _ = fs::remove_file(folder.path("pids"));
            let start = Instant::now();
            let mut client = responder.ask(&request.clone().set(name, "1s"));
            client.says(said);
            assert_eq!(client.rest(), []);
            let took = start.elapsed();
            assert!(took < Duration::from_secs(3), "{name}: {took:?}");
            are_gone_soon(&pids(&folder, 1));
        }
    }
}

#[test]
fn one_too_many_is_asked_to_come_again() {
    let folder = Folder::in_memory();
    let responder = Start::at_socket(&folder).allowing_commands().start();
    let request = command(&folder, "echo ready; exec sleep 600").set("SSE_COMMAND_MAX", "2");
    let mut first = responder.ask(&request);
    let mut second = responder.ask(&request);
    first.says(&["ready"]);
    second.says(&["ready"]);
    let mut third = responder.ask(&request);
    assert_eq!(third.status(), 200);
    let items = third.items();
    let is_unavailable =
        |item: &Item| matches!(item, Item::Event(event) if event.name == "unavailable");
    assert!(items.iter().any(is_unavailable), "{items:?}");
    let said = responder.said_of(&third);
    assert!(said.contains("SSE_COMMAND_MAX"), "{said}");
    pids(&folder, 2);
    drop(first);
    // (A client that returns too soon is asked to reconnect.)
    wait_for("a place", || {
        let mut next = responder.ask(&request);
        next.head();
        loop {
            if let Item::Event(event) = next.next()? {
                return (event.data == "ready").then_some(());
            }
        }
    });
}

#[test]
fn errors_are_the_logs_and_a_missing_program_is_a_500_that_names_the_setting() {
    let folder = Folder::in_memory();
    let log = folder.path("log");
    let responder = Start::at_socket(&folder)
        .allowing_commands()
        .set("SSE_LOG", &log)
        .start();
    let mut client = responder.ask(&command(&folder, "echo oh no >&2; echo out"));
    client.says(&["out", "close: 0"]);
    client.whole();
    assert_eq!(client.stderr, "");
    assert!(
        folder.read("log").contains("sh: oh no"),
        "{}",
        folder.read("log")
    );
    let mut client = responder.ask(&Request::of("command").set("SSE_COMMAND", "no-such-program"));
    assert_eq!(client.status(), 500);
    client.whole();
    let said = responder.said_of(&client);
    assert!(said.contains("SSE_COMMAND=no-such-program: "), "{said}");
    assert!(
        said.contains("name a program that this user can run"),
        "{said}"
    );
}

#[test]
fn a_slow_reader_makes_its_program_wait_and_costs_no_memory() {
    let folder = Folder::in_memory();
    let responder = Start::at_socket(&folder).allowing_commands().start();
    let done = folder.path("done");
    let text = format!(
        "yes 0123456789 | head -c 100000000; touch '{}'",
        done.display()
    );
    let mut client = responder.ask(&command(&folder, &text).set("SSE_COMMAND_OUTPUT", "1G"));
    client.head();
    let mut last = (u64::MAX, Instant::now());
    wait_for("a responder that waits", || {
        let ticks = processor_ticks(responder.pid());
        if ticks != last.0 {
            last = (ticks, Instant::now());
        }
        (last.1.elapsed() > Duration::from_millis(200)).then_some(())
    });
    let grown = responder.proc_status("VmHWM");
    assert!(grown < 20_000, "{grown} kB");
    assert!(!done.exists());
}

#[test]
fn one_run_serves_fifty_who_come_whenever_and_ends_with_the_last() {
    let folder = Folder::in_memory();
    let file = folder.write("file", "");
    let responder = Start::at_socket(&folder).allowing_commands().start();
    let request = shared(&folder, &follow(&file));
    let mut clients = Vec::new();
    for number in 0..50 {
        // A later subscriber gets the output from then on.
        clients.push(responder.ask(&request).opened());
        folder.append("file", format!("{number}\n"));
        for client in &mut clients {
            client.says(&[&number.to_string()]);
        }
    }
    let pids = pids(&folder, 1);
    let last = clients.pop().unwrap();
    drop(clients);
    wait_for("one subscriber", || {
        (responder.figure("subscribers") == 1).then_some(())
    });
    is_gone_within_a_second(&pids, || drop(last));
}

#[test]
fn all_who_share_a_run_are_told_its_end_and_the_next_one_starts_another() {
    let folder = Folder::in_memory();
    let file = folder.write("file", "");
    let responder = Start::at_socket(&folder).allowing_commands().start();
    let request = shared(&folder, &follow(&file));
    let mut clients: Vec<Client> = (0..10).map(|_| responder.ask(&request).opened()).collect();
    folder.append("file", "a\nend\n");
    for client in &mut clients {
        client.says(&["a", "close: 4"]);
        assert_eq!(client.whole(), COMPLETE);
    }
    let ids: Vec<&str> = clients.iter().map(Client::last_id).collect();
    assert!(
        ids.iter().all(|id| *id == ids[0] && id.ends_with("-end")),
        "{ids:?}"
    );
    let mut again = responder.ask(&request.clone().last_id(ids[0]));
    assert_eq!(again.status(), 204);
    folder.write("file", "b\nend\n");
    let mut next = responder.ask(&request);
    next.says(&["b", "close: 4"]);
    pids(&folder, 2);
}

#[test]
fn a_firehose_is_shared_too_and_whoever_cannot_follow_has_a_gap_and_goes_on() {
    let folder = Folder::in_memory();
    let responder = Start::at_socket(&folder).allowing_commands().start();
    let text = "seq 1000000000";
    let request = shared(&folder, text)
        .set("SSE_COMMAND_OUTPUT", "100G")
        .set("SSE_SEND_TIMEOUT", "1h");
    let mut slow = responder.ask(&request).opened();
    let mut quick = responder.ask(&request).opened();
    pids(&folder, 1);
    // Several times the size of the sockets and the ring.
    let end = Instant::now() + 2 * DEADLINE;
    for _ in 0..200_000 {
        quick.event();
    }
    let mut numbers = Vec::new();
    let gap = loop {
        assert!(Instant::now() < end, "no gap");
        let event = slow.event();
        if event.name == "gap" {
            break event;
        }
        numbers.push(event.data.parse::<u64>().unwrap());
    };
    assert_eq!(gap.data, "{\"reason\":\"expired\"}");
    assert!(numbers.is_sorted_by(|a, b| a + 1 == *b));
    // It continues later, with the same run.
    let next: u64 = slow.event().data.parse().unwrap();
    assert!(next > numbers[numbers.len() - 1] + 1, "{next}");
    assert_eq!(gap.id.rsplit_once('-').unwrap().1, (next - 1).to_string());
    // Alone, it still does.
    drop(quick);
    let more: u64 = slow.event().data.parse().unwrap();
    assert!(more > next);
    assert_eq!(pids(&folder, 1).len(), 1);
}

#[test]
fn who_comes_while_a_slow_one_still_reads_a_run_that_is_over_starts_another() {
    let folder = Folder::in_memory();
    let responder = Start::at_socket(&folder).allowing_commands().start();
    // More than a socket holds, less than the ring.
    let request = shared(
        &folder,
        "head -c 1500000 /dev/zero | tr '\\0' x | fold -w 50000; echo; exit 6",
    );
    let request = request.set("SSE_SEND_TIMEOUT", "1h");
    let mut slow = responder.ask(&request);
    slow.head();
    let mut quick = responder.ask(&request);
    let events = quick.rest();
    assert_eq!(events.last().unwrap().data, "6");
    let mut next = responder.ask(&request);
    let events = next.rest();
    assert_eq!(events.last().unwrap().data, "6");
    pids(&folder, 2);
    assert_eq!(slow.rest().last().unwrap().data, "6");
}

#[test]
fn a_client_with_a_limit_of_its_own_shares_the_run_too() {
    let folder = Folder::in_memory();
    let file = folder.write("file", "");
    let responder = Start::at_socket(&folder).allowing_commands().start();
    let request = shared(&folder, &follow(&file));
    let limited = request.clone().query("evs_buffer_size_limit=100000");
    let mut first = responder.ask(&limited).opened();
    let mut second = responder.ask(&request).opened();
    let mut third = responder.ask(&limited).opened();
    folder.append("file", "a\n");
    for client in [&mut first, &mut second, &mut third] {
        client.says(&["a"]);
    }
    pids(&folder, 1);
}
