//! Hostile requests, and what becomes of each.

/// A request's name, its bytes, and the start of the status line that it gets.
///
/// Empty: nothing is answered, since more is to come. Whatever follows a request that is
/// rejected must not be served.
pub type Case = (&'static str, Vec<u8>, &'static str);

/// A request that must not be seen by anybody, after each of the others.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// All of them.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (name, text, status) in TEXTS {
        let bytes = [text.as_bytes(), SMUGGLED.as_bytes()].concat();
        cases.push((name, bytes, status));
    }
    for (name, bytes, status) in BYTES {
        cases.push((name, [bytes, SMUGGLED.as_bytes()].concat(), status));
    }
    let head = "GET / HTTP/1.1\r\nHost: a\r\n";
    let mut huge = |name, text: String, status| cases.push((name, text.into_bytes(), status));
    huge(
        "a target of 20 kB",
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(20_000)),
        "431",
    );
    huge("a method of 20 kB", "A".repeat(20_000), "431");
    huge(
        "a name of 20 kB",
        format!("{head}{}", "A".repeat(20_000)),
        "431",
    );
    huge(
        "a value of 20 kB",
        format!("{head}A: {}", "b".repeat(20_000)),
        "431",
    );
    huge(
        "many small fields",
        format!("{head}{}\r\n", "A: b\r\n".repeat(100)),
        "431",
    );
    huge(
        "65 fields",
        format!("{head}{}\r\n", "A: b\r\n".repeat(64)),
        "431",
    );
    huge(
        "a chunk's line of 1 kB",
        format!("{CHUNKED}5;{}", "a".repeat(1000)),
        "400",
    );
    huge(
        "a size of 1000 digits",
        format!("{CHUNKED}{}", "0".repeat(1000)),
        "400",
    );
    huge(
        "a trailer section of 8 kB",
        format!("{CHUNKED}0\r\n{}", "A: b\r\n".repeat(1400)),
        "400",
    );
    huge("ten thousand empty lines", "\r\n".repeat(10_000), "400");
    cases
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Those of text.
const TEXTS: &[(&str, &str, &str)] = &[
    // Line ends.
    (
        "LF at the end of the request line",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "LF at the end of a field",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "400",
    ),
    (
        "LF as the empty line",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "400",
    ),
    ("LF everywhere", "GET / HTTP/1.1\nHost: a\n\n", "400"),
    (
        "LF within a value",
        "GET / HTTP/1.1\r\nHost: a\r\nA: b\nC: d\r\n\r\n",
        "400",
    ),
    (
        "CR within a value",
        "GET / HTTP/1.1\r\nHost: a\r\nA: b\rC: d\r\n\r\n",
        "400",
    ),
    (
        "CR at the end of a field",
        "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "400",
    ),
    ("CR as a line's end", "GET / HTTP/1.1\rHost: a\r\r", "400"),
    (
        "CR in the target",
        "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "CR CR LF as the empty line",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n",
        "400",
    ),
    (
        "LF before the request",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "CR before the request",
        "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "two empty lines before the request",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "a folded value",
        "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",
        "400",
    ),
    (
        "a value folded by a tab",
        "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\tc\r\n\r\n",
        "400",
    ),
    (
        "a folded first field",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "400",
    ),
    (
        "a folded Content-Length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 5\r\n\r\n",
        "400",
    ),
    (
        "a folded Transfer-Encoding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
        "400",
    ),
    // The request line.
    (
        "a space before the method",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "two spaces after the method",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "two spaces before the version",
        "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "a space after the version",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "a tab after the method",
        "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "a space in the target",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    ("no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    ("no version (HTTP/0.9)", "GET /\r\n", "400"),
    ("only a method", "GET\r\n\r\n", "400"),
    (
        "a method in parentheses",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "a method that ends with a colon",
        "GET: / HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "a response",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "400",
    ),
    ("HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505"),
    (
        "the preface of HTTP/2",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "505",
    ),
    ("HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", "505"),
    (
        "HTTP/0.9 by name",
        "GET / HTTP/0.9\r\nHost: a\r\n\r\n",
        "505",
    ),
    ("HTTP/1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", "400"),
    ("HTTP/01.1", "GET / HTTP/01.1\r\nHost: a\r\n\r\n", "400"),
    ("http/1.1", "GET / http/1.1\r\nHost: a\r\n\r\n", "400"),
    ("HTTP/1,1", "GET / HTTP/1,1\r\nHost: a\r\n\r\n", "400"),
    ("FTP/1.1", "GET / FTP/1.1\r\nHost: a\r\n\r\n", "400"),
    // The target.
    (
        "a relative path",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "an asterisk with GET",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    ("a fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    (
        "a broken percent-encoding",
        "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "a cut percent-encoding",
        "GET /%2 HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "an encoded NUL",
        "GET /a%00.log HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "a target in UTF-8",
        "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "another scheme",
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "a scheme without slashes",
        "GET http:a HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "a user in the target",
        "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "another host in the target",
        "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "another port in the target",
        "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "a target without a host",
        "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "CONNECT",
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        "501",
    ),
    // Host.
    ("no Host", "GET / HTTP/1.1\r\n\r\n", "400"),
    (
        "no Host but a host in the target",
        "GET http://a/ HTTP/1.1\r\n\r\n",
        "400",
    ),
    (
        "two Hosts",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "400",
    ),
    (
        "the same Host twice",
        "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
        "400",
    ),
    (
        "two Hosts in HTTP/1.0",
        "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
        "400",
    ),
    (
        "a list of Hosts",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "400",
    ),
    (
        "a Host with a path",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "400",
    ),
    (
        "a Host with a user",
        "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "400",
    ),
    (
        "a Host with a space",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "400",
    ),
    (
        "a Host with a query",
        "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n",
        "400",
    ),
    (
        "a Host with a word as its port",
        "GET / HTTP/1.1\r\nHost: a:http\r\n\r\n",
        "400",
    ),
    (
        "a Host that is half an address",
        "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "400",
    ),
    (
        "a Host in UTF-8",
        "GET / HTTP/1.1\r\nHost: \u{e9}\r\n\r\n",
        "400",
    ),
    // Fields.
    (
        "a space before the colon",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "400",
    ),
    (
        "a tab before the colon",
        "GET / HTTP/1.1\r\nHost: a\r\nA\t: b\r\n\r\n",
        "400",
    ),
    (
        "a space before the colon of Content-Length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n",
        "400",
    ),
    (
        "a space before the colon of Transfer-Encoding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
        "400",
    ),
    (
        "a field without a colon",
        "GET / HTTP/1.1\r\nHost: a\r\nA\r\n\r\n",
        "400",
    ),
    (
        "a field without a name",
        "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        "400",
    ),
    (
        "a name in parentheses",
        "GET / HTTP/1.1\r\nHost: a\r\n(A): b\r\n\r\n",
        "400",
    ),
    (
        "a name with a slash",
        "GET / HTTP/1.1\r\nHost: a\r\nA/B: b\r\n\r\n",
        "400",
    ),
    (
        "a name in UTF-8",
        "GET / HTTP/1.1\r\nHost: a\r\n\u{e9}: b\r\n\r\n",
        "400",
    ),
    (
        "a name in quotes",
        "GET / HTTP/1.1\r\nHost: a\r\n\"A\": b\r\n\r\n",
        "400",
    ),
    // Lengths.
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "400",
    ),
    (
        "the same length twice",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "400",
    ),
    (
        "a list of lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
        "400",
    ),
    (
        "a negative length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "400",
    ),
    (
        "a length with a plus",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        "400",
    ),
    (
        "a hexadecimal length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
        "400",
    ),
    (
        "a fraction as a length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\nhello",
        "400",
    ),
    (
        "a word as a length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: five\r\n\r\nhello",
        "400",
    ),
    (
        "two numbers as a length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\nhello",
        "400",
    ),
    (
        "no number as a length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhello",
        "400",
    ),
    (
        "a length of 2^64",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "400",
    ),
    (
        "a length of 30 digits",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 000000000000000000000000000005\r\n\r\n",
        "400",
    ),
    (
        "a length in other digits",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \u{665}\r\n\r\n",
        "400",
    ),
    (
        "a GET with a length",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 37\r\n\r\n",
        "400",
    ),
    (
        "a HEAD with a length",
        "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 37\r\n\r\n",
        "400",
    ),
    (
        "a GET with chunks",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    // Codings.
    (
        "length and coding",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "coding and length",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "two codings",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "a list of codings",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "chunked before another coding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "chunked, chunked",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "a comma after chunked",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "a comma before chunked",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "an empty coding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n",
        "400",
    ),
    (
        "gzip alone",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        "501",
    ),
    (
        "identity",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        "501",
    ),
    (
        "an unknown coding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "501",
    ),
    (
        "chunked in quotes",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "chunked with a parameter",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "chunked in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "an unknown expectation",
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 5\r\n\r\nhello",
        "417",
    ),
    (
        "two expectations",
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        "417",
    ),
    // Chunks.
    (
        "a size that is no number",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "400",
    ),
    (
        "a negative size",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        "400",
    ),
    (
        "a size with 0x",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        "400",
    ),
    (
        "a size after a space",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n",
        "400",
    ),
    (
        "a size before a space",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
        "400",
    ),
    (
        "no size",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n",
        "400",
    ),
    (
        "a size of 2^64",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
        "400",
    ),
    (
        "LF after a size",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        "400",
    ),
    (
        "CR alone after a size",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\rXhello\r\n0\r\n\r\n",
        "400",
    ),
    (
        "LF after an extension",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nhello\r\n0\r\n\r\n",
        "400",
    ),
    (
        "LF after a chunk",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
        "400",
    ),
    (
        "a chunk that is too long",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
        "400",
    ),
    (
        "a chunk that is too short",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel\r\n0\r\n\r\n",
        "400",
    ),
    (
        "no line end after a chunk",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
        "400",
    ),
    (
        "LF after the last chunk",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\n",
        "400",
    ),
    (
        "LF as the end of the trailer section",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n",
        "400",
    ),
    (
        "LF in the trailer section",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n",
        "400",
    ),
    (
        "a folded trailer",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n c\r\n\r\n",
        "400",
    ),
    (
        "a length in the trailer that is folded",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n Content-Length: 5\r\n\r\n",
        "400",
    ),
];

/// Those that are no text.
const BYTES: &[(&str, &[u8], &str)] = &[
    ("a greeting of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400"),
    ("a record of FastCGI", b"\x01\x01\x00\x01\x00\x08\x00\x00", "400"),
    ("a greeting of SOCKS 5", b"\x05\x01\x00", "400"),
    ("a greeting of SSH", b"SSH-2.0-OpenSSH_9.2\r\n", "400"),
    ("NUL in the method", b"G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    ("NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    ("NUL in a name", b"GET / HTTP/1.1\r\nHost: a\r\nA\0: b\r\n\r\n", "400"),
    ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nA: \0\r\n\r\n", "400"),
    ("NUL after a length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\0\r\n\r\n", "400"),
    ("a vertical tab before the colon", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\x0b: chunked\r\n\r\n", "400"),
    ("a vertical tab before chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", "400"),
    ("a form feed after a length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\x0c\r\n\r\n", "400"),
    ("DEL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nA: \x7f\r\n\r\n", "400"),
    ("an escape sequence in the target", b"GET /\x1b[2J HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    ("no-break space after chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\xa0\r\n\r\n", "400"),
    ("bytes above 127 in the method", b"G\xc9T / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    ("bytes above 127 in a size", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\xb5\r\nhello\r\n0\r\n\r\n", "400"),
    ("NUL in an extension", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;\0\r\nhello\r\n0\r\n\r\n", "400"),
    ("NUL in a trailer", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: \0\r\n\r\n", "400"),
];
