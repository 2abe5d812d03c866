//! `sse-fcgi` behind real web servers, as a user sets them up: started from the files in
//! nginx/, apache/, lighttpd/, h2o/, caddy/ and haproxy/.
//!
//! Every test starts servers of its own (tests/servers/gateway.rs), so they can run side
//! by side, in threads or in processes.

#[path = "../support/mod.rs"]
mod support;

#[path = "../servers/mod.rs"]
mod servers;

/// Makes each function a test behind every server.
macro_rules! behind_all {
    ($($name:ident),+ $(,)?) => {
        mod nginx {
            $(#[test] fn $name() { super::$name(crate::servers::gateway::Gateway::Nginx) })+
        }
        mod apache_proxy_fcgi {
            $(#[test] fn $name() { super::$name(crate::servers::gateway::Gateway::ApacheProxy) })+
        }
        mod apache_fcgid {
            $(#[test] fn $name() { super::$name(crate::servers::gateway::Gateway::ApacheFcgid) })+
        }
        mod lighttpd {
            $(#[test] fn $name() { super::$name(crate::servers::gateway::Gateway::Lighttpd) })+
        }
        mod h2o {
            $(#[test] fn $name() { super::$name(crate::servers::gateway::Gateway::H2o) })+
        }
        mod caddy {
            $(#[test] fn $name() { super::$name(crate::servers::gateway::Gateway::Caddy) })+
        }
        mod haproxy {
            $(#[test] fn $name() { super::$name(crate::servers::gateway::Gateway::Haproxy) })+
        }
    };
}

mod access;
mod caddy;
mod crowd;
mod down;
mod events;
mod haproxy;
mod head;
mod life;
mod links;
mod listening;
mod nginx;
mod peer;
mod publish;
mod status;
