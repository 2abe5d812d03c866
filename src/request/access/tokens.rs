//! TokenKeys: what checks the tokens of an identity provider. It is a trait so that the CGI
//! programs, which would become larger by a half, need not contain it.

use super::{Purpose, Refusal};

/// What a token must say, besides its signature: the settings of a location.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRules {
    /// `SSE_JWT_AUDIENCE`: one of these must be in `aud`.
    pub audiences: Vec<String>,
    /// `SSE_JWT_ISSUER`: what `iss` must be, if it is set.
    pub issuer: Option<String>,
    /// `SSE_JWT_CLAIM`: the name of the claim that contains path prefixes.
    pub claim: String,
}

/// A token that was signed by one of the keys, for this audience, and is valid now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// When it expires, in seconds since 1970.
    pub until_unix_s: u64,
    /// The paths that it opens.
    pub prefixes: Vec<String>,
}

/// The keys of a file.
pub trait TokenKeys {
    /// Whether the file contains a secret, besides public keys.
    fn has_secret(&self) -> bool;

    /// Checks a token. `checks` is how many signatures may yet be checked for this request, and
    /// becomes less.
    ///
    /// # Errors
    /// Why it does not give access, whatever the path.
    fn check(
        &self,
        token: &[u8],
        rules: &TokenRules,
        purpose: Purpose,
        unix_ms: u64,
        checks: &mut u32,
    ) -> Result<Token, Refusal>;
}

/// A function that reads the file of `SSE_JWT_KEYS`; its error is for the log.
pub type ReadTokenKeys = fn(&[u8]) -> Result<Box<dyn TokenKeys>, String>;
