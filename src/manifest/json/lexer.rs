//! Cuts a document into tokens.

use super::JsonError;

/// The longest string or number that is read, in bytes. The longest that a server writes is a path of 1024
/// bytes.
pub const MAX_TOKEN_LEN: usize = 64 << 10;

/// A token; the text of a string or word is in [`Lexer::text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    ObjectStart,
    ObjectEnd,
    ArrayStart,
    ArrayEnd,
    Colon,
    Comma,
    String,
    /// A number, `true`, `false` or `null`.
    Word,
}

/// Takes tokens off the front of chunks.
#[derive(Debug, Default)]
pub(super) struct Lexer {
    state: State,
    /// The string without its quotes and escapes, or the word, as far as it has come.
    text: Vec<u8>,
    /// The first half of a surrogate pair.
    high_surrogate: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    String,
    Escape,
    /// After `\u`.
    Unicode {
        digits: u8,
        value: u16,
    },
    Word,
}

impl Lexer {
    /// Takes the next token off the front of `chunk`, or all of it if there is none that is complete.
    pub(super) fn next_token(&mut self, chunk: &mut &[u8]) -> Result<Option<Token>, JsonError> {
        loop {
            let token = match self.state {
                State::Between => match chunk.split_off_first() {
                    Some(&byte) => self.begin(byte)?,
                    None => return Ok(None),
                },
                State::Word => {
                    let len = chunk.iter().position(|&byte| !is_in_word(byte)).unwrap_or(chunk.len());
                    self.extend(chunk, len)?;
                    if chunk.is_empty() {
                        return Ok(None);
                    }
                    self.state = State::Between;
                    check_word(&self.text)?;
                    Some(Token::Word)
                }
                State::String => {
                    let len = chunk.iter().position(|&byte| ends_run(byte)).unwrap_or(chunk.len());
                    if len > 0 {
                        self.refuse_half_pair()?;
                    }
                    self.extend(chunk, len)?;
                    match chunk.split_off_first() {
                        Some(&byte) => self.end_run(byte)?,
                        None => return Ok(None),
                    }
                }
                State::Escape | State::Unicode { .. } => match chunk.split_off_first() {
                    Some(&byte) => {
                        self.escaped(byte)?;
                        None
                    }
                    None => return Ok(None),
                },
            };
            if token.is_some() {
                return Ok(token);
            }
        }
    }

    /// Whether no token has begun without coming to its end.
    pub(super) fn is_between_tokens(&self) -> bool {
        self.state == State::Between
    }

    /// The text of the string or word that came last.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether what has come ends in a word that is complete if nothing follows.
    pub(super) fn is_at_end_of_word(&self) -> bool {
        self.state == State::Word && check_word(&self.text).is_ok()
    }

    /// Why the document cannot end here.
    pub(super) fn end_error(&self) -> JsonError {
        let text = String::from_utf8_lossy(&self.text);
        match self.state {
            State::Between => JsonError::EndedUnexpectedly,
            State::Word => check_word(&self.text).err().unwrap_or(JsonError::EndedUnexpectedly),
            State::String => JsonError::InvalidToken(format!("\"{text}")),
            State::Escape | State::Unicode { .. } => JsonError::InvalidToken(format!("\"{text}\\")),
        }
    }

    fn begin(&mut self, byte: u8) -> Result<Option<Token>, JsonError> {
        Ok(Some(match byte {
            b' ' | b'\t' | b'\n' | b'\r' => return Ok(None),
            b'{' => Token::ObjectStart,
            b'}' => Token::ObjectEnd,
            b'[' => Token::ArrayStart,
            b']' => Token::ArrayEnd,
            b':' => Token::Colon,
            b',' => Token::Comma,
            b'"' => {
                self.state = State::String;
                self.text.clear();
                return Ok(None);
            }
            byte if is_in_word(byte) => {
                self.state = State::Word;
                self.text.clear();
                self.text.push(byte);
                return Ok(None);
            }
            byte => return Err(JsonError::InvalidToken(String::from_utf8_lossy(&[byte]).into_owned())),
        }))
    }

    fn extend(&mut self, chunk: &mut &[u8], len: usize) -> Result<(), JsonError> {
        let (run, rest) = chunk.split_at(len);
        if self.text.len() + len > MAX_TOKEN_LEN {
            return Err(JsonError::TokenTooLong);
        }
        self.text.extend_from_slice(run);
        *chunk = rest;
        Ok(())
    }

    /// Takes the byte that ends a run of plain characters.
    fn end_run(&mut self, byte: u8) -> Result<Option<Token>, JsonError> {
        match byte {
            b'"' => {
                self.refuse_half_pair()?;
                self.state = State::Between;
                Ok(Some(Token::String))
            }
            b'\\' => {
                self.state = State::Escape;
                Ok(None)
            }
            control => Err(JsonError::ControlCharacter(control)),
        }
    }

    fn escaped(&mut self, byte: u8) -> Result<(), JsonError> {
        if let State::Unicode { digits, value } = self.state {
            let digit = char::from(byte).to_digit(16).ok_or(JsonError::InvalidUnicodeEscape)?;
            let value = value << 4 | digit as u16;
            if digits < 3 {
                self.state = State::Unicode { digits: digits + 1, value };
                return Ok(());
            }
            self.state = State::String;
            return self.push_code_unit(value);
        }
        if byte == b'u' {
            self.state = State::Unicode { digits: 0, value: 0 };
            return Ok(());
        }
        self.state = State::String;
        self.push_char(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            other => return Err(JsonError::InvalidEscape(char::from(other))),
        })
    }

    fn push_code_unit(&mut self, unit: u16) -> Result<(), JsonError> {
        match (self.high_surrogate.take(), unit) {
            (Some(high), 0xDC00..=0xDFFF) => {
                let code = 0x1_0000 + (u32::from(high - 0xD800) << 10) + u32::from(unit - 0xDC00);
                self.push_char(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
            }
            (Some(_), 0xD800..=0xDBFF) => {
                Err(JsonError::Surrogate("Unicode high surrogate must not follow a high surrogate."))
            }
            (None, 0xD800..=0xDBFF) => {
                self.high_surrogate = Some(unit);
                Ok(())
            }
            (None, 0) => Err(JsonError::ZeroCharacter),
            (None, _) if char::from_u32(unit.into()).is_some() => {
                self.push_char(char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER))
            }
            _ => Err(HALF_PAIR),
        }
    }

    fn push_char(&mut self, c: char) -> Result<(), JsonError> {
        self.refuse_half_pair()?;
        if self.text.len() + c.len_utf8() > MAX_TOKEN_LEN {
            return Err(JsonError::TokenTooLong);
        }
        self.text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn refuse_half_pair(&self) -> Result<(), JsonError> {
        if self.high_surrogate.is_some() { Err(HALF_PAIR) } else { Ok(()) }
    }
}

const HALF_PAIR: JsonError = JsonError::Surrogate("Unicode low surrogate must follow a high surrogate.");

/// Whether the byte is no plain character of a string.
const fn ends_run(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..0x20)
}

const fn is_in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.' | b'_' | 0x80..)
}

/// Whether the word is one that JSON has.
fn check_word(word: &[u8]) -> Result<(), JsonError> {
    if matches!(word, b"true" | b"false" | b"null") || is_number(word) {
        return Ok(());
    }
    Err(JsonError::InvalidToken(String::from_utf8_lossy(word).into_owned()))
}

/// `[ "-" ] ( "0" / digit19 *digit ) [ "." 1*digit ] [ ( "e" / "E" ) [ "+" / "-" ] 1*digit ]`
fn is_number(word: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = word.strip_prefix(b"-").unwrap_or(word);
    let whole = digits(text);
    if whole == 0 || (whole > 1 && text[0] == b'0') {
        return false;
    }
    let mut text = &text[whole..];
    if let Some(fraction) = text.strip_prefix(b".") {
        let len = digits(fraction);
        if len == 0 {
            return false;
        }
        text = &fraction[len..];
    }
    match text {
        [] => true,
        [b'e' | b'E', exponent @ ..] => {
            let exponent = exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent);
            !exponent.is_empty() && digits(exponent) == exponent.len()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_json() {
        for text in ["0", "-0", "1", "10", "1.5", "0.0", "1e5", "1E-5", "-1.5e+05", "18446744073709551616"] {
            assert!(is_number(text.as_bytes()), "{text}");
        }
        for text in ["", "-", "+1", "01", "1.", ".5", "1e", "1e+", "1x", "0x1", "1.5.5", "Infinity"] {
            assert!(!is_number(text.as_bytes()), "{text}");
        }
    }
}
