//! The grammars of option values, with the error texts that scripts know (BB-010 … BB-021).

use std::ffi::{OsStr, OsString};
use std::num::IntErrorKind;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::backup::TablespaceMapping;
use crate::protocol::{Checkpoint, ServerTarget};

/// A value that its option does not take; the text is the whole message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct InvalidValue(String);

pub(super) fn invalid<T>(message: impl Into<String>) -> Result<T, InvalidValue> {
    Err(InvalidValue(message.into()))
}

/// `-F`: where the backup goes, as files or as archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    Tar,
}

/// `-X`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalMethod {
    None,
    Fetch,
    Stream,
}

/// `--sync-method`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SyncMethod {
    #[default]
    Fsync,
    Syncfs,
}

/// A value that goes into a command for the server, which is text.
pub(super) fn text(option: &str, value: OsString) -> Result<String, InvalidValue> {
    value.into_string().or_else(|value| {
        invalid(format!("invalid value \"{}\" for option {option}: not valid UTF-8", value.display()))
    })
}

pub(super) fn format(text: &str) -> Result<Format, InvalidValue> {
    match text {
        "p" | "plain" => Ok(Format::Plain),
        "t" | "tar" => Ok(Format::Tar),
        _ => invalid(format!("invalid output format \"{text}\", must be \"plain\" or \"tar\"")),
    }
}

pub(super) fn wal_method(text: &str) -> Result<WalMethod, InvalidValue> {
    match text {
        "n" | "none" => Ok(WalMethod::None),
        "f" | "fetch" => Ok(WalMethod::Fetch),
        "s" | "stream" => Ok(WalMethod::Stream),
        _ => invalid(format!(
            "invalid wal-method option \"{text}\", must be \"fetch\", \"stream\", or \"none\""
        )),
    }
}

pub(super) fn checkpoint(text: &str) -> Result<Checkpoint, InvalidValue> {
    if text.eq_ignore_ascii_case("fast") {
        Ok(Checkpoint::Fast)
    } else if text.eq_ignore_ascii_case("spread") {
        Ok(Checkpoint::Spread)
    } else {
        invalid(format!("invalid checkpoint argument \"{text}\", must be \"fast\" or \"spread\""))
    }
}

/// `-s`.
pub(super) fn status_interval(text: &str) -> Result<u32, InvalidValue> {
    seconds("-s/--status-interval", text, 0)
}

/// Whole seconds, at least so many and at most what fits into 31 bits of milliseconds.
pub(super) fn seconds(option: &str, text: &str, lowest: u32) -> Result<u32, InvalidValue> {
    const LARGEST: u32 = i32::MAX as u32 / 1000;
    integer(option, text, lowest..=LARGEST)
}

/// A whole number in that range.
pub(super) fn integer(option: &str, text: &str, range: RangeInclusive<u32>) -> Result<u32, InvalidValue> {
    // Nothing at all counts as zero, as C reads it.
    let digits = match text.trim_matches(is_c_space) {
        "" => "0",
        digits => digits,
    };
    let number = match digits.parse::<i64>() {
        Ok(number) => u32::try_from(number).ok().filter(|number| range.contains(number)),
        Err(error) if matches!(error.kind(), IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) => None,
        Err(_) => return invalid(format!("invalid value \"{text}\" for option {option}")),
    };
    let (lowest, largest) = (range.start(), range.end());
    number.map_or_else(|| invalid(format!("{option} must be in range {lowest}..{largest}")), Ok)
}

/// `-r`: kB/s, or MB/s with the unit `M` (BB-015, BB-016).
pub(super) fn max_rate(text: &str) -> Result<u32, InvalidValue> {
    let trimmed = text.trim_start_matches(is_c_space);
    let end = number_length(trimmed);
    let (number, unit) = trimmed.split_at(end);
    let Ok(rate) = number.parse::<f64>() else {
        return invalid(format!("transfer rate \"{text}\" is not a valid value"));
    };
    if rate.is_infinite() {
        return invalid(format!("invalid transfer rate \"{text}\": Numerical result out of range"));
    }
    if rate <= 0.0 {
        return invalid("transfer rate must be greater than zero");
    }
    let unit = unit.trim_start_matches(is_c_space);
    let factor = match unit.trim_end_matches(is_c_space) {
        "" | "k" => 1.0,
        "M" => 1024.0,
        _ => return invalid(format!("invalid --max-rate unit: \"{unit}\"")),
    };
    let rate = rate * factor;
    if rate > f64::from(u32::MAX) {
        return invalid(format!("transfer rate \"{text}\" exceeds integer range"));
    }
    if !(32.0..=1_048_576.0).contains(&rate) {
        return invalid(format!("transfer rate \"{text}\" is out of range"));
    }
    #[expect(clippy::cast_sign_loss, reason = "the range was checked")]
    Ok(rate.trunc() as u32)
}

pub(super) fn sync_method(text: &str) -> Result<SyncMethod, InvalidValue> {
    match text {
        "fsync" => Ok(SyncMethod::Fsync),
        "syncfs" => Ok(SyncMethod::Syncfs),
        _ => invalid(format!("unrecognized sync method: {text}")),
    }
}

/// `-t TARGET[:DETAIL]`; the client is no target (BB-030).
pub(super) fn target(text: &str) -> Option<ServerTarget> {
    let (name, detail) = match text.split_once(':') {
        Some((name, detail)) => (name, Some(detail.to_owned())),
        None if text == "client" => return None,
        None => (text, None),
    };
    Some(ServerTarget { name: name.to_owned(), detail })
}

/// The length of the decimal floating-point number at the start of the text; 0 if there is none.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits_from = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let whole = digits_from(sign);
    let mut end = sign + whole;
    let mut fraction = 0;
    if bytes.get(end) == Some(&b'.') {
        fraction = digits_from(end + 1);
        end += 1 + fraction;
    }
    if whole + fraction == 0 {
        return 0;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits_from((end + 1 + sign).min(bytes.len()));
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    end
}

/// White space as C's `isspace` sees it.
pub(super) fn is_c_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// `-T OLDDIR=NEWDIR` (BB-017 … BB-021).
pub(super) fn tablespace_mapping(value: &OsStr) -> Result<TablespaceMapping, InvalidValue> {
    const LONGEST: usize = 1023;
    let (mut old, mut new) = (Vec::new(), Vec::new());
    let mut separated = false;
    let mut bytes = value.as_bytes().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let escaped = byte == b'\\' && bytes.next_if_eq(&b'=').is_some();
        match byte {
            b'=' if separated && !new.is_empty() => {
                return invalid("multiple \"=\" signs in tablespace mapping");
            }
            b'=' => separated = true,
            _ => {
                let side = if separated { &mut new } else { &mut old };
                side.push(if escaped { b'=' } else { byte });
            }
        }
        if old.len() > LONGEST || new.len() > LONGEST {
            return invalid("directory name too long");
        }
    }
    if old.is_empty() || new.is_empty() {
        let text = value.display();
        return invalid(format!("invalid tablespace mapping format \"{text}\", must be \"OLDDIR=NEWDIR\""));
    }
    let not_absolute = |side: &str, path: &[u8]| {
        let path = OsStr::from_bytes(path).display();
        invalid(format!("{side} directory is not an absolute path in tablespace mapping: {path}"))
    };
    if !is_absolute_anywhere(&old) {
        return not_absolute("old", &old);
    }
    if !new.starts_with(b"/") {
        return not_absolute("new", &new);
    }
    let [old, new] = [&old, &new].map(|side| Path::new(OsStr::from_bytes(side)));
    Ok(TablespaceMapping::new(old, new))
}

/// The server may run on another kind of system.
fn is_absolute_anywhere(path: &[u8]) -> bool {
    match path {
        [drive, b':', rest @ ..] if drive.is_ascii_alphabetic() => matches!(rest.first(), Some(b'/' | b'\\')),
        _ => matches!(path.first(), Some(b'/' | b'\\')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: std::fmt::Debug>(result: Result<T, InvalidValue>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn bb_010_checkpoint_in_any_case() {
        assert_eq!(checkpoint("FAST"), Ok(Checkpoint::Fast));
        assert_eq!(checkpoint("Spread"), Ok(Checkpoint::Spread));
        assert_eq!(
            refusal(checkpoint("x")),
            "invalid checkpoint argument \"x\", must be \"fast\" or \"spread\""
        );
    }

    #[test]
    fn bb_011_format_exactly() {
        assert_eq!(format("p"), Ok(Format::Plain));
        assert_eq!(format("tar"), Ok(Format::Tar));
        assert_eq!(refusal(format("Tar")), "invalid output format \"Tar\", must be \"plain\" or \"tar\"");
    }

    #[test]
    fn bb_012_wal_method_exactly() {
        for (text, method) in [("n", WalMethod::None), ("fetch", WalMethod::Fetch), ("s", WalMethod::Stream)]
        {
            assert_eq!(wal_method(text), Ok(method));
        }
        assert_eq!(
            refusal(wal_method("st")),
            "invalid wal-method option \"st\", must be \"fetch\", \"stream\", or \"none\""
        );
    }

    #[test]
    fn bb_013_status_interval() {
        assert_eq!(status_interval(" 5\t"), Ok(5));
        assert_eq!(status_interval("2147483"), Ok(2_147_483));
        assert_eq!((status_interval(""), status_interval(" ")), (Ok(0), Ok(0)));
        assert_eq!(refusal(status_interval("5s")), "invalid value \"5s\" for option -s/--status-interval");
        for text in ["-1", "2147484", "99999999999999999999"] {
            assert_eq!(refusal(status_interval(text)), "-s/--status-interval must be in range 0..2147483");
        }
    }

    #[test]
    fn bb_014_sync_methods() {
        assert_eq!(sync_method("fsync"), Ok(SyncMethod::Fsync));
        assert_eq!(sync_method("syncfs"), Ok(SyncMethod::Syncfs));
        assert_eq!(refusal(sync_method("Fsync")), "unrecognized sync method: Fsync");
    }

    #[test]
    fn bb_030_targets_are_split_at_the_first_colon() {
        for (text, expected) in [
            ("blackhole", Some(("blackhole", None))),
            ("server:/a:b", Some(("server", Some("/a:b")))),
            ("server:", Some(("server", Some("")))),
            (":x", Some(("", Some("x")))),
            ("", Some(("", None))),
            ("client", None),
            ("client:x", Some(("client", Some("x")))),
        ] {
            let expected = expected.map(|(name, detail)| ServerTarget {
                name: name.to_owned(),
                detail: detail.map(str::to_owned),
            });
            assert_eq!(target(text), expected, "{text}");
        }
    }

    #[test]
    fn bb_015_rates() {
        for (text, rate) in
            [("32", 32), (" 32 k ", 32), ("1M", 1024), ("1023.9M", 1_048_473), ("1e3", 1000), ("32.9", 32)]
        {
            assert_eq!(max_rate(text), Ok(rate), "{text:?}");
        }
    }

    #[test]
    fn bb_016_rates_that_are_none() {
        for (text, message) in [
            ("", "transfer rate \"\" is not a valid value"),
            ("x", "transfer rate \"x\" is not a valid value"),
            ("0", "transfer rate must be greater than zero"),
            ("-1", "transfer rate must be greater than zero"),
            ("40m", "invalid --max-rate unit: \"m\""),
            ("40 kB", "invalid --max-rate unit: \"kB\""),
            ("1e999", "invalid transfer rate \"1e999\": Numerical result out of range"),
            ("99999999999", "transfer rate \"99999999999\" exceeds integer range"),
            ("31", "transfer rate \"31\" is out of range"),
            ("1048576.5", "transfer rate \"1048576.5\" is out of range"),
            ("1025M", "transfer rate \"1025M\" is out of range"),
        ] {
            assert_eq!(refusal(max_rate(text)), message);
        }
    }

    #[test]
    fn bb_017_tablespace_mappings() {
        for (text, old, new) in [
            ("/a=/b", "/a", "/b"),
            ("/a\\=x=/b\\=y", "/a=x", "/b=y"),
            ("/a\\b=/c", "/a\\b", "/c"),
            ("/a==/b", "/a", "/b"),
            ("/a//b/./c/=/x/../y/", "/a/b/c", "/y"),
        ] {
            let expected = TablespaceMapping::new(Path::new(old), Path::new(new));
            assert_eq!(tablespace_mapping(OsStr::new(text)), Ok(expected), "{text}");
        }
    }

    #[test]
    fn bb_018_to_020_tablespace_mappings_that_are_none() {
        for (text, message) in [
            ("", "invalid tablespace mapping format \"\", must be \"OLDDIR=NEWDIR\""),
            ("/foo", "invalid tablespace mapping format \"/foo\", must be \"OLDDIR=NEWDIR\""),
            ("/foo=", "invalid tablespace mapping format \"/foo=\", must be \"OLDDIR=NEWDIR\""),
            ("=/foo", "invalid tablespace mapping format \"=/foo\", must be \"OLDDIR=NEWDIR\""),
            ("/foo=/bar=/baz", "multiple \"=\" signs in tablespace mapping"),
            ("foo=/bar", "old directory is not an absolute path in tablespace mapping: foo"),
            ("/foo=bar", "new directory is not an absolute path in tablespace mapping: bar"),
        ] {
            assert_eq!(refusal(tablespace_mapping(OsStr::new(text))), message);
        }
        let long = format!("/{}=/b", "x".repeat(1024));
        assert_eq!(refusal(tablespace_mapping(OsStr::new(&long))), "directory name too long");
    }
}
