//! The rate limit of publishing, with a table that processes can share.
//!
//! The table has a fixed number of buckets with a few slots each; a hash of the client selects
//! its bucket. A slot contains one time: when the client will have used up everything it has
//! taken (the generic cell rate algorithm, ITU-T I.371). So the table needs no cleaning and
//! does not grow. If more clients are active than a bucket has slots, the client that took
//! least is forgotten: then the limit is too generous for it, never too strict.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::request::Rate;

/// The number of buckets in a table.
pub const BUCKETS: u64 = 512;

/// The number of clients in a bucket.
const SLOTS: usize = 8;

/// A part of the table, as bytes. The code that stores it does not interpret it.
pub type Bucket = [u8; SLOTS * SLOT_BYTES];

const SLOT_BYTES: usize = 16;

/// The hash of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

impl Key {
    /// The key of the client that [`super::PostFields::client`] returns.
    #[must_use]
    pub fn of(client: &[u8]) -> Self {
        // Zero marks an empty slot.
        Self(xxh3_64(client).max(1))
    }

    /// The number of its bucket, less than [`BUCKETS`].
    #[must_use]
    pub fn bucket(self) -> u64 {
        self.0 % BUCKETS
    }
}

#[derive(Clone, Copy)]
struct Slot {
    key: u64,
    /// In microseconds since 1970.
    used_until_us: u64,
}

/// Admits one message of the client at `unix_ms`, and records it in the bucket.
///
/// # Errors
/// When it has published too often: how long it has to wait. The bucket is unchanged then.
pub fn admit(bucket: &mut Bucket, key: Key, rate: Rate, unix_ms: u64) -> Result<(), Duration> {
    let now_us = unix_ms.saturating_mul(1_000);
    let period_us = rate.period.as_micros() as u64;
    let each_us = (period_us / u64::from(rate.count.max(1))).max(1);
    let mut slots: [Slot; SLOTS] = std::array::from_fn(|index| slot(bucket, index));
    // A time more than a period ahead cannot be from this rate and this clock: one of the two
    // has changed.
    for slot in &mut slots {
        slot.used_until_us = slot.used_until_us.clamp(now_us, now_us + period_us);
    }
    let own = slots.iter().position(|slot| slot.key == key.0);
    let index = own.unwrap_or_else(|| {
        // A slot whose time has passed counts as `now` and is chosen first.
        let least = slots
            .iter()
            .enumerate()
            .min_by_key(|(_, slot)| slot.used_until_us);
        least.map_or(0, |(index, _)| index)
    });
    let used_until_us = own.map_or(now_us, |index| slots[index].used_until_us) + each_us;
    if used_until_us > now_us + period_us {
        return Err(Duration::from_micros(used_until_us - now_us - period_us));
    }
    let bytes = &mut bucket[index * SLOT_BYTES..(index + 1) * SLOT_BYTES];
    bytes[..8].copy_from_slice(&key.0.to_le_bytes());
    bytes[8..].copy_from_slice(&used_until_us.to_le_bytes());
    Ok(())
}

fn slot(bucket: &Bucket, index: usize) -> Slot {
    let number =
        |place: usize| u64::from_le_bytes(std::array::from_fn(|byte| bucket[8 * place + byte]));
    Slot {
        key: number(2 * index),
        used_until_us: number(2 * index + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const START: u64 = 1_800_000_000_000;

    fn rate(count: u32) -> Rate {
        Rate {
            count,
            period: SECOND,
        }
    }

    const EMPTY: Bucket = [0; SLOTS * SLOT_BYTES];

    #[test]
    fn all_may_come_at_once_and_then_one_after_the_other() {
        let mut bucket = EMPTY;
        let eve = Key::of(b"eve");
        for _ in 0..4 {
            assert_eq!(admit(&mut bucket, eve, rate(4), START), Ok(()));
        }
        let wait = Duration::from_millis(250);
        let before = bucket;
        assert_eq!(admit(&mut bucket, eve, rate(4), START), Err(wait));
        assert_eq!(bucket, before);
        assert_eq!(admit(&mut bucket, eve, rate(4), START + 250), Ok(()));
        let soon = Duration::from_millis(1);
        assert_eq!(admit(&mut bucket, eve, rate(4), START + 499), Err(soon));
        assert_eq!(admit(&mut bucket, Key::of(b"adam"), rate(4), START), Ok(()));
        for _ in 0..4 {
            assert_eq!(admit(&mut bucket, eve, rate(4), START + 5_000), Ok(()));
        }
        assert!(admit(&mut bucket, eve, rate(4), START + 5_000).is_err());
    }

    #[test]
    fn no_more_than_the_rate_pass_in_the_long_run() {
        let mut bucket = EMPTY;
        let passed = (0..10_000)
            .filter(|ms| admit(&mut bucket, Key::of(b"x"), rate(10), START + ms).is_ok())
            .count();
        assert!((100..=110).contains(&passed), "{passed}");
    }

    #[test]
    fn a_full_bucket_forgets_who_took_least() {
        let mut bucket = EMPTY;
        let busy = Key(1);
        for _ in 0..3 {
            assert!(admit(&mut bucket, busy, rate(3), START).is_ok());
        }
        for other in 2..1000 {
            assert!(admit(&mut bucket, Key(other), rate(3), START).is_ok());
        }
        assert!(admit(&mut bucket, busy, rate(3), START).is_err());
    }

    #[test]
    fn a_clock_that_was_set_back_or_a_broken_table_shuts_nobody_out_for_long() {
        let mut bucket = [0xff; SLOTS * SLOT_BYTES];
        assert!(
            admit(&mut bucket, Key(7), rate(2), START).is_ok() || {
                admit(&mut bucket, Key(7), rate(2), START + 1_001).is_ok()
            }
        );
        let mut bucket = EMPTY;
        for _ in 0..2 {
            assert!(admit(&mut bucket, Key(7), rate(2), START).is_ok());
        }
        let earlier = START - 86_400_000;
        assert_eq!(
            admit(&mut bucket, Key(7), rate(2), earlier),
            Err(Duration::from_millis(500))
        );
    }
}
