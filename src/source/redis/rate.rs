//! How often one client publishes to a stream, counted by the engine for all nodes together.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::append::NotWritten;
use super::resp::{Item, Reader, command};
use crate::request::Rate;

/// The generic cell rate algorithm, as in [`crate::publish::rate`], by the clock of the engine.
/// `KEYS[1]`: when the client will have used up what it has taken, in microseconds. The reply is
/// how long it must wait, in microseconds.
const SCRIPT: &str = "\
local each, period = tonumber(ARGV[1]), tonumber(ARGV[2])
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local used = tonumber(redis.call('GET', KEYS[1]) or now)
used = math.min(math.max(used, now), now + period) + each
if used > now + period then return used - now - period end
redis.call('SET', KEYS[1], string.format('%.0f', used), 'PX', math.ceil((used - now) / 1000))
return 0
";

/// A command that counts a message of `client` to the stream `key`. It has one reply, which
/// [`admitted`] reads.
#[must_use]
pub fn count(key: &[u8], client: &[u8], rate: Rate) -> Vec<u8> {
    let period_us = rate.period.as_micros() as u64;
    let each_us = (period_us / u64::from(rate.count.max(1))).max(1);
    let (period, each) = (period_us.to_string(), each_us.to_string());
    let key = key_of(key, client);
    let mut words: Vec<&[u8]> = vec![b"EVAL", SCRIPT.as_bytes(), b"1", &key];
    words.extend([each.as_bytes(), period.as_bytes()]);
    let mut out = Vec::new();
    command(&words, &mut out);
    out
}

/// The key of a client's count: it begins as that of the stream, so that the same rule permits
/// both, and is in the same slot of a cluster. No path names it, because a part of it begins with
/// a dot.
fn key_of(stream: &[u8], client: &[u8]) -> Vec<u8> {
    let mut key = [stream, b"/.rate/"].concat();
    if !stream.contains(&b'{') {
        key.extend([b"{", stream, b"}"].concat());
    }
    key.extend(format!("{:016x}", xxh3_64(client)).into_bytes());
    key
}

/// Whether the client may publish now; the inner error is how long it has to wait.
///
/// # Errors
/// Why there is no answer.
pub fn admitted(reply: &[u8]) -> Result<Result<(), Duration>, NotWritten> {
    match Reader::new(reply).item()? {
        Item::Error(text) => Err(NotWritten::of(text)),
        Item::Integer(0) => Ok(Ok(())),
        Item::Integer(us) => Ok(Err(Duration::from_micros(us.unsigned_abs()))),
        _ => Err(NotWritten::Unknown("a count has another reply".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_of_a_client_is_in_the_slot_of_its_stream() {
        let key = |stream: &str| String::from_utf8(key_of(stream.as_bytes(), b"eve")).unwrap();
        let hash = format!("{:016x}", xxh3_64(b"eve"));
        assert_eq!(key("live:a"), format!("live:a/.rate/{{live:a}}{hash}"));
        assert_eq!(key("live:{a}b"), format!("live:{{a}}b/.rate/{hash}"));
    }

    #[test]
    fn a_client_is_admitted_or_must_wait() {
        assert_eq!(admitted(b":0\r\n"), Ok(Ok(())));
        let wait = Duration::from_micros(1500);
        assert_eq!(admitted(b":1500\r\n"), Ok(Err(wait)));
        for bad in [&b"-NOPERM no\r\n"[..], b"+OK\r\n", b""] {
            assert!(admitted(bad).is_err());
        }
    }
}
