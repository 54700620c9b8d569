//! The digest of a manifest without its last line (BB-210).
//!
//! In: all bytes of a manifest in chunks. Out: the SHA-256 of all lines but the last, which holds that digest and
//! is known to be the last only at the end. No line is held: two earlier states of the digest are.

use sha2::{Digest, Sha256};

use super::ManifestFault;

/// Makes the digest while the bytes pass.
#[derive(Clone, Debug, Default)]
pub(super) struct LineDigest {
    /// Of everything that has come.
    all: Sha256,
    /// Of everything up to the start of the line at hand.
    complete_lines: Sha256,
    /// Of everything up to the start of the line before it.
    lines_before: Sha256,
    /// How many lines are complete.
    lines: u64,
    /// Whether the line at hand is empty.
    at_line_start: bool,
}

impl LineDigest {
    /// Takes in the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.all.update(piece);
            self.at_line_start = piece.ends_with(b"\n");
            if self.at_line_start {
                self.lines += 1;
                self.lines_before = std::mem::replace(&mut self.complete_lines, self.all.clone());
            }
        }
    }

    /// The digest, if the bytes have the lines that they must have.
    pub(super) fn finish(&self) -> Result<[u8; 32], ManifestFault> {
        if self.lines < 2 {
            return Err(ManifestFault::TooFewLines);
        }
        if !self.at_line_start {
            return Err(ManifestFault::LastLineNotTerminated);
        }
        Ok(self.lines_before.clone().finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bb_210_all_lines_but_the_last() {
        for (text, digested) in [("a\nb\n", "a\n"), ("\n\n", "\n"), ("a\n\nbc\nd\n", "a\n\nbc\n")] {
            for len in 1..5 {
                let mut digest = LineDigest::default();
                text.as_bytes().chunks(len).for_each(|chunk| digest.update(chunk));
                assert_eq!(digest.finish(), Ok(Sha256::digest(digested).into()), "{text:?}");
            }
        }
    }

    #[test]
    fn bb_232_lines_that_are_missing() {
        for (text, fault) in [
            ("", ManifestFault::TooFewLines),
            ("a", ManifestFault::TooFewLines),
            ("a\n", ManifestFault::TooFewLines),
            ("a\nb", ManifestFault::TooFewLines),
            ("a\nb\nc", ManifestFault::LastLineNotTerminated),
        ] {
            let mut digest = LineDigest::default();
            digest.update(text.as_bytes());
            assert_eq!(digest.finish(), Err(fault), "{text:?}");
        }
    }
}
