//! The FastCGI connection: request ids, kept connections, aborts and what cannot be served.

use super::peer::{COMPLETE, Folder, Request, Responder, wait_for};
use crate::peer::wire::{self, Record};

#[test]
fn every_request_id_gets_its_records() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "old\n");
    let responder = Responder::start(&folder);
    let mut clients = [1, 7, 255, 256, 0xFFFF].map(|id| {
        let mut client = responder.ask(&Request::tail(&file).id(id));
        client.says(&["old"]);
        client
    });
    let long = "x".repeat(200_000);
    for text in ["live", &long, "more"] {
        folder.append("log", format!("{text}\n"));
        for client in &mut clients {
            client.says(&[text]);
        }
    }
}

#[test]
fn a_request_in_pieces_is_the_same_request() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let responder = Responder::start(&folder);
    for _ in 0..20 {
        let mut client = responder.connect();
        client.ask_in_pieces(&Request::tail(&file));
        client.says(&["1"]);
    }
}

#[test]
fn a_connection_is_closed_after_a_request_unless_it_is_to_be_kept() {
    let folder = Folder::in_memory();
    let responder = Responder::start(&folder);
    let request = Request::of("countdown")
        .set("SSE_COUNT", "1")
        .set("SSE_INTERVAL", "10ms");
    let mut closed = responder.ask(&request);
    assert_eq!(closed.whole(), COMPLETE);
    closed.is_closed_soon();
    let mut kept = responder.connect();
    for id in [1, 1, 2, 900, 1] {
        kept.ask(&request.clone().keep().id(id));
        let said: Vec<String> = kept.rest().into_iter().map(|event| event.data).collect();
        assert_eq!((said.join(","), kept.whole()), ("1,0,".into(), COMPLETE));
        // A short response in between.
        kept.ask(&Request::of("clock").method("POST").keep());
        assert_eq!((kept.status(), kept.whole()), (405, COMPLETE));
    }
    kept.ask(&request);
    assert_eq!(kept.whole(), COMPLETE);
    kept.is_closed_soon();
}

#[test]
fn an_abort_ends_the_request_and_the_connection_serves_the_next() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let responder = Responder::start(&folder);
    let mut client = responder.connect();
    for id in [1, 2, 1] {
        client.ask(&Request::tail(&file).keep().id(id));
        client.says(&["1"]);
        assert_eq!(responder.figure("subscribers"), 1);
        client.send_record(wire::ABORT_REQUEST, id, b"");
        assert_eq!(client.whole(), COMPLETE);
        assert_eq!(responder.figure("subscribers"), 0);
    }
    // In the middle of its PARAMS.
    let bytes = client.head_of(&Request::tail(&file).keep());
    client.send(&bytes[..100]);
    drop(client);
    let mut client = responder.connect();
    client.ask(&Request::tail(&file));
    client.says(&["1"]);
    client.send_record(wire::ABORT_REQUEST, 1, b"");
    assert_eq!(client.whole(), COMPLETE);
    client.is_closed_soon();
}

#[test]
fn a_leaving_server_is_noticed_at_once() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let responder = Responder::start(&folder);
    let mut clients: Vec<_> = (0..20)
        .map(|_| responder.ask(&Request::tail(&file)))
        .collect();
    for client in &mut clients {
        client.says(&["1"]);
    }
    assert_eq!(responder.figure("subscribers"), 20);
    let mut left = clients.split_off(10);
    left.clear();
    wait_for("ten that left", || {
        (responder.figure("subscribers") == 10).then_some(())
    });
    folder.append("log", "2\n");
    for client in &mut clients {
        client.says(&["2"]);
    }
}

#[test]
fn a_second_request_on_a_busy_connection_is_refused_and_the_first_goes_on() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let responder = Responder::start(&folder);
    let mut client = responder.ask(&Request::tail(&file));
    client.says(&["1"]);
    client.ask_besides(&Request::of("clock").id(2));
    let cannot = Record {
        kind: wire::END_REQUEST,
        id: 2,
        content: vec![0, 0, 0, 0, 1, 0, 0, 0],
    };
    assert_eq!(client.other(), cannot);
    folder.append("log", "2\n");
    client.says(&["2"]);
    client.send_record(wire::ABORT_REQUEST, 2, b"");
    folder.append("log", "3\n");
    client.says(&["3"]);
}

#[test]
fn a_role_that_is_not_played_is_refused() {
    let folder = Folder::in_memory();
    let responder = Responder::start(&folder);
    for role in [2, 3, 0, 700] {
        let mut client = responder.ask(&Request::of("clock").role(role));
        assert_eq!(client.whole().protocol_status, 3);
        client.is_closed_soon();
    }
    let mut kept = responder.ask(&Request::of("clock").role(2).keep());
    assert_eq!(kept.whole().protocol_status, 3);
    kept.ask(&Request::of("clock").method("HEAD"));
    assert_eq!((kept.status(), kept.whole()), (200, COMPLETE));
}

#[test]
fn values_are_told_also_while_a_stream_is_served() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let responder = Responder::start(&folder);
    let mut client = responder.connect();
    for serving in [false, true] {
        if serving {
            client.ask(&Request::tail(&file));
            client.says(&["1"]);
        }
        let asked = [
            ("FCGI_MAX_CONNS", ""),
            ("FCGI_MAX_REQS", ""),
            ("FCGI_MPXS_CONNS", ""),
            ("FCGI_OTHER", ""),
        ];
        let asked = wire::pairs(&asked, client.dice());
        client.send_record(wire::GET_VALUES, 0, &asked);
        let answer = client.other();
        assert_eq!((answer.kind, answer.id), (wire::GET_VALUES_RESULT, 0));
        let told = wire::short_pairs(&answer.content);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(
            told.contains(&("FCGI_MPXS_CONNS".into(), "0".into())),
            "{told:?}"
        );
        assert_eq!(told[0].1, told[1].1);
        assert!(told[0].1.parse::<u32>().unwrap() > 100, "{told:?}");
        client.send_record(77, 0, b"abc");
        let unknown = client.other();
        assert_eq!((unknown.kind, unknown.content[0]), (wire::UNKNOWN_TYPE, 77));
    }
    folder.append("log", "2\n");
    client.says(&["2"]);
}
