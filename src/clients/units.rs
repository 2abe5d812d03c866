//! Durations in command lines.

use std::time::Duration;

use super::UsageError;

/// From a millisecond to a week: `500ms`, `15s`, `2m`, `1h`, `1d`.
pub(super) fn duration(option: &str, text: &str) -> Result<Duration, UsageError> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms: u64 = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    digits
        .parse()
        .ok()
        .and_then(|number: u64| number.checked_mul(unit_ms))
        .filter(|total_ms| (1..=604_800_000).contains(total_ms))
        .map(Duration::from_millis)
        .ok_or_else(|| {
            UsageError(format!(
                "{option} {text}: want a time from 1ms to 7d, such as 30s"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_an_end() {
        for (text, expected_ms) in [
            ("1ms", Some(1)),
            ("15s", Some(15_000)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("7d", Some(604_800_000)),
            ("8d", None),
            ("0s", None),
            ("15", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("99999999999999999999s", None),
            ("9999999999999999h", None),
            ("1é", None),
            ("", None),
        ] {
            let read = duration("--timeout", text).ok();
            assert_eq!(read, expected_ms.map(Duration::from_millis), "{text}");
        }
    }
}
