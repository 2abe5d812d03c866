//! nph over HTTP/2: Apache forwards nothing before the program ends.

use std::time::{Duration, Instant};

use crate::stage::{Folder, Program};
use crate::support::event_stream::Item;

fn over_http2(program: Program) -> Program {
    program
        .set("SERVER_PROTOCOL", "HTTP/2.0")
        .set("HTTP2", "on")
}

#[test]
fn an_answer_ends_at_once_when_there_is_something_and_else_after_one_heartbeat() {
    let folder = Folder::new();
    let file = folder.write("log", "a\nb\n");
    let start = Instant::now();
    let (code, _, items) = over_http2(Program::tail(&file)).run();
    assert_eq!(code, 0);
    assert!(start.elapsed() < Duration::from_millis(900));
    let events = items.iter().filter(|i| matches!(i, Item::Event(_))).count();
    assert!(matches!(items[0], Item::Retry(_)) && events == 2);

    let id = match &items[items.len() - 1] {
        Item::Event(event) => event.id.clone(),
        other => panic!("{other:?}"),
    };
    let start = Instant::now();
    let again = over_http2(Program::tail(&file)).set("SSE_HEARTBEAT", "1s");
    let (code, _, items) = again.last_id(&id).run();
    let took = start.elapsed().as_millis();
    assert_eq!(code, 0);
    assert!((900..1_500).contains(&took), "{took} ms");
    assert!(items.iter().all(|item| !matches!(item, Item::Event(_))));
}

#[test]
fn an_answer_that_waits_ends_with_the_line_it_waited_for() {
    let folder = Folder::new();
    let file = folder.write("log", "");
    let mut stream = over_http2(Program::tail(&file)).start().opened();
    folder.append("log", "now\n");
    let start = Instant::now();
    let lines: Vec<String> = stream.rest().into_iter().map(|event| event.data).collect();
    assert_eq!(lines, ["now"]);
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_client_that_comes_again_and_again_gets_every_line_once() {
    let folder = Folder::new();
    let file = folder.write("log", "");
    let writer = {
        let path = file.clone();
        std::thread::spawn(move || {
            for number in 0..400 {
                let log = std::fs::OpenOptions::new().append(true).open(&path);
                std::io::Write::write_all(&mut log.unwrap(), format!("{number}\n").as_bytes())
                    .unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    };
    let (mut lines, mut id, mut answers) = (Vec::new(), String::new(), 0);
    while lines.len() < 400 {
        let program = over_http2(Program::tail(&file)).last_id(&id);
        let mut stream = program.set("SSE_BACKLOG", "1000").start();
        lines.extend(stream.rest().into_iter().map(|event| event.data));
        id = stream.last_id().to_owned();
        answers += 1;
    }
    writer.join().unwrap();
    let all: Vec<String> = (0..400).map(|number| number.to_string()).collect();
    assert_eq!(lines, all);
    assert!(answers > 5, "{answers} answers");
}

#[test]
fn the_plain_name_and_a_terminal_stream_whatever_the_protocol() {
    for program in [Program::plain("clock"), Program::typed("clock", &[])] {
        let mut stream = over_http2(program).set("SSE_INTERVAL", "10ms").start();
        stream.events(5);
    }
    let http1 = Program::nph("clock").set("SERVER_PROTOCOL", "HTTP/1.0");
    http1.set("SSE_INTERVAL", "10ms").start().events(5);
}

#[test]
fn a_countdown_arrives_whole_by_long_polling_and_ends() {
    let (mut said, mut id) = (Vec::new(), String::new());
    loop {
        let program = over_http2(Program::nph("countdown")).last_id(&id);
        let program = program.set("SSE_COUNT", "6").set("SSE_INTERVAL", "60ms");
        let mut stream = program.start();
        if stream.head().starts_with("HTTP/1.1 204 No Content\r\n") {
            break;
        }
        said.extend(stream.rest().iter().map(crate::stage::shown));
        id = stream.last_id().to_owned();
    }
    assert_eq!(said, ["6", "5", "4", "3", "2", "1", "0", "close: "]);
}
