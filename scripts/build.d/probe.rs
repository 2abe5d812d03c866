//! Uses what our programs use of the standard library, to see whether flags suit this machine.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

#[cfg(sse_no_backtrace)]
#[path = "../../src/system/backtrace.rs"]
mod backtrace;

fn main() {
    let error = std::fs::File::open("/nowhere/at/all").unwrap_err();
    assert_eq!(error.to_string(), "No such file or directory (os error 2)");
    let unknown = std::io::Error::from_raw_os_error(4321).to_string();
    assert!(unknown.starts_with("Unknown error"), "{unknown}");
    let thread = std::thread::spawn(|| std::env::var_os("PATH").is_some());
    assert!(thread.join().unwrap());
    assert!(std::fs::canonicalize("/proc/self").is_ok());
    assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).is_ok());
    assert!(Command::new("true").status().unwrap().success());
    println!("runs");
}
