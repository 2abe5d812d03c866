//! The pages of the shipped sites.

use crate::servers::gateway::{Gateway, Site};
use crate::servers::links::check_links;

#[track_caller]
fn check(gateway: Gateway) {
    let site = Site::with(gateway).with_pages().start();
    check_links(|target| site.get(target).field("Connection", "close").send());
}

#[test]
fn every_link_of_the_first_page_is_served_by_nginx() {
    check(Gateway::Nginx);
}

#[test]
fn every_link_of_the_first_page_is_served_by_caddy() {
    check(Gateway::Caddy);
}

#[test]
fn every_link_of_the_first_page_is_served_by_apache_with_one_responder() {
    check(Gateway::ApacheProxy);
}

#[test]
fn every_link_of_the_first_page_is_served_by_apache_with_a_responder_for_each_stream() {
    check(Gateway::ApacheFcgid);
}
