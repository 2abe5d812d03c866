//! nginx with fcgiwrap, started from the project's own nginx/fcgiwrap.conf.

use std::time::Duration;

use nix::sys::signal::{Signal, killpg};

use crate::servers::daemon::{Daemon, require};
use crate::servers::nginx;
use crate::stage::Site;
use crate::support::wait::wait_until;

/// fcgiwrap, whose workers outlive a SIGTERM of the process that started them.
struct Wrapper(Daemon);

impl Drop for Wrapper {
    fn drop(&mut self) {
        let _ = killpg(self.0.pid(), Signal::SIGKILL);
    }
}

#[test]
fn fcgiwrap_streams_by_the_plain_names() {
    require("/usr/sbin/fcgiwrap", "fcgiwrap");
    let settings = "SSE_HEARTBEAT = 1s\n[nph-tail.cgi tail.cgi]\nSSE_FILE = {root}/data/app.log\n";
    let mut wrapper = None;
    let site = Site::start(settings, |folder, port| {
        let root = folder.display();
        wrapper.get_or_insert_with(|| {
            // Everybody may connect, and so nginx.
            let command = format!("umask 0; exec fcgiwrap -f -c 5 -s unix:{root}/wrap.sock");
            Wrapper(Daemon::start(folder, &["sh", "-c", &command], None, &[]))
        });
        nginx::configure_fcgiwrap(folder, port, &[])
    });
    site.folder.write("data/app.log", "1\n");
    wait_until("fcgiwrap listens", Duration::from_secs(10), || {
        site.folder.join("wrap.sock").exists()
    });
    let mut stream = site.get("tail.cgi").send();
    assert_eq!(stream.head.status, 200);
    assert_eq!(stream.event().data, "1");
    site.delivers_at_once_and_resumes(stream);
}
