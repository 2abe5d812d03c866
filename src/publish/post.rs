//! Post: one POST, from its head to a record.

use std::time::Duration;

use super::body::{Body, Progress};
use super::fields::{Length, PostFields};
use super::message::{Media, Message};
use super::permit::{Permission, permit};
use super::record::Record;
use super::reply::{Replies, Reply};
use super::token::Tokens;
use crate::request::{Method, Publishing, Request, Settings, Status};
use crate::source::Author;

/// Everything that determines the response to a POST.
#[derive(Clone, Copy)]
pub struct PostContext<'a> {
    /// The request.
    pub request: &'a Request,
    /// Its meta-variables that concern publishing.
    pub fields: &'a PostFields,
    /// The settings of its location.
    pub settings: &'a Settings,
    /// The settings of publishing.
    pub publishing: &'a Publishing,
    /// The tokens of the token file; none if tokens do not permit publishing.
    pub tokens: &'a Tokens,
}

/// The decision after the head.
pub enum PostStart {
    /// The response is known already. The body is not needed.
    Reply(Reply),
    /// Receive the body.
    Post(Post),
}

/// What the caller does next.
pub enum PostStep {
    /// Wait for bytes, or for [`Post::until`].
    More,
    /// The response is known. The rest of the body is not needed.
    Reply(Reply),
    /// Append this record, and then respond by [`Post::replies`].
    Record(Record),
}

/// A POST that may publish and whose body is being received.
pub struct Post {
    replies: Replies,
    media: Media,
    body: Body,
    body_max_bytes: usize,
    /// The longest record that reaches a reader uncut.
    line_max_bytes: usize,
    client: Vec<u8>,
    /// The member of a room who publishes it.
    author: Option<Author>,
}

/// Decides what can be decided from the head of a POST. `now` is any monotonic clock; the body
/// must arrive within [`Publishing::timeout`] from now.
#[must_use]
pub fn begin(asked: PostContext<'_>, now: Duration) -> PostStart {
    match judge(asked, now) {
        Ok(post) => PostStart::Post(post),
        Err(reply) => PostStart::Reply(reply),
    }
}

// A client that may not publish must not learn anything else, so this is decided first.
fn judge(asked: PostContext<'_>, now: Duration) -> Result<Post, Reply> {
    let PostContext {
        request,
        fields,
        settings,
        publishing,
        tokens,
    } = asked;
    let replies = Replies::to(request, settings);
    match request.method {
        Method::Post => {}
        Method::Options => return Err(Replies::preflight(request, settings)),
        _ => return Err(replies.method_not_allowed()),
    }
    match permit(request, fields, settings, publishing, tokens) {
        Permission::Granted => {}
        Permission::TokenMissing => return Err(replies.unauthorized()),
        Permission::Denied => return Err(replies.forbidden()),
    }
    let is_coded = |coding: &[u8]| !coding.eq_ignore_ascii_case(b"identity");
    if fields.content_encoding.as_deref().is_some_and(is_coded) {
        return Err(replies.unsupported_coding());
    }
    let media = fields.content_type.as_deref().and_then(Media::parse);
    let media = media.ok_or_else(|| replies.unsupported_type())?;
    let limit = publishing.body_max_bytes;
    match fields.length {
        Length::Known(length) if length > limit as u64 => return Err(replies.too_large(limit)),
        Length::Malformed => return Err(replies.error(Status::BadRequest, "no such length")),
        _ => {}
    }
    Ok(Post {
        replies,
        media,
        body: Body::new(fields.length, limit, now + publishing.timeout),
        body_max_bytes: limit,
        line_max_bytes: settings.max_line_bytes,
        client: fields.client(),
        author: None,
    })
}

impl Post {
    /// Makes `author`, the member of a room, the author of its record.
    pub fn comes_from(&mut self, author: Author) {
        self.author = Some(author);
    }

    /// Adds bytes of the body.
    pub fn take(&mut self, bytes: &[u8]) {
        self.body.take(bytes);
    }

    /// The input has ended.
    pub fn end(&mut self) {
        self.body.end();
    }

    /// What to do at `now`. Call it at the beginning, since a body can be empty, whenever bytes
    /// or their end have arrived, and at [`Post::until`].
    #[must_use]
    pub fn at(&self, now: Duration) -> PostStep {
        let replies = &self.replies;
        PostStep::Reply(match self.body.at(now) {
            Progress::More => return PostStep::More,
            Progress::Whole => match self.record() {
                Ok(record) => return PostStep::Record(record),
                Err(reply) => reply,
            },
            Progress::TooLarge => replies.too_large(self.body_max_bytes),
            Progress::Late => replies.error(Status::RequestTimeout, "the body came too slowly"),
            Progress::CutOff => replies.error(Status::BadRequest, "the body is cut off"),
        })
    }

    /// The time before which the body must have arrived and the record must be in the file.
    #[must_use]
    pub fn until(&self) -> Duration {
        self.body.until()
    }

    /// How many bytes to read.
    #[must_use]
    pub fn wanted_bytes(&self) -> usize {
        self.body.wanted_bytes()
    }

    /// What identifies its client, for [`super::rate`].
    #[must_use]
    pub fn client(&self) -> &[u8] {
        &self.client
    }

    /// The responses to it.
    #[must_use]
    pub fn replies(&self) -> &Replies {
        &self.replies
    }

    fn record(&self) -> Result<Record, Reply> {
        let message = Message::parse(self.media, self.body.bytes());
        let record = message.and_then(|message| match &self.author {
            Some(author) => message.record_of(author),
            None => Ok(message.record()),
        });
        let record = record
            .map_err(|problem| self.replies.error(Status::BadRequest, &problem.to_string()))?;
        // A longer record would be cut for readers.
        if record.as_bytes().len() > self.line_max_bytes {
            return Err(self.replies.too_large(self.line_max_bytes));
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Lifetime, MetaVariables};
    use proptest::prelude::*;

    const POST: (&str, &str) = ("REQUEST_METHOD", "POST");
    const ANYONE: (&str, &str) = ("SSE_PUBLISH_ALLOW", "anyone");
    const TEXT: (&str, &str) = ("CONTENT_TYPE", "text/plain");

    fn begun(pairs: &[(&str, &str)]) -> PostStart {
        let meta = MetaVariables::of(pairs);
        let asked = PostContext {
            request: &Request::from_meta(&meta),
            fields: &PostFields::from_meta(&meta),
            settings: &Settings::parse(&meta, Lifetime::Hour).unwrap().0,
            publishing: &Publishing::parse(&meta).unwrap().0,
            tokens: &Tokens::parse(b"secret-secret"),
        };
        begin(asked, Duration::ZERO)
    }

    fn shown(reply: &Reply) -> String {
        let mut text = reply.head.status.as_str().to_owned();
        for (name, value) in &reply.head.fields {
            text.push_str(&format!("\n{name}: {value}"));
        }
        format!("{text}\n\n{}", String::from_utf8_lossy(&reply.body))
    }

    #[track_caller]
    fn check(pairs: &[(&str, &str)], expected: &str) {
        match begun(pairs) {
            PostStart::Reply(reply) => assert_eq!(shown(&reply), expected, "{pairs:?}"),
            PostStart::Post(_) => panic!("{pairs:?} is not refused"),
        }
    }

    fn post(pairs: &[(&str, &str)]) -> Post {
        match begun(&[&[POST, ANYONE, TEXT], pairs].concat()) {
            PostStart::Post(post) => post,
            PostStart::Reply(reply) => panic!("{}", shown(&reply)),
        }
    }

    #[track_caller]
    fn replies(next: PostStep, expected: &str) {
        match next {
            PostStep::Reply(reply) => {
                let text = shown(&reply);
                assert!(text.starts_with(expected), "{text}");
            }
            PostStep::More => panic!("more"),
            PostStep::Record(record) => panic!("{record:?}"),
        }
    }

    #[test]
    fn what_the_head_decides_is_answered_before_the_body() {
        check(
            &[("REQUEST_METHOD", "GET"), ANYONE],
            "405 Method Not Allowed\nAllow: POST, OPTIONS\nContent-Type: application/json\n\
             Cache-Control: no-store\nContent-Length: 32\n\n{\"error\":\"only POST publishes\"}\n",
        );
        check(
            &[("REQUEST_METHOD", "HEAD"), ANYONE],
            "405 Method Not Allowed\nAllow: POST, OPTIONS\nContent-Type: application/json\n\
             Cache-Control: no-store\nContent-Length: 32\n\n",
        );
        check(
            &[POST, TEXT],
            "403 Forbidden\nContent-Type: application/json\nCache-Control: no-store\n\
             Content-Length: 24\n\n{\"error\":\"not allowed\"}\n",
        );
        let token = [
            POST,
            ("SSE_PUBLISH_ALLOW", "token"),
            ("SSE_PUBLISH_TOKEN_FILE", "/t"),
        ];
        check(
            &token,
            "401 Unauthorized\nWWW-Authenticate: Bearer realm=\"publish\"\n\
             Content-Type: application/json\nCache-Control: no-store\nContent-Length: 30\n\n\
             {\"error\":\"a token is needed\"}\n",
        );
        check(
            &[POST, ANYONE, ("CONTENT_TYPE", "text/html")],
            "415 Unsupported Media Type\nAccept-Post: application/json, text/plain, \
             application/x-www-form-urlencoded\nContent-Type: application/json\n\
             Cache-Control: no-store\nContent-Length: 52\n\n\
             {\"error\":\"neither JSON, text nor a form, in UTF-8\"}\n",
        );
        check(
            &[POST, ANYONE, TEXT, ("CONTENT_LENGTH", "65537")],
            "413 Content Too Large\nContent-Type: application/json\nCache-Control: no-store\n\
             Content-Length: 36\n\n{\"error\":\"larger than 65536 bytes\"}\n",
        );
    }

    #[test]
    fn another_sites_page_may_read_why_where_it_may_read() {
        let origin = ("HTTP_ORIGIN", "https://a.example");
        let allowed = ("SSE_ALLOW_ORIGIN", "https://a.example");
        check(
            &[POST, origin, allowed],
            "403 Forbidden\nContent-Type: application/json\nCache-Control: no-store\n\
             Content-Length: 24\nVary: Origin\nAccess-Control-Allow-Origin: https://a.example\n\
             Access-Control-Allow-Credentials: true\n\n{\"error\":\"not allowed\"}\n",
        );
        check(
            &[("REQUEST_METHOD", "OPTIONS"), origin, allowed],
            "204 No Content\nAllow: POST, OPTIONS\nVary: Origin\n\
             Access-Control-Allow-Origin: https://a.example\n\
             Access-Control-Allow-Credentials: true\n\
             Access-Control-Allow-Methods: POST, OPTIONS\n\
             Access-Control-Allow-Headers: Accept, Authorization, Cache-Control, \
             Content-Type, Last-Event-ID, X-Requested-With\n\
             Access-Control-Max-Age: 7200\n\n",
        );
    }

    const START: Duration = Duration::ZERO;

    #[test]
    fn a_body_becomes_a_record_and_then_an_id() {
        let mut post = post(&[("CONTENT_LENGTH", "5")]);
        post.take(b"hel");
        assert!(matches!(post.at(START), PostStep::More));
        post.take(b"lo, and what follows");
        let PostStep::Record(record) = post.at(START) else {
            panic!("no record");
        };
        assert_eq!(record.as_bytes(), b"{\"data\":\"hello\"}\n");
        assert_eq!(
            shown(&post.replies().created("17-0123456789abcdef")),
            "201 Created\nContent-Type: application/json\nCache-Control: no-store\n\
             Content-Length: 29\n\n{\"id\":\"17-0123456789abcdef\"}\n"
        );
    }

    #[test]
    fn an_empty_body_is_whole_before_a_byte_of_it_came() {
        let post = post(&[("CONTENT_LENGTH", "0")]);
        assert!(matches!(post.at(START), PostStep::Record(_)));
    }

    #[test]
    fn a_body_that_is_no_message_gets_the_reason() {
        let mut slow = post(&[("CONTENT_LENGTH", "5")]);
        slow.take(b"hel");
        replies(slow.at(slow.until()), "408 Request Timeout");
        slow.end();
        replies(slow.at(START), "400 Bad Request");
        let mut chunked = post(&[("SSE_PUBLISH_MAX", "4")]);
        chunked.take(b"hello");
        replies(chunked.at(START), "413 Content Too Large");
        let ended = |pairs: &[(&str, &str)], bytes: &[u8]| {
            let mut post = post(pairs);
            post.take(bytes);
            post.end();
            post.at(START)
        };
        replies(ended(&[], b"\xff"), "400 Bad Request");
        // The record would be cut for readers, since quoting makes it longer.
        let short = [("SSE_MAX_LINE", "16")];
        replies(ended(&short, b"\0\0\0"), "413 Content Too Large");
    }

    proptest! {
        /// Any variables and bytes lead to a response or a record.
        #[test]
        fn any_variables_and_any_bytes_come_to_an_end(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 10),
            is_known in prop::collection::vec(any::<bool>(), 10),
            body in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let names = [
                "CONTENT_TYPE", "CONTENT_LENGTH", "HTTP_AUTHORIZATION", "HTTP_ORIGIN",
                "HTTP_HOST", "HTTP_SEC_FETCH_SITE", "REMOTE_ADDR", "REMOTE_USER",
                "HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_ENCODING",
            ];
            let mut meta = MetaVariables::of(&[POST, ANYONE, TEXT, ("CONTENT_LENGTH", "50")]);
            for ((name, value), is_known) in names.iter().zip(&values).zip(is_known) {
                if is_known {
                    meta.push(name, value);
                }
            }
            let asked = PostContext {
                request: &Request::from_meta(&meta),
                fields: &PostFields::from_meta(&meta),
                settings: &Settings::parse(&meta, Lifetime::Hour).unwrap().0,
                publishing: &Publishing::parse(&meta).unwrap().0,
                tokens: &Tokens::parse(b"secret-secret"),
            };
            if let PostStart::Post(mut post) = begin(asked, START) {
                post.take(&body);
                post.end();
                prop_assert!(!matches!(post.at(START), PostStep::More));
            }
        }
    }
}
