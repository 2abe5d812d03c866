//! Beginning and end of programs.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::stage::{Stage, is_alive, wait_until_gone};

/// Writes its id and then a line repeatedly; records SIGTERM in a file, and continues.
const STUBBORN: &str = "\
#!/usr/bin/perl
$| = 1;
$SIG{PIPE} = 'IGNORE';
$SIG{TERM} = sub { open my $file, '>>', \"$STAGE/term-$$\"; print $file \"TERM\\n\" };
print \"HTTP/1.1 200 OK\\r\\n\" if $0 =~ /nph-/;
print \"\\n$$.\\n\";
while (1) { print \"line\\n\"; select undef, undef, undef, 0.02 }
";

/// Writes nothing more, and ends at SIGTERM.
const SILENT: &str = "\
#!/usr/bin/perl
$| = 1;
print \"HTTP/1.1 200 OK\\r\\n\" if $0 =~ /nph-/;
print \"\\n$$.\\n\";
sleep 1000;
";

/// A shell that waits for a program of its own, whose id it prints.
const FAMILY: &str = "\
#!/bin/sh
printf 'HTTP/1.1 200 OK\\r\\n\\n'
sleep 1000 &
printf '%s.\\n' $!
wait
";

/// Reads the id that a program prints first.
fn pid(client: &mut crate::stage::Client) -> i32 {
    let text = client.until(".\n");
    let digits = text.trim_end_matches(".\n");
    let start = digits.rfind(|c: char| !c.is_ascii_digit());
    digits[start.map_or(0, |at| at + 1)..].parse().unwrap()
}

#[test]
fn a_program_whose_client_left_gets_sigterm_and_3_s_later_sigkill() {
    let names = ["stubborn.cgi", "nph-stubborn.cgi"];
    let stage = names
        .iter()
        .fold(Stage::new(), |stage, name| stage.program(name, STUBBORN));
    let harness = stage.start();
    let programs = names.map(|name| pid(&mut harness.get(&format!("/cgi-bin/{name}"))));
    let termed = programs.map(|program| {
        assert_eq!(harness.wait_for_file(&format!("term-{program}")), "TERM\n");
        Instant::now()
    });
    for (program, termed) in programs.into_iter().zip(termed) {
        wait_until_gone(program);
        let lived = termed.elapsed();
        assert!(lived > Duration::from_millis(2500), "{lived:?}");
        assert_eq!(harness.wait_for_file(&format!("term-{program}")), "TERM\n");
        let said = format!("({program}) outlived SIGTERM by 3 s: SIGKILL");
        harness.wait_for_log(&said);
    }
}

#[test]
fn an_obedient_program_ends_at_once() {
    let text = STUBBORN.replace(
        "print $file \"TERM\\n\" }",
        "print $file \"TERM\\n\"; exit }",
    );
    let harness = Stage::new().program("nph-good.cgi", &text).start();
    let mut client = harness.get("/cgi-bin/nph-good.cgi");
    let program = pid(&mut client);
    drop(client);
    assert_eq!(harness.wait_for_file(&format!("term-{program}")), "TERM\n");
    wait_until_gone(program);
    assert!(!harness.log().contains("SIGKILL"));
}

#[test]
fn no_process_stays_when_the_server_ends() {
    let mut harness = Stage::new()
        .program("stubborn.cgi", STUBBORN)
        .program("nph-stubborn.cgi", STUBBORN)
        .program("nph-family.cgi", FAMILY)
        .start();
    let names = ["stubborn.cgi", "nph-stubborn.cgi", "nph-family.cgi"];
    let mut clients = names.map(|name| harness.get(&format!("/cgi-bin/{name}")));
    let programs = clients.each_mut().map(pid);
    assert!(programs.iter().all(|program| is_alive(*program)));
    assert_eq!(harness.end(Signal::SIGTERM).code(), Some(0));
    for program in programs {
        // The last one is a grandchild, which the process that inherits it must reap.
        wait_until_gone(program);
    }
}

#[test]
fn the_last_words_of_a_program_arrive_when_the_server_ends() {
    let text = "\
#!/usr/bin/perl
$| = 1;
$SIG{TERM} = sub { print 'bye'; exit };
print \"HTTP/1.1 200 OK\\r\\n\" if $0 =~ /nph-/;
print \"\\nhello\\n\";
sleep 1000;
";
    let cases = [
        ("polite.cgi", Signal::SIGTERM),
        ("nph-polite.cgi", Signal::SIGINT),
    ];
    for (name, signal) in cases {
        let mut harness = Stage::new().program(name, text).start();
        let mut client = harness.get(&format!("/cgi-bin/{name}"));
        client.until("hello\n");
        assert_eq!(harness.end(signal).code(), Some(0));
        client.until("bye");
    }
}

#[test]
fn a_silent_program_is_ended_after_the_timeout() {
    let late = "#!/usr/bin/perl\nsleep 1000;\n";
    let harness = Stage::new()
        .program("late.cgi", late)
        .program("silent.cgi", SILENT)
        .program("nph-silent.cgi", SILENT)
        .options(&["--timeout", "300ms"])
        .start();
    assert_eq!(harness.status("/cgi-bin/late.cgi"), 504);
    for name in ["silent.cgi", "nph-silent.cgi"] {
        let mut client = harness.get(&format!("/cgi-bin/{name}"));
        let program = pid(&mut client);
        let rest = client.rest();
        assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut answer must look cut");
        wait_until_gone(program);
        harness.wait_for_log(&format!("{name}: silent for 300ms (--timeout)"));
    }
}

#[test]
fn one_program_too_many_is_503() {
    let harness = Stage::new()
        .program("nph-silent.cgi", SILENT)
        .options(&["--max-programs", "1"])
        .start();
    let mut client = harness.get("/cgi-bin/nph-silent.cgi");
    pid(&mut client);
    assert_eq!(harness.status("/cgi-bin/nph-silent.cgi"), 503);
    harness.wait_for_log("1 programs run already (--max-programs): 503");
}

#[test]
fn a_program_sees_the_end_of_its_input_and_of_no_more() {
    // stdin is at its end and stdout shows RDHUP although the client is connected, as under
    // mod_cgid.
    let text = "\
#!/usr/bin/perl
$| = 1;
print \"HTTP/1.1 200 OK\\r\\n\\r\\n\";
print defined(<STDIN>) ? 'more ' : 'end ', -S STDIN ? 'socket ' : '', -S STDOUT ? 'socket' : '';
";
    let harness = Stage::new().program("nph-in.cgi", text).start();
    let mut client = harness.get("/cgi-bin/nph-in.cgi");
    client.until("\r\n\r\n");
    assert_eq!(client.rest(), b"end socket socket");
}
