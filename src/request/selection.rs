//! Selection: the streams that one connection is to bring.
//!
//! ```text
//! ?s=log&s=builds ──► StreamsAsked ──► may the client read each? ──► Selection
//! ```

use std::rc::Rc;

use super::settings::{NamedStream, is_stream_name};
use crate::event::Tag;

/// How an event shows which stream it is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Labelling {
    /// By its name: `log/update`, and `log/message` for an event without a name.
    #[default]
    Name,
    /// By its data: `{"stream":"log","data":"…"}`. The event keeps its name.
    Field,
}

/// What a query says of several streams: the values of `s`, and `as=field`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsAsked {
    /// Each name once.
    names: Vec<String>,
    labelling: Labelling,
    /// A name that cannot be one, too many names, or an unknown `as`.
    is_bad: bool,
}

impl StreamsAsked {
    /// The largest number of names. More than this fit into no connection.
    pub const NAMES_MAX: usize = 32;

    /// Reads a value of `s`.
    pub(super) fn add(&mut self, name: &[u8]) {
        if !is_stream_name(name) {
            self.is_bad = true;
            return;
        }
        let name = String::from_utf8_lossy(name);
        if self.names.iter().any(|own| *own == name) {
            return;
        }
        match self.names.len() {
            Self::NAMES_MAX.. => self.is_bad = true,
            _ => self.names.push(name.into_owned()),
        }
    }

    /// Reads a value of `as`.
    pub(super) fn label(&mut self, how: &[u8]) {
        match how {
            b"name" => self.labelling = Labelling::Name,
            b"field" => self.labelling = Labelling::Field,
            _ => self.is_bad = true,
        }
    }

    /// The names that a client asks for at a location with these streams: all of them if it asks
    /// for none. `None` if the query can be read by nobody.
    #[must_use]
    pub fn names<'n>(&'n self, all: &'n [String]) -> Option<&'n [String]> {
        match (self.is_bad, &self.names[..]) {
            (true, _) => None,
            (false, []) => Some(all),
            (false, names) => Some(names),
        }
    }
}

/// Why none of the streams that a client asks for can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoneServed {
    /// The query cannot be read, or asks for more than fits: 400.
    BadQuery,
    /// The client may read none of them: 403.
    Forbidden,
    /// There are none of these names: 404.
    NotFound,
}

/// The streams of a connection. Two requests for the same streams have the same selection,
/// whatever the order in which they name them.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The streams to serve, in the order of their tags, which is that of composite ids.
    pub streams: Vec<Rc<NamedStream>>,
    /// The names of those that do not exist or that the client may not read.
    pub unavailable: Vec<String>,
    /// How an event shows which stream it is from.
    pub labelling: Labelling,
    /// The client has been connected to them, and reads on.
    pub continues: bool,
    /// Why there is no stream to serve; `None` if there is one.
    pub none: Option<NoneServed>,
}

/// Selections are compared by the streams' identity, since a process has each of them once.
impl PartialEq for Selection {
    fn eq(&self, other: &Self) -> bool {
        let is_same = |(one, other): (&Rc<NamedStream>, &Rc<NamedStream>)| Rc::ptr_eq(one, other);
        self.streams.len() == other.streams.len()
            && self.streams.iter().zip(&other.streams).all(is_same)
            && self.unavailable == other.unavailable
            && self.labelling == other.labelling
            && self.continues == other.continues
            && self.none == other.none
    }
}

impl Eq for Selection {}

/// What is decided about one name.
#[derive(Clone, Debug)]
pub enum Chosen {
    /// It is served.
    Served(Rc<NamedStream>),
    /// The client may not read it.
    Refused,
    /// There is no such stream.
    Unknown,
}

impl Selection {
    /// The selection of what `choose` decides for each name that a client asks for.
    ///
    /// # Errors
    /// The first error of `choose`.
    pub fn of<E>(
        asked: &StreamsAsked,
        all: &[String],
        mut choose: impl FnMut(&str) -> Result<Chosen, E>,
    ) -> Result<Self, E> {
        let mut selection = Self {
            streams: Vec::new(),
            unavailable: Vec::new(),
            labelling: asked.labelling,
            continues: false,
            none: None,
        };
        let Some(names) = asked.names(all) else {
            selection.none = Some(NoneServed::BadQuery);
            return Ok(selection);
        };
        let mut none = NoneServed::NotFound;
        for name in names {
            match choose(name)? {
                Chosen::Served(stream) => selection.streams.push(stream),
                Chosen::Refused => {
                    none = NoneServed::Forbidden;
                    selection.unavailable.push(name.clone());
                }
                Chosen::Unknown => selection.unavailable.push(name.clone()),
            }
        }
        selection
            .streams
            .sort_by_key(|stream| Tag::of(&stream.name));
        selection.none = selection.streams.is_empty().then_some(none);
        Ok(selection)
    }

    /// The same for a client that has been connected: it knows what is unavailable.
    #[must_use]
    pub fn continued(&self) -> Self {
        Self {
            continues: true,
            unavailable: Vec::new(),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Lifetime, MetaVariables, Query, Settings};

    fn select(query: &str) -> Selection {
        let all = ["log", "builds", "secret"].map(String::from);
        let asked = Query::parse(query.as_bytes()).streams;
        let settings = Settings::parse(&MetaVariables::of(&[]), Lifetime::Hour);
        let settings = settings.unwrap().0;
        Selection::of(&asked, &all, |name| {
            Ok::<_, ()>(match name {
                "secret" => Chosen::Refused,
                name if all.iter().any(|own| own == name) => Chosen::Served(Rc::new(NamedStream {
                    name: name.into(),
                    kind: "tail".into(),
                    settings: settings.clone(),
                })),
                _ => Chosen::Unknown,
            })
        })
        .unwrap()
    }

    #[track_caller]
    fn check(query: &str, served: &[&str], unavailable: &[&str], none: Option<NoneServed>) {
        let selection = select(query);
        let names = selection.streams.iter().map(|stream| &stream.name[..]);
        assert_eq!(names.collect::<Vec<_>>(), served, "{query}");
        assert_eq!(selection.unavailable, unavailable, "{query}");
        assert_eq!(selection.none, none, "{query}");
    }

    #[test]
    fn the_set_counts_and_neither_order_nor_repetition() {
        let tags = ["log", "builds"].map(Tag::of);
        let both: &[&str] = match tags[0] < tags[1] {
            true => &["log", "builds"],
            false => &["builds", "log"],
        };
        check("s=log&s=builds", both, &[], None);
        check("s=builds&s=log&s=log&x=1", both, &[], None);
        check("s=l%6Fg", &["log"], &[], None);
        check("", both, &["secret"], None);
        check(
            "s=log&s=other&s=secret",
            &["log"],
            &["other", "secret"],
            None,
        );
    }

    #[test]
    fn a_client_that_gets_nothing_is_told_as_for_one_stream() {
        use NoneServed::{BadQuery, Forbidden, NotFound};
        check("s=other", &[], &["other"], Some(NotFound));
        check(
            "s=other&s=secret",
            &[],
            &["other", "secret"],
            Some(Forbidden),
        );
        let many: String = (0..33).map(|n| format!("s=a{n}&")).collect();
        let long = format!("s=log&s={}", "x".repeat(65));
        let bad = [
            "s=",
            "s=log&s=a/b",
            "s=..",
            "s=%ff",
            "s=log&as=x",
            &many,
            &long,
        ];
        for query in bad {
            check(query, &[], &[], Some(BadQuery));
        }
    }

    #[test]
    fn the_page_chooses_how_events_show_their_stream() {
        assert_eq!(select("s=log").labelling, Labelling::Name);
        assert_eq!(select("s=log&as=name").labelling, Labelling::Name);
        assert_eq!(select("as=field").labelling, Labelling::Field);
    }
}
