//! A client that returns until it has received what it waits for.

use super::Responder;
use super::peer::Request;
use super::support::event_stream::{Item, shown};
use super::support::wait::wait_for;

/// What a client with this last id receives up to the event `until`, over as many connections as
/// that takes; without `unavailable`. Afterwards `last_id` is its last id.
#[track_caller]
pub fn follow(
    responder: &Responder,
    request: &Request,
    last_id: &mut String,
    until: &str,
) -> Vec<String> {
    let mut got = Vec::new();
    wait_for(until, || {
        let mut asked = request.clone();
        if !last_id.is_empty() {
            asked = asked.last_id(last_id);
        }
        let mut client = responder.ask(&asked);
        while let Some(item) = client.next() {
            let event = match item {
                Item::Event(event) => event,
                Item::Blank { id, .. } => {
                    last_id.clone_from(&id);
                    continue;
                }
                _ => continue,
            };
            if event.name == "unavailable" {
                continue;
            }
            last_id.clone_from(&event.id);
            got.push(shown(&event));
            if got.last().is_some_and(|event| event == until) {
                return Some(());
            }
        }
        None
    });
    got
}
