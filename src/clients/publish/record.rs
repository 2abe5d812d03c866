//! Record: text → the JSON body that publishes it.

use serde_json::value::RawValue;

/// The form of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataFormat {
    /// Text, which is encoded as a JSON string.
    Text,
    /// JSON, which is not changed.
    Json,
}

/// `{"event":…,"data":…}`, without `event` if there is none.
///
/// # Errors
/// When `text` should be JSON and is not: the problem.
pub(super) fn body(event: Option<&str>, form: DataFormat, text: &[u8]) -> Result<String, String> {
    let text = String::from_utf8_lossy(text);
    let data = match form {
        DataFormat::Text => string(&text),
        DataFormat::Json => {
            let raw: &RawValue =
                serde_json::from_str(&text).map_err(|error| format!("not JSON: {error}"))?;
            raw.get().to_owned()
        }
    };
    Ok(match event {
        Some(event) => format!("{{\"event\":{},\"data\":{data}}}", string(event)),
        None => format!("{{\"data\":{data}}}"),
    })
}

fn string(text: &str) -> String {
    serde_json::to_string(text).expect("text always becomes JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(event: Option<&str>, form: DataFormat, text: impl AsRef<[u8]>, expected: &str) {
        assert_eq!(body(event, form, text.as_ref()).unwrap(), expected);
    }

    #[test]
    fn text_is_a_string_and_json_is_itself() {
        check(
            None,
            DataFormat::Text,
            "a\n\"b\"\0",
            r#"{"data":"a\n\"b\"\u0000"}"#,
        );
        check(
            Some("x\ny"),
            DataFormat::Text,
            "",
            r#"{"event":"x\ny","data":""}"#,
        );
        check(None, DataFormat::Text, b"\xff", "{\"data\":\"\u{FFFD}\"}");
        check(
            Some("x"),
            DataFormat::Json,
            " {\"a\": 1e400} ",
            r#"{"event":"x","data":{"a": 1e400}}"#,
        );
    }

    #[test]
    fn what_is_no_json_goes_nowhere() {
        for text in ["", "{", "a", "1 2", "1}, \"x\": {"] {
            assert!(
                body(None, DataFormat::Json, text.as_bytes()).is_err(),
                "{text}"
            );
        }
    }
}
