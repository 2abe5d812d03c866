//! Files whose lines or characters are not those of a Linux log.

use crate::stage::{Folder, Program};

#[test]
fn a_progress_bar_s_carriage_return_ends_a_record_at_once() {
    let folder = Folder::new();
    let file = folder.write("a.log", "a\r\nb\r");
    let program = || Program::tail(&file).set("SSE_LINE_END", "any");
    let mut stream = program().start();
    stream.says(&["a", "b"]);
    folder.append("a.log", "\n10%\r");
    stream.says(&["10%"]);
    let id = stream.last_id().to_owned();
    folder.append("a.log", "20%\rend\n");
    stream.says(&["20%", "end"]);
    program().last_id(&id).start().says(&["20%", "end"]);
}

#[test]
fn a_last_line_without_a_newline_comes_after_the_flush_and_its_rest_alone() {
    let folder = Folder::new();
    let file = folder.write("a.log", "one\ntw");
    let program = || Program::tail(&file).set("SSE_FLUSH", "200ms");
    let mut stream = program().start();
    stream.says(&["one", "tw"]);
    let id = stream.last_id().to_owned();
    assert!(id.starts_with("6-"), "{id}");
    folder.append("a.log", "o\nthree\n");
    stream.says(&["o", "three"]);
    program().last_id(&id).start().says(&["o", "three"]);
}

#[test]
fn a_latin1_log_arrives_as_utf_8_and_is_filtered_as_such() {
    let folder = Folder::new();
    let file = folder.write("a.log", b"caf\xE9 \x80\nno\n");
    let program = Program::tail(&file).set("SSE_ENCODING", "latin1");
    program.set("SSE_FILTER", "café").start().says(&["café €"]);
}

#[test]
fn a_utf_16_state_file_is_known_by_its_mark() {
    let folder = Folder::new();
    let file = folder.write("a.txt", b"\xFF\xFEh\0\xE9\0\x0A\x4E\n\0");
    let program = Program::tail(&file).set("SSE_FORMAT", "state");
    program.start().says(&["hé上"]);
}
