//! What a client may make this machine hold.

/// The limits of one connection. They are those of RFC 9112's advice (§3, §5: at least 8000
/// bytes of a request line) with room for the cookies of a large site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest head of a request, with the empty line that ends it. Default 16 KiB.
    pub head_bytes: usize,
    /// The most fields of a head. Default 64.
    pub fields: usize,
    /// How much of a body that nobody wanted is read before the next request on the
    /// connection. Default 64 KiB; a longer rest closes the connection. (How long a body that
    /// is wanted may be, `SSE_PUBLISH_MAX` says.)
    pub unwanted_bytes: u64,
    /// The longest PROXY protocol header of version 2. The specification allows 64 KiB of
    /// fields after the addresses, which are skipped; proxies send a few hundred bytes. Default
    /// 4096.
    pub proxy_header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 16 * 1024,
            fields: 64,
            unwanted_bytes: 64 * 1024,
            proxy_header_bytes: 4096,
        }
    }
}
