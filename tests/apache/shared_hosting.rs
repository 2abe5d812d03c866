//! `apache/htaccess`, as `scripts/install --htaccess` puts it beside the programs, on a host
//! that permits only the directives in it.

use std::time::{Duration, Instant};

use crate::servers::apache::{Apache, Mpm};
use crate::support::folder::append;

under_both!(the_programs_run_from_a_folder_with_an_htaccess_and_show_nothing_else);

fn the_programs_run_from_a_folder_with_an_htaccess_and_show_nothing_else(mpm: Mpm) {
    let apache = Apache::with(mpm)
        .directive("AddOutputFilterByType DEFLATE text/event-stream")
        .with_htaccess()
        .start();
    for program in [
        "nph-clock.cgi",
        "clock.cgi",
        "nph-flights.cgi",
        "flights.cgi",
    ] {
        let mut stream = apache.get(program).send();
        assert_eq!(stream.head.status, 200, "{program}\n{}", apache.logs());
        stream.event();
    }
    // A file named without a folder is the one beside the program.
    for program in ["nph-tail.cgi", "tail.cgi"] {
        append(
            &apache.tail_file(),
            "{\"event\":\"update\",\"data\":\"from before\"}\n",
        );
        let mut stream = apache.get(program).field("Accept-Encoding", "gzip").send();
        while stream.event().data != "from before" {}
        for number in 0..5 {
            let line = format!("{{\"event\":\"update\",\"data\":{number}}}\n");
            let written = Instant::now();
            append(&apache.tail_file(), &line);
            let event = stream.event();
            assert_eq!(
                (event.name.as_str(), event.data),
                ("update", number.to_string())
            );
            let delay = event.arrived - written;
            assert!(delay < Duration::from_secs(1), "took {delay:?}");
        }
    }
    for hidden in ["", "flights.jsonl", "events.jsonl", ".htaccess"] {
        let answer = apache.get(hidden).field("Connection", "close").send();
        assert_eq!(answer.head.status, 403, "{hidden}");
    }
}
