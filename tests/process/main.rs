//! The programs as processes: started as gateways start them, and read as clients do.

#[path = "../support/mod.rs"]
mod support;

mod stage;

mod access;
mod end;
mod follow;
mod held_back;
mod jsonl;
mod log;
mod opening;
mod reader;
mod records;
mod resume;
mod script;
mod settings_file;
mod terminal;
mod text;
mod time;
mod unavailable;
mod watches;
