//! Sessions whose clients do not return.

use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;

use crate::spool::{Place, json, said};
use crate::stage::{Running, wait_for};

/// Sets the time at which a session's stream was open last.
fn set_away(session: &Path, time: Duration) {
    let at = SystemTime::now() - time;
    let times = FileTimes::new().set_modified(at).set_accessed(at);
    File::open(session).unwrap().set_times(times).unwrap();
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn ten_thousand_abandoned_sessions_are_gone_after_a_few_dozen_comings() {
    let place = Place::in_memory();
    let (stream, _) = place.session();
    drop(stream);
    let first = place.sessions().remove(0);
    set_away(&first, HOUR);
    for number in 0..10_000u32 {
        // Spread as random ids are.
        let id = format!("{:08x}{number:024x}", number.wrapping_mul(0x9E37_79B1));
        let session = place.spool().join(&id[..2]).join(&id);
        fs::create_dir_all(&session).unwrap();
        fs::write(session.join("events.jsonl"), "{}\n").unwrap();
        set_away(&session, HOUR);
    }
    let (_kept, id) = place.session();
    let mut comings = 1;
    while place.sessions().len() > 60 {
        let (stream, _) = place.session();
        drop(stream);
        comings += 1;
        assert!(comings < 60, "{} are left", place.sessions().len());
    }
    // The remaining ones are new, and are or were just in use.
    place
        .post("session", "x")
        .set("HTTP_X_SESSION_ID", &id)
        .created();
}

#[test]
fn a_session_that_is_in_use_stays_whoever_sweeps() {
    let place = Place::new();
    let program = place.get("session").set("SSE_SESSION_GRACE", "10s");
    let mut stream = program.start();
    let id = crate::spool::session_of(&stream.event());
    let session = place.sessions().remove(0);
    let touched = session.metadata().unwrap().modified().unwrap();
    // Its stream updates the time every quarter of the grace.
    wait_for("a touch", || {
        (session.metadata().unwrap().modified().unwrap() > touched).then_some(())
    });
    for _ in 0..20 {
        place
            .get("session")
            .set("SSE_SESSION_GRACE", "10s")
            .start()
            .event();
    }
    let post = place.post("session", "x").set("HTTP_X_SESSION_ID", &id);
    post.created();
    stream.says(&["x"]);
}

#[test]
fn locations_that_share_a_spool_leave_each_other_s_sessions_their_own_grace() {
    let place = Place::new();
    let with_grace = |grace: &str| place.get("session").set("SSE_SESSION_GRACE", grace);
    let mut long = with_grace("1h").start();
    let id = crate::spool::session_of(&long.event());
    let session = place.sessions().remove(0);
    // Its stream, which would update the time after a quarter of an hour, is open; with the
    // shortest grace it would have been away for too long.
    let at = SystemTime::now() - Duration::from_secs(60);
    let touched = FileTimes::new().set_modified(at);
    File::open(&session).unwrap().set_times(touched).unwrap();
    for _ in 0..3 {
        // One sweep in a tenth of a second.
        std::thread::sleep(Duration::from_millis(110));
        with_grace("10s").start().event();
    }
    assert!(session.exists());
    let post = place.post("session", "x").set("HTTP_X_SESSION_ID", &id);
    post.set("SSE_SESSION_GRACE", "10s").created();
    long.says(&["x"]);
    drop(long);
    // Its own grace has passed.
    set_away(&session, 2 * HOUR);
    wait_for("the end of a session", || {
        with_grace("10s").start().event();
        (!session.exists()).then_some(())
    });
}

#[test]
fn sweepers_at_the_same_time_and_clients_that_return_do_each_other_no_harm() {
    let place = Place::new();
    let sessions: Vec<(String, String)> = (0..40)
        .map(|_| {
            let (stream, id) = place.session();
            (id, stream.last_id().to_owned())
        })
        .collect();
    for session in place.sessions() {
        set_away(&session, HOUR);
    }
    // All at once: half of them return, and each sweeps.
    let returned: Vec<Running> = sessions
        .iter()
        .step_by(2)
        .map(|(_, last)| place.get("session").last_id(last).start())
        .collect();
    let strangers: Vec<Running> = (0..20).map(|_| place.get("session").start()).collect();
    for mut stranger in strangers {
        stranger.event();
    }
    for (mut stream, (id, _)) in returned.into_iter().zip(sessions.iter().step_by(2)) {
        // It has either its session again, or a gap and a new session.
        let post = place.post("session", "x").set("HTTP_X_SESSION_ID", id);
        let answer = post.send();
        if answer.status == "201 Created" {
            assert_eq!(stream.event().data, "x");
            continue;
        }
        answer.is_error("404 Not Found");
        let gap = stream.event();
        assert_eq!(gap.data, "{\"reason\":\"unknown-id\"}");
        let new = crate::spool::session_of(&stream.event());
        assert_ne!(&new, id);
    }
}

#[test]
fn a_session_that_was_swept_under_its_stream_ends_it_and_the_client_gets_a_new_one() {
    let place = Place::new();
    let program = place.get("session").set("SSE_SESSION_GRACE", "10s");
    let mut stream = program.start();
    let old = crate::spool::session_of(&stream.event());
    fs::remove_dir_all(&place.sessions()[0]).unwrap();
    // Without `close`, which would keep its client from returning.
    assert_eq!(stream.rest(), []);
    let mut again = place.get("session").last_id(stream.last_id()).start();
    assert_eq!(again.event().name, "gap");
    assert_ne!(crate::spool::session_of(&again.event()), old);
}

#[test]
fn who_left_a_room_is_told_once_to_all_others_after_the_grace() {
    let place = Place::new();
    let member = |nick: &str| {
        let get = place.get("room").query(&format!("nick={nick}"));
        let get = get.set("SSE_HEARTBEAT", "1s");
        let mut stream = get.set("SSE_SESSION_GRACE", "10s").start();
        let welcome = stream.event();
        (stream, json(&welcome.data))
    };
    let (mut ann, _) = member("Ann");
    let (mut bob, welcome) = member("Bob");
    assert_eq!(ann.event().name, "join");
    // Files that existed before.
    assert_eq!(said(&bob.event()).0, "Ann");
    let (mut eve, _) = member("Eve");
    for stream in [&mut ann, &mut bob] {
        let join = stream.event();
        assert_eq!((&join.name[..], &said(&join).0[..]), ("join", "Eve"));
    }
    eve.signal(Signal::SIGTERM);
    eve.code();
    // The time of its folder decides, and not ours.
    let gone = place.sessions().into_iter().find(|session| {
        let stored = fs::read_to_string(session.join("member.json")).unwrap();
        stored.contains("Eve")
    });
    set_away(&gone.unwrap(), HOUR);
    for stream in [&mut ann, &mut bob] {
        let leave = stream.event();
        assert_eq!((&leave.name[..], &said(&leave).0[..]), ("leave", "Eve"));
    }
    let (_, late) = member("Zoe");
    for stream in [&mut ann, &mut bob] {
        assert_eq!(said(&stream.event()).0, "Zoe");
    }
    assert_eq!(late["count"], 3);
    assert_eq!(welcome["count"], 2);
    let history = fs::read_to_string(place.history()).unwrap();
    assert_eq!(history.matches("\"leave\"").count(), 1);
}
