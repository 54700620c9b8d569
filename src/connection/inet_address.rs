//! IPv4 addresses as the C library reads them. No name is looked up for one.

use std::net::Ipv4Addr;

/// An IPv4 address in any of the forms that the C library takes: one to four numbers, each decimal, octal
/// (`0…`) or hexadecimal (`0x…`), of which the last fills the bytes that are left. White space ends it.
pub(super) fn parse_v4(text: &str) -> Option<Ipv4Addr> {
    let end = text.find(|character: char| character.is_ascii_whitespace() || character == '\x0b');
    let numbers: Vec<u32> =
        text[..end.unwrap_or(text.len())].split('.').map(number).collect::<Option<_>>()?;
    let (&last, leading) = numbers.split_last()?;
    let bits_left = 32_usize.checked_sub(8 * leading.len()).filter(|&bits| bits > 0)?;
    if leading.iter().any(|&number| number > 0xff) || u64::from(last) >> bits_left != 0 {
        return None;
    }
    let address =
        leading.iter().zip([24, 16, 8]).fold(last, |address, (number, shift)| address | number << shift);
    Some(Ipv4Addr::from_bits(address))
}

fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    if digits.starts_with('+') {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_196_addresses_as_the_c_library_reads_them() {
        for (text, expected) in [
            ("1.2.3.4", Some([1, 2, 3, 4])),
            ("127.1", Some([127, 0, 0, 1])),
            ("127.0.1", Some([127, 0, 0, 1])),
            ("0", Some([0, 0, 0, 0])),
            ("4294967295", Some([255, 255, 255, 255])),
            ("4294967296", None),
            ("1.2.3.256", None),
            ("256.1", None),
            ("1.16777216", None),
            ("08.1.1.1", None),
            ("0x", None),
            ("1..2", None),
            ("1.2.3.4.5", None),
            ("1.2.3.", None),
            ("+1.2.3.4", None),
            ("", None),
            ("db", None),
        ] {
            assert_eq!(parse_v4(text).map(|address| address.octets()), expected, "{text}");
        }
    }
}
