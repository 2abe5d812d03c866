//! Random numbers with a seed that can be repeated.

/// A number from the environment, such as the number of repetitions.
pub fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name}={text}"))
    })
}

/// A random generator. Its seed is `SSE_TEST_SEED`, or random and printed.
pub fn random() -> fastrand::Rng {
    let seed = number("SSE_TEST_SEED", fastrand::u64(..));
    println!("replay with SSE_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
