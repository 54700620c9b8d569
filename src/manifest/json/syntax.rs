//! The order in which tokens make a document.

use super::lexer::{Lexer, Token};
use super::{JsonError, MAX_DEPTH};

/// What happens in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manifest) enum Event<'a> {
    ObjectStart,
    ObjectEnd,
    ArrayStart,
    ArrayEnd,
    /// The name of a field, whose value comes next; it is told when its colon has come.
    Field(&'a [u8]),
    /// A value that is no object and no array, as text: `null` and `"null"` are the same (BB-233).
    Scalar(&'a [u8]),
}

/// Reads a document that comes in chunks.
#[derive(Debug, Default)]
pub(in crate::manifest) struct EventReader {
    lexer: Lexer,
    expected: Expected,
    /// What the next token is in, outermost first; at most [`MAX_DEPTH`] long.
    containers: Vec<Container>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Object,
    Array,
}

/// What the next token must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expected {
    #[default]
    Value,
    ValueOrEnd,
    Field,
    FieldOrEnd,
    Colon,
    /// After a value in an object or array.
    CommaOrEnd,
    /// The document is complete.
    Nothing,
}

impl EventReader {
    /// Takes tokens off the front of `chunk` up to the next event, or all of it and returns nothing.
    pub(in crate::manifest) fn next_event(
        &mut self,
        chunk: &mut &[u8],
    ) -> Result<Option<Event<'_>>, JsonError> {
        while let Some(token) = self.lexer.next_token(chunk)? {
            if let Some(kind) = self.accept(token)? {
                return Ok(Some(match kind {
                    Kind::ObjectStart => Event::ObjectStart,
                    Kind::ObjectEnd => Event::ObjectEnd,
                    Kind::ArrayStart => Event::ArrayStart,
                    Kind::ArrayEnd => Event::ArrayEnd,
                    Kind::Field => Event::Field(self.lexer.text()),
                    Kind::Scalar => Event::Scalar(self.lexer.text()),
                }));
            }
        }
        Ok(None)
    }

    /// Says whether the document may end here.
    pub(in crate::manifest) fn finish(&self) -> Result<(), JsonError> {
        match self.expected {
            Expected::Nothing if self.lexer.is_between_tokens() => Ok(()),
            _ => Err(self.lexer.end_error()),
        }
    }

    /// Whether the document is a number or another bare word, which nothing but its end can complete.
    pub(in crate::manifest) fn is_at_end_of_lone_word(&self) -> bool {
        self.expected == Expected::Value && self.containers.is_empty() && self.lexer.is_at_end_of_word()
    }

    fn accept(&mut self, token: Token) -> Result<Option<Kind>, JsonError> {
        let kind = match (self.expected, token) {
            (Expected::Value | Expected::ValueOrEnd, Token::ObjectStart) => {
                self.enter(Container::Object, Expected::FieldOrEnd)?;
                Kind::ObjectStart
            }
            (Expected::Value | Expected::ValueOrEnd, Token::ArrayStart) => {
                self.enter(Container::Array, Expected::ValueOrEnd)?;
                Kind::ArrayStart
            }
            (Expected::Value | Expected::ValueOrEnd, Token::String | Token::Word) => {
                self.end_value();
                Kind::Scalar
            }
            (Expected::Field | Expected::FieldOrEnd, Token::String) => {
                self.expected = Expected::Colon;
                return Ok(None);
            }
            (Expected::Colon, Token::Colon) => {
                self.expected = Expected::Value;
                Kind::Field
            }
            (Expected::CommaOrEnd, Token::Comma) => {
                self.expected = match self.containers.last() {
                    Some(Container::Object) => Expected::Field,
                    _ => Expected::Value,
                };
                return Ok(None);
            }
            (Expected::FieldOrEnd, Token::ObjectEnd) | (Expected::ValueOrEnd, Token::ArrayEnd) => {
                self.leave()
            }
            (Expected::CommaOrEnd, Token::ObjectEnd | Token::ArrayEnd)
                if (token == Token::ObjectEnd) == (self.containers.last() == Some(&Container::Object)) =>
            {
                self.leave()
            }
            _ => return Err(self.unexpected(token)),
        };
        Ok(Some(kind))
    }

    fn enter(&mut self, container: Container, expected: Expected) -> Result<(), JsonError> {
        if self.containers.len() == MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        self.containers.push(container);
        self.expected = expected;
        Ok(())
    }

    fn leave(&mut self) -> Kind {
        let kind = match self.containers.pop() {
            Some(Container::Array) => Kind::ArrayEnd,
            _ => Kind::ObjectEnd,
        };
        self.end_value();
        kind
    }

    fn end_value(&mut self) {
        self.expected = if self.containers.is_empty() { Expected::Nothing } else { Expected::CommaOrEnd };
    }

    fn unexpected(&self, token: Token) -> JsonError {
        let text = String::from_utf8_lossy(self.lexer.text());
        let found = match token {
            Token::ObjectStart => "{".to_owned(),
            Token::ObjectEnd => "}".to_owned(),
            Token::ArrayStart => "[".to_owned(),
            Token::ArrayEnd => "]".to_owned(),
            Token::Colon => ":".to_owned(),
            Token::Comma => ",".to_owned(),
            Token::String => format!("\"{text}\""),
            Token::Word => text.into_owned(),
        };
        let expected = match (self.expected, self.containers.last()) {
            (Expected::Value, _) => "JSON value",
            (Expected::ValueOrEnd, _) if token == Token::Comma || token == Token::Colon => "JSON value",
            (Expected::ValueOrEnd, _) => "array element or \"]\"",
            (Expected::Field, _) => "string",
            (Expected::FieldOrEnd, _) => "string or \"}\"",
            (Expected::Colon, _) => "\":\"",
            (Expected::CommaOrEnd, Some(Container::Object)) => "\",\" or \"}\"",
            (Expected::CommaOrEnd, _) => "\",\" or \"]\"",
            (Expected::Nothing, _) => "end of input",
        };
        JsonError::Unexpected { expected, found }
    }
}

/// An event without its text.
#[derive(Clone, Copy, Debug)]
enum Kind {
    ObjectStart,
    ObjectEnd,
    ArrayStart,
    ArrayEnd,
    Field,
    Scalar,
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What the document holds, on one line, and the error that ends it.
    fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<String, (String, String)> {
        let (mut reader, mut seen) = (EventReader::default(), Vec::new());
        for mut chunk in chunks {
            loop {
                match reader.next_event(&mut chunk) {
                    Ok(Some(event)) => seen.push(match event {
                        Event::ObjectStart => "{".to_owned(),
                        Event::ObjectEnd => "}".to_owned(),
                        Event::ArrayStart => "[".to_owned(),
                        Event::ArrayEnd => "]".to_owned(),
                        Event::Field(name) => format!("{}:", String::from_utf8_lossy(name)),
                        Event::Scalar(text) => String::from_utf8_lossy(text).into_owned(),
                    }),
                    Ok(None) => break,
                    Err(error) => return Err((seen.join(" "), error.to_string())),
                }
            }
            assert_eq!(chunk, b"");
        }
        let seen = seen.join(" ");
        reader.finish().map(|()| seen.clone()).map_err(|error| (seen, error.to_string()))
    }

    fn error(document: &str) -> String {
        read([document.as_bytes()]).unwrap_err().1
    }

    #[test]
    fn bb_233_white_space_is_free() {
        let expected = "{ a: 1 b: [ { c: d e: null } [ ] { } true -1.5e3 ] }";
        for document in [
            "{\"a\":1,\"b\":[{\"c\":\"d\",\"e\":null},[],{},true,-1.5e3]}",
            "\r\n\t { \"a\" :\n1\n,\"b\" : [ { \"c\":\n\"d\" , \"e\": null }, [ ], { }, true, -1.5e3 ] } \n\n",
        ] {
            assert_eq!(read([document.as_bytes()]).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn strings_lose_their_escapes() {
        let document = r#"["\"\\\/\b\f\n\r\t", "\u00e9\ud83d\uDE00é", ""]"#;
        assert_eq!(read([document.as_bytes()]).unwrap(), "[ \"\\/\x08\x0c\n\r\t é😀é  ]");
        assert_eq!(read([&b"\"\xff\""[..]]).unwrap(), "\u{FFFD}");
    }

    #[test]
    fn bb_232_documents_that_are_no_json() {
        for (document, text) in [
            ("", "The input string ended unexpectedly."),
            (" \n", "The input string ended unexpectedly."),
            ("{", "The input string ended unexpectedly."),
            ("{\"a\"", "The input string ended unexpectedly."),
            ("{\"a\": 1", "The input string ended unexpectedly."),
            ("x", "Token \"x\" is invalid."),
            ("{x", "Token \"x\" is invalid."),
            ("{\"a\": tru", "Token \"tru\" is invalid."),
            ("[1x]", "Token \"1x\" is invalid."),
            ("[01]", "Token \"01\" is invalid."),
            ("{'a': 1}", "Token \"'\" is invalid."),
            ("{\"a", "Token \"\"a\" is invalid."),
            ("{\"a\\", "Token \"\"a\\\" is invalid."),
            ("[1 \"x\"]", "Expected \",\" or \"]\", but found \"\"x\"\"."),
            ("{\"a\": 1 \"x\"", "Expected \",\" or \"}\", but found \"\"x\"\"."),
            ("{\"a\": [1}", "Expected \",\" or \"]\", but found \"}\"."),
            ("{\"a\": 1,}", "Expected string, but found \"}\"."),
            ("{,}", "Expected string or \"}\", but found \",\"."),
            ("{\"a\" 1}", "Expected \":\", but found \"1\"."),
            ("{\"a\": }", "Expected JSON value, but found \"}\"."),
            ("[,]", "Expected JSON value, but found \",\"."),
            ("[1,]", "Expected JSON value, but found \"]\"."),
            ("{}{", "Expected end of input, but found \"{\"."),
            ("{}x", "Token \"x\" is invalid."),
            ("[\"a\n\"]", "Character with value 0x0a must be escaped."),
            ("[\"\\q\"]", "Escape sequence \"\\q\" is invalid."),
            ("[\"\\u12\"]", "\"\\u\" must be followed by four hexadecimal digits."),
            ("[\"\\u0000\"]", "\\u0000 cannot be converted to text."),
            ("[\"\\ud800\"]", "Unicode low surrogate must follow a high surrogate."),
            ("[\"\\udc00\"]", "Unicode low surrogate must follow a high surrogate."),
            ("[\"\\ud800x\\udc00\"]", "Unicode low surrogate must follow a high surrogate."),
            ("[\"\\ud800\\n\\udc00\"]", "Unicode low surrogate must follow a high surrogate."),
            ("[\"\\ud800\\ud800\"]", "Unicode high surrogate must not follow a high surrogate."),
        ] {
            assert_eq!(error(document), text, "{document}");
        }
    }

    #[test]
    fn nothing_grows_without_bound() {
        assert_eq!(error(&"[".repeat(100_000)), "nested too deep, maximum depth is 16");
        for document in [
            "\"".to_owned() + &"x".repeat(70_000),
            "1".repeat(70_000),
            "\"".to_owned() + &"\\n".repeat(70_000),
        ] {
            assert_eq!(error(&document), "a token is longer than 65536 bytes");
        }
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_events(
            pieces in vec(prop::sample::select(&[
                "{", "}", "[", "]", ":", ",", "\"", "\"a\"", "\"b\":", "1", "-2.5", "null", " ", "\n", "\\", "\\u00", "e9",
                "\\ud83d", "\\ude00", "é", "x",
            ][..]), 0..30),
            places in vec(0..60usize, 0..8),
        ) {
            let document = pieces.concat();
            let document = document.as_bytes();
            let mut places: Vec<_> = places.into_iter().map(|place| place.min(document.len())).collect();
            places.extend([0, document.len()]);
            places.sort_unstable();
            let chunks = places.windows(2).map(|ends| &document[ends[0]..ends[1]]);
            let whole = read([document]);
            prop_assert_eq!(&read(chunks), &whole);
            prop_assert_eq!(&read(document.chunks(1)), &whole);
        }

        #[test]
        fn the_same_documents_are_json_as_for_serde(
            pieces in vec(prop::sample::select(&[
                "{", "}", "[", "]", ":", ",", "\"a\"", "\"a\":1", "{\"b\":[", "]}", "1", "-2.5e1", "null", "true", " ",
            ][..]), 0..10),
        ) {
            // A number at the very end could go on.
            let document = pieces.concat() + " ";
            let expected = serde_json::from_str::<serde_json::Value>(&document).is_ok();
            prop_assert_eq!(read([document.as_bytes()]).is_ok(), expected, "{}", document);
        }
    }
}
