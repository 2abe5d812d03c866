//! Bearer tokens (RFC 6750), compared in a time that does not disclose how much is right.

use std::hint::black_box;

/// The tokens that permit publishing: one on each line of the token file.
#[derive(Clone, Default)]
pub struct Tokens(Vec<Vec<u8>>);

impl Tokens {
    /// The largest token file, in bytes.
    pub const FILE_MAX_BYTES: u64 = 64 << 10;

    /// Reads a token file. White space around a token, empty lines, and lines that begin with
    /// `#` are ignored. With several tokens, one can be replaced without an interruption.
    #[must_use]
    pub fn parse(file: &[u8]) -> Self {
        let file = file.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(file);
        let lines = file.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
        let tokens = lines.filter(|line| !line.is_empty() && line[0] != b'#');
        Self(tokens.map(<[u8]>::to_vec).collect())
    }

    /// Whether `authorization` contains one of them.
    ///
    /// Its time depends only on the tokens of the file: not on how much of a token was guessed,
    /// and not on how much was sent.
    #[must_use]
    pub fn admit(&self, authorization: &[u8]) -> bool {
        let given = bearer(authorization).unwrap_or_default();
        let longest = self.0.iter().map(Vec::len).max().unwrap_or_default();
        let mut compared = vec![0; longest];
        let common = longest.min(given.len());
        compared[..common].copy_from_slice(&given[..common]);
        let found = self.0.iter().fold(0, |found, token| {
            found | same(&compared, given.len(), token)
        });
        black_box(found) == 1
    }
}

/// The token of `Bearer <token>`.
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

/// 1 if they are equal, otherwise 0. `given` is cut or filled to the length of the longest
/// token; `given_bytes` is its own length. Only as many bytes as the token has are compared, so
/// all comparisons together cost no more than the length of the file.
fn same(given: &[u8], given_bytes: usize, token: &[u8]) -> u8 {
    let mut difference = u8::from(given_bytes != token.len());
    for (byte, expected) in given.iter().zip(token) {
        difference |= byte ^ expected;
        difference = black_box(difference);
    }
    u8::from(difference == 0)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn only_a_whole_token_of_the_file_is_one() {
        let tokens = Tokens::parse(b"# who: the build\nfirst-token\r\n\n  second-token  \n#x\n");
        for good in [
            "Bearer first-token",
            "bearer second-token",
            "BEARER  first-token ",
        ] {
            assert!(tokens.admit(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer first-toke",
            "Bearer first-token2",
            "Bearer first-tokenfirst-token",
            "Bearer First-token",
            "Bearer #x",
            "Bearer # who: the build",
            "Basic first-token",
            "first-token",
            "Bearer first-token, Bearer first-token",
        ] {
            assert!(!tokens.admit(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn an_empty_file_admits_nobody() {
        for file in ["", "\n\n", "# none\n", "\u{FEFF}"] {
            let tokens = Tokens::parse(file.as_bytes());
            assert!(!tokens.admit(b"Bearer "), "{file:?}");
            assert!(!tokens.admit(b""), "{file:?}");
        }
    }

    #[test]
    fn a_long_authorization_costs_no_more_than_the_file_of_tokens_is_long() {
        let file: String = (0..1900).map(|n| format!("token-{n:026}\n")).collect();
        assert!(file.len() as u64 <= Tokens::FILE_MAX_BYTES);
        let tokens = Tokens::parse(file.as_bytes());
        let long = format!("Bearer {}", "token-".repeat(10_000));
        let start = Instant::now();
        for _ in 0..50 {
            assert!(!tokens.admit(long.as_bytes()));
        }
        // A comparison byte by byte with each token took 200 ms a request, and ten times that
        // in a debug build.
        assert!(start.elapsed() < Duration::from_secs(8));
        let last = format!("Bearer token-{:026}", 1899);
        assert!(tokens.admit(last.as_bytes()));
        assert!(!tokens.admit(format!("{last}\0").as_bytes()));
        assert!(!Tokens::parse(b"abc\nabcdef").admit(b"Bearer abc\0\0\0"));
    }
}
