//! The input of programs, and the handling of their output.

use crate::stage::Stage;

const ENVIRONMENT: &str = "\
#!/usr/bin/perl
print \"Content-Type: text/plain\\n\\n\";
print \"$_=$ENV{$_}\\n\" for sort keys %ENV;
";

const ARGUMENTS: &str = "\
#!/bin/sh
printf '\\n'
for word; do printf '<%s>' \"$word\"; done
";

const INPUT: &str = "\
#!/bin/sh
case $0 in */nph-*) printf 'HTTP/1.1 200 OK\\r\\n\\r\\n';; *) printf '\\n';; esac
input=$(cat)
printf '%s,%s,%s' \"${CONTENT_LENGTH-none}\" \"${HTTP_TRANSFER_ENCODING-none}\" \"$input\"
";

#[test]
fn the_environment_is_apaches_and_nothing_else() {
    let harness = Stage::new()
        .program("env.cgi", ENVIRONMENT)
        .variable("SSE_INHERITED", "1")
        .variable("HOME", "/nowhere")
        .options(&["--set", "SSE_A=all", "--set", "SSE_B=all"])
        .options(&["--set", "env.cgi:SSE_B=one", "--set", "x.cgi:SSE_A=x"])
        .options(&["--set", "SERVER_PORT=1"])
        .start();
    let client = harness.send(
        "GET //cgi-bin/%65nv.cgi/p%20q/./x?a=1&b=%20 HTTP/1.0\r\nHost: LocalHost:99\r\n\
         Last-Event-ID: 5\r\nlast-event-id: 6\r\nLast_Event_ID: 7\r\nProxy: p\r\n\
         Authorization: a\r\nAccept: text/event-stream\r\n\r\n",
    );
    let (_, body) = client.answer();
    let port = body
        .lines()
        .find(|line| line.starts_with("REMOTE_PORT="))
        .expect("REMOTE_PORT");
    let folder = harness.folder().display();
    let expected = format!(
        "\
CONTEXT_DOCUMENT_ROOT={folder}/cgi-bin/
CONTEXT_PREFIX=/cgi-bin/
DOCUMENT_ROOT={folder}/web
GATEWAY_INTERFACE=CGI/1.1
HTTP_ACCEPT=text/event-stream
HTTP_HOST=LocalHost:99
HTTP_LAST_EVENT_ID=5, 6
PATH=/usr/bin:/bin
PATH_INFO=/p q/x
PATH_TRANSLATED={folder}/web/p q/x
QUERY_STRING=a=1&b=%20
REMOTE_ADDR=127.0.0.1
{port}
REQUEST_METHOD=GET
REQUEST_SCHEME=http
REQUEST_URI=//cgi-bin/%65nv.cgi/p%20q/./x?a=1&b=%20
SCRIPT_FILENAME={folder}/cgi-bin/env.cgi
SCRIPT_NAME=/cgi-bin/env.cgi
SERVER_ADDR=127.0.0.1
SERVER_ADMIN=[no address given]
SERVER_NAME=localhost
SERVER_PORT=99
SERVER_PROTOCOL=HTTP/1.0
SERVER_SIGNATURE=
SERVER_SOFTWARE=sse-harness/{}
SSE_A=all
SSE_B=one
SSE_INHERITED=1
",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(body, expected);
}

#[test]
fn a_query_without_an_equals_sign_becomes_argv() {
    let harness = Stage::new().program("args.cgi", ARGUMENTS).start();
    for (query, expected) in [
        ("", ""),
        ("?", ""),
        ("?a=1+b", ""),
        ("?--config+/etc/passwd", "<--config></etc/passwd>"),
        ("?a%20b+%24x", "<a b><\\$x>"),
    ] {
        let request = format!("GET /cgi-bin/args.cgi{query} HTTP/1.0\r\n\r\n");
        assert_eq!(harness.send(request).answer().1, expected, "{query}");
    }
}

#[test]
fn the_bytes_of_an_nph_program_are_the_answer() {
    let harness = Stage::new()
        .program(
            "nph-raw.cgi",
            "#!/bin/sh\nprintf 'HTTP/1.1 299 Mine\\r\\nx: y\\n\\r\\n\\000\\377\\r\\nend'\n",
        )
        .start();
    let expected = b"HTTP/1.1 299 Mine\r\nx: y\n\r\n\x00\xff\r\nend";
    // The connection is closed at the end, whatever the client requested.
    let keep = "GET /cgi-bin/nph-raw.cgi HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(harness.send(keep).rest(), expected);
    // As with Apache, even HEAD gets them all.
    let head = "HEAD /cgi-bin/nph-raw.cgi HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(harness.send(head).rest(), expected);
}

#[test]
fn every_event_arrives_when_it_is_written() {
    let text = "\
#!/bin/sh
case $0 in */nph-*) printf 'HTTP/1.1 200 OK\\r\\n';; esac
printf 'Content-Type: text/event-stream\\n\\n'
for event in one two; do
    printf 'data: %s\\n\\n' $event
    read line <$STAGE/gate-$event
done
";
    for name in ["plain.cgi", "nph-raw.cgi"] {
        let harness = Stage::new()
            .gate("gate-one")
            .gate("gate-two")
            .program(name, text)
            .start();
        let mut client = harness.get(&format!("/cgi-bin/{name}"));
        client.until("data: one\n\n");
        harness.open("gate-one");
        client.until("data: two\n\n");
        harness.open("gate-two");
        client.rest();
    }
}

#[test]
fn two_clients_are_served_at_the_same_time() {
    let text = "\
#!/bin/sh
printf 'HTTP/1.1 200 OK\\r\\n\\r\\nbegin '
read line <$STAGE/$QUERY_STRING
printf end
";
    let harness = Stage::new()
        .gate("first")
        .gate("second")
        .program("nph-wait.cgi", text)
        .start();
    let mut first = harness.get("/cgi-bin/nph-wait.cgi?first");
    let mut second = harness.get("/cgi-bin/nph-wait.cgi?second");
    first.until("begin ");
    second.until("begin ");
    harness.open("second");
    assert_eq!(second.rest(), b"end");
    harness.open("first");
    assert_eq!(first.rest(), b"end");
}

#[test]
fn a_body_is_the_programs_input() {
    let harness = Stage::new()
        .program("in.cgi", INPUT)
        .program("nph-in.cgi", INPUT)
        .start();
    let chunks = "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
    for name in ["in.cgi", "nph-in.cgi"] {
        let post = format!("POST /cgi-bin/{name} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n");
        for (framing, expected) in [
            ("Content-Length: 5\r\n\r\nhello", "5,none,hello"),
            (chunks, "none,chunked,hello"),
            ("Content-Length: 0\r\n\r\n", "0,none,"),
            ("\r\n", "none,none,"),
        ] {
            let text = harness.send(format!("{post}{framing}")).rest();
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains(expected), "{name} {framing:?}: {text}");
        }
    }
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let harness = Stage::new()
        .program("in.cgi", INPUT)
        .program("nph-in.cgi", INPUT)
        .start();
    for name in ["in.cgi", "nph-in.cgi"] {
        let mut client = harness.send(format!(
            "POST /cgi-bin/{name} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
             Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        ));
        assert_eq!(client.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
        client.send("hi");
        client.until("2,none,hi");
    }
}

#[test]
fn input_larger_than_a_socket_holds_arrives_while_the_output_leaves() {
    let harness = Stage::new()
        .program("cat.cgi", "#!/bin/sh\nprintf '\\n'; exec cat\n")
        .program("ignore.cgi", "#!/bin/sh\nprintf '\\nignored'\n")
        .start();
    let body = "x".repeat(1 << 20);
    for (name, expected) in [("cat.cgi", body.as_str()), ("ignore.cgi", "ignored")] {
        let length = body.len();
        let request =
            format!("POST /cgi-bin/{name} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}");
        assert!(harness.send(request).answer().1 == expected, "{name}");
    }
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answer() {
    let text = "\
#!/bin/sh
case $0 in */nph-*) printf 'HTTP/1.1 200 OK\\r\\n';; esac
printf '\\nbegin '
read line <$STAGE/gate
printf end.
";
    for name in ["wait.cgi", "nph-wait.cgi"] {
        let harness = Stage::new().gate("gate").program(name, text).start();
        let mut client = harness.get(&format!("/cgi-bin/{name}"));
        client.finish();
        client.until("begin ");
        harness.open("gate");
        client.until("end.");
    }
}

#[test]
fn a_plain_program_gets_its_answer_framed() {
    let text = "\
#!/bin/sh
printf 'Status: 404 Gone Fishing\\nX-Own: 1\\nConnection: x\\nSet-Cookie: a\\nSet-Cookie: b\\n\\nbody'
";
    let harness = Stage::new().program("a.cgi", text).start();
    let request = "GET /cgi-bin/a.cgi HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = harness.send(request);
    for _ in 0..2 {
        let head = client.until("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 404 Gone Fishing\r\n"), "{head}");
        for line in [
            "X-Own: 1\r\n",
            "Set-Cookie: a\r\n",
            "Set-Cookie: b\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Date: ",
            "Server: sse-harness/",
        ] {
            assert!(head.contains(line), "{line} in {head}");
        }
        assert!(!head.contains("Connection:"), "{head}");
        assert_eq!(client.until("0\r\n\r\n"), "4\r\nbody\r\n0\r\n\r\n");
        // The connection is kept, as Apache keeps it.
        client.send(request);
    }
}

#[test]
fn head_and_204_have_no_body() {
    let harness = Stage::new()
        .program("a.cgi", "#!/bin/sh\nprintf 'Content-Type: a/b\\n\\nbody'\n")
        .program("none.cgi", "#!/bin/sh\nprintf 'Status: 204\\n\\n'\n")
        .start();
    let request = "HEAD /cgi-bin/a.cgi HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let (head, body) = harness.send(request).answer();
    assert!(head.contains("\r\nContent-Type: a/b\r\n"), "{head}");
    assert_eq!(body, "");
    let (head, body) = harness.get("/cgi-bin/none.cgi").answer();
    assert!(head.starts_with("HTTP/1.1 204 No Content\r\n"), "{head}");
    assert_eq!(body, "");
}

#[test]
fn a_location_leads_on() {
    let redirect = |to: &str| format!("#!/bin/sh\nprintf 'Location: {to}\\n\\n'\n");
    let harness = Stage::new()
        .program("env.cgi", ENVIRONMENT)
        .program("far.cgi", &redirect("http://a/"))
        .program("near.cgi", &redirect("/cgi-bin/env.cgi/p?q=1"))
        .program("page.cgi", &redirect("/a.txt"))
        .program("ring.cgi", &redirect("/cgi-bin/ring.cgi"))
        .page("a.txt", "page")
        .start();
    let head = harness.get("/cgi-bin/far.cgi").until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 302 "), "{head}");
    assert!(head.contains("\r\nLocation: http://a/\r\n"), "{head}");

    let post = "POST /cgi-bin/near.cgi?x HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi";
    let (_, body) = harness.send(post).answer();
    for line in [
        "PATH_INFO=/p",
        "QUERY_STRING=q=1",
        "REDIRECT_QUERY_STRING=x",
        "REDIRECT_REQUEST_METHOD=POST",
        "REDIRECT_STATUS=200",
        "REDIRECT_URL=/cgi-bin/near.cgi",
        "REQUEST_METHOD=GET",
        "REQUEST_URI=/cgi-bin/near.cgi?x",
    ] {
        assert!(body.lines().any(|l| l == line), "{line} in {body}");
    }
    assert!(!body.contains("\nCONTENT_LENGTH="), "{body}");
    assert_eq!(harness.get("/cgi-bin/page.cgi").answer().1, "page");
    assert_eq!(harness.status("/cgi-bin/ring.cgi"), 500);
}

#[test]
fn a_broken_head_is_500_and_a_line_in_the_log() {
    let harness = Stage::new()
        .program("text.cgi", "#!/bin/sh\necho hello world\necho\n")
        .program("nothing.cgi", "#!/bin/sh\nexit 3\n")
        .program("half.cgi", "#!/bin/sh\nprintf 'A: b\\n'\n")
        .program("status.cgi", "#!/bin/sh\nprintf 'Status: abc\\n\\n'\n")
        .program("unstartable.cgi", "#!/nonexistent\n")
        .start();
    for (name, logged) in [
        (
            "text.cgi",
            "text.cgi: broken head: invalid header name: \"hello world\"",
        ),
        ("nothing.cgi", "nothing.cgi ended with exit code 3"),
        (
            "half.cgi",
            "half.cgi: broken head: the program ended within it",
        ),
        ("status.cgi", "status.cgi: broken head: bad Status: \"abc\""),
        ("unstartable.cgi", "start unstartable.cgi: No such file"),
    ] {
        assert_eq!(harness.status(&format!("/cgi-bin/{name}")), 500, "{name}");
        harness.wait_for_log(logged);
    }
}

#[test]
fn what_a_program_says_on_stderr_is_logged_with_its_name() {
    let text = "#!/bin/sh\nprintf '\\n'\nprintf 'bad \\033[31m thing\\n' >&2\n";
    let harness = Stage::new().program("a.cgi", text).start();
    harness.get("/cgi-bin/a.cgi").rest();
    harness.wait_for_log("\na.cgi: bad \\u{1b}[31m thing\n");
}
