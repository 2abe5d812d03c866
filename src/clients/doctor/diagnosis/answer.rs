//! What the head of the response says.

use super::super::observation::{HeadSeen, Observations};
use super::super::servers::Server;
use super::{Check, names, seconds};

/// A HEAD that takes longer waits for the end of a body that it does not send.
const HEAD_SLOW: std::time::Duration = std::time::Duration::from_secs(2);

pub(super) fn redirects(seen: &Observations, checks: &mut Vec<Check>) {
    for (status, target) in &seen.redirects {
        let text = format!("{status} to {target}");
        checks.push(if looks_like_login(target) {
            Check::warning("redirect", format!("{text}, which looks like a login page"))
        } else {
            Check::note(
                "redirect",
                format!("{text}: EventSource follows it at every reconnect"),
            )
            .fix("give pages the final URL")
        });
    }
}

fn looks_like_login(target: &str) -> bool {
    let target = target.to_ascii_lowercase();
    [
        "login", "signin", "sign-in", "sign_in", "auth", "sso", "oauth", "saml", "logon", "cas/",
    ]
    .iter()
    .any(|word| target.contains(word))
}

/// Checks status and type. Returns whether it is a stream.
pub(super) fn status_and_type(
    seen: &Observations,
    chain: &[&'static Server],
    checks: &mut Vec<Check>,
) -> bool {
    if let Some(why) = &seen.stream.malformed {
        let text = format!("the response is not HTTP/1.1: {why}");
        checks.push(Check::fault("status", text).fix("check scheme and port of the URL"));
        return false;
    }
    let Some(head) = &seen.stream.head else {
        return false;
    };
    let gives_up = "any status but 200 ends an EventSource for good";
    let status = head.status;
    let check = match status {
        200 => None,
        204 => Some(Check::note(
            "status",
            "204: the stream is finished, and EventSource does not reconnect",
        )),
        301..=308 => Some(
            Check::fault("status", format!("{status}: more redirects than the doctor follows"))
                .fix("give pages the final URL"),
        ),
        401 | 407 => Some(
            Check::fault("status", format!("{status}: a password or a token is missing; {gives_up}"))
                .by("access rules of the web server")
                .fix("sse-doctor --token-file FILE, or --header @FILE, to test with it"),
        ),
        403 => Some(
            Check::fault("status", format!("403: not permitted; {gives_up}"))
                .by("access rules (Require, allow/deny), or a file that the server's user may not read")
                .fix("see the server's log"),
        ),
        404 | 410 => Some(
            Check::fault("status", format!("{status}: nothing is there; {gives_up}"))
                .fix("check the path; a missing file below SSE_ROOT is a 404 unless SSE_AWAIT=yes"),
        ),
        405 => Some(Check::fault("status", "405: this URL accepts no GET; it may be for publishing")),
        406 => Some(Check::fault("status", "406: it does not send text/event-stream")),
        429 => Some(
            Check::fault("status", format!("429: too many requests; {gives_up}"))
                .fix("answer 200 with retry: instead of 429, for streams"),
        ),
        502..=504 => {
            let what = match status {
                502 => "the program or responder behind the web server does not respond properly",
                503 => "the program or responder behind the web server is not running, or is full",
                _ => "the program or responder behind the web server did not respond in time",
            };
            let check = Check::fault("status", format!("{status} from {}: {what}; {gives_up}", names(chain)));
            Some(
                check
                    .blame(chain, |server| own(server.down))
                    .fix("systemctl status sse-fcgi.socket sse-fcgi, and journalctl -u sse-fcgi"),
            )
        }
        500..=599 => {
            let text = format!("{status} from {}: the program failed or has a wrong setting; {gives_up}", names(chain));
            let log = |server: &'static Server| own(server.log).into_iter();
            let log = |server| log(server).map(|log| format!("the reason is one line in {log}")).collect();
            Some(
                Check::fault("status", text)
                    .blame(chain, log)
                    .by("the program, or its settings")
                    .fix("nph-tail --check, or sse-fcgi --check FILE, names wrong settings"),
            )
        }
        _ => Some(Check::fault("status", format!("{status}: {gives_up}"))),
    };
    if let Some(check) = check {
        checks.push(check);
        return false;
    }
    checks.push(Check::good(
        "status",
        format!(
            "200 from {}, after {}",
            names(chain),
            seconds(seen.stream.head_after)
        ),
    ));
    let media = head.media_type();
    if !head.is_stream() {
        checks.push(wrong_type(seen, media.as_deref()));
        return false;
    }
    let value = head.field("content-type").unwrap_or_default();
    let charset = value.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        is_charset.then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    });
    checks.push(match charset.as_deref() {
        None | Some("utf-8" | "utf8") => Check::good("type", value),
        Some(other) => Check::fault(
            "type",
            format!("{value}: browsers reject any charset but utf-8"),
        )
        .by(format!(
            "charset={other}, which the program or AddDefaultCharset adds"
        ))
        .fix("Content-Type: text/event-stream; charset=utf-8"),
    });
    true
}

fn wrong_type(seen: &Observations, media: Option<&str>) -> Check {
    let is_page = matches!(media, Some("text/html" | "application/xhtml+xml"));
    let shown = media.unwrap_or("no Content-Type");
    let login = seen.redirects.last();
    match (is_page, login) {
        (true, Some((status, target))) => Check::fault(
            "login-page",
            format!("the response is a page ({shown}), after a {status} to {target}: a login page"),
        )
        .by("access rules, which redirect whoever is not logged in")
        .fix("answer 401 instead of a redirect for streams; test with --header @FILE (a Cookie) or --token-file FILE"),
        (true, None) => Check::fault(
            "wrong-type",
            format!("the response is a page ({shown}), not text/event-stream: a login page, an error page, or the wrong path"),
        )
        .by("the web server or the application, which answers this path itself")
        .fix("check the path, and that the location passes it to the program (ScriptAlias, fastcgi_pass)"),
        _ => Check::fault("wrong-type", format!("{shown}, not text/event-stream: EventSource gives up for good"))
            .by("the program, or a file that is sent instead of a program that runs")
            .fix("Content-Type: text/event-stream; a CGI program needs Options +ExecCGI and AddHandler cgi-script .cgi"),
    }
}

fn own(text: &str) -> Vec<String> {
    Some(text)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .into_iter()
        .collect()
}

/// Checks the fields that caches, proxies and browsers look at.
pub(super) fn fields(seen: &Observations, checks: &mut Vec<Check>) {
    let Some(head) = &seen.stream.head else {
        return;
    };
    let control: Vec<_> = head
        .all("cache-control")
        .map(str::to_ascii_lowercase)
        .collect();
    let control = control.join(", ");
    let has = |word| control.contains(word);
    if !has("no-cache") && !has("no-store") {
        checks.push(
            Check::warning(
                "cache-control",
                format!("Cache-Control is {control:?}: a cache may keep the stream"),
            )
            .fix("Cache-Control: no-cache, no-transform"),
        );
    } else if !has("no-transform") {
        checks.push(
            Check::note(
                "cache-control",
                format!("{control}: without no-transform, proxies may compress"),
            )
            .fix("Cache-Control: no-cache, no-transform"),
        );
    } else {
        checks.push(Check::good("cache-control", control));
    }
    if let Some(length) = head.field("content-length") {
        checks.push(
            Check::warning(
                "length",
                format!("Content-Length: {length}: something has collected the whole stream"),
            )
            .fix("send no Content-Length"),
        );
    }
    if head.minor == 0 {
        checks.push(Check::note(
            "http-1.0",
            "the response is HTTP/1.0: the connection ends with the stream",
        ));
    }
    for name in [
        "content-type",
        "access-control-allow-origin",
        "content-length",
    ] {
        let values: Vec<_> = head.all(name).collect();
        if values.len() > 1 {
            checks.push(
                Check::fault(
                    "double-field",
                    format!("{name} is sent twice: {}", values.join(" and ")),
                )
                .by("the web server and the program both add it")
                .fix(format!("remove the web server's line for {name}")),
            );
        }
    }
}

/// Checks the text of the stream itself.
pub(super) fn text(seen: &Observations, checks: &mut Vec<Check>) {
    let record = &seen.stream.record;
    if let Some(html) = &record.html {
        let check = Check::fault(
            "error-page",
            format!("an HTML page within the stream: {html}"),
        );
        checks.push(
            check
                .by("the web server, which writes its error page into a stream that it ends (mod_fcgid does)")
                .fix("raise the limit that ends the stream: FcgidIOTimeout 60, FcgidBusyTimeout 4000"),
        );
    } else if record.unknown_lines > 0 {
        let text = format!(
            "{} lines have no field that browsers know",
            record.unknown_lines
        );
        checks.push(Check::warning("text", text).fix("data: before each line of data"));
    }
    if record.bad_text_lines > 0 {
        let text = format!("{} lines are not UTF-8", record.bad_text_lines);
        checks.push(Check::warning("utf-8", text).fix("send UTF-8; browsers show U+FFFD"));
    }
    if record.is_too_long {
        checks.push(Check::warning(
            "size",
            "an event of more than 64 MiB, or an id of more than 64 KiB",
        ));
    }
}

/// Checks what a page of another origin may read.
pub(super) fn origin(seen: &Observations, checks: &mut Vec<Check>) {
    let (Some(origin), Some(head)) = (&seen.origin, &seen.stream.head) else {
        return;
    };
    let allowed = head.field("access-control-allow-origin");
    let credentials = head.field("access-control-allow-credentials");
    let vary = head
        .all("vary")
        .any(|value| value.to_ascii_lowercase().contains("origin"));
    checks.push(match allowed {
        None => Check::fault("cors", format!("pages of {origin} cannot read the stream")).fix(
            format!("SSE_ALLOW_ORIGIN={origin} (Access-Control-Allow-Origin)"),
        ),
        Some("*") => Check::good("cors", "every origin may read it, without credentials"),
        Some(value) if value == origin && !vary => Check::warning(
            "cors",
            format!("{origin} may read it; without Vary: Origin a cache mixes origins up"),
        )
        .fix("Vary: Origin"),
        Some(value) if value == origin => {
            let with = match credentials {
                Some("true") => "with credentials",
                _ => "without credentials: new EventSource(url, {withCredentials: true}) fails",
            };
            Check::good("cors", format!("{origin} may read it, {with}"))
        }
        Some(value) => Check::fault(
            "cors",
            format!("only {value} may read the stream, not {origin}"),
        )
        .fix(format!("SSE_ALLOW_ORIGIN=\"{value} {origin}\"")),
    });
}

/// Checks that HEAD returns the head and ends.
pub(super) fn head_request(
    seen: &Observations,
    chain: &[&'static Server],
    checks: &mut Vec<Check>,
) {
    let stream = seen.stream.head.as_ref();
    checks.push(match &seen.head {
        None => return,
        Some(HeadSeen::Late(time)) => {
            let text = format!("HEAD had no response within {}", seconds(*time));
            Check::warning("head", text)
                .by(names(chain))
                .fix("the program must end after the head of a HEAD request (sse-cgi does)")
        }
        Some(HeadSeen::Closed) => {
            Check::warning("head", "HEAD: the connection was closed without a response")
        }
        Some(HeadSeen::Answered(_, time)) if *time > HEAD_SLOW => Check::warning(
            "head",
            format!("HEAD took {}: monitoring waits that long", seconds(*time)),
        ),
        Some(HeadSeen::Answered(head, _))
            if stream.is_some_and(|get| get.status == 200 && head.status != 200) =>
        {
            Check::note(
                "head",
                format!("HEAD is answered by {}, GET by 200", head.status),
            )
        }
        Some(HeadSeen::Answered(head, time)) => Check::good(
            "head",
            format!("HEAD: {} after {}", head.status, seconds(*time)),
        ),
    });
}
