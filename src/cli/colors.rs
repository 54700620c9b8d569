//! The colours of messages. `PG_COLOR` and `PG_COLORS` come in; out goes what sets off each part of a message.

use std::io::IsTerminal;

/// How the parts of a message are set off: parameters of the terminal's escape sequence `ESC [ … m`. A part
/// without any is printed as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Colors {
    /// The word `error`.
    pub(super) error: Option<String>,
    /// The word `warning`.
    pub(super) warning: Option<String>,
    /// The words `detail` and `hint`.
    pub(super) note: Option<String>,
    /// The name of the program.
    pub(super) locus: Option<String>,
}

impl Colors {
    /// Those for standard error: none unless `PG_COLOR` asks for some, and then those of `PG_COLORS` if it is set.
    pub(super) fn of_environment() -> Self {
        let wanted = match std::env::var("PG_COLOR").as_deref() {
            Ok("always") => true,
            Ok("auto") => std::io::stderr().is_terminal(),
            _ => false,
        };
        match std::env::var("PG_COLORS") {
            _ if !wanted => Self::default(),
            Ok(list) => Self::parse(&list),
            Err(_) => Self::parse("error=01;31:warning=01;35:note=01;36:locus=01"),
        }
    }

    /// Reads `part=parameters:part=parameters…`; whatever else is in it means nothing.
    fn parse(list: &str) -> Self {
        let mut colors = Self::default();
        for (part, parameters) in list.split(':').filter_map(|item| item.split_once('=')) {
            let color = match part {
                "error" => &mut colors.error,
                "warning" => &mut colors.warning,
                "note" => &mut colors.note,
                "locus" => &mut colors.locus,
                _ => continue,
            };
            *color = Some(parameters.to_owned());
        }
        colors
    }
}

/// The text, set off if there is something to set it off with.
pub(super) fn set_off(text: &str, color: Option<&String>) -> String {
    color.map_or_else(|| text.to_owned(), |parameters| format!("\x1b[{parameters}m{text}\x1b[0m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bb_234_only_parts_that_are_named_have_a_color() {
        let error = |color: &str| Colors { error: Some(color.to_owned()), ..Colors::default() };
        for (list, expected) in [
            ("", Colors::default()),
            ("junk:error", Colors::default()),
            ("error=01;31", error("01;31")),
            ("error=:x=1", error("")),
            ("error=1:error=2", error("2")),
            (
                "locus=33:note=7",
                Colors { note: Some("7".into()), locus: Some("33".into()), ..Colors::default() },
            ),
        ] {
            assert_eq!(Colors::parse(list), expected, "{list}");
        }
        assert_eq!(set_off("x: ", Some(&"01".to_owned())), "\x1b[01mx: \x1b[0m");
        assert_eq!(set_off("x: ", None), "x: ");
    }
}
