//! The data of a `gap` or an `unavailable` event as text for a person.

use serde_json::Value;

/// `truncated`, or `truncated, 120 bytes`; data of another server unchanged.
pub(super) fn describe(data: &str) -> String {
    let Ok(Value::Object(gap)) = serde_json::from_str(data) else {
        return data.to_owned();
    };
    match (gap.get("reason"), gap.get("bytes").and_then(Value::as_u64)) {
        (Some(Value::String(reason)), Some(bytes)) => format!("{reason}, {bytes} bytes"),
        (Some(Value::String(reason)), None) => reason.clone(),
        _ => data.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_in_words() {
        for (data, expected) in [
            (r#"{"reason":"cut","bytes":12}"#, "cut, 12 bytes"),
            (r#"{"reason":"unknown-id"}"#, "unknown-id"),
            (
                r#"{"reason":"the file cannot be read"}"#,
                "the file cannot be read",
            ),
            (r#"{"bytes":1}"#, r#"{"bytes":1}"#),
            ("lost", "lost"),
            ("", ""),
        ] {
            assert_eq!(describe(data), expected);
        }
    }
}
