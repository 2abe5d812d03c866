//! Peers that are not web servers, and more of them than there are descriptors.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::peer::{
    COMPLETE, Client, Folder, Protocol as _, Request, Responder, Spoken, Start, wait_for,
};

/// The maximum that can be open at once.
const DESCRIPTORS: u32 = 256;

pub fn closes(client: &mut Client) {
    client.may_break();
    client.is_closed_soon();
    assert_eq!(client.end, None);
}

#[test]
fn with_no_descriptor_left_those_who_are_served_go_on_and_others_wait() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "0\n");
    let start = Start::at_socket(&folder).descriptors(DESCRIPTORS);
    // Only a lack of descriptors closes them, however slow this machine is.
    let responder = start.argument("--request-timeout=1h").start();
    let request = Request::tail(&file);
    let mut first = responder.ask(&request);
    first.says(&["0"]);
    let mut dice = Rng::with_seed(1);
    // The settings of this request are known before there is no descriptor left.
    let whole = first.bytes_of(&request);
    let mut held = Vec::new();
    for number in 0..3_000_u32 {
        let Ok(mut client) = responder.try_connect() else {
            // The listen backlog is full as well.
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        client.may_break();
        // A connection that is closed meanwhile cannot be written.
        let _ = match number % 7 {
            0 | 1 => Ok(0),
            2 => client.send_some(&whole[..dice.usize(..whole.len())]),
            3 => client.send_some(b"\x02GET HTTP/1.1\nHost a\r\n\r\n"),
            4 => client.send_some(&whole),
            5 => client.send_some(&[&whole, &[1, 2, 0, 1, 0, 0, 0, 0][..]].concat()),
            _ => client.send_some(&whole[..5]),
        };
        if number % 50 == 0 {
            folder.append("log", format!("{number}\n"));
            if number > 0 {
                first.says(&[&number.to_string()]);
            }
            if number == 0 {
                first.says(&["0"]);
            }
        }
        if number % 7 == 0 || number % 7 == 6 {
            held.push(client);
        }
        if held.len() > 300 {
            held.drain(..50);
        }
    }
    // Incomplete requests, garbage and silent connections are still open: a new client is
    // served nevertheless, at once or when it comes again as it is asked to.
    let _next = wait_for("a stream for a new client", || {
        let mut client = responder.ask(&request);
        (client.event().name != "unavailable").then_some(client)
    });
    drop(held);
    wait_for("half requests that are gone", || {
        (responder.descriptors().len() < 40).then_some(())
    });
    folder.append("log", "end\n");
    first.says(&["end"]);
    let figures = responder.figures();
    assert!(figures["dropped"].as_u64() > Some(0), "{figures}");
    assert_eq!(figures["subscribers"], 2);
    let said = responder.stderr();
    assert!((1..=10).contains(&responder.warnings().len()), "{said}");
    assert!(said.contains("raise LimitNOFILE"), "{said}");
}

#[test]
fn half_a_request_is_closed_after_its_time_and_a_kept_connection_is_not() {
    let folder = Folder::in_memory();
    let start = Start::at_socket(&folder).argument("--request-timeout=1s");
    let responder = start.start();
    let mut kept = responder.connect();
    kept.ask(&Request::of("clock").method("HEAD").keep());
    assert_eq!(kept.whole(), COMPLETE);
    let start = Instant::now();
    let bytes = kept.bytes_of(&Request::of("clock"));
    let mut half: Vec<Client> = [0, 1, 7, 8, 15, 16, 50]
        .iter()
        .map(|count| {
            let mut client = responder.connect();
            client.send(&bytes[..*count]);
            client
        })
        .collect();
    // Sending a little now and then does not extend the time.
    let mut drop_by_drop = responder.connect();
    let mut rest = bytes.iter();
    drop_by_drop.may_break();
    while start.elapsed() < Duration::from_millis(2_500) && !drop_by_drop.is_closed {
        let _ = rest.next().map(|byte| drop_by_drop.send_some(&[*byte]));
        drop_by_drop.read_some(10);
        std::thread::sleep(Duration::from_millis(40));
    }
    assert!(drop_by_drop.is_closed);
    assert!(start.elapsed() > Duration::from_millis(900));
    half.iter_mut().for_each(closes);
    assert_eq!(responder.figure("dropped"), 8);
    assert_eq!(responder.warnings().len(), 1, "{}", responder.stderr());
    kept.ask(&Request::of("clock").method("HEAD").keep());
    assert_eq!(kept.whole(), COMPLETE);
    // A second incomplete request is treated like a first one.
    kept.send(&bytes[..50]);
    closes_after(&mut kept);
}

/// Like [`closes`], for a connection that has had a response.
fn closes_after(client: &mut Client) {
    client.may_break();
    client.is_closed_soon();
}

#[test]
fn unfinished_requests_of_many_connections_take_a_bounded_amount_of_memory() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let records = folder.write("a.jsonl", "");
    let responder = Responder::start(&folder);
    let mut heads = Vec::new();
    for _ in 0..800 {
        let mut client = responder.connect();
        client.may_break();
        let bytes = Spoken::unfinished_head(client.dice());
        client.send(&bytes);
        heads.push(client);
    }
    let post = Request::of("publish")
        .method("POST")
        .set("SSE_FILE", records.to_str().unwrap())
        .set("SSE_PUBLISH_ALLOW", "anyone")
        .set("CONTENT_TYPE", "text/plain")
        .set("CONTENT_LENGTH", "65000");
    let body = vec![b'x'; 60_000];
    let mut bodies = Vec::new();
    for _ in 0..1_600 {
        let mut client = responder.connect();
        client.may_break();
        let head = client.head_of(&post);
        let body = client.piece_of_body(&body);
        client.send(&head);
        let _ = client.send_some(&body);
        bodies.push(client);
    }
    responder.ask(&Request::tail(&file)).says(&["1"]);
    let most = responder.proc_status("VmHWM");
    let dropped = responder.figure("dropped");
    drop((heads, bodies));
    wait_for("the end of all", || {
        (responder.descriptors().len() < 40).then_some(())
    });
    assert!(most < 90_000, "{most} kB; {dropped} dropped");
    assert!(dropped > 0);
}
