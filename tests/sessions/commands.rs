//! A session's command as a process: whatever it does, it ends, and so does everything that it
//! has started.

use std::fs;

use crate::post::Post;
use crate::spool::Place;
use crate::stage::{Running, wait_for};
use crate::support::process::runs;

/// A message for a shell script. In the script `$0` is a file to which it adds the numbers of
/// processes.
fn post(place: &Place, session: &str, script: &str) -> Post {
    let pids = place.folder.path("pids");
    let words = ["sh", "-c", script, pids.to_str().unwrap()];
    posted(place, session, "hello").set("SSE_COMMAND", shlex::try_join(words).unwrap())
}

fn posted(place: &Place, session: &str, text: &str) -> Post {
    place
        .post("session", text)
        .set("HTTP_X_SESSION_ID", session)
}

/// Events up to `done`, without the message itself.
fn answer(stream: &mut Running) -> Vec<String> {
    let mut said = Vec::new();
    loop {
        let event = stream.event();
        match &event.name[..] {
            "message" => {}
            "done" => {
                said.push(format!("done: {}", event.data));
                return said;
            }
            _ => said.push(event.data),
        }
    }
}

fn noted(place: &Place, count: usize) -> Vec<String> {
    wait_for("the numbers of processes", || {
        let text = fs::read_to_string(place.folder.path("pids")).ok()?;
        let pids: Vec<String> = text.lines().map(str::to_owned).collect();
        (pids.len() == count).then_some(pids)
    })
}

#[track_caller]
fn are_gone(pids: &[String]) {
    let gone = || pids.iter().all(|pid| !runs(pid)).then_some(());
    wait_for("the end of all processes", gone);
}

#[test]
fn a_command_that_closes_its_output_and_runs_on_is_ended_at_its_timeout_and_leaves_its_place() {
    let place = Place::new();
    let (mut stream, id) = place.session();
    for script in [
        "echo $$ >>\"$0\"; echo one; trap '' TERM; exec >&- 2>&-; while :; do sleep 0.05; done",
        "echo $$ >>\"$0\"; echo one; exec sleep 600 >/dev/null",
        // It never pauses, and never ends a line.
        "echo $$ >>\"$0\"; echo one; trap '' TERM; exec cat /dev/zero",
    ] {
        let _ = fs::remove_file(place.folder.path("pids"));
        post(&place, &id, script)
            .set("SSE_COMMAND_TIMEOUT", "300ms")
            .set("SSE_COMMAND_OUTPUT", "1G")
            .set("SSE_COMMAND_MAX", "1")
            .created();
        let said = answer(&mut stream);
        assert_eq!(
            (&said[0][..], &said.last().unwrap()[..]),
            ("one", "done: timeout")
        );
        // All processes had ended before the end was published.
        assert!(!runs(&noted(&place, 1)[0]), "{script}");
        post(&place, &id, "echo two")
            .set("SSE_COMMAND_MAX", "1")
            .created();
        assert_eq!(answer(&mut stream), ["two", "done: 0"]);
    }
}

#[test]
fn what_a_session_s_command_leaves_in_the_background_ends_with_it() {
    let place = Place::new();
    let (mut stream, id) = place.session();
    let deaf = "trap \"\" TERM HUP; echo $$ >>\"$0\"; while :; do sleep 0.05; done";
    let away = format!("'{deaf}' \"$0\" >/dev/null 2>&1 </dev/null &");
    let script = format!(
        "sh -c {away}
         setsid sh -c {away}
         (setsid setsid -f sh -c {away})
         sleep 600 >/dev/null 2>&1 & echo $! >>\"$0\"
         while test $(wc -l <\"$0\") -lt 4; do sleep 0.01; done; echo ready"
    );
    post(&place, &id, &script).created();
    assert_eq!(answer(&mut stream), ["ready", "done: 0"]);
    are_gone(&noted(&place, 4));
}

#[test]
fn a_command_whose_background_keeps_its_output_open_is_ended_at_the_timeout() {
    let place = Place::new();
    let (mut stream, id) = place.session();
    let script = "(trap '' TERM; setsid sleep 600) & echo $! >>\"$0\"; echo one; exit 0";
    post(&place, &id, script)
        .set("SSE_COMMAND_TIMEOUT", "300ms")
        .created();
    assert_eq!(answer(&mut stream), ["one", "done: timeout"]);
    are_gone(&noted(&place, 1));
}

#[test]
fn a_program_that_closes_its_input_or_writes_megabytes_without_a_line_is_answered_with() {
    let place = Place::new();
    let (mut stream, id) = place.session();
    let long = "x".repeat(60_000);
    let deaf = posted(&place, &id, &long).set("SSE_COMMAND", "sh -c 'exec <&-; echo deaf'");
    deaf.created();
    assert_eq!(answer(&mut stream), ["deaf", "done: 0"]);
    let script = "head -c 5000000 /dev/zero | tr '\\0' x";
    post(&place, &id, script)
        .set("SSE_MAX_LINE", "100")
        .created();
    assert_eq!(answer(&mut stream), ["x".repeat(100), "done: 0".into()]);
}

#[test]
fn a_message_300_deep_or_with_half_a_surrogate_pair_reaches_the_command() {
    let place = Place::new();
    let (mut stream, id) = place.session();
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    for (json, expected) in [
        (format!("{{\"data\":{deep}}}"), deep),
        (
            "{\"data\":\"a\\ud800b\"}".into(),
            "a\u{fffd}\u{fffd}\u{fffd}b".into(),
        ),
        ("{\"data\":{\"n\":1e400}}".into(), "{\"n\":1e400}".into()),
    ] {
        let post = posted(&place, &id, "").body("application/json", &json);
        post.set("SSE_COMMAND", "cat").created();
        assert_eq!(
            answer(&mut stream),
            [expected, "done: 0".into()],
            "{json:.40}"
        );
    }
}

#[test]
fn a_command_that_is_not_there_or_may_not_run_is_named_in_the_log_with_the_remedy() {
    let place = Place::new();
    let (mut stream, id) = place.session();
    let file = place.folder.write("no-program", "x");
    let file = file.to_str().unwrap();
    for (command, error) in [
        ("/no/such/program", "No such file or directory"),
        ("no-such-program", "No such file or directory"),
        (file, "Permission denied"),
    ] {
        let answered = posted(&place, &id, "x").set("SSE_COMMAND", command).send();
        answered.id();
        assert!(
            answered
                .errors
                .contains(&format!("SSE_COMMAND={command}: {error}"))
                && answered
                    .errors
                    .contains("name a program that this user can run"),
            "{answered:?}"
        );
        assert_eq!(answer(&mut stream), ["done: failed"]);
    }
}

#[test]
fn a_command_that_nobody_waits_for_any_longer_does_not_outlive_its_session() {
    let place = Place::new();
    let (stream, id) = place.session();
    let script = "echo $$ >>\"$0\"; while :; do echo x; sleep 0.05; done";
    post(&place, &id, script).created();
    let pids = noted(&place, 1);
    drop(stream);
    // The session was swept: its next line finds no file.
    fs::remove_dir_all(&place.sessions()[0]).unwrap();
    are_gone(&pids);
}
