//! Streams and POSTs behind real servers, across a restart of the processes that serve them.

use crate::servers::apache::Mpm;
use crate::spool::json;
use crate::way::{Way, welcome};

/// Makes each function a test behind each server.
macro_rules! behind_each {
    ($($name:ident),+ $(,)?) => {
        mod apache_cgid {
            $(#[test] fn $name() {
                super::$name(super::Way::apache(super::Mpm::EventWithCgid, 20));
            })+
        }
        mod apache_cgi {
            $(#[test] fn $name() {
                super::$name(super::Way::apache(super::Mpm::PreforkWithCgi, 12));
            })+
        }
        mod nginx_responder {
            $(#[test] fn $name() { super::$name(super::Way::nginx()) })+
        }
        mod httpd {
            $(#[test] fn $name() { super::$name(super::Way::httpd()) })+
        }
        mod two_nodes_and_a_redis {
            $(#[test] fn $name() { super::$name(super::Way::redis()) })+
        }
    };
}

behind_each!(
    a_session_is_two_way_and_survives_a_restart,
    members_of_a_room_hear_each_other_and_survive_a_restart,
    an_unknown_session_is_404_in_json,
    a_preflight_lets_another_site_s_page_name_its_session,
);

fn a_session_is_two_way_and_survives_a_restart(mut way: Way) {
    let mut stream = way.open("session", "", "");
    let id = welcome(&mut stream);
    let mut other = way.open("session", "", "");
    let other_id = welcome(&mut other);
    for number in 0..5 {
        let answered = way.created("session", &id, &format!("up {number}"));
        let event = stream.event();
        assert_eq!((event.id, event.data), (answered, format!("up {number}")));
    }
    let last = stream.parser.last_id.clone();
    way.restart();
    drop(stream);
    way.created("session", &id, "while away");
    let mut stream = way.open("session", "", &last);
    assert_eq!(stream.event().data, "while away");
    way.created("session", &id, "and back");
    assert_eq!(stream.event().data, "and back");
    // The other one received nothing of it.
    let mut other = way.open("session", "", &other.parser.last_id);
    way.created("session", &other_id, "for the other");
    assert_eq!(other.event().data, "for the other");
}

fn members_of_a_room_hear_each_other_and_survive_a_restart(mut way: Way) {
    let mut ann = way.open("room", "nick=Ann", "");
    let ann_id = welcome(&mut ann);
    let mut bob = way.open("room", "nick=Bob", "");
    let bob_id = welcome(&mut bob);
    assert_eq!(json(&ann.event().data)["nick"], "Bob");
    assert_eq!(json(&bob.event().data)["nick"], "Ann");
    way.created("room", &ann_id, "hello");
    assert_eq!(json(&bob.event().data)["data"], "hello");
    let (ann_last, bob_last) = (ann.parser.last_id.clone(), bob.parser.last_id.clone());
    way.restart();
    way.created("room", &bob_id, "still here");
    let mut ann = way.open("room", "nick=Ann", &ann_last);
    let mut bob = way.open("room", "nick=Bob", &bob_last);
    assert_eq!(json(&ann.event().data)["data"], "still here");
    way.created("room", &ann_id, "so am I");
    assert_eq!(json(&bob.event().data)["data"], "so am I");
}

fn an_unknown_session_is_404_in_json(way: Way) {
    for stream in ["session", "room"] {
        for id in ["", "x", "0123456789abcdef0123456789abcdef"] {
            let (status, body) = way.post(stream, id, "x");
            assert_eq!(
                (status, body["error"].as_str()),
                (404, Some("no such session"))
            );
        }
    }
}

fn a_preflight_lets_another_site_s_page_name_its_session(way: Way) {
    let answer = way.asks("OPTIONS", "session");
    assert_eq!(answer.head.status, 204);
    assert_eq!(answer.head.field("Allow"), Some("GET, HEAD, POST, OPTIONS"));
    let answer = way.asks("DELETE", "room");
    assert_eq!(answer.head.status, 405);
}
