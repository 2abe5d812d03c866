//! Both programs with the streams themselves: a published record arrives once, under its id.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::server::{Reply, Server};
use crate::stage::{DEADLINE, Folder, cat, publish, wait_for};

/// `sse-harness` with `nph-tail.cgi` and `publish.cgi` on one file.
struct Site {
    folder: Folder,
    harness: Child,
    base: String,
}

impl Site {
    fn start() -> Self {
        let folder = Folder::new();
        for name in ["web", "cgi-bin"] {
            std::fs::create_dir(folder.join(name)).unwrap();
        }
        let link = |program: &str, name: &str| {
            let name = folder.join("cgi-bin").join(name);
            std::os::unix::fs::symlink(program, name).unwrap();
        };
        link(env!("CARGO_BIN_EXE_nph-tail"), "nph-tail.cgi");
        link(env!("CARGO_BIN_EXE_publish"), "publish.cgi");
        let file = folder.write("chat.jsonl", "");
        let settings = [
            format!("SSE_FILE={file}"),
            "SSE_BACKLOG=100000".into(),
            "SSE_RETRY=1s".into(),
            "SSE_PUBLISH_ALLOW=anyone".into(),
        ];
        let mut harness = Command::new(env!("CARGO_BIN_EXE_sse-harness"))
            .args(["--listen", "127.0.0.1:0", "--web", &folder.file("web")])
            .args(["--cgi-bin", &folder.file("cgi-bin")])
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(harness.stdout.take().unwrap());
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = sender.send(line);
        });
        let line = receiver.recv_timeout(DEADLINE).expect("an address");
        let base = line.trim_end().rsplit(' ').next().unwrap().to_owned();
        Self {
            folder,
            harness,
            base,
        }
    }

    fn url(&self, name: &str) -> String {
        format!("{}cgi-bin/{name}.cgi", self.base)
    }

    /// Publishes these lines and gives their ids.
    #[track_caller]
    fn publish(&self, lines: &[String]) -> Vec<String> {
        let arguments = ["--lines", &self.url("publish")];
        let text = lines.iter().map(|line| format!("{line}\n"));
        let output = publish(arguments)
            .told(text.collect::<String>())
            .end()
            .with(0);
        output.lines().map(str::to_owned).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.harness.id() as i32);
        let _ = nix::sys::signal::kill(pid, Signal::SIGTERM);
        let ended = || self.harness.try_wait().ok().flatten();
        wait_for("the end of the server", ended);
    }
}

fn lines(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("line {n} 🛬")).collect()
}

#[test]
fn what_goes_up_comes_down_under_its_id() {
    let site = Site::start();
    let reader = cat(["--json", "--count", "40", &site.url("nph-tail")]);
    let mut ids = site.publish(&lines(0, 20));
    ids.extend(site.publish(&lines(20, 40)));
    let output = reader.end().with(0);
    let seen: Vec<Value> = output
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let data = |n: usize| seen[n]["data"].as_str().unwrap();
    for (n, line) in lines(0, 40).iter().enumerate() {
        assert_eq!((data(n), &seen[n]["id"]), (&**line, &Value::from(&*ids[n])));
    }
}

/// The harness does not pass `Authorization`, like Apache without CGIPassAuth.
#[test]
fn only_the_token_opens_the_way_up() {
    let folder = Folder::new();
    let right = folder.write("right", "s3cret\n");
    let wrong = folder.write("wrong", "guess\n");
    let file = folder.file("chat.jsonl");
    let settings = [
        ("SSE_FILE", &*file),
        ("SSE_PUBLISH_ALLOW", "token"),
        ("SSE_PUBLISH_TOKEN_FILE", &right),
    ];
    let program = Reply::program(env!("CARGO_BIN_EXE_publish"), &settings);
    let server = Server::start([program.clone(), program.clone(), program]);
    let url = server.url();

    let said = publish([&*url, "x"]).end().failed(22);
    let expected = "HTTP 401 Unauthorized: a token is needed\n";
    assert!(said.ends_with(expected), "{said}");
    let said = publish(["--token-file", &wrong, &url, "x"])
        .end()
        .failed(22);
    assert!(
        said.ends_with("HTTP 403 Forbidden: not allowed\n"),
        "{said}"
    );
    assert_eq!(folder.read("chat.jsonl"), "");
    publish(["--token-file", &right, &url, "x"]).end().with(0);
    assert_eq!(folder.read("chat.jsonl"), "{\"data\":\"x\"}\n");
}

#[test]
fn a_server_that_does_not_speak_tls_is_not_called_a_refusal() {
    let site = Site::start();
    let url = site.url("nph-tail").replace("http:", "https:");
    let said = cat([&url]).end().failed(111);
    assert!(said.starts_with(&format!("sse-cat: {url}: ")), "{said}");
    let said = publish(["--retry=20s", &*url, "x"]).end().failed(111);
    assert!(said.starts_with(&format!("sse-publish: {url}: ")), "{said}");
    assert!(said.contains("does not speak TLS on this port"), "{said}");
    assert!(said.contains("nothing was sent"), "{said}");
}

#[test]
fn a_reader_killed_again_and_again_loses_nothing() {
    let site = Site::start();
    let (state, url) = (site.folder.file("state"), site.url("nph-tail"));
    // One after another, so that the output of each process follows that of the previous one.
    let append = format!("cat >>'{}'", site.folder.file("done"));
    let start = || cat(["--state", &state, &url, "--exec", "sh", "-c", &append]);
    for round in 0..5 {
        site.publish(&lines(round * 8, round * 8 + 8));
        let reader = start();
        let wanted = round * 8 + fastrand::usize(1..8);
        wait_for("some lines", || {
            (site.folder.read("done").lines().count() > wanted).then_some(())
        });
        reader.signal(Signal::SIGKILL);
        reader.end();
    }
    let reader = start();
    wait_for("the last line", || {
        site.folder.read("done").contains("line 39 ").then_some(())
    });
    reader.signal(Signal::SIGTERM);
    reader.end();
    let done = site.folder.read("done");
    // The event that was being processed when it was killed may be repeated, and no other.
    let mut expected = 0;
    for line in done.lines() {
        let number: usize = line.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(number == expected || number + 1 == expected, "{done}");
        expected = number + 1;
    }
    assert_eq!(expected, 40);
    assert!(done.lines().count() <= 45, "{done}");
}
