//! Nick: the nickname of a member of a room.

/// A nickname: 1 to [`Nick::MAX_CHARS`] visible characters, with single spaces between.
///
/// It is untrusted text: a page that displays it must escape it. Characters that are invisible,
/// or that change the direction of the text beside them, are removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nick(String);

impl Nick {
    /// The maximum length, in characters.
    pub const MAX_CHARS: usize = 32;

    /// Makes a nickname of any text; `None` if nothing visible is left.
    #[must_use]
    pub fn cleaned(text: &str) -> Option<Self> {
        // A line end separates words, so it becomes a space before invisible characters are
        // removed.
        let spaced: String = text
            .chars()
            .map(|c| if c.is_whitespace() { ' ' } else { c })
            .filter(|&c| !is_unseen(c))
            .collect();
        let words: Vec<&str> = spaced.split(' ').filter(|word| !word.is_empty()).collect();
        let joined: String = words.join(" ").chars().take(Self::MAX_CHARS).collect();
        let nick = joined.trim_end();
        (!nick.is_empty()).then(|| Self(nick.to_owned()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether the character is a control, changes the direction of the text around it, or has no
/// width (Unicode 16, those of the general categories Cc and Cf that matter in a line).
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nickname_is_one_short_line_that_shows() {
        for (text, expected) in [
            ("Ann", Some("Ann")),
            ("  Ann \n Lee\t", Some("Ann Lee")),
            ("A\0n\u{1b}n", Some("Ann")),
            ("<b>Ann</b>\"", Some("<b>Ann</b>\"")),
            ("\u{202E}nnA\u{200B}", Some("nnA")),
            ("Zoë 🙂", Some("Zoë 🙂")),
            ("", None),
            (" \r\n\0\u{FEFF}", None),
        ] {
            let nick = Nick::cleaned(text);
            assert_eq!(nick.as_ref().map(Nick::as_str), expected, "{text:?}");
        }
        let long = Nick::cleaned(&"x".repeat(99)).unwrap();
        assert_eq!(long.as_str().len(), Nick::MAX_CHARS);
        let at_a_space = format!("{} y", "x".repeat(31));
        assert_eq!(Nick::cleaned(&at_a_space).unwrap().as_str().len(), 31);
    }
}
