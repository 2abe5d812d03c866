//! Why a client may not publish, for the administrator's log; the response does not say it.

use super::fields::PostFields;
use crate::request::{Grant, Publishing, Request};

/// The longest part of a client's value that is logged, in bytes.
const VALUE_MAX_BYTES: usize = 100;

/// Names the rules that refused a POST, and the value that each compared; never a token.
#[must_use]
pub fn denial(request: &Request, fields: &PostFields, publishing: &Publishing) -> String {
    if publishing.allow.is_empty() {
        return "publish: not allowed (403): SSE_PUBLISH_ALLOW is not set, so nobody may; set it \
                to token, user, same-origin or anyone"
            .into();
    }
    let reasons: Vec<String> = publishing
        .allow
        .iter()
        .map(|grant| match grant {
            Grant::Token => {
                "token: the token that was sent is not in SSE_PUBLISH_TOKEN_FILE".into()
            }
            Grant::User if fields.user.is_none() => {
                "user: the web server has authenticated nobody (REMOTE_USER is not set)".into()
            }
            Grant::User => format!("user: {}", foreign(request, fields)),
            Grant::SameOrigin if page(request, fields).is_empty() => {
                "same-origin: neither Origin nor Sec-Fetch-Site nor Referer was sent".into()
            }
            Grant::SameOrigin => {
                let host = fields.host.as_deref().unwrap_or(b"(none)");
                let page = page(request, fields);
                let port = fields
                    .port
                    .map_or(String::new(), |port| format!(" (server's port {port})"));
                format!("same-origin: {page} is not of Host {}{port}", shown(host))
            }
            Grant::Anyone => format!("anyone: {}", foreign(request, fields)),
        })
        .collect();
    format!("publish: not allowed (403): {}", reasons.join("; "))
}

fn foreign(request: &Request, fields: &PostFields) -> String {
    let page = page(request, fields);
    format!("a page of another site ({page}), which SSE_ALLOW_ORIGIN does not name")
}

/// The field that names the page which sent the POST.
fn page(request: &Request, fields: &PostFields) -> String {
    let is_named = request.origin.is_some() || fields.fetch_site.is_some();
    let referer = fields.referer.clone().filter(|_| !is_named);
    let fields = [
        ("Origin", &request.origin),
        ("Sec-Fetch-Site", &fields.fetch_site),
        ("Referer", &referer),
    ];
    let fields = fields.into_iter().filter_map(|(name, value)| {
        let value = value.as_ref()?;
        Some(format!("{name} {}", shown(value)))
    });
    fields.collect::<Vec<_>>().join(", ")
}

fn shown(value: &[u8]) -> String {
    let cut = &value[..value.len().min(VALUE_MAX_BYTES)];
    let more = if cut.len() < value.len() { "..." } else { "" };
    format!("{}{more}", cut.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::MetaVariables;

    #[track_caller]
    fn check(pairs: &[(&str, &str)], expected: &str) {
        let meta = MetaVariables::of(&[pairs, &[("SSE_PUBLISH_TOKEN_FILE", "/t")]].concat());
        let text = denial(
            &Request::from_meta(&meta),
            &PostFields::from_meta(&meta),
            &Publishing::parse(&meta).unwrap().0,
        );
        assert_eq!(
            text.strip_prefix("publish: not allowed (403): "),
            Some(expected)
        );
    }

    #[test]
    fn the_rule_and_the_origin_that_refused_are_named_and_no_token_is() {
        let evil = ("HTTP_ORIGIN", "https://evil.example");
        let host = ("HTTP_HOST", "example.org");
        check(
            &[],
            "SSE_PUBLISH_ALLOW is not set, so nobody may; set it to token, user, same-origin or \
             anyone",
        );
        check(
            &[
                ("SSE_PUBLISH_ALLOW", "token same-origin"),
                ("HTTP_AUTHORIZATION", "Bearer secret"),
                evil,
                host,
            ],
            "token: the token that was sent is not in SSE_PUBLISH_TOKEN_FILE; same-origin: \
             Origin https://evil.example is not of Host example.org",
        );
        check(
            &[("SSE_PUBLISH_ALLOW", "user"), evil],
            "user: the web server has authenticated nobody (REMOTE_USER is not set)",
        );
        check(
            &[
                ("SSE_PUBLISH_ALLOW", "anyone"),
                ("HTTP_SEC_FETCH_SITE", "cross-site\n"),
            ],
            "anyone: a page of another site (Sec-Fetch-Site cross-site\\n), which \
             SSE_ALLOW_ORIGIN does not name",
        );
        check(
            &[
                ("SSE_PUBLISH_ALLOW", "same-origin"),
                ("HTTP_REFERER", "https://evil.example/x"),
                ("SERVER_PORT", "8080"),
                host,
            ],
            "same-origin: Referer https://evil.example/x is not of Host example.org \
             (server's port 8080)",
        );
        check(
            &[("SSE_PUBLISH_ALLOW", "same-origin")],
            "same-origin: neither Origin nor Sec-Fetch-Site nor Referer was sent",
        );
    }
}
