//! A session's command responds to a message, behind real servers.

use crate::servers::apache::Mpm;
use crate::way::{Way, welcome};

fn what_is_posted_is_answered_by_the_session_s_command_line_by_line(way: &Way) {
    let mut stream = way.open("session", "", "");
    let id = welcome(&mut stream);
    let mut other = way.open("session", "", "");
    let other_id = welcome(&mut other);
    way.created("session", &id, "one\ntwo $(id) `id`");
    let mut said = Vec::new();
    while said.len() < 4 {
        let event = stream.event();
        said.push(format!("{}: {}", event.name, event.data));
    }
    let expected = [
        "message: one\ntwo $(id) `id`",
        "answer: said:one",
        "answer: said:two $(id) `id`",
        "done: 0",
    ];
    assert_eq!(said, expected);
    // No other session received it.
    way.created("session", &other_id, "mine");
    assert_eq!(other.event().data, "mine");
    assert_eq!(other.event().data, "said:mine");
}

#[test]
fn behind_apache_with_cgid() {
    let way = Way::answering_apache(Mpm::EventWithCgid);
    what_is_posted_is_answered_by_the_session_s_command_line_by_line(&way);
}

#[test]
fn behind_apache_with_cgi() {
    let way = Way::answering_apache(Mpm::PreforkWithCgi);
    what_is_posted_is_answered_by_the_session_s_command_line_by_line(&way);
}

#[test]
fn behind_nginx_and_the_responder() {
    let way = Way::answering_nginx();
    what_is_posted_is_answered_by_the_session_s_command_line_by_line(&way);
}

#[test]
fn without_a_web_server() {
    let way = Way::answering_httpd();
    what_is_posted_is_answered_by_the_session_s_command_line_by_line(&way);
}
