//! The stream `redis` under the responder.

use std::time::Instant;

use super::peer::Request;
use super::support::folder::Folder;
use super::support::process::processor_ticks;
use super::support::redis::Redis;
use super::support::wait::wait_for;
use super::{Client, Responder, request};

/// A redis-server, a responder and a request for the key `live:a`.
struct Stage {
    redis: Redis,
    responder: Responder,
    request: Request,
    folder: Folder,
}

impl Stage {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(options: &[&str]) -> Self {
        let folder = Folder::in_memory();
        let redis = Redis::start(&folder, options);
        let responder = Responder::start(&folder);
        let request = request(&redis, &folder, "live:a");
        Self {
            redis,
            responder,
            request,
            folder,
        }
    }

    fn add(&mut self, data: &str) -> String {
        self.redis.add("live:a", data)
    }

    fn ask(&self) -> Client {
        self.responder.ask(&self.request)
    }

    fn ask_after(&self, id: &str) -> Client {
        self.responder.ask(&self.request.clone().last_id(id))
    }

    /// How many connections of the responder the server has.
    fn connections(&mut self) -> usize {
        let list = self.redis.run(&["CLIENT", "LIST"]);
        list.lines()
            .filter(|line| line.contains("user=sse"))
            .count()
    }
}

#[test]
fn entries_are_events_with_their_ids() {
    let mut stage = Stage::new();
    let first = stage.add("one");
    let mut client = stage.ask();
    client.says(&["one"]);
    assert_eq!(client.last_id(), first);
    stage
        .redis
        .run(&["XADD", "live:a", "*", "event", "up", "data", "two\nlines"]);
    client.says(&["up: two\nlines"]);
    stage
        .redis
        .run(&["XADD", "live:a", "*", "temperature", "21", "unit", "C"]);
    client.says(&["{\"temperature\":\"21\",\"unit\":\"C\"}"]);
}

#[test]
fn many_subscribers_are_one_reader() {
    let mut stage = Stage::new();
    stage.add("0");
    let mut clients: Vec<_> = (0..50).map(|_| stage.ask()).collect();
    for client in &mut clients {
        client.says(&["0"]);
    }
    wait_for("all subscribers in one channel", || {
        (stage.responder.figure("catching_up") == 0).then_some(())
    });
    for number in 1..20 {
        stage.add(&number.to_string());
    }
    for client in &mut clients {
        for number in 1..20 {
            client.says(&[&number.to_string()]);
        }
    }
    // One for questions, one that waits.
    assert_eq!(stage.connections(), 2);
}

#[test]
fn forty_keys_are_waited_for_by_four_connections() {
    let mut stage = Stage::new();
    let keys: Vec<String> = (0..40).map(|number| format!("live:{number}")).collect();
    let mut clients: Vec<_> = keys
        .iter()
        .map(|key| {
            let request = request(&stage.redis, &stage.folder, key);
            stage.responder.ask(&request).opened()
        })
        .collect();
    for round in ["a", "b", "c"] {
        for (key, client) in keys.iter().zip(&mut clients) {
            stage.redis.add(key, round);
            client.says(&[round]);
        }
    }
    // And one for questions.
    assert_eq!(stage.connections(), 5);
    drop(clients);
    wait_for("no connection without a reader", || {
        (stage.connections() == 0).then_some(())
    });
}

#[test]
fn a_client_that_returns_misses_nothing_or_is_told() {
    let mut stage = Stage::new();
    let ids: Vec<String> = (0..5)
        .map(|number| stage.add(&number.to_string()))
        .collect();
    // Exactly what follows.
    stage.ask_after(&ids[1]).says(&["2", "3", "4"]);
    let mut newest = stage.ask_after(&ids[4]).opened();
    let id = stage.add("5");
    newest.says(&["5"]);
    assert_eq!(newest.last_id(), id);
    // Removed from the beginning.
    stage.redis.run(&["XTRIM", "live:a", "MAXLEN", "2"]);
    let unknown = "gap: {\"reason\":\"unknown-id\"}";
    let mut client = stage.ask_after(&ids[1]);
    let gap = client.event();
    assert_eq!(gap.data, "{\"reason\":\"expired\"}");
    let place = gap.id;
    client.says(&["4", "5"]);
    // The gap is not repeated.
    stage.ask_after(&place).says(&["4", "5"]);
    // Never generated, and not an id.
    stage
        .ask_after("9999999999999999-0")
        .says(&[unknown, "4", "5"]);
    stage
        .ask_after("12-abc")
        .says(&["gap: {\"reason\":\"bad-id\"}", "4", "5"]);
    // Missing in the middle.
    let middle = stage.add("6");
    stage.add("7");
    stage.redis.run(&["XDEL", "live:a", &middle]);
    stage.ask_after(&middle).says(&[unknown, "7"]);
    // The key is gone.
    stage.redis.run(&["DEL", "live:a"]);
    stage.ask_after(&ids[4]).says(&[unknown]);
}

/// The id that an import gives to the entry of a record, as docs/many-machines.md has it.
fn entry_of_record(id: &str) -> String {
    let (offset, anchor) = id.split_once('-').unwrap();
    format!("{offset}-{}", u64::from_str_radix(anchor, 16).unwrap())
}

#[test]
fn a_client_of_a_file_goes_on_in_the_stream_that_was_imported_from_it() {
    let mut stage = Stage::new();
    let path = stage.folder.path("a.jsonl");
    let line = |number: usize| format!("{{\"data\":\"{number}\"}}\n");
    std::fs::write(&path, (0..4).map(line).collect::<String>()).unwrap();
    let file = Request::of("tail").set("SSE_FILE", path.display().to_string());
    let mut client = stage.responder.ask(&file);
    let ids: Vec<String> = (0..4).map(|_| client.event().id).collect();
    for (number, id) in ids.iter().enumerate() {
        let (entry, data) = (entry_of_record(id), number.to_string());
        stage.redis.run(&["XADD", "live:a", &entry, "data", &data]);
    }
    let mut client = stage.ask_after(&ids[1]);
    client.says(&["2", "3"]);
    assert_eq!(client.last_id(), entry_of_record(&ids[3]));
    // What is published since has an id of the clock.
    let published = stage.add("4");
    client.says(&["4"]);
    assert_eq!(client.last_id(), published);
    stage.ask_after(&ids[3]).says(&["4"]);
    // One that waited at the start of the empty file.
    stage
        .ask_after("0-00000000000000ab")
        .says(&["0", "1", "2", "3", "4"]);
    // An id of another file.
    let other = format!("{}-ab00000000000000", ids[1].split_once('-').unwrap().0);
    let gap = stage.ask_after(&other).event();
    assert_eq!(gap.data, "{\"reason\":\"unknown-id\"}");
}

#[test]
fn a_client_whose_id_is_unknown_gets_no_more_than_the_replay_limit() {
    let mut stage = Stage::new();
    let filling = "x".repeat(1000);
    for number in 0..1000 {
        stage.add(&format!("{number} {filling}"));
    }
    let request = stage.request.clone().set("SSE_REPLAY", "200K");
    for id in ["9999999999999999-0", "1-1"] {
        let mut client = stage.responder.ask(&request.clone().last_id(id));
        let gap = client.event();
        let reason = ["unknown-id", "expired"][usize::from(id == "1-1")];
        assert_eq!(gap.data, format!("{{\"reason\":\"{reason}\"}}"));
        let skipped = client.event().data;
        let skipped = skipped.strip_prefix("{\"reason\":\"expired\",\"events\":");
        let skipped: u64 = skipped.unwrap().trim_end_matches('}').parse().unwrap();
        assert!((800..1000).contains(&skipped), "{skipped}");
        for number in skipped..1000 {
            client.says(&[&format!("{number} {filling}")]);
        }
    }
    // Everything is within the limit.
    let all = stage.request.clone().last_id("9999999999999999-0");
    let mut client = stage.responder.ask(&all);
    client.says(&["gap: {\"reason\":\"unknown-id\"}"]);
    client.says(&[&format!("0 {filling}")]);
}

#[test]
fn what_is_trimmed_before_it_was_read_is_counted() {
    let mut stage = Stage::new();
    stage.add("0");
    let mut client = stage.ask();
    client.says(&["0"]);
    stage.redis.run(&["MULTI"]);
    for number in 1..=1000 {
        let data = number.to_string();
        stage
            .redis
            .run(&["XADD", "live:a", "MAXLEN", "10", "*", "data", &data]);
    }
    stage.redis.run(&["EXEC"]);
    client.says(&["gap: {\"reason\":\"expired\",\"events\":990}", "991"]);
}

#[test]
fn a_removed_key_is_a_gap_and_its_successor_is_read() {
    let mut stage = Stage::new();
    stage.add("0");
    let mut client = stage.ask();
    client.says(&["0"]);
    let unknown = "gap: {\"reason\":\"unknown-id\"}";
    // Nothing reports it; it is seen within a second.
    stage.redis.run(&["FLUSHALL"]);
    client.says(&[unknown]);
    stage.add("1");
    client.says(&["1"]);
    // A new stream with smaller ids.
    stage.redis.run(&["MULTI"]);
    stage.redis.run(&["DEL", "live:a"]);
    stage.redis.run(&["XADD", "live:a", "5-0", "data", "2"]);
    stage.redis.run(&["EXEC"]);
    client.says(&[unknown, "2"]);
}

#[test]
fn a_killed_connection_is_made_again_unnoticed() {
    let mut stage = Stage::new();
    stage.add("0");
    let mut client = stage.ask();
    client.says(&["0"]);
    for number in 1..10 {
        stage.redis.run(&["CLIENT", "KILL", "USER", "sse"]);
        let data = number.to_string();
        stage.add(&data);
        client.says(&[&data]);
    }
    assert_eq!(stage.responder.warnings(), Vec::<String>::new());
}

#[test]
fn a_subscriber_that_waits_for_an_answer_sleeps_when_its_channel_vanishes() {
    let mut stage = Stage::new();
    let id = stage.add("0");
    let mut first = stage.ask();
    first.says(&["0"]);
    wait_for("a channel", || {
        (stage.responder.figure("catching_up") == 0).then_some(())
    });
    // Less than the limit of an answer, and more than a heartbeat, which polls it.
    stage.redis.run(&["CLIENT", "PAUSE", "2500", "ALL"]);
    let request = stage.request.clone().set("SSE_HEARTBEAT", "1s");
    let mut second = stage.responder.ask(&request.last_id(&id));
    let subscribers = |count| {
        wait_for("subscribers", || {
            (stage.responder.figure("subscribers") == count).then_some(())
        });
    };
    subscribers(2);
    drop(first);
    subscribers(1);
    let (since, before) = (Instant::now(), processor_ticks(stage.responder.pid()));
    stage.add("1");
    second.says(&["1"]);
    let used = processor_ticks(stage.responder.pid()) - before;
    let passed = since.elapsed().as_millis() as u64 / 10;
    assert!(used < passed / 4 + 5, "{used} ticks of {passed}");
}

#[test]
fn while_the_engine_is_down_clients_come_again_and_resume() {
    let mut stage = Stage::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let id = stage.add("0");
    let mut clients = [stage.ask(), stage.ask()];
    for client in &mut clients {
        client.says(&["0"]);
    }
    stage.redis.kill();
    let unavailable = "unavailable: {\"reason\":\"not available now\"}";
    for client in &mut clients {
        client.says(&[unavailable]);
        assert_eq!(client.rest().len(), 0);
        assert_eq!(client.last_id(), id);
    }
    let mut client = stage.ask_after(&id);
    client.says(&[unavailable]);
    client.rest();
    assert_eq!(
        stage.responder.figures()["engines"][stage.redis.address()],
        "down"
    );
    let said = stage.responder.stderr();
    assert_eq!(said.matches("asked to come again").count(), 1, "{said}");
    stage.redis.start_again();
    stage.add("1");
    wait_for("the engine", || {
        let mut client = stage.ask_after(&id);
        let event = client.event();
        (event.data == "1").then_some(())
    });
}

#[test]
fn what_no_reconnection_mends_is_logged_and_the_client_is_told() {
    let mut stage = Stage::new();
    let unavailable = "unavailable: {\"reason\":\"not available now\"}";
    let check = |request: &Request, said: &str| {
        let mut client = stage.responder.ask(request);
        client.says(&[unavailable]);
        client.rest();
        wait_for(said, || {
            stage.responder.stderr().contains(said).then_some(())
        });
    };
    stage.redis.run(&["SET", "live:text", "x"]);
    let of = |key: &str| request(&stage.redis, &stage.folder, key);
    check(&of("live:text"), "WRONGTYPE");
    check(&of("other"), "NOPERM");
    let wrong = stage.folder.write("wrong", "no").display().to_string();
    check(
        &of("live:a").set("SSE_REDIS_PASSWORD_FILE", wrong),
        "WRONGPASS",
    );
}

#[test]
fn a_name_in_the_path_stays_below_the_prefix() {
    let mut stage = Stage::new();
    stage.redis.add("live:room/1", "here");
    let of = |path: &str| {
        let request = request(&stage.redis, &stage.folder, "");
        request
            .set("SSE_STREAM_KEY_PREFIX", "live:")
            .set("PATH_INFO", path)
    };
    stage.responder.ask(&of("/room/1")).says(&["here"]);
    for hostile in ["/", "/../secret", "/.hidden", "/a//b", "/a/../../b"] {
        let status = stage.responder.ask(&of(hostile)).status();
        assert_eq!(status, 404, "{hostile}");
    }
    let suffixed = of("/room/1").set("SSE_SUFFIXES", ".public");
    assert_eq!(stage.responder.ask(&suffixed).status(), 404);
}

#[test]
fn filters_and_the_backlog_apply_to_entries() {
    let mut stage = Stage::new();
    for number in 0..200 {
        stage.add(&format!("{number} {}", ["even", "odd"][number % 2]));
    }
    let request = stage.request.clone().set("SSE_BACKLOG", "3");
    stage
        .responder
        .ask(&request)
        .says(&["197 odd", "198 even", "199 odd"]);
    let filtered = request.set("SSE_FILTER", "even");
    let mut client = stage.responder.ask(&filtered);
    client.says(&["194 even", "196 even", "198 even"]);
    stage.add("200 odd");
    stage.add("201 even");
    client.says(&["201 even"]);
}
