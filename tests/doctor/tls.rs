//! The doctor over TLS, of nginx whose certificate has an authority of one's own.

use crate::servers::gateway::{Gateway, Site};
use crate::servers::nginx::make_certificate;
use crate::stage::diagnose_trusting;
use crate::support::folder::Folder;

#[test]
fn a_certificate_is_believed_with_its_authority_and_its_name() {
    let site = Site::with(Gateway::Nginx)
        .set("SSE_INTERVAL", "250ms")
        .with_tls()
        .start();
    let url = |host: &str| format!("https://{host}:{}/events/clock", site.tls_port());

    let report = diagnose_trusting(&site.path("ca.pem"), &url("localhost"), "4s");
    report.is_well();
    assert_eq!(report.verdict("protocol"), "ok", "{:#}", report.json);

    let other = Folder::new();
    make_certificate(&other);
    for (authority, host, why) in [
        (
            other.join("cert.pem"),
            "localhost",
            "its issuer is unknown here (set SSL_CERT_FILE",
        ),
        (
            other.join("ca.pem"),
            "localhost",
            "not the key, of an authority that is",
        ),
        ("/dev/null".into(), "localhost", "install ca-certificates"),
        (site.path("ca.pem"), "127.0.0.1", "not valid for name"),
    ] {
        let report = diagnose_trusting(&authority, &url(host), "4s");
        assert_eq!(report.code, 111, "{:#}", report.json);
        assert_eq!(report.verdict("connect"), "fault");
        let text = report.check("connect")["text"].as_str().expect("a text");
        assert!(text.contains("no secure connection: "), "{text}");
        assert!(text.contains(why), "{text}");
    }

    // The port is that of http.
    let plain = format!("https://localhost:{}/events/clock", site.port());
    let report = diagnose_trusting(&site.path("ca.pem"), &plain, "4s");
    let text = report.check("connect")["text"].to_string();
    assert!(text.contains("does not speak TLS on this port"), "{text}");
}
