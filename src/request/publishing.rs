//! The settings of the way up: who may publish, and how much.

use std::path::PathBuf;
use std::time::Duration;

use super::meta::MetaVariables;
use super::settings::{Notice, Reader, SettingError, path};
use super::units;

const SECOND: Duration = Duration::from_secs(1);

/// `SSE_PUBLISH_*`. They are read beside [`super::Settings`], which name the file, its
/// bounds and the origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publishing {
    /// `SSE_PUBLISH_ALLOW`: any of these suffices. Default none: nobody may publish.
    pub allow: Vec<Grant>,
    /// `SSE_PUBLISH_TOKEN_FILE`: the tokens, one a line. Set whenever `allow` names
    /// [`Grant::Token`].
    pub token_file: Option<PathBuf>,
    /// `SSE_PUBLISH_MAX`: the largest body in bytes, 1 to 16M. Default 64K.
    pub body_max_bytes: usize,
    /// `SSE_PUBLISH_TIMEOUT`: how long a body may take, and then its way into the file,
    /// 100ms to 5m. Default 10s.
    pub timeout: Duration,
    /// `SSE_PUBLISH_SYNC`: what a record that was answered with 201 survives.
    pub durability: Durability,
    /// `SSE_PUBLISH_RATE`: how often one client may publish, such as `60/m`. Default: as
    /// often as it likes.
    pub rate: Option<Rate>,
}

/// Who may publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Whoever sends a token of the token file.
    Token,
    /// Whom the web server knows by name (`REMOTE_USER`).
    User,
    /// A page of the same origin.
    SameOrigin,
    /// Everybody.
    Anyone,
}

/// What a record in the file survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The end of every process; not a power cut.
    Process,
    /// A power cut: the answer waits for the disk.
    Power,
}

/// So many in so much time; all of them may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, 1 to 1 000 000.
    pub count: u32,
    /// In what time: a second, a minute or an hour.
    pub period: Duration,
}

impl Rate {
    /// Reads `10/s`, `60/m`, `1000/h`.
    fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let count = u32::try_from(units::count(count)?).ok()?;
        let period = units::duration(&format!("1{unit}"))?;
        let is_unit = ["s", "m", "h"].contains(&unit);
        (is_unit && (1..=1_000_000).contains(&count)).then_some(Self { count, period })
    }
}

impl Publishing {
    /// Reads the settings.
    ///
    /// # Errors
    /// The first setting whose value cannot be read, or a missing token file.
    pub fn parse(meta: &MetaVariables) -> Result<(Self, Vec<Notice>), SettingError> {
        let mut read = Reader {
            meta,
            notices: Vec::new(),
        };
        let allow = grants(&read)?;
        let token_file = path(meta, "SSE_PUBLISH_TOKEN_FILE");
        if allow.contains(&Grant::Token) && token_file.is_none() {
            let remedy = "not set, and SSE_PUBLISH_ALLOW says token; \
                          name a file that holds one token a line";
            return Err(SettingError::new("SSE_PUBLISH_TOKEN_FILE", b"", remedy));
        }
        let shortest = Duration::from_millis(100);
        let publishing = Self {
            allow,
            token_file,
            body_max_bytes: read.size("SSE_PUBLISH_MAX", 64 << 10, (1, 16 << 20))? as usize,
            timeout: read
                .duration("SSE_PUBLISH_TIMEOUT", (shortest, SECOND * 300))?
                .unwrap_or(SECOND * 10),
            durability: read.choice("SSE_PUBLISH_SYNC", Durability::Process, Durability::Power)?,
            rate: read.read(
                "SSE_PUBLISH_RATE",
                Rate::parse,
                "not a rate; write how many in a second, a minute or an hour, such as 60/m",
            )?,
        };
        Ok((publishing, read.notices))
    }
}

fn grants(read: &Reader<'_>) -> Result<Vec<Grant>, SettingError> {
    let words = read.words("SSE_PUBLISH_ALLOW")?;
    let grant = |word: &String| match word.as_str() {
        "token" => Ok(Grant::Token),
        "user" => Ok(Grant::User),
        "same-origin" => Ok(Grant::SameOrigin),
        "anyone" => Ok(Grant::Anyone),
        _ => Err(SettingError::new(
            "SSE_PUBLISH_ALLOW",
            word.as_bytes(),
            "nobody of this name; write any of token, user, same-origin and anyone",
        )),
    };
    words.iter().map(grant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Publishing, String> {
        let parsed = Publishing::parse(&MetaVariables::of(pairs));
        parsed.map(|(p, _)| p).map_err(|e| e.to_string())
    }

    #[test]
    fn nothing_set_means_that_nobody_may_publish() {
        let p = parse(&[]).unwrap();
        assert_eq!(p.allow, []);
        assert_eq!((p.body_max_bytes, p.timeout), (65_536, SECOND * 10));
        assert_eq!((p.durability, p.rate), (Durability::Process, None));
    }

    #[test]
    fn any_of_several_may() {
        let allow = |text| parse(&[("SSE_PUBLISH_ALLOW", text)]).map(|p| p.allow);
        assert_eq!(
            allow(" user same-origin"),
            Ok(vec![Grant::User, Grant::SameOrigin])
        );
        assert_eq!(allow("anyone"), Ok(vec![Grant::Anyone]));
        let error = allow("everybody").unwrap_err();
        assert!(error.starts_with("SSE_PUBLISH_ALLOW=everybody"), "{error}");
        let error = allow("token").unwrap_err();
        assert!(error.starts_with("SSE_PUBLISH_TOKEN_FILE: "), "{error}");
    }

    #[test]
    fn a_rate_is_so_many_in_a_unit_of_time() {
        let rate = |text| parse(&[("SSE_PUBLISH_RATE", text)]).map(|p| p.rate);
        let of = |count, seconds| Rate {
            count,
            period: SECOND * seconds,
        };
        assert_eq!(rate("10/s"), Ok(Some(of(10, 1))));
        assert_eq!(rate("60/m"), Ok(Some(of(60, 60))));
        assert_eq!(rate("1/h"), Ok(Some(of(1, 3600))));
        for bad in ["10", "0/s", "/s", "10/ms", "10/", "1.5/s", "10/2s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
