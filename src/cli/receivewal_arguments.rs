//! What was typed on the command line of `pg_receivewal`: each option in one place.
//!
//! In: the arguments. Out: the value of each option, judged by itself and in the order of the line. What they mean
//! together is for [`receivewal_plan`](super::receivewal_plan) to say. Nothing outside is touched.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::claimed_version::ClaimedVersion;
use super::connection_arguments::ConnectionArguments;
use super::getopt::{self, Dialect, FirstArgumentOnly, OWN_OPTIONS, Refusal, refuse_operands};
use super::value_parsers::{Named, path, text};
use super::values::{self, InvalidValue, invalid, is_c_space};
use crate::types::Lsn;

/// What was typed; the options in the order in which ambiguous ones are named.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(super) struct Typed {
    #[command(flatten)]
    first_argument_only: FirstArgumentOnly,
    #[arg(short = 'D', long, value_parser = path())]
    pub(super) directory: Option<PathBuf>,
    #[arg(short = 'n', long)]
    pub(super) no_loop: bool,
    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
    #[arg(short = 'E', long, value_parser = text(end_position))]
    pub(super) endpos: Option<Lsn>,
    #[arg(short, long, value_parser = text(values::status_interval))]
    pub(super) status_interval: Option<u32>,
    #[arg(short = 'S', long, value_parser = Named(values::text))]
    pub(super) slot: Option<String>,
    #[arg(short, long)]
    pub(super) verbose: bool,
    /// There is no method with a name of other bytes than text.
    #[arg(short = 'Z', long, value_parser = text(|text| Ok(text.to_owned())))]
    pub(super) compress: Option<String>,
    #[arg(long)]
    pub(super) create_slot: bool,
    #[arg(long)]
    pub(super) drop_slot: bool,
    #[arg(long)]
    pub(super) if_not_exists: bool,
    #[arg(long)]
    pub(super) synchronous: bool,
    #[arg(long)]
    pub(super) no_sync: bool,
    #[command(flatten)]
    pub(super) own: OwnArguments,
    /// There must be none.
    operands: Vec<OsString>,
}

/// Options of our own.
#[derive(Debug, Args)]
#[command(next_help_heading = OWN_OPTIONS)]
pub(super) struct OwnArguments {
    #[arg(long, value_parser = text(|text| values::seconds("--receive-timeout", text, 0)))]
    pub(super) receive_timeout: Option<u32>,
    #[arg(long)]
    pub(super) wait_for_server: bool,
    #[arg(long, value_parser = text(|text| values::seconds("--give-up-after", text, 1)))]
    pub(super) give_up_after: Option<u32>,
    #[arg(long, value_parser = path())]
    pub(super) status_file: Option<PathBuf>,
}

/// Reads a command line; the first argument is the program's name.
pub(super) fn read(
    line: Vec<OsString>,
    claim: ClaimedVersion,
    operands_end_options: bool,
) -> Result<Typed, Refusal> {
    let dialect = Dialect { later_options: &[], major: claim.major(), operands_end_options };
    let typed: Typed = getopt::read(line, &dialect)?;
    refuse_operands(&typed.operands)?;
    Ok(typed)
}

/// `-E`: two hexadecimal numbers with a slash between them, as C's `scanf` reads them, but of no more than 32 bits and
/// with nothing behind them (RW-010).
fn end_position(text: &str) -> Result<Lsn, InvalidValue> {
    let Some((high, rest)) = hexadecimal(text) else { return no_position(text) };
    let Some((low, rest)) = rest.strip_prefix('/').and_then(hexadecimal) else { return no_position(text) };
    match rest.trim_end_matches(is_c_space) {
        "" => Ok(Lsn::new(u64::from(high) << 32 | u64::from(low))),
        rest => invalid(format!("could not parse end position \"{text}\": unexpected \"{rest}\" at its end")),
    }
}

fn no_position(text: &str) -> Result<Lsn, InvalidValue> {
    invalid(format!("could not parse end position \"{text}\""))
}

/// A number behind blanks, if there is one, and what follows it.
fn hexadecimal(text: &str) -> Option<(u32, &str)> {
    let text = text.trim_start_matches(is_c_space);
    let text = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((u32::from_str_radix(digits, 16).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rw_010_end_positions() {
        for (text, position) in [
            ("0/3", 0x3),
            ("16/B374D848", 0x16_B374_D848),
            ("0000000a/00000bc0", 0xA_0000_0BC0),
            ("0x1/0X2", 0x1_0000_0002),
            (" 0/ 3 ", 3),
            ("0/0", 0),
        ] {
            assert_eq!(end_position(text), Ok(Lsn::new(position)), "{text}");
        }
        for text in ["", "x", "0", "0/", "/0", "0 /1", "+0/1", "0/-1", "123456789/1", "0/123456789", "0x/1"] {
            let expected = format!("could not parse end position \"{text}\"");
            assert_eq!(end_position(text).unwrap_err().to_string(), expected);
        }
        for (text, rest) in [("0/3zz", "zz"), ("0/3/4", "/4"), ("0/3 4 ", " 4")] {
            let expected =
                format!("could not parse end position \"{text}\": unexpected \"{rest}\" at its end");
            assert_eq!(end_position(text).unwrap_err().to_string(), expected);
        }
    }
}
