//! Requests that are longer than a responder reads, and more of them than it answers.

use std::time::{Duration, Instant};

use super::chaos::closes;
use super::peer::{COMPLETE, Folder, Request, Responder};
use crate::peer::wire;

#[test]
fn a_request_has_at_most_so_many_params() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let responder = Responder::start(&folder);
    let long = "x".repeat(255 * 1024);
    let one = Request::tail(&file).set("HTTP_LONG", &long);
    responder.ask(&one).says(&["1"]);
    let mut many = Request::tail(&file);
    for number in 0..1_980 {
        many = many.add(format!("HTTP_{number}"), "");
    }
    responder.ask(&many).says(&["1"]);
    let longer = Request::tail(&file).set("HTTP_LONG", "x".repeat(257 * 1024));
    let mut more = Request::tail(&file);
    let mut empty = Request::tail(&file);
    for number in 0..2_001 {
        more = more.add(format!("HTTP_{number}"), "1");
    }
    for _ in 0..10_000 {
        empty = empty.add("", "");
    }
    for (dropped, request) in [longer, more, empty].iter().enumerate() {
        let mut client = responder.connect();
        client.may_break();
        let bytes = client.bytes_of(request);
        let mut rest = bytes.as_slice();
        while let Ok(count @ 1..) = client.send_some(rest) {
            rest = &rest[count..];
        }
        closes(&mut client);
        assert_eq!(responder.figure("dropped"), dropped as u64 + 1);
    }
    assert_eq!(responder.warnings().len(), 1, "{}", responder.stderr());
}

#[test]
fn a_body_that_nobody_asked_for_is_read_and_forgotten() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let responder = Responder::start(&folder);
    let body = vec![b'x'; 20_000_000];
    let mut client = responder.ask(&Request::tail(&file).body(&body));
    client.says(&["1"]);
    let mut refused = responder.ask(&Request::tail(&file).method("POST").keep().body(&body));
    assert_eq!((refused.status(), refused.whole()), (405, COMPLETE));
    refused.ask(&Request::tail(&file));
    refused.says(&["1"]);
    let most = responder.proc_status("VmHWM");
    assert!(most < 20_000, "{most} kB");
}

#[test]
fn who_asks_on_and_on_and_takes_no_answer_costs_no_memory() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let responder = Responder::start(&folder);
    for is_serving in [false, true] {
        let mut client = responder.connect();
        client.may_break();
        if is_serving {
            client.ask(&Request::tail(&file));
            client.says(&["1"]);
        }
        let asked = wire::pairs(&[("FCGI_MAX_CONNS", "")], client.dice());
        let asked = wire::record(wire::GET_VALUES, 0, &asked, client.dice());
        let asked = asked.repeat(1_000);
        let (mut sent, start) = (0, Instant::now());
        while sent < 30_000_000 && start.elapsed() < Duration::from_secs(5) {
            match client.send_some(&asked) {
                Ok(count) => sent += count,
                Err(nix::errno::Errno::EAGAIN) => std::thread::sleep(Duration::from_millis(1)),
                Err(_) => break,
            }
        }
        let most = responder.proc_status("VmHWM");
        assert!(
            most < 20_000,
            "{most} kB after {sent} bytes, serving {is_serving}"
        );
    }
    responder.ask(&Request::tail(&file)).says(&["1"]);
}
