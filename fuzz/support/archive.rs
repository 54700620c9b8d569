//! Archives for targets: the headers that a fuzzer changed, with checksums that are right again.

use pgsiphon::tar::{BLOCK_SIZE, HeaderBlock, Piece, TarSplitter};

/// Makes the checksum of each header right, up to the first one that is no header all the same.
pub fn seal(archive: &mut [u8]) {
    let mut at = 0;
    while let Some(block) = archive.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        seal_header(block);
        let Ok(Some(Piece::Entry(entry))) = TarSplitter::new().next_piece(&mut &block[..]) else { return };
        let end = usize::try_from(entry.size).ok().and_then(|size| size.checked_add(at + BLOCK_SIZE));
        let Some(next) = end.and_then(|end| end.checked_next_multiple_of(BLOCK_SIZE)) else { return };
        at = next;
    }
}

/// The sum of all bytes, those of the checksum counted as blanks.
pub fn seal_header(block: &mut HeaderBlock) {
    if block.iter().all(|&byte| byte == 0) {
        return;
    }
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}
