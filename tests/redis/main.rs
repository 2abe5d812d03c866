//! Redis Streams as the shared history: real redis-servers, and the programs that read from them.

#[path = "../support/mod.rs"]
mod support;

// The peer of the responder; it is used in part.
#[allow(unused_imports, unused_macros)]
#[path = "../peer/mod.rs"]
mod peer;

mod chat;
mod cluster;
mod follow;
mod loss;
mod nodes;
mod program;
mod publish;
mod rooms;
mod sentinel;
mod stream;
mod tls;

use peer::{FastCgi, Request};
use support::folder::Folder;
use support::redis::Redis;

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
