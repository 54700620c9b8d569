//! Manifests for targets: the lines that a fuzzer changed, with a checksum that is right again.

use pgsiphon::manifest::{ChecksumAlgorithm, Checksummer};

/// The lines and the one with their checksum.
pub fn sealed(mut lines: Vec<u8>) -> Vec<u8> {
    let mut checksummer = Checksummer::new(ChecksumAlgorithm::Sha256);
    checksummer.update(&lines);
    lines.extend_from_slice(format!("\"Manifest-Checksum\": \"{}\"}}\n", checksummer.finish()).as_bytes());
    lines
}
