//! Decides whether a client may publish.
//!
//! A browser sends a name and password by itself (`user`), and speaks from its place in the
//! network (`anyone`), even when a page of another site makes it send the POST. So for both, a
//! page of another origin is refused unless `SSE_ALLOW_ORIGIN` names it. A token is sent only
//! by a client that knows it.
//!
//! A signed link has been checked before this (`Request::admission`). It suffices if
//! `SSE_PUBLISH_ALLOW` is not set; otherwise one of the grants is needed in addition.
//!
//! A browser names the page in `Origin` and `Sec-Fetch-Site`. Old browsers, and forms, send
//! neither: then `Referer` is used.

use super::fields::{PostFields, Transport};
use super::token::Tokens;
use crate::request::{
    Carrier, Grant, Granted, Origin, Publishing, Request, Settings, granted_to, split_port,
};

/// Whether a client may publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Granted,
    /// A token would permit it, and none was sent: 401.
    TokenMissing,
    /// It may not: 403.
    Denied,
}

/// Decides. Any one of the grants suffices.
#[must_use]
pub fn permit(
    request: &Request,
    fields: &PostFields,
    settings: &Settings,
    publishing: &Publishing,
    tokens: &Tokens,
) -> Permission {
    let page = Page::of(request, fields);
    let relation = page.relation(fields);
    let from_other = relation == PageOrigin::Other;
    let granted = match &page {
        Page::At(origin) => granted_to(Some(origin), settings),
        Page::Unreadable => granted_to(None, settings),
        Page::Unnamed => None,
    };
    if let Some(admission) = request.admission {
        // A browser sends a cookie by itself, like a name and password.
        let is_forged = admission.carrier == Carrier::Cookie && from_other;
        if is_forged && granted != Some(Granted::ByName) {
            return Permission::Denied;
        }
        if publishing.allow.is_empty() {
            return Permission::Granted;
        }
    }
    let holds = |grant: &Grant| match grant {
        Grant::Token => fields
            .authorization
            .as_ref()
            .is_some_and(|sent| tokens.admit(sent)),
        // `*` is for pages that read without credentials.
        Grant::User => fields.user.is_some() && (!from_other || granted == Some(Granted::ByName)),
        Grant::SameOrigin => relation == PageOrigin::Same,
        Grant::Anyone => !from_other || granted.is_some(),
    };
    if publishing.allow.iter().any(holds) {
        return Permission::Granted;
    }
    if publishing.allow.contains(&Grant::Token) && fields.authorization.is_none() {
        return Permission::TokenMissing;
    }
    Permission::Denied
}

/// The page that sent the POST, as the request names it.
enum Page {
    /// A page of this origin.
    At(Origin),
    /// A page whose origin cannot be read: `null`, several, or malformed.
    Unreadable,
    /// No page is named. `Sec-Fetch-Site` may still say that there is one.
    Unnamed,
}

impl Page {
    /// By `Origin`, or by `Referer` if the request has neither `Origin` nor `Sec-Fetch-Site`.
    fn of(request: &Request, fields: &PostFields) -> Self {
        let origin = match (&request.origin, &fields.referer) {
            (Some(origin), _) => Origin::parse(origin),
            (None, Some(referer)) if fields.fetch_site.is_none() => Origin::of_url(referer),
            _ => return Self::Unnamed,
        };
        origin.map_or(Self::Unreadable, Self::At)
    }

    fn relation(&self, fields: &PostFields) -> PageOrigin {
        let fetched = match fields.fetch_site.as_deref() {
            None | Some(b"none") => PageOrigin::None,
            Some(b"same-origin") => PageOrigin::Same,
            // A subdomain is a different origin.
            Some(_) => PageOrigin::Other,
        };
        let named = match self {
            Self::At(origin) if is_own(origin, fields, fetched) => PageOrigin::Same,
            Self::At(_) | Self::Unreadable => PageOrigin::Other,
            Self::Unnamed => PageOrigin::None,
        };
        match (fetched, named) {
            (PageOrigin::Other, _) | (_, PageOrigin::Other) => PageOrigin::Other,
            (PageOrigin::None, PageOrigin::None) => PageOrigin::None,
            _ => PageOrigin::Same,
        }
    }
}

/// The origin of the page that sent the POST, compared with the requested host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageOrigin {
    /// A page of the same origin.
    Same,
    /// A page of another origin, or of an unknown one.
    Other,
    /// No page: a browser names its page in at least one of three fields.
    None,
}

/// Whether an origin is that of the requested host. `fetched` is what the browser says about it
/// in `Sec-Fetch-Site`.
///
/// Even if the server does not speak TLS, a proxy in front of it may. If the host has no port,
/// either the client sent none or the server removed it (Debian's nginx passes `$host`). Then
/// the port is that of the server, unless the browser says that the page is of the same origin,
/// or the page was loaded over TLS: then a proxy on the default port is in front of this
/// server.
fn is_own(origin: &Origin, fields: &PostFields, fetched: PageOrigin) -> bool {
    let Some(host) = &fields.host else {
        return false;
    };
    let authority = std::str::from_utf8(host).unwrap_or_default();
    let Some((host, port)) = split_port(authority) else {
        return false;
    };
    let has_tls = match origin.scheme() {
        "https" => true,
        "http" if fields.transport == Transport::Unknown => false,
        _ => return false,
    };
    if !origin.host().eq_ignore_ascii_case(host) {
        return false;
    }
    let default = if has_tls { 443 } else { 80 };
    let Some(own) = origin.port() else {
        return false;
    };
    match (port, fields.port) {
        (Some(port), _) => own == port,
        (None, None) => own == default,
        (None, Some(port)) => {
            let by_proxy = has_tls && fields.transport == Transport::Unknown;
            own == port || fetched == PageOrigin::Same || (by_proxy && own == default)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Admission, Lifetime, MetaVariables};

    const HOST: (&str, &str) = ("HTTP_HOST", "example.org:8080");
    const OWN: (&str, &str) = ("HTTP_ORIGIN", "http://example.org:8080");
    const OTHER: (&str, &str) = ("HTTP_ORIGIN", "https://evil.example");
    const SAME: (&str, &str) = ("HTTP_SEC_FETCH_SITE", "same-origin");
    const CROSS: (&str, &str) = ("HTTP_SEC_FETCH_SITE", "cross-site");
    const USER: (&str, &str) = ("REMOTE_USER", "eve");

    #[track_caller]
    fn check(allow: &str, pairs: &[(&str, &str)], expected: Permission) {
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
            &PostFields::from_meta(&meta),
            &settings,
            &publishing,
            &Tokens::parse(b"a-long-secret"),
        );
        assert_eq!(got, expected, "{allow}: {pairs:?}");
    }

    use Permission::{Denied, Granted, TokenMissing};

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
        // A TLS proxy may be in front of a server without TLS, and never behind one.
        let tls = ("HTTP_ORIGIN", "https://example.org:8080");
        check("same-origin", &[tls], Granted);
        check("same-origin", &[tls, ("HTTPS", "on")], Granted);
        check("same-origin", &[OWN, ("HTTPS", "on")], Denied);
    }

    #[test]
    fn a_host_without_its_port_is_compared_with_the_server_s_port() {
        let at = |host: &'static str, port: &'static str, origin: &'static str| {
            [
                ("HTTP_HOST", host),
                ("SERVER_PORT", port),
                ("HTTP_ORIGIN", origin),
            ]
        };
        for (host, port, origin) in [
            // nginx's $host.
            ("example.org", "8080", "http://example.org:8080"),
            ("Example.ORG", "8080", "http://example.org:8080"),
            ("[::1]", "8080", "http://[::1]:8080"),
            ("example.org", "80", "http://example.org"),
            ("example.org", "", "http://example.org"),
            // A TLS proxy in front of the server.
            ("example.org", "8080", "https://example.org"),
            ("example.org", "80", "https://example.org"),
            // nginx's $http_host.
            ("example.org:8080", "8080", "http://example.org:8080"),
            ("example.org:8443", "8080", "https://example.org:8443"),
            ("example.org:80", "80", "http://example.org"),
            ("[::1]:8080", "8080", "http://[::1]:8080"),
        ] {
            check("same-origin", &at(host, port, origin), Granted);
        }
        for (host, port, origin) in [
            ("example.org", "8080", "http://example.org"),
            ("example.org", "8080", "http://example.org:8081"),
            ("example.org", "8080", "https://example.org:8443"),
            ("example.org", "8080", "http://evil.example:8080"),
            ("example.org", "80", "http://example.org:8080"),
            ("example.org:8080", "8080", "http://example.org"),
            ("example.org:8080", "80", "http://example.org"),
            ("example.org:", "8080", "http://example.org:8080"),
        ] {
            check("same-origin", &at(host, port, origin), Denied);
        }
        let tls = |origin: &'static str| {
            [&at("example.org", "8443", origin)[..], &[("HTTPS", "on")]].concat()
        };
        check("same-origin", &tls("https://example.org:8443"), Granted);
        check("same-origin", &tls("https://example.org"), Denied);
        check("same-origin", &tls("http://example.org:8443"), Denied);
        // A browser that sends Sec-Fetch-Site knows the public origin.
        let proxied = [
            &at("example.org", "8080", "http://example.org")[..],
            &[SAME],
        ]
        .concat();
        check("same-origin", &proxied, Granted);
        // A location adds a second field, and the last one counts.
        let doubled = [
            &at("example.org:8080", "8080", "http://example.org:8080")[..],
            &[],
        ]
        .concat();
        check("same-origin", &doubled, Granted);
    }

    #[test]
    fn a_page_that_only_its_referer_names_is_of_that_origin() {
        let referer = |url: &'static str| ("HTTP_REFERER", url);
        let own = referer("http://example.org:8080/page?x#y");
        let foreign = [
            referer("https://evil.example/page"),
            referer("http://example.org/page"),
            referer("http://example.org:8081/page"),
            referer("ftp://example.org:8080/page"),
            referer("http://example.org:8080@evil.example/"),
            referer("http://evil.example/?http://example.org:8080/"),
            referer("http://example.org:8080.evil.example/"),
            referer("not a URL"),
            referer("about:blank"),
            referer("null"),
        ];
        for allow in ["user", "anyone", "same-origin", "user anyone same-origin"] {
            check(allow, &[USER, own], Granted);
            for foreign in foreign {
                check(allow, &[USER, foreign], Denied);
            }
        }
        // If the browser sends another field, Referer is ignored.
        check("user", &[USER, SAME, foreign[0]], Granted);
        check("anyone", &[OWN, foreign[0]], Granted);
        check("anyone", &[OTHER, own], Denied);
        check("anyone", &[CROSS, own], Denied);
        check("anyone", &[("HTTP_ORIGIN", "null"), own], Denied);
        check("user", &[USER, referer("")], Granted);
        // It can be allowed like any other origin.
        let named = ("SSE_ALLOW_ORIGIN", "https://*.example https://evil.example");
        check("user", &[USER, foreign[0], named], Granted);
        let any = ("SSE_ALLOW_ORIGIN", "*");
        check("user", &[USER, foreign[0], any], Denied);
        check("anyone", &[foreign[0], any], Granted);
        // No browser sends a token by itself.
        let token = ("HTTP_AUTHORIZATION", "Bearer a-long-secret");
        check("token", &[token, foreign[0]], Granted);
    }

    #[test]
    fn a_signed_link_suffices_unless_a_grant_is_set_or_another_site_s_page_used_its_cookie() {
        let check = |carrier, pairs: &[(&str, &str)], expected| {
            let meta = MetaVariables::of(&[&[HOST], pairs].concat());
            let request = Request {
                admission: Some(Admission {
                    carrier,
                    until_unix_s: 1,
                }),
                ..Request::from_meta(&meta)
            };
            let got = permit(
                &request,
                &PostFields::from_meta(&meta),
                &Settings::parse(&meta, Lifetime::Hour).unwrap().0,
                &Publishing::parse(&meta).unwrap().0,
                &Tokens::default(),
            );
            assert_eq!(got, expected, "{carrier:?}: {pairs:?}");
        };
        let user = ("SSE_PUBLISH_ALLOW", "user");
        let named = ("SSE_ALLOW_ORIGIN", "https://evil.example");
        let any = ("SSE_ALLOW_ORIGIN", "*");
        for carrier in [Carrier::Query, Carrier::Cookie, Carrier::Bearer] {
            check(carrier, &[], Granted);
            check(carrier, &[OWN, SAME], Granted);
            check(carrier, &[user], Denied);
            check(carrier, &[user, USER], Granted);
            let from_other = match carrier {
                Carrier::Cookie => Denied,
                _ => Granted,
            };
            for other in [&[OTHER][..], &[CROSS], &[OTHER, any]] {
                check(carrier, other, from_other);
            }
            check(carrier, &[OTHER, CROSS, named], Granted);
        }
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
