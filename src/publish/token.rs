//! Bearer tokens (RFC 6750), compared without telling how far they agree.

use std::hint::black_box;

/// The tokens that may publish: one a line of the token file.
#[derive(Clone, Default)]
pub struct Tokens(Vec<Vec<u8>>);

impl Tokens {
    /// The largest token file, in bytes.
    pub const FILE_MAX_BYTES: u64 = 64 << 10;

    /// Reads a token file. White space around a token, empty lines, and lines that begin
    /// with `#` do not count. Several tokens let one be exchanged without a break.
    #[must_use]
    pub fn parse(file: &[u8]) -> Self {
        let file = file.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(file);
        let lines = file.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
        let tokens = lines.filter(|line| !line.is_empty() && line[0] != b'#');
        Self(tokens.map(<[u8]>::to_vec).collect())
    }

    /// Whether `authorization` brings one of them.
    ///
    /// Its time depends on what was sent and on how many tokens there are, and not on
    /// how much of one was guessed.
    #[must_use]
    pub fn admit(&self, authorization: &[u8]) -> bool {
        let given = bearer(authorization).unwrap_or_default();
        let found = self
            .0
            .iter()
            .fold(0, |found, token| found | same(given, token));
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

/// 1 when they are the same, else 0. Every byte of `given` is looked at.
fn same(given: &[u8], token: &[u8]) -> u8 {
    // A token is never empty, and neither is what stands for it here.
    let mut expected = token.iter().cycle();
    let mut difference = u8::from(given.len() != token.len());
    for &byte in given {
        difference |= byte ^ expected.next().copied().unwrap_or_default();
        difference = black_box(difference);
    }
    u8::from(difference == 0)
}

#[cfg(test)]
mod tests {
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
}
