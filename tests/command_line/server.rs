//! Server: responds to one connection after another with the replies of a test.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::stage::{DEADLINE, wait_for};

/// The behaviour on one connection after its request has been read.
#[derive(Clone)]
pub enum Reply {
    /// Sends these bytes and closes.
    All(Vec<u8>),
    /// Sends these bytes, and then those of [`Server::say`], until the client disconnects.
    Begin(Vec<u8>),
    /// Sends each of these to one request after another on this connection, and closes.
    Several(Vec<Vec<u8>>),
    /// Sends the output of a CGI program with these variables; it is treated as an `nph-`
    /// program.
    Program(&'static str, Vec<(String, String)>),
}

impl Reply {
    pub fn program(path: &'static str, settings: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
        Self::Program(path, settings.iter().map(owned).collect())
    }
}

/// A stream of this text, which ends.
pub fn stream(text: &str) -> Reply {
    Reply::All(format!("{STREAM}{text}").into_bytes())
}

/// A stream that begins with this text and continues.
pub fn lasting(text: &str) -> Reply {
    Reply::Begin(format!("{STREAM}{text}").into_bytes())
}

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Connection: close\r\n\r\n";

/// An answer with this status line's end, further fields (each with its CRLF) and a body.
pub fn answer(status: &str, fields: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::All(
        format!(
            "HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .into_bytes(),
    )
}

/// A request: its head, and its body.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: String,
    pub body: String,
}

impl Request {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

pub struct Server {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    ended: Arc<AtomicUsize>,
    sayings: mpsc::Sender<Vec<u8>>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Answers as many connections as there are replies.
    pub fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), replies)
    }

    pub fn on(listener: TcpListener, replies: impl IntoIterator<Item = Reply>) -> Self {
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let replies: Vec<Reply> = replies.into_iter().collect();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&ended);
        let (sayings, said) = mpsc::channel();
        let work = Work {
            requests: Arc::clone(&requests),
            stop: Arc::clone(&stop),
            said,
        };
        let thread = thread::spawn(move || {
            for reply in replies {
                let Some(stream) = work.accept(&listener) else {
                    return;
                };
                work.serve(stream, reply);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            address,
            requests,
            ended,
            sayings,
            stop,
            thread: Some(thread),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/stream", self.address)
    }

    /// Sends this on the connection that continues.
    pub fn say(&self, text: &str) {
        self.sayings.send(text.as_bytes().to_vec()).unwrap();
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until so many connections have been closed.
    #[track_caller]
    pub fn wait_for_end_of_connection(&self, count: usize) {
        wait_for(&format!("the end of {count} connections"), || {
            (self.ended.load(Ordering::Relaxed) >= count).then_some(())
        });
    }

    #[track_caller]
    pub fn wait_for_requests(&self, count: usize) -> Vec<Request> {
        wait_for(&format!("{count} requests"), || {
            Some(self.requests()).filter(|requests| requests.len() >= count)
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    said: mpsc::Receiver<Vec<u8>>,
}

impl Work {
    fn accept(&self, listener: &TcpListener) -> Option<TcpStream> {
        while !self.stop.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    stream.set_read_timeout(Some(DEADLINE)).unwrap();
                    stream.set_write_timeout(Some(DEADLINE)).unwrap();
                    return Some(stream);
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            thread::sleep(Duration::from_millis(2));
        }
        None
    }

    /// A client that disconnects in the middle is not an error.
    fn serve(&self, mut stream: TcpStream, reply: Reply) {
        let Some(request) = read_request(&mut stream) else {
            return;
        };
        self.requests.lock().unwrap().push(request.clone());
        match reply {
            Reply::Several(answers) => {
                for (number, bytes) in answers.iter().enumerate() {
                    if number > 0 {
                        let Some(request) = read_request(&mut stream) else {
                            return;
                        };
                        self.requests.lock().unwrap().push(request);
                    }
                    let _ = stream.write_all(bytes);
                }
            }
            Reply::Program(path, settings) => {
                let _ = stream.write_all(&said_by(path, settings, &request));
            }
            Reply::All(bytes) => {
                let _ = stream.write_all(&bytes);
            }
            Reply::Begin(bytes) => {
                let _ = stream.write_all(&bytes);
                self.go_on(&mut stream);
            }
        }
    }

    fn go_on(&self, stream: &mut TcpStream) {
        let end = Instant::now() + DEADLINE;
        stream.set_nonblocking(true).unwrap();
        while !self.stop.load(Ordering::Relaxed) && Instant::now() < end {
            match self.said.recv_timeout(Duration::from_millis(5)) {
                Ok(bytes) => {
                    stream.set_nonblocking(false).unwrap();
                    if stream.write_all(&bytes).is_err() {
                        return;
                    }
                    stream.set_nonblocking(true).unwrap();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            match stream.read(&mut [0; 64]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // It has disconnected.
                _ => return,
            }
        }
    }
}

fn said_by(path: &str, settings: Vec<(String, String)>, request: &Request) -> Vec<u8> {
    let field = |name| request.field(name).unwrap_or_default();
    let mut command = Command::new(path);
    command
        .env_clear()
        .envs(settings)
        .env("GATEWAY_INTERFACE", "CGI/1.1")
        .env("REQUEST_METHOD", request.head.split(' ').next().unwrap())
        .env("SERVER_PROTOCOL", "HTTP/1.1")
        .env("SCRIPT_FILENAME", "/cgi-bin/nph-program.cgi")
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("CONTENT_LENGTH", field("Content-Length"))
        .env("CONTENT_TYPE", field("Content-Type"))
        .env("HTTP_HOST", field("Host"));
    if let Some(authorization) = request.field("Authorization") {
        command.env("HTTP_AUTHORIZATION", authorization);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It need not read the body of a request that it refuses.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(request.body.as_bytes());
    }
    child.wait_with_output().unwrap().stdout
}

fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let request = Request {
                head: head.to_owned(),
                body: body.to_owned(),
            };
            let length = request
                .field("Content-Length")
                .map_or(0, |l| l.parse().unwrap());
            if body.len() >= length {
                return Some(request);
            }
        }
        match stream.read(&mut piece) {
            Ok(count @ 1..) => bytes.extend_from_slice(&piece[..count]),
            _ => return None,
        }
    }
}
