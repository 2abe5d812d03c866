//! The pages of the shipped site.

use crate::servers::apache::{Apache, Mpm};
use crate::servers::links::check_links;

#[test]
fn every_link_of_the_first_page_is_served() {
    let apache = Apache::with(Mpm::EventWithCgid)
        .with_pages()
        .workers(30)
        .start();
    check_links(|target| apache.get_path(target).field("Connection", "close").send());
}
