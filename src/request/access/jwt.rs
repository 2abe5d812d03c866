//! JwtKeys: JSON Web Tokens (RFC 7519) of an identity provider, as RFC 8725 says to check them.
//!
//! Each key has one algorithm, which its own parameters determine; a token's header cannot choose
//! another one. Of the header, only `alg`, `kid` and `crit` are read: no key comes from a token.

use std::fmt;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;

use super::tokens::{Token, TokenKeys, TokenRules};
use super::{Purpose, Refusal};

/// The longest token, in bytes. Those of identity providers have about one thousand.
const TOKEN_MAX_BYTES: usize = 16 << 10;

/// The largest number of keys.
const KEYS_MAX: usize = 16;

/// The shortest secret of HS256 (RFC 7518 §3.2), in bytes.
const SECRET_MIN_BYTES: usize = 32;

/// The shortest RSA modulus (RFC 7518 §3.3), in bytes.
const MODULUS_MIN_BYTES: usize = 256;

/// The longest one, in bytes: checking takes longer with the square of it.
const MODULUS_MAX_BYTES: usize = 1024;

/// How far the clock of the issuer may be ahead: only for `nbf`.
const NOT_BEFORE_LEEWAY_S: f64 = 60.0;

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// The keys of a JWK Set (RFC 7517 §5).
pub struct JwtKeys {
    keys: Vec<Key>,
    has_secret: bool,
}

/// Reads a JWK Set: a [`super::tokens::ReadTokenKeys`].
///
/// # Errors
/// What is wrong, without a byte of a key.
pub fn read_jwk_set(file: &[u8]) -> Result<Box<dyn TokenKeys>, String> {
    Ok(Box::new(JwtKeys::parse(file)?))
}

impl JwtKeys {
    fn parse(file: &[u8]) -> Result<Self, String> {
        let set: JwkSet = serde_json::from_slice(file)
            .map_err(|_| "no JWK Set (RFC 7517); write {\"keys\":[…]}".to_owned())?;
        let (mut keys, mut has_secret) = (Vec::new(), false);
        for (number, jwk) in (1..).zip(&set.keys) {
            // A set may contain keys for other purposes.
            if !matches!(
                jwk.common.public_key_use,
                None | Some(PublicKeyUse::Signature)
            ) {
                continue;
            }
            let algorithm = algorithm_of(jwk).map_err(|what| format!("key {number}: {what}"))?;
            let Some(algorithm) = algorithm else {
                continue;
            };
            has_secret |= algorithm == Algorithm::HS256;
            let key = DecodingKey::from_jwk(jwk).map_err(|_| format!("key {number}: malformed"))?;
            keys.push(Key {
                id: jwk.common.key_id.clone(),
                algorithm,
                key,
            });
        }
        match keys.len() {
            0 => Err("no key for HS256, RS256, ES256 or EdDSA is in this set".into()),
            1..=KEYS_MAX => Ok(Self { keys, has_secret }),
            _ => Err(format!("more than {KEYS_MAX} keys are in this set")),
        }
    }

    /// The claims of a token that one of the keys has signed.
    fn claims(&self, token: &[u8], rules: &TokenRules, checks: &mut u32) -> Result<Value, Refusal> {
        let header = decode_header(token).map_err(|_| Refusal::Absent)?;
        // RFC 7515 §4.1.11: we understand no extension.
        if header.crit.is_some() {
            return Err(Refusal::Unsigned);
        }
        let fits = |key: &&Key| {
            key.algorithm == header.alg && (header.kid.is_none() || header.kid == key.id)
        };
        let mut validation = Validation::new(header.alg);
        // These need the time, which is an argument here.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_audience(&rules.audiences);
        validation.set_required_spec_claims(&["exp", "aud"]);
        if let Some(issuer) = &rules.issuer {
            validation.set_issuer(&[issuer]);
            validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        }
        let mut fitting = self.keys.iter().filter(fits).take_while(|_| {
            let is_left = *checks > 0;
            *checks = checks.saturating_sub(1);
            is_left
        });
        let found = fitting.find_map(|key| decode::<Value>(token, &key.key, &validation).ok());
        found.map(|data| data.claims).ok_or(Refusal::Unsigned)
    }
}

/// The algorithm that a key is for; `None` if it is not one of ours.
fn algorithm_of(jwk: &Jwk) -> Result<Option<Algorithm>, String> {
    // The number of bytes that a text in base64url stands for.
    let bytes = |text: &str| text.trim_end_matches('=').len() * 3 / 4;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(key) if bytes(&key.value) < SECRET_MIN_BYTES => {
            return Err(format!("a secret needs {SECRET_MIN_BYTES} bytes at least"));
        }
        AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
        AlgorithmParameters::RSA(key) => match bytes(&key.n) {
            MODULUS_MIN_BYTES..=MODULUS_MAX_BYTES => Algorithm::RS256,
            _ => return Err("an RSA key needs 2048 to 8192 bits".into()),
        },
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        _ => return Ok(None),
    };
    // `alg`, if it is there, must be the same: a key for RS512 is none for RS256.
    let own = jwk.common.key_algorithm.map(|own| own.to_string());
    let is_same = own.is_none_or(|own| own == format!("{algorithm:?}"));
    Ok(is_same.then_some(algorithm))
}

impl TokenKeys for JwtKeys {
    fn has_secret(&self) -> bool {
        self.has_secret
    }

    fn check(
        &self,
        token: &[u8],
        rules: &TokenRules,
        purpose: Purpose,
        unix_ms: u64,
        checks: &mut u32,
    ) -> Result<Token, Refusal> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(Refusal::Absent);
        }
        let claims = self.claims(token, rules, checks)?;
        let now_s = unix_ms as f64 / 1000.0;
        let time = |name: &str| claims.get(name).map(|value| value.as_f64());
        let expires = time("exp").flatten().filter(|at| at.is_finite());
        let expires = expires.ok_or(Refusal::Unsigned)?;
        if expires <= now_s {
            return Err(Refusal::Expired);
        }
        match time("nbf") {
            None => {}
            Some(Some(at)) if at <= now_s + NOT_BEFORE_LEEWAY_S => {}
            Some(_) => return Err(Refusal::Expired),
        }
        let prefixes = prefixes(claims.get(&rules.claim), purpose);
        Ok(Token {
            // Saturates; a stream ends at a whole second.
            until_unix_s: expires as u64,
            prefixes,
        })
    }
}

/// The path prefixes of a claim: a text, a list of texts, or an object with either as `read` and
/// `publish`. Without an object, they are for reading.
fn prefixes(claim: Option<&Value>, purpose: Purpose) -> Vec<String> {
    let own = match (claim, purpose) {
        (Some(Value::Object(both)), Purpose::Read) => both.get("read"),
        (Some(Value::Object(both)), Purpose::Publish) => both.get("publish"),
        (claim, Purpose::Read) => claim,
        (_, Purpose::Publish) => None,
    };
    match own {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(several)) => {
            let texts = several.iter().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

impl fmt::Debug for JwtKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JwtKeys({})", self.keys.len())
    }
}
