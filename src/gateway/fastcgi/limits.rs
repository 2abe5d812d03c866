//! What a peer may ask this machine to hold.

/// What one connection takes from its peer, and what it tells about the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest PARAMS stream of a request, in bytes, lengths included. Default 256 KiB:
    /// web servers themselves take heads of 8 to 64 KiB. The same holds for the
    /// content of one GET_VALUES record.
    pub params_bytes: usize,
    /// Most name-value pairs of a request, empty ones included. Default 2000: a pair of
    /// two empty strings is two bytes on the wire and fifty in memory. The same holds
    /// for one GET_VALUES record.
    pub pairs: usize,
    /// The answer to `FCGI_MAX_CONNS` and `FCGI_MAX_REQS`; nothing here enforces it.
    /// Default 50 000, as `SSE_MAX_SUBSCRIBERS`.
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
