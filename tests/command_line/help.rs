//! Help, versions and wrong usage.

use crate::stage::{cat, publish};

#[test]
fn both_tell_who_they_are() {
    let version = env!("CARGO_PKG_VERSION");
    let (cats, publishes) = (cat(["--version"]), publish(["--version"]));
    assert_eq!(cats.end().with(0), format!("sse-cat {version}\n"));
    assert_eq!(publishes.end().with(0), format!("sse-publish {version}\n"));
    assert!(cat(["--help"]).end().with(0).contains("\nexit:   0 "));
    assert!(publish(["-h"]).end().with(0).contains("\nexit:   0 "));
}

#[test]
fn wrong_usage_is_100_and_repeats_no_secret() {
    for arguments in [
        &["--header", "Bearer s3cret", "http://localhost/"][..],
        &["http://me:s3cret@localhost/"],
        &["--token-file", "/nonexistent", "http://localhost/"],
        &[],
    ] {
        for (name, program) in [("cat", cat(arguments)), ("publish", publish(arguments))] {
            let said = program.end().failed(100);
            assert!(
                said.ends_with(&format!("try sse-{name} --help\n")),
                "{said}"
            );
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}
