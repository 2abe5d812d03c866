//! Sources whose cost a client determines: regular expressions in the query.

use std::time::{Duration, Instant};

use super::peer::{Folder, Request, Responder};

/// The longest delay of one of these lines at an ordinary subscriber.
fn latency(folder: &Folder, responder: &Responder, lines: usize) -> Duration {
    let file = folder.write("ordinary.log", "");
    let mut client = responder.ask(&Request::tail(&file)).opened();
    let mut worst = Duration::ZERO;
    for number in 0..lines {
        let line = format!("line {number}");
        let since = Instant::now();
        folder.append("ordinary.log", format!("{line}\n"));
        client.says(&[&line]);
        worst = worst.max(since.elapsed());
    }
    worst
}

#[test]
fn twenty_clients_with_expensive_expressions_do_not_stall_the_others() {
    let folder = Folder::in_memory();
    let long = format!("{}\n", "a".repeat(130)).repeat(40_000);
    let file = folder.write("long.log", long);
    let responder = Responder::start(&folder);
    let undisturbed = latency(&folder, &responder, 10);
    let costly: Vec<_> = (0..20)
        .map(|number| {
            // Each expression is a channel of its own.
            let query = format!("filter=/(?:%5Cw?)%7B0,15%7D%23{number}/");
            let request = Request::tail(&file)
                .set("SSE_ALLOW_FILTER", "yes")
                .set("SSE_BACKLOG", "100000")
                .query(&query);
            responder.ask(&request)
        })
        .collect();
    let disturbed = latency(&folder, &responder, 10);
    // (Without a limit on the time of a turn, it takes minutes.)
    let limit = undisturbed * 10 + Duration::from_secs(3);
    assert!(disturbed < limit, "{undisturbed:?}, then {disturbed:?}");
    drop(costly);
}

#[test]
fn a_record_that_is_too_long_for_a_clients_expression_becomes_a_gap() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "");
    let responder = Responder::start(&folder);
    let request = Request::tail(&file)
        .set("SSE_ALLOW_FILTER", "yes")
        .query("filter=/(a%7B0,9%7D)%7B0,3%7Db/");
    let mut client = responder.ask(&request).opened();
    let long = "a".repeat(1 << 20);
    folder.append("log", format!("x b\n{long}\nnothing\ny b\n"));
    let gap = format!("gap: {{\"reason\":\"cut\",\"bytes\":{}}}", long.len());
    client.says(&["x b", &gap, "y b"]);
}
