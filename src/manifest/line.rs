//! One line of a manifest as JSON.
//!
//! In: the bytes of a line. Out: which of the shapes it has that lines of a manifest have, with its fields.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::ManifestFault;

/// A line by its shape.
#[derive(Debug)]
pub(super) enum Line<'a> {
    /// `"key": [`
    ListStart(Cow<'a, str>),
    /// `{ "key": value, … }`, and whether a comma follows.
    Object(Fields<'a>, bool),
    /// `],`
    ListEnd,
    /// `"key": value` and what follows it.
    Field(Cow<'a, str>, Scalar<'a>, FieldEnd),
}

/// What follows a field of the manifest itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldEnd {
    /// A comma: there is more.
    Comma,
    /// A closing brace: it is the last one.
    Brace,
}

/// Why a line has no such shape.
#[derive(Debug)]
pub(super) enum LineError {
    Fault(ManifestFault),
    Json(serde_json::Error),
}

impl From<ManifestFault> for LineError {
    fn from(fault: ManifestFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<serde_json::Error> for LineError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

impl<'a> Line<'a> {
    /// Reads a line without its newline.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, LineError> {
        let line = line.trim_ascii();
        match line.first() {
            Some(b'{') => {
                let (object, comma) = match line.strip_suffix(b",") {
                    Some(object) => (object, true),
                    None => (line, false),
                };
                Ok(Self::Object(serde_json::from_slice(object)?, comma))
            }
            Some(b'"') => Self::parse_member(line),
            Some(b']') if line == b"]," => Ok(Self::ListEnd),
            Some(b']') => Err(ManifestFault::UnexpectedArrayEnd.into()),
            Some(b'}') => Err(ManifestFault::UnexpectedObjectEnd.into()),
            Some(b'[') => Err(ManifestFault::UnexpectedArrayStart.into()),
            Some(_) => Err(ManifestFault::UnexpectedScalar.into()),
            None => Err(ManifestFault::UnexpectedObjectField.into()),
        }
    }

    /// No key that a manifest has contains a colon, so the first one ends the key.
    fn parse_member(line: &'a [u8]) -> Result<Self, LineError> {
        let colon = line.iter().position(|&b| b == b':').ok_or(ManifestFault::UnexpectedScalar)?;
        let key: Text<'_> = serde_json::from_slice(&line[..colon])?;
        let value = line[colon + 1..].trim_ascii();
        let (value, end) = match value {
            b"[" => return Ok(Self::ListStart(key.0)),
            [value @ .., b','] => (value, FieldEnd::Comma),
            [value @ .., b'}'] => (value, FieldEnd::Brace),
            _ => return Err(ManifestFault::UnexpectedScalar.into()),
        };
        Ok(Self::Field(key.0, serde_json::from_slice(value)?, end))
    }
}

/// The fields of an object that holds nothing but scalars, in order.
#[derive(Debug)]
pub(super) struct Fields<'a>(pub(super) Vec<(Cow<'a, str>, Scalar<'a>)>);

/// More fields than any entry has; an object with more is refused before it is read to its end.
const MOST_FIELDS: usize = 16;

/// A value that is no object and no array.
#[derive(Debug)]
pub(super) enum Scalar<'a> {
    Text(Cow<'a, str>),
    Integer(u64),
    /// A number that is no integer of 64 bits, a truth value or null: nothing that a manifest has.
    Other,
}

impl<'a> Scalar<'a> {
    /// The value as text (BB-233).
    pub(super) fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => text,
            Self::Integer(number) => Cow::Owned(number.to_string()),
            Self::Other => Cow::Borrowed(""),
        }
    }

    /// The value as an integer, also where it stands in quotes.
    pub(super) fn as_integer(&self) -> Option<u64> {
        match self {
            Self::Text(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
            Self::Integer(number) => Some(*number),
            Self::Text(_) | Self::Other => None,
        }
    }
}

/// Text that is borrowed from the line where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Scalar::deserialize(deserializer)? {
            Scalar::Text(text) => Ok(Self(text)),
            Scalar::Integer(_) | Scalar::Other => Err(D::Error::custom("not a string")),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(5);
                while let Some((Text(key), value)) = map.next_entry::<Text<'de>, Scalar<'de>>()? {
                    if fields.len() == MOST_FIELDS {
                        return Err(A::Error::custom("too many fields"));
                    }
                    if fields.iter().any(|(other, _)| *other == key) {
                        return Err(A::Error::custom("the same field twice"));
                    }
                    fields.push((key, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a number")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Integer(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }
}
