//! Redis Streams as the shared history: real redis-servers, and the programs that read from them.

#[path = "../support/mod.rs"]
mod support;

// The peer of the responder; it is used in part.
#[allow(unused_imports, unused_macros)]
#[path = "../peer/mod.rs"]
mod peer;

mod chat;
mod cluster;
mod failover;
mod follow;
mod loss;
mod nodes;
mod program;
mod publish;
mod rooms;
mod sentinel;
mod several;
mod stream;
mod tls;
mod traffic;

use peer::{FastCgi, Request};
use support::folder::Folder;
use support::redis::{RIGHTS, RIGHTS_OF_PUBLISHERS, RIGHTS_OF_ROOMS, Redis};

type Client = peer::Client<FastCgi>;
type Responder = peer::Responder<FastCgi>;

/// A GET of a key, as the user of docs/many-machines.md.
fn request(redis: &Redis, folder: &Folder, key: &str) -> Request {
    let password = folder.path("password").display().to_string();
    Request::of("redis")
        .set("SSE_REDIS", redis.address())
        .set("SSE_REDIS_USER", "sse")
        .set("SSE_REDIS_PASSWORD_FILE", password)
        .set("SSE_STREAM_KEY", key)
        .set("SSE_HEARTBEAT", "25s")
}

/// The users of the tests have the rights that the documentation names, and no others.
#[test]
fn the_documentation_names_the_rights_that_the_tests_need() {
    let page = include_str!("../../docs/many-machines.md");
    let both = RIGHTS_OF_PUBLISHERS.trim_end_matches(" +select +role +asking");
    for (user, rights) in [
        ("sse", RIGHTS.to_owned()),
        ("publisher", RIGHTS_OF_PUBLISHERS.to_owned()),
        ("node", format!("{RIGHTS} {both}")),
        ("chat", format!("{RIGHTS} {RIGHTS_OF_ROOMS}")),
    ] {
        let line = page
            .lines()
            .find(|line| line.starts_with(&format!("user {user} on ")))
            .unwrap_or_else(|| panic!("no line for {user}"));
        let (_, own) = line.split_once(" -@all ").expect("rights");
        assert_eq!(own, rights, "{user}");
    }
}
