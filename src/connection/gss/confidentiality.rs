//! Whether a Kerberos wrap token is encrypted, or only protected against changes.
//!
//! The library knows and does not tell. The token says it in its header, which the integrity check covers, so
//! that the answer holds for a token that the library has made or accepted.

/// A wrap token of RFC 4121: `05 04`, flags, `ff`, …
const TOKEN: [u8; 2] = [0x05, 0x04];

/// The flag "sealed".
const SEALED: u8 = 0x02;

/// A wrap token of RFC 1964, behind the framing of RFC 2743: `02 01`, signing algorithm (2 bytes), sealing
/// algorithm (2 bytes), …
const OLD_TOKEN: [u8; 2] = [0x02, 0x01];

/// The sealing algorithm "none".
const NOT_SEALED: [u8; 2] = [0xff, 0xff];

/// Whether a wrap token is encrypted; one that is not understood is taken for one that is not.
pub(super) fn is_confidential(token: &[u8]) -> bool {
    match token {
        [one, two, flags, ..] if [*one, *two] == TOKEN => flags & SEALED != 0,
        _ => match without_framing(token) {
            Some([one, two, _, _, sealing @ ..]) if [*one, *two] == OLD_TOKEN => {
                sealing.first_chunk().is_some_and(|algorithm| *algorithm != NOT_SEALED)
            }
            _ => false,
        },
    }
}

/// What follows the framing of RFC 2743, 3.1: `60`, the length of the rest, `06`, the length of the mechanism's
/// identifier, the identifier.
fn without_framing(token: &[u8]) -> Option<&[u8]> {
    let rest = token.strip_prefix(&[0x60])?;
    let (&length, rest) = rest.split_first()?;
    // In the long form the low bits are the number of bytes of the length.
    let bytes_of_length = if length & 0x80 == 0 { 0 } else { usize::from(length & 0x7f) };
    let rest = rest.get(bytes_of_length..)?.strip_prefix(&[0x06])?;
    let (&length, rest) = rest.split_first()?;
    rest.get(usize::from(length)..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MECHANISM: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02";

    #[test]
    fn cn_204_the_header_says_whether_a_token_is_encrypted() {
        let old = |framing: &[u8], token: &[u8]| [framing, MECHANISM, token].concat();
        for (token, expected) in [
            (b"\x05\x04\x02\xff\0\0\0\x1c".to_vec(), true),
            (b"\x05\x04\x07\xff\0\0\0\x1c".to_vec(), true),
            (b"\x05\x04\x05\xff\0\x0c\0\0".to_vec(), false),
            (b"\x05\x04".to_vec(), false),
            // A message integrity code is no wrap token.
            (b"\x04\x04\x02\xff".to_vec(), false),
            (old(b"\x60\x40", b"\x02\x01\x11\0\x10\0\xff\xff"), true),
            (old(b"\x60\x82\x01\x40", b"\x02\x01\x11\0\x10\0\xff\xff"), true),
            (old(b"\x60\x40", b"\x02\x01\x11\0\xff\xff\xff\xff"), false),
            (old(b"\x60\x40", b"\x01\x01\x11\0\x10\0\xff\xff"), false),
            (old(b"\x60\x40", b"\x02\x01\x11\0\x10"), false),
            (b"\x60\xff\x06".to_vec(), false),
            (Vec::new(), false),
        ] {
            assert_eq!(is_confidential(&token), expected, "{}", token.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn cn_204_no_token_makes_it_panic(token in prop::collection::vec(any::<u8>(), 0..40)) {
            is_confidential(&token);
            is_confidential(&[b"\x60".as_slice(), &token].concat());
        }
    }
}
