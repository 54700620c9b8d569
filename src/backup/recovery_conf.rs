//! The settings that make a backup a standby of the server it was taken from (`-R`).

use zeroize::Zeroizing;

/// The lines for `postgresql.auto.conf` (BB-166 … BB-168, BB-174): `conninfo` is a connection string, and
/// `slot` the slot that the standby streams from. Servers before 12 want `standby_mode` as well.
pub(super) fn recovery_settings(
    conninfo: &[u8],
    slot: Option<&str>,
    standby_mode: bool,
) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::new());
    if standby_mode {
        text.extend_from_slice(b"standby_mode = 'on'\n");
    }
    let mut line = |name: &str, value: &[u8]| {
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b" = '");
        for &byte in value {
            match byte {
                // The file is read line by line.
                b'\n' => text.extend_from_slice(b"\\n"),
                b'\'' | b'\\' => text.extend_from_slice(&[byte, byte]),
                _ => text.push(byte),
            }
        }
        text.extend_from_slice(b"'\n");
    };
    line("primary_conninfo", conninfo);
    if let Some(slot) = slot {
        line("primary_slot_name", slot.as_bytes());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bb_167_and_168_one_line_each() {
        let text = recovery_settings(b"user=u port=5432", Some("s"), false);
        assert_eq!(&text[..], b"primary_conninfo = 'user=u port=5432'\nprimary_slot_name = 's'\n");
    }

    #[test]
    fn bb_166_old_servers_get_standby_mode() {
        assert_eq!(
            &recovery_settings(b"user=u", None, true)[..],
            b"standby_mode = 'on'\nprimary_conninfo = 'user=u'\n"
        );
    }

    #[test]
    fn a_line_break_in_a_value_does_not_end_the_line() {
        let text = recovery_settings(b"password=a\nb", None, false);
        assert_eq!(&text[..], b"primary_conninfo = 'password=a\\nb'\n");
    }

    #[test]
    fn bb_174_quotes_and_backslashes_are_doubled() {
        let text = recovery_settings(br"password='sek ret\'\\x'", None, false);
        assert_eq!(
            &text[..],
            br"primary_conninfo = 'password=''sek ret\\''\\\\x'''"
                .iter()
                .copied()
                .chain(*b"\n")
                .collect::<Vec<_>>()
        );
    }
}
