//! Durations and sizes in the notation of settings.

use std::time::Duration;

/// Reads `500ms`, `15s`, `2m`, `1h`: a whole number and a unit. A number that does not fit
/// becomes the largest duration, which the caller clamps.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let milliseconds_each = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(
        number.saturating_mul(milliseconds_each),
    ))
}

/// Reads a number of bytes, or of `K`, `M` or `G` (powers of 1024), in upper or lower case.
pub(crate) fn size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let bytes_each = match unit {
        "" => 1,
        "K" | "k" => 1 << 10,
        "M" | "m" => 1 << 20,
        "G" | "g" => 1 << 30,
        _ => return None,
    };
    Some(number.saturating_mul(bytes_each))
}

/// Reads a plain number; one that does not fit becomes the largest.
pub(super) fn count(text: &str) -> Option<u64> {
    match number_and_unit(text)? {
        (number, "") => Some(number),
        _ => None,
    }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return None;
    }
    let number = text[..digits].bytes().fold(0u64, |n, d| {
        n.saturating_mul(10).saturating_add(u64::from(d - b'0'))
    });
    Some((number, &text[digits..]))
}

/// A duration in the notation of settings, with the largest unit that divides it.
pub(super) fn duration_text(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    match milliseconds {
        0 => "0s".into(),
        n if n % 3_600_000 == 0 => format!("{}h", n / 3_600_000),
        n if n % 60_000 == 0 => format!("{}m", n / 60_000),
        n if n % 1_000 == 0 => format!("{}s", n / 1_000),
        n => format!("{n}ms"),
    }
}

/// A size in the notation of settings, with the largest unit that divides it.
pub(super) fn size_text(bytes: u64) -> String {
    match bytes {
        0 => "0".into(),
        n if n % (1 << 30) == 0 => format!("{}G", n >> 30),
        n if n % (1 << 20) == 0 => format!("{}M", n >> 20),
        n if n % (1 << 10) == 0 => format!("{}K", n >> 10),
        n => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, expected) in [
            ("500ms", Some(500)),
            ("15s", Some(15_000)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("0s", Some(0)),
            ("15", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            (" 1s", None),
            ("1 s", None),
            ("1d", None),
            ("", None),
        ] {
            assert_eq!(
                duration(text),
                expected.map(Duration::from_millis),
                "{text}"
            );
        }
        assert!(duration("99999999999999999999999h").unwrap() > Duration::from_secs(1 << 40));
    }

    #[test]
    fn a_size_is_bytes_or_powers_of_1024() {
        for (text, expected) in [
            ("0", Some(0)),
            ("123", Some(123)),
            ("64K", Some(65_536)),
            ("16M", Some(16 << 20)),
            ("2g", Some(2 << 30)),
            ("16MB", None),
            ("K", None),
            ("1.5M", None),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
        assert_eq!(size("99999999999999999999G"), Some(u64::MAX));
    }

    #[test]
    fn what_is_written_reads_back() {
        for ms in [0, 1, 999, 1_000, 61_000, 60_000, 3_600_000, 5_400_000] {
            let d = Duration::from_millis(ms);
            assert_eq!(duration(&duration_text(d)), Some(d));
        }
        for n in [0, 1, 1023, 1024, 1 << 20, 3 << 30] {
            assert_eq!(size(&size_text(n)), Some(n));
        }
    }
}
