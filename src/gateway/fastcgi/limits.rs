//! Limits: the maximum that a peer can make a connection store.

/// The limits of one connection, and what it reports about the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest PARAMS stream of a request, in bytes, including the lengths. Default 256 KiB:
    /// web servers accept heads of 8 to 64 KiB. It is also the limit for the content of one
    /// GET_VALUES record.
    pub params_bytes: usize,
    /// Most name-value pairs of a request, including empty ones. Default 2000: a pair of two
    /// empty strings takes two bytes on the wire and fifty in memory. It is also the limit for
    /// one GET_VALUES record.
    pub pairs: usize,
    /// The response to `FCGI_MAX_CONNS` and `FCGI_MAX_REQS`; nothing here enforces it. Default
    /// 50 000, like `SSE_MAX_SUBSCRIBERS`.
    pub connections_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            params_bytes: 256 * 1024,
            pairs: 2000,
            connections_max: 50_000,
        }
    }
}
