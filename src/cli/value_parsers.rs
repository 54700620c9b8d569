//! How clap comes to values: by the judges of [`values`](super::values) and of the programs, whose words are the
//! whole message.
//!
//! In: the bytes of a value. Out: what they stand for, or an [`InvalidValue`] as the source of clap's error. No
//! bytes are refused for being no text unless the judge says so.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Arg, Command};

use super::values::InvalidValue;

/// Any path, even none.
pub(super) fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Text of which the judge knows each acceptable value, and so none of other bytes.
pub(super) fn text<T: Clone + Send + Sync + 'static>(
    judge: fn(&str) -> Result<T, InvalidValue>,
) -> impl TypedValueParser<Value = T> {
    OsStringValueParser::new().try_map(move |value| judge(&value.to_string_lossy()))
}

/// The judge gets the name of the option, as in `-S/--slot`, and any bytes.
#[derive(Clone)]
pub(super) struct Named<T>(pub(super) fn(&str, OsString) -> Result<T, InvalidValue>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Named<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, option: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let judge = self.0;
        let name = option.map(name).unwrap_or_default();
        let parser = OsStringValueParser::new().try_map(move |value| judge(&name, value));
        parser.parse_ref(command, option, value)
    }
}

fn name(option: &Arg) -> String {
    let long = option.get_long().unwrap_or_default();
    option.get_short().map_or_else(|| format!("--{long}"), |short| format!("-{short}/--{long}"))
}
