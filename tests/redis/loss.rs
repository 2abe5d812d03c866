//! What Redis removes or refuses while a client is connected: it is told exactly what it lost.

use super::peer::Request;
use super::support::folder::Folder;
use super::support::redis::Redis;
use super::support::wait::wait_for;
use super::{Client, Responder, request};

const UNKNOWN: &str = "gap: {\"reason\":\"unknown-id\"}";
const UNAVAILABLE: &str = "unavailable: {\"reason\":\"not available now\"}";

/// A stream with the entries `1` to `5`, and a client that has received them.
struct Stage {
    redis: Redis,
    responder: Responder,
    request: Request,
    /// The ids of the entries.
    ids: Vec<String>,
    client: Client,
    _folder: Folder,
}

impl Stage {
    fn new() -> Self {
        let folder = Folder::in_memory();
        let mut redis = Redis::start(&folder, &[]);
        let responder = Responder::start(&folder);
        let request = request(&redis, &folder, "live:a");
        let ids = (1..=5).map(|number| redis.add("live:a", &number.to_string()));
        let ids: Vec<_> = ids.collect();
        let mut client = responder.ask(&request);
        client.says(&["1", "2", "3", "4", "5"]);
        Self {
            redis,
            responder,
            request,
            ids,
            client,
            _folder: folder,
        }
    }

    /// Executes these commands at one moment. `<N` is the id of entry N.
    fn at_once(&mut self, commands: &[&str]) {
        self.redis.run(&["MULTI"]);
        for command in commands {
            let words: Vec<&str> = command
                .split(' ')
                .map(|word| match word.strip_prefix('<') {
                    Some(number) => self.ids[number.parse::<usize>().unwrap() - 1].as_str(),
                    None => word,
                })
                .collect();
            let reply = self.redis.run(&words);
            assert_eq!(reply, "QUEUED", "{command}");
        }
        let replies = self.redis.run(&["EXEC"]);
        assert!(!replies.contains("-ERR"), "{replies}");
    }
}

/// `expected`: what the client gets after these commands, and then the entry `end`.
#[track_caller]
fn check(commands: &[&str], expected: &[&str]) {
    let mut stage = Stage::new();
    stage.at_once(commands);
    stage.client.says(expected);
    stage.redis.add("live:a", "end");
    stage.client.says(&["end"]);
    assert_eq!(stage.responder.warnings(), Vec::<String>::new());
}

fn lost(events: u64) -> String {
    format!("gap: {{\"reason\":\"expired\",\"events\":{events}}}")
}

#[test]
fn what_was_received_can_be_removed() {
    check(&["XTRIM live:a MAXLEN 2"], &[]);
    check(&["XTRIM live:a MAXLEN 0"], &[]);
    check(&["XDEL live:a <3"], &[]);
    check(&["XDEL live:a <5"], &[]);
    check(&["XDEL live:a <1 <2 <3 <4 <5"], &[]);
}

#[test]
fn what_was_removed_before_it_was_received_is_counted() {
    let add = "XADD live:a * data x";
    let (one, two, three) = (lost(1), lost(2), lost(3));
    // Trimmed.
    check(&[add, add, add, "XTRIM live:a MAXLEN 1"], &[&two, "x"]);
    check(&[add, add, add, "XTRIM live:a MAXLEN 0"], &[&three]);
    // Deleted by its id, among those that are left.
    check(
        &[
            "XADD live:a 9999999999999-1 data x",
            add,
            "XDEL live:a 9999999999999-1",
        ],
        &["x", &one],
    );
}

#[test]
fn another_stream_of_the_same_key_is_a_gap() {
    check(&["DEL live:a", "XADD live:a 5-0 data x"], &[UNKNOWN, "x"]);
    let add = "XADD live:a * data x";
    check(&["DEL live:a", add], &[UNKNOWN, "x"]);
    check(
        &["DEL live:a", add, add, add, add, add],
        &[UNKNOWN, "x", "x", "x", "x", "x"],
    );
    check(
        &["DEL live:a", add, add, add, add, add, add],
        &[UNKNOWN, "x", "x", "x", "x", "x", "x"],
    );
    check(&["FLUSHALL", add], &[UNKNOWN, "x"]);
    check(&["FLUSHALL"], &[UNKNOWN]);
    check(&["RENAME live:a live:b"], &[UNKNOWN]);
    check(
        &[
            "DEL live:a",
            "XADD live:b 1-1 data x",
            "RENAME live:b live:a",
        ],
        &[UNKNOWN, "x"],
    );
}

#[test]
fn ids_can_be_set_and_nothing_is_lost() {
    check(&["XSETID live:a 9999999999999-0"], &[]);
    check(
        &["XSETID live:a 9999999999999-0", "XADD live:a * data x"],
        &["x"],
    );
    // Whoever sets the number of entries says that there were so many.
    check(
        &["XSETID live:a 9999999999999-0 ENTRIESADDED 9 MAXDELETEDID 0-0"],
        &[&lost(4)],
    );
}

#[test]
fn an_eviction_is_a_gap() {
    let mut stage = Stage::new();
    let set = |redis: &mut Redis, name, value| {
        assert_eq!(redis.run(&["CONFIG", "SET", name, value]), "OK");
    };
    set(&mut stage.redis, "maxmemory-policy", "allkeys-random");
    set(&mut stage.redis, "maxmemory", "1");
    // Every command that may need memory removes something first.
    stage.redis.run(&["SET", "other", "x"]);
    assert_eq!(stage.redis.run(&["EXISTS", "live:a"]), "0");
    stage.client.says(&[UNKNOWN]);
    set(&mut stage.redis, "maxmemory", "0");
    stage.redis.add("live:a", "end");
    stage.client.says(&["end"]);
    // A client that was away is told as well: its id is before the first entry.
    let returns = stage.request.clone().last_id(&stage.ids[2]);
    let expired = "gap: {\"reason\":\"expired\"}";
    stage.responder.ask(&returns).says(&[expired, "end"]);
}

#[test]
fn an_engine_that_is_full_is_still_read() {
    let mut stage = Stage::new();
    stage.redis.run(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = stage.redis.add("live:a", "6");
    assert!(refused.starts_with("-OOM"), "{refused}");
    let returns = stage.request.clone().last_id(&stage.ids[2]);
    stage.responder.ask(&returns).says(&["4", "5"]);
    stage.redis.run(&["CONFIG", "SET", "maxmemory", "0"]);
    stage.redis.add("live:a", "6");
    stage.client.says(&["6"]);
    assert_eq!(stage.responder.warnings(), Vec::<String>::new());
}

#[test]
fn what_becomes_unreadable_ends_the_stream_and_is_logged_once() {
    let refusals: [(&[&str], &str); 3] = [
        (&["DEL live:a", "SET live:a x"], "WRONGTYPE"),
        (&["ACL SETUSER sse -xrange"], "NOPERM"),
        (&["ACL SETUSER sse resetkeys ~other:*"], "NOPERM"),
    ];
    for (commands, said) in refusals {
        let mut stage = Stage::new();
        stage.at_once(commands);
        stage.client.says(&[UNAVAILABLE]);
        stage.client.rest();
        wait_for(said, || {
            stage.responder.stderr().contains(said).then_some(())
        });
        // Its client returns, and is told again; the log has one line a minute.
        let returns = stage.request.clone().last_id(&stage.ids[4]);
        let mut again = stage.responder.ask(&returns);
        again.says(&[UNAVAILABLE]);
        again.rest();
        let log = stage.responder.stderr();
        assert_eq!(log.matches(said).count(), 1, "{log}");
    }
}

#[test]
fn a_password_that_is_missing_is_named_in_the_log() {
    let mut stage = Stage::new();
    stage
        .redis
        .run(&["ACL", "SETUSER", "default", "resetpass", ">other"]);
    let request = Request::of("redis")
        .set("SSE_REDIS", stage.redis.address())
        .set("SSE_STREAM_KEY", "live:a");
    let mut client = stage.responder.ask(&request);
    client.says(&[UNAVAILABLE]);
    client.rest();
    let said = "NOAUTH Authentication required.; set SSE_REDIS_USER and SSE_REDIS_PASSWORD_FILE";
    wait_for(said, || {
        stage.responder.stderr().contains(said).then_some(())
    });
    // Other users are not affected.
    stage.redis.add("live:a", "end");
    stage.client.says(&["end"]);
}
