//! The programs under a real Apache, as a user sets it up: started from `apache/sse-cgi.conf`
//! or `apache/htaccess`, with the programs installed by `scripts/install`, under mpm_event with
//! mod_cgid and under mpm_prefork with mod_cgi.
//!
//! Every test starts a server of its own (tests/servers/apache.rs), so they can
//! run side by side, in threads or in processes.

#[path = "../support/mod.rs"]
mod support;

#[path = "../servers/mod.rs"]
mod servers;

/// Makes each function a test under either process model of Apache.
macro_rules! under_both {
    ($($name:ident),+ $(,)?) => {
        mod event_with_cgid {
            $(#[test] fn $name() { super::$name(crate::servers::apache::Mpm::EventWithCgid) })+
        }
        mod prefork_with_cgi {
            $(#[test] fn $name() { super::$name(crate::servers::apache::Mpm::PreforkWithCgi) })+
        }
    };
}

mod access;
mod behind_a_proxy;
mod command;
mod crowd;
mod events;
mod head;
mod http2;
mod life;
mod links;
mod multitude;
mod settings;
mod shared_hosting;
