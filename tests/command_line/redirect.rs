//! Redirects: their targets, and the fields that are sent there.

use crate::server::{Server, answer, stream};
use crate::stage::{Folder, cat};

const CLOSE: &str = "data: a\n\nevent: close\ndata\n\n";

fn moved(to: &str) -> crate::server::Reply {
    answer("302 Found", &format!("Location: {to}\r\n"), "")
}

/// Runs sse-cat with a token and a custom field.
fn cat_with_secrets(url: &str) -> String {
    let folder = Folder::new();
    let token = folder.write("token", "secret\n");
    let secrets = ["--token-file", &token, "--header", "X-Key: secret"];
    cat(secrets.into_iter().chain([url])).end().with(0)
}

#[test]
fn a_token_goes_along_on_a_redirect_within_its_origin() {
    let server = Server::start([moved("elsewhere?x=1"), stream(CLOSE)]);
    assert_eq!(cat_with_secrets(&server.url()), "a\n");
    let requests = server.requests();
    assert!(requests[1].head.starts_with("GET /elsewhere?x=1 "));
    assert_eq!(requests[1].field("Authorization"), Some("Bearer secret"));
    assert_eq!(requests[1].field("X-Key"), Some("secret"));
}

#[test]
fn no_token_is_sent_to_another_port_of_the_same_host() {
    let other = Server::start([stream(CLOSE)]);
    let server = Server::start([moved(&other.url())]);
    assert_eq!(cat_with_secrets(&server.url()), "a\n");
    let [request] = &other.requests()[..] else {
        panic!("want one request");
    };
    assert!(!request.head.contains("secret"), "{}", request.head);
    assert_eq!(request.field("Accept"), Some("text/event-stream"));
}

#[test]
fn no_token_is_sent_to_another_host_nor_on_the_way_back() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let back = format!("http://{}/back", listener.local_addr().unwrap());
    // The same server under another name.
    let other = Server::start([moved(&back)]);
    let elsewhere = other.url().replace("127.0.0.1", "localhost");
    let server = Server::on(listener, [moved(&elsewhere), stream(CLOSE)]);
    assert_eq!(cat_with_secrets(&server.url()), "a\n");
    assert!(server.requests()[0].head.contains("secret"));
    for request in [&other.requests()[0], &server.requests()[1]] {
        assert!(!request.head.contains("secret"), "{}", request.head);
    }
}

#[test]
fn a_redirect_in_a_circle_ends() {
    let server = Server::start((0..11).map(|_| moved("/stream")));
    let said = cat([server.url()]).end().failed(22);
    assert!(said.contains("more than 10 redirects"), "{said}");
    let server = Server::start([moved("ftp://localhost/x")]);
    let said = cat([server.url()]).end().failed(22);
    assert!(
        said.contains("a redirect to neither http nor https"),
        "{said}"
    );
}

#[test]
fn a_login_page_instead_of_the_stream_is_reported_as_one() {
    let page = || {
        let fields = "Content-Type: text/html; charset=utf-8\r\n";
        answer("200 OK", fields, "<form>password</form>")
    };
    let server = Server::start([moved("/login?next=%2Fstream"), page()]);
    let said = cat([server.url()]).end().failed(22);
    let url = server.url().replace("/stream", "/login?next=%2Fstream");
    assert!(
        said.contains(&format!("redirect to the login page {url}")),
        "{said}"
    );
    let server = Server::start([page()]);
    let said = cat([server.url()]).end().failed(22);
    assert!(said.contains("probably a login page"), "{said}");
}
