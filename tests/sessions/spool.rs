//! A spool, and the programs that use it as processes.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::post::Post;
use crate::stage::{Folder, Program, Running};
use crate::support::event_stream::Event;

/// A folder with a spool that is not created yet, and a room's history.
pub struct Place {
    pub folder: Folder,
}

impl Place {
    pub fn new() -> Self {
        let folder = Folder::new();
        Self { folder }
    }

    /// A folder in memory, where creating many files does not wait for a disk.
    pub fn in_memory() -> Self {
        let folder = Folder::in_memory();
        Self { folder }
    }

    pub fn spool(&self) -> PathBuf {
        self.folder.path("spool")
    }

    pub fn history(&self) -> PathBuf {
        self.folder.path("room.jsonl")
    }

    /// A stream that opens; heartbeats come later than any deadline.
    pub fn get(&self, stream: &'static str) -> Program {
        Program::plain(stream)
            .set("SSE_SPOOL", self.spool())
            .set("SSE_FILE", self.history())
            .set("SSE_HEARTBEAT", "25s")
    }

    /// A POST to a stream's own address, which names no session yet.
    pub fn post(&self, stream: &'static str, text: &str) -> Post {
        let binary = match stream {
            "room" => env!("CARGO_BIN_EXE_nph-room"),
            _ => env!("CARGO_BIN_EXE_nph-session"),
        };
        Post::text(&self.history(), text)
            .binary(binary.into())
            .set("SCRIPT_FILENAME", format!("/usr/lib/cgi-bin/{stream}.cgi"))
            .set("SSE_SPOOL", self.spool())
    }

    /// A session's stream and its id.
    pub fn session(&self) -> (Running, String) {
        let mut stream = self.get("session").start();
        let id = session_of(&stream.event());
        (stream, id)
    }

    /// A member of the room: its stream, after the welcome, and its session's id.
    pub fn member(&self, nick: &str) -> (Running, String) {
        let mut stream = self.get("room").query(&format!("nick={nick}")).start();
        let id = session_of(&stream.event());
        (stream, id)
    }

    /// Sends a message to the room.
    #[track_caller]
    pub fn say(&self, session: &str, text: &str) -> String {
        self.post("room", text)
            .set("HTTP_X_SESSION_ID", session)
            .created()
    }

    /// The folders of all sessions.
    pub fn sessions(&self) -> Vec<PathBuf> {
        let below = |path: PathBuf| {
            let entries = fs::read_dir(path).into_iter().flatten();
            entries
                .map(|entry| entry.unwrap().path())
                .collect::<Vec<_>>()
        };
        let shards = below(self.spool()).into_iter();
        let is_session = |path: &PathBuf| path.file_name().unwrap().len() == 32;
        shards.flat_map(below).filter(is_session).collect()
    }
}

/// The session in a welcome.
#[track_caller]
pub fn session_of(event: &Event) -> String {
    assert_eq!(event.name, "welcome", "{event:?}");
    let data = json(&event.data);
    let id = data["session"].as_str().unwrap().to_owned();
    assert!(event.id.starts_with(&format!("{id}.")), "{event:?}");
    id
}

#[track_caller]
pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

/// A message: nickname and data.
#[track_caller]
pub fn said(event: &Event) -> (String, Value) {
    let mut data: BTreeMap<String, Value> = serde_json::from_str(&event.data).unwrap();
    let nick = data["nick"].as_str().unwrap().to_owned();
    (nick, data.remove("data").unwrap_or(Value::Null))
}
