//! What the library says of an error, in libpq's form.

use libgssapi::error::{Error, MajorFlags};

/// The text of the error, and after a colon that of its cause in the mechanism.
///
/// It must be asked for on the thread that met the error: the library keeps the details there.
pub(super) fn text(error: Error) -> String {
    let success = Error { major: MajorFlags::empty(), ..error };
    join(&error.to_string(), &success.to_string())
}

/// Both texts are `what (cause)`, with the same cause; the one to be joined anew is the first.
fn join(text: &str, other: &str) -> String {
    let same = text.bytes().rev().zip(other.bytes().rev()).take_while(|(one, two)| one == two).count();
    let common = text.ceil_char_boundary(text.len() - same);
    let Some(at) = text[common..].find(" (") else { return text.to_owned() };
    let (what, cause) = text.split_at(common + at);
    let cause = cause.strip_prefix(" (").and_then(|cause| cause.strip_suffix(')')).unwrap_or(cause);
    format!("{what}: {cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_253_what_and_why_are_joined_as_libpq_does() {
        for (what, success, expected) in [
            ("failed (no ticket)", "fine (no ticket)", "failed: no ticket"),
            (
                "a code (MIC) failed (no (good) ticket)",
                "fine (no (good) ticket)",
                "a code (MIC) failed: no (good) ticket",
            ),
            ("ended (x)", "complied (x)", "ended: x"),
            ("no cause", "no sense", "no cause"),
            ("é (x)", "ĩ (x)", "é: x"),
            ("", "", ""),
        ] {
            assert_eq!(join(what, success), expected, "{what}");
        }
    }

    #[test]
    fn cn_253_the_words_of_the_library() {
        let error = Error { major: MajorFlags::GSS_S_BAD_MIC, minor: 0 };
        let text = text(error);
        assert!(text.starts_with("A token had an invalid Message Integrity Check (MIC): "), "{text}");
        assert!(!text.ends_with(')'), "{text}");
    }
}
