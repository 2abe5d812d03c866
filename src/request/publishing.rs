//! The settings of publishing: who may publish, how much and how often.

use std::path::PathBuf;
use std::time::Duration;

use super::meta::MetaVariables;
use super::settings::{Notice, Reader, SettingError, Spec, table};
use super::units;

/// `SSE_PUBLISH_*`. The file, its limits and the origins are in [`super::Settings`]. Ranges and
/// defaults are in the table of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publishing {
    /// `SSE_PUBLISH_ALLOW`: any one of these suffices. If it is empty, nobody may publish.
    pub allow: Vec<Grant>,
    /// `SSE_PUBLISH_TOKEN_FILE`: the file of the tokens, one on each line. It is set if `allow`
    /// contains [`Grant::Token`].
    pub token_file: Option<PathBuf>,
    /// `SSE_PUBLISH_MAX`: the largest body.
    pub body_max_bytes: usize,
    /// `SSE_PUBLISH_TIMEOUT`: how long a body may take to arrive, and then how long appending
    /// the record may take.
    pub timeout: Duration,
    /// `SSE_PUBLISH_SYNC`: what a record survives after the client got 201.
    pub durability: Durability,
    /// `SSE_PUBLISH_REPLICAS`: how many replicas of Redis must confirm a record as well, if it must
    /// survive a power cut.
    pub replicas: u32,
    /// `SSE_PUBLISH_RATE`: how often one client may publish. `None`: unlimited.
    pub rate: Option<Rate>,
}

/// Who may publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// A client that sends a token of the token file.
    Token,
    /// A user whom the web server has authenticated (`REMOTE_USER`).
    User,
    /// A page of the same origin.
    SameOrigin,
    /// Every client.
    Anyone,
}

/// What a published record survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The end of every process, but not a power cut.
    Process,
    /// A power cut: the response waits for the disk.
    Power,
}

/// A number of messages in a period; all of them may arrive at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The number, 1 to 1 000 000.
    pub count: u32,
    /// One second, minute or hour.
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

    fn canonical(&self) -> String {
        format!("{}/{}", self.count, units::duration_text(self.period))
    }
}

impl Publishing {
    /// Reads the settings.
    ///
    /// # Errors
    /// The first setting whose value cannot be read, or a missing token file.
    pub fn parse(meta: &MetaVariables) -> Result<(Self, Vec<Notice>), SettingError> {
        let mut read = Reader::new(meta);
        let allow = grants(&mut read)?;
        let token_file = read.path(&table::PUBLISH_TOKEN_FILE);
        if allow.contains(&Grant::Token) && token_file.is_none() {
            let remedy = "not set, and SSE_PUBLISH_ALLOW says token; \
                          name a file that holds one token a line";
            let name = table::PUBLISH_TOKEN_FILE.name;
            return Err(SettingError::new(name, b"", remedy));
        }
        let publishing = Self {
            allow,
            token_file,
            body_max_bytes: read.size(&table::PUBLISH_MAX)? as usize,
            timeout: read.duration(&table::PUBLISH_TIMEOUT)?,
            durability: match read.is_yes(&table::PUBLISH_SYNC)? {
                true => Durability::Power,
                false => Durability::Process,
            },
            replicas: read.count(&table::PUBLISH_REPLICAS)? as u32,
            rate: read.parsed(
                &table::PUBLISH_RATE,
                Rate::parse,
                "not a rate; write how many in a second, a minute or an hour, such as 60/m",
                Rate::canonical,
            )?,
        };
        Ok((publishing, read.notices()))
    }
}

fn grants(read: &mut Reader<'_>) -> Result<Vec<Grant>, SettingError> {
    const ALLOW: Spec = table::PUBLISH_ALLOW;
    let words = read.words(&ALLOW)?;
    let grant = |word: &String| match word.as_str() {
        "token" => Ok(Grant::Token),
        "user" => Ok(Grant::User),
        "same-origin" => Ok(Grant::SameOrigin),
        "anyone" => Ok(Grant::Anyone),
        _ => Err(SettingError::new(
            ALLOW.name,
            word.as_bytes(),
            "unknown value; use token, user, same-origin or anyone",
        )),
    };
    words.iter().map(grant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn parse(pairs: &[(&str, &str)]) -> Result<Publishing, String> {
        let parsed = Publishing::parse(&MetaVariables::of(pairs));
        parsed.map(|(p, _)| p).map_err(|e| e.to_string())
    }

    #[test]
    fn by_default_nobody_may_publish() {
        let p = parse(&[]).unwrap();
        assert_eq!(p.allow, []);
        assert_eq!((p.body_max_bytes, p.timeout), (65_536, SECOND * 10));
        assert_eq!((p.durability, p.rate), (Durability::Process, None));
    }

    #[test]
    fn several_grants_are_alternatives() {
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
    fn a_rate_is_a_count_per_unit_of_time() {
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
