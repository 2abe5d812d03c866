//! The status page: its access rules and its figures, behind each server that has one.

use crate::servers::gateway::{Builder, Gateway, Site};
use crate::servers::request::Request;
use crate::support::folder::append;

/// Each server is configured to trust the field X-Forwarded-For, since all clients of a test
/// are local.
fn believing(gateway: Gateway) -> Builder {
    let site = Site::with(gateway);
    match gateway {
        Gateway::Nginx => site
            .directive("set_real_ip_from 127.0.0.1;")
            .directive("real_ip_header X-Forwarded-For;"),
        Gateway::ApacheProxy => site
            .directive("LoadModule remoteip_module /usr/lib/apache2/modules/mod_remoteip.so")
            .directive("RemoteIPHeader X-Forwarded-For")
            .directive("RemoteIPInternalProxy 127.0.0.1"),
        _ => site
            .edit(
                "server.modules += (",
                "server.modules += ( \"mod_extforward\",",
            )
            .edit(
                "var.sse_socket =",
                "extforward.headers = ( \"X-Forwarded-For\" )\n\
                 extforward.forwarder = ( \"127.0.0.1\" => \"trust\" )\nvar.sse_socket =",
            ),
    }
}

fn page(site: &Site) -> Request {
    site.get("/events/status").field("Connection", "close")
}

#[test]
fn only_this_machine_sees_it() {
    for gateway in [Gateway::Nginx, Gateway::ApacheProxy, Gateway::Lighttpd] {
        let site = believing(gateway).start();
        append(&site.tail_file(), "{\"data\":1}\n");
        let answer = page(&site).send();
        assert_eq!(answer.head.status, 200, "{gateway:?}");
        let remote = page(&site).field("X-Forwarded-For", "192.0.2.1").send();
        assert_eq!(remote.head.status, 403, "{gateway:?}");
        // The streams are public.
        let stream = site
            .get("/events/tail")
            .field("X-Forwarded-For", "192.0.2.1");
        assert_eq!(stream.send().event().data, "1", "{gateway:?}");
    }
}

#[test]
fn it_tells_the_same_as_json_and_for_prometheus() {
    for gateway in [
        Gateway::Nginx,
        Gateway::ApacheProxy,
        Gateway::Lighttpd,
        Gateway::H2o,
        Gateway::Caddy,
        Gateway::Haproxy,
    ] {
        let site = Site::with(gateway).start();
        append(&site.tail_file(), "{\"data\":1}\n{\"data\":2}\n");
        let mut stream = site.get("/events/tail").send();
        assert_eq!(stream.data_of(2), ["1", "2"]);
        assert_eq!(site.status("subscribers"), 1);
        assert_eq!(site.status("events"), 2);
        let json = page(&site).send();
        assert_eq!(json.head.field("Content-Type"), Some("application/json"));
        let metrics = page(&site).field("Accept", "text/plain").send();
        let kind = metrics.head.field("Content-Type").unwrap_or_default();
        assert!(kind.starts_with("text/plain"), "{gateway:?}: {kind}");
        let text = metrics.text();
        for line in ["sse_subscribers 1", "sse_events_total 2"] {
            assert!(
                text.lines().any(|known| known == line),
                "{gateway:?}: {text}"
            );
        }
        let asked = site.get("/events/status?format=prometheus");
        let asked = asked.field("Connection", "close").send().text();
        assert!(
            asked.contains("sse_subscribers 1\n"),
            "{gateway:?}: {asked}"
        );
    }
}
