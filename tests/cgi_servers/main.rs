//! CGI programs with a `.htsse` beside them, under the servers that pass no settings, or that
//! people use without any configuration: mini-httpd, busybox httpd and lighttpd; and what
//! Debian's Apache does with the file.

#[path = "../support/mod.rs"]
mod support;

#[path = "../servers/mod.rs"]
mod servers;

mod accounts;
mod debian;
mod fcgiwrap;
mod several;
mod small;
mod stage;
mod suexec;
mod uwsgi;
