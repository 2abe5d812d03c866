//! Who may publish.
//!
//! Names and passwords that a browser sends by itself (`user`), and the place in the
//! network that it speaks from (`anyone`), are also sent when a page of another site
//! makes it post. So for both, a page of another origin is refused unless
//! `SSE_ALLOW_ORIGIN` names it. A token is only ever sent by whoever knows it.

use super::post::{Post, Transport};
use super::token::Tokens;
use crate::request::{Grant, Publishing, Request, Settings, granted};

/// Whether a client may publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Granted,
    /// A token would do, and none was sent: 401.
    TokenMissing,
    /// It may not: 403.
    Denied,
}

/// Decides. Any of the grants suffices.
#[must_use]
pub fn permit(
    request: &Request,
    post: &Post,
    settings: &Settings,
    publishing: &Publishing,
    tokens: &Tokens,
) -> Verdict {
    let site = Site::of(request, post);
    // `*` stands for pages that read without credentials.
    let origin = granted(request, settings);
    let holds = |grant: &Grant| match grant {
        Grant::Token => post
            .authorization
            .as_ref()
            .is_some_and(|sent| tokens.admit(sent)),
        Grant::User => {
            post.user.is_some() && (site != Site::Other || origin.is_some_and(|o| o != "*"))
        }
        Grant::SameOrigin => site == Site::Same,
        Grant::Anyone => site != Site::Other || origin.is_some(),
    };
    if publishing.allow.iter().any(holds) {
        return Verdict::Granted;
    }
    if publishing.allow.contains(&Grant::Token) && post.authorization.is_none() {
        return Verdict::TokenMissing;
    }
    Verdict::Denied
}

/// Where the page that posts stands to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Site {
    /// A page of our own origin.
    Same,
    /// A page of another one, or one that cannot be told.
    Other,
    /// No page: browsers say in at least one of two fields that there is one.
    None,
}

impl Site {
    fn of(request: &Request, post: &Post) -> Self {
        let fetched = match post.fetch_site.as_deref() {
            None | Some(b"none") => Self::None,
            Some(b"same-origin") => Self::Same,
            // A subdomain is another origin.
            Some(_) => Self::Other,
        };
        let origin = request.origin.as_ref().map_or(Self::None, |origin| {
            if is_own(origin, post) {
                Self::Same
            } else {
                Self::Other
            }
        });
        match (fetched, origin) {
            (Self::Other, _) | (_, Self::Other) => Self::Other,
            (Self::None, Self::None) => Self::None,
            _ => Self::Same,
        }
    }
}

/// Whether an origin (RFC 6454 §6.2) is that of the host that was asked. Where the
/// server does not speak TLS, a proxy before it may.
fn is_own(origin: &[u8], post: &Post) -> bool {
    let Some(host) = &post.host else { return false };
    let with_tls = origin.strip_prefix(b"https://");
    let authority = match post.transport {
        Transport::Tls => with_tls,
        Transport::Unknown => with_tls.or(origin.strip_prefix(b"http://")),
    };
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Lifetime, MetaVariables};

    const HOST: (&str, &str) = ("HTTP_HOST", "example.org:8080");
    const OWN: (&str, &str) = ("HTTP_ORIGIN", "http://example.org:8080");
    const OTHER: (&str, &str) = ("HTTP_ORIGIN", "https://evil.example");
    const SAME: (&str, &str) = ("HTTP_SEC_FETCH_SITE", "same-origin");
    const CROSS: (&str, &str) = ("HTTP_SEC_FETCH_SITE", "cross-site");
    const USER: (&str, &str) = ("REMOTE_USER", "eve");

    #[track_caller]
    fn check(allow: &str, pairs: &[(&str, &str)], expected: Verdict) {
        let fixed = [
            HOST,
            ("SSE_PUBLISH_ALLOW", allow),
            ("SSE_PUBLISH_TOKEN_FILE", "/t"),
        ];
        let meta = MetaVariables::of(&[&fixed, pairs].concat());
        let settings = Settings::parse(&meta, Lifetime::Hour).unwrap().0;
        let publishing = Publishing::parse(&meta).unwrap().0;
        let got = permit(
            &Request::from_meta(&meta),
            &Post::from_meta(&meta),
            &settings,
            &publishing,
            &Tokens::parse(b"a-long-secret"),
        );
        assert_eq!(got, expected, "{allow}: {pairs:?}");
    }

    use Verdict::{Denied, Granted, TokenMissing};

    #[test]
    fn nobody_may_unless_allowed() {
        let all = [
            OWN,
            SAME,
            USER,
            ("HTTP_AUTHORIZATION", "Bearer a-long-secret"),
        ];
        check("", &all, Denied);
    }

    #[test]
    fn a_token_is_missing_wrong_or_right_wherever_it_comes_from() {
        check("token", &[], TokenMissing);
        check("token", &[USER, OWN, SAME], TokenMissing);
        for wrong in ["Bearer a-long-secre", "Basic x", "Bearer"] {
            check("token", &[("HTTP_AUTHORIZATION", wrong)], Denied);
        }
        let right = ("HTTP_AUTHORIZATION", "Bearer a-long-secret");
        check("token", &[right], Granted);
        check("token", &[right, OTHER, CROSS], Granted);
        check("user", &[right], Denied);
    }

    #[test]
    fn a_user_may_unless_another_sites_page_makes_his_browser_post() {
        check("user", &[], Denied);
        check("user", &[USER], Granted);
        check("user", &[USER, OWN, SAME], Granted);
        check("user", &[USER, OTHER], Denied);
        check("user", &[USER, CROSS], Denied);
        check(
            "user",
            &[USER, ("HTTP_SEC_FETCH_SITE", "same-site")],
            Denied,
        );
        check("user", &[USER, ("HTTP_ORIGIN", "null")], Denied);
        let named = ("SSE_ALLOW_ORIGIN", "https://evil.example");
        check("user", &[USER, OTHER, CROSS, named], Granted);
        let any = ("SSE_ALLOW_ORIGIN", "*");
        check("user", &[USER, OTHER, CROSS, any], Denied);
        check("anyone", &[OTHER, CROSS, any], Granted);
    }

    #[test]
    fn the_same_origin_is_proved_by_what_no_page_can_forge() {
        check("same-origin", &[], Denied);
        check("same-origin", &[USER], Denied);
        check("same-origin", &[OWN], Granted);
        check("same-origin", &[SAME], Granted);
        check("same-origin", &[OWN, SAME], Granted);
        check("same-origin", &[OWN, CROSS], Denied);
        check("same-origin", &[OTHER, SAME], Denied);
        for origin in [
            "http://example.org",
            "http://example.org:80",
            "http://example.org:8080.evil.example",
            "http://example.org:8080, http://example.org:8080",
            "ftp://example.org:8080",
            "example.org:8080",
            "null",
        ] {
            check("same-origin", &[("HTTP_ORIGIN", origin)], Denied);
        }
        // A TLS proxy may stand before a server that speaks none, and never behind one.
        let tls = ("HTTP_ORIGIN", "https://example.org:8080");
        check("same-origin", &[tls], Granted);
        check("same-origin", &[tls, ("HTTPS", "on")], Granted);
        check("same-origin", &[OWN, ("HTTPS", "on")], Denied);
    }

    #[test]
    fn any_of_several_grants_suffices() {
        check("token user", &[USER], Granted);
        check("token same-origin", &[SAME], Granted);
        check("token same-origin", &[CROSS], TokenMissing);
        check("user same-origin", &[CROSS], Denied);
        check("anyone", &[], Granted);
        check("anyone", &[CROSS], Denied);
    }
}
