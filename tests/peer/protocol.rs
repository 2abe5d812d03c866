//! What differs between the protocols.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use super::client::{End, Piece};
use super::request::Request;

/// One connection's side of a protocol, and what its program is told at its start.
pub trait Protocol: Sized {
    /// What the connections of one program share.
    type Shared: Clone;

    /// The program.
    const PROGRAM: &'static str;

    /// It has no web server with a log in front.
    const HAS_NO_WEB_SERVER: bool;

    /// The arguments by which it listens at a socket in the file system.
    fn listen(path: &Path) -> [OsString; 2];

    /// The argument by which it runs the programs that requests name.
    fn allows_commands() -> Option<&'static str>;

    /// What it is told besides, given its arguments and the path of its log.
    fn shared(arguments: &mut Vec<OsString>, folder: &Path, log: PathBuf) -> Self::Shared;

    /// The program has this process id.
    fn started(shared: &Self::Shared, pid: u32);

    /// A connection.
    fn new(shared: &Self::Shared) -> Self;

    /// The bytes of a request without its body.
    fn head(&mut self, request: &Request, dice: &mut Rng) -> Vec<u8>;

    /// The beginning of a request that has the program keep as much as one request can.
    fn unfinished_head(dice: &mut Rng) -> Vec<u8>;

    /// The bytes of its body.
    fn body(&mut self, request: &Request, dice: &mut Rng) -> Vec<u8>;

    /// A piece of a body whose end is still to come.
    fn piece_of_body(&mut self, content: &[u8], dice: &mut Rng) -> Vec<u8>;

    /// The end of a body that was sent in pieces.
    fn end_of_body(&mut self, dice: &mut Rng) -> Vec<u8>;

    /// The head of a response as a CGI program would write it.
    fn head_as_cgi(head: &str) -> String;

    /// The bytes by which the client of a request leaves; `None`: it closes its side.
    fn abort(dice: &mut Rng) -> Option<Vec<u8>>;

    /// The next response is that of this request.
    fn expect(&mut self, request: &Request);

    /// Takes a piece from the front of what was received.
    fn take(&mut self, unread: &mut Vec<u8>) -> Option<Piece>;

    /// The peer has closed: whether that is the end of a response.
    fn end_of_input(&mut self) -> Option<End>;

    /// The status code of a response with this head.
    fn status(head: &str) -> u16;
}
