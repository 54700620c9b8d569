//! Reads compressed files.
//!
//! In comes the name of a file; out come the bytes it holds, as far as they can be had, and what is wrong behind them.
//! Never more is decompressed than the caller wants, and never more than a piece of it is in memory.

use crate::compress::{CompressError, Decoder, Method};
use crate::storage::{Directory, InputFile, StorageError};

/// How much of a file is read at once.
const READ: usize = 64 << 10;

/// What came out of a compressed file.
#[derive(Debug)]
pub(in crate::receive::segment_archive) struct Decoded {
    /// How many bytes.
    pub(in crate::receive::segment_archive) length: u64,
    /// What was wrong behind them; nothing in a file that is whole.
    pub(in crate::receive::segment_archive) error: Option<CompressError>,
}

/// Gives `sink` the bytes that a compressed file holds, in order, but no more than `limit`: a file that holds more is
/// wrong.
///
/// A file that is cut short, broken, or followed by something else gives what there is before that.
///
/// # Errors
/// Those of reading the file, and of `sink`. What is wrong with the contents is part of the result.
pub(in crate::receive::segment_archive) fn decode(
    directory: &Directory,
    name: &str,
    method: Method,
    limit: u64,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), StorageError>,
) -> Result<Decoded, StorageError> {
    let file = InputFile::open(directory, name)?;
    let mut decoder = match Decoder::new(method) {
        Ok(decoder) => decoder,
        Err(error) => return Ok(Decoded { length: 0, error: Some(error) }),
    };
    let mut buffer = vec![0; READ];
    let (mut offset, mut length) = (0, 0);
    loop {
        let count = file.read_at(&mut buffer, offset)?;
        if count == 0 {
            return Ok(Decoded { length, error: decoder.finish().err() });
        }
        offset += count as u64;
        let mut input = &buffer[..count];
        loop {
            let piece = match decoder.next_piece(&mut input) {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => return Ok(Decoded { length, error: Some(error) }),
            };
            let wanted = piece.len().min(usize::try_from(limit - length).unwrap_or(usize::MAX));
            if wanted > 0 {
                sink(&piece[..wanted])?;
            }
            length += wanted as u64;
            if wanted < piece.len() {
                let error = CompressError::Corrupt(format!("more than {limit} bytes"));
                return Ok(Decoded { length, error: Some(error) });
            }
        }
    }
}

#[cfg(all(test, feature = "gzip", feature = "lz4", feature = "zstd"))]
#[allow(clippy::unwrap_used, reason = "what fails fails the test")]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::compress::{CompressionSpec, Encoder};
    use crate::wal::log_writer::{LogKind, LogWriter};

    /// WAL in several pieces, each of which was flushed, and where each ends, compressed and not.
    fn flushed(method: Method) -> (Vec<u8>, Vec<u8>, Vec<(usize, usize)>) {
        let data = LogWriter::new(0, LogKind::with_segments_of(1 << 20)).filled(400_000);
        let (mut encoder, mut output) = (Encoder::new(&CompressionSpec::of(method)).unwrap(), Vec::new());
        let mut ends = vec![(0, 0)];
        for piece in [&data[..200], &data[200..150_000], &data[150_000..]] {
            encoder.push(piece, &mut output).unwrap();
            encoder.flush(&mut output).unwrap();
            ends.push((output.len(), ends.last().map_or(0, |end| end.1) + piece.len()));
        }
        encoder.finish(&mut output).unwrap();
        (data, output, ends)
    }

    fn decode_bytes(method: Method, bytes: &[u8], limit: u64) -> (Vec<u8>, Option<CompressError>) {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("f"), bytes).unwrap();
        let directory = Directory::open(root.path()).unwrap();
        let mut output = Vec::new();
        let mut sink = |piece: &[u8]| {
            assert!(!piece.is_empty() && piece.len() <= Decoder::PIECE);
            output.extend_from_slice(piece);
            Ok(())
        };
        let decoded = decode(&directory, "f", method, limit, &mut sink).unwrap();
        assert_eq!(decoded.length, output.len() as u64);
        (output, decoded.error)
    }

    #[test]
    fn op_034_a_file_that_holds_more_than_it_may_is_wrong_and_not_decoded_further() {
        let bomb = vec![0; 20 << 20];
        for method in Method::ALL {
            let mut packed = Vec::new();
            let mut encoder = Encoder::new(&CompressionSpec::of(method)).unwrap();
            encoder.push(&bomb, &mut packed).unwrap();
            encoder.finish(&mut packed).unwrap();
            for limit in [0, 1, 1 << 20, (1 << 20) + 1] {
                let (decoded, error) = decode_bytes(method, &packed, limit);
                assert_eq!(decoded.len() as u64, limit);
                let expected = format!("could not decompress data: more than {limit} bytes");
                assert_eq!(error.unwrap().to_string(), expected);
            }
            let (decoded, error) = decode_bytes(method, &packed, bomb.len() as u64);
            assert_eq!((decoded.len(), error), (bomb.len(), None));
        }
    }

    #[test]
    fn rw_157_what_was_flushed_is_read_from_a_file_that_is_cut_or_written_over() {
        for method in Method::ALL {
            let (data, encoded, ends) = flushed(method);
            for cut in (0..encoded.len()).step_by(encoded.len() / 31) {
                let (_, least) = *ends.iter().rfind(|end| end.0 <= cut).unwrap();
                for tail in [&[][..], b"something else", &encoded[encoded.len() - cut..]] {
                    let (decoded, error) = decode_bytes(method, &[&encoded[..cut], tail].concat(), 1 << 20);
                    assert!(decoded.len() >= least, "{method} {cut} {} {least}", decoded.len());
                    assert!(decoded[..least] == data[..least]);
                    assert!(error.is_some());
                }
            }
            assert_eq!(decode_bytes(method, &encoded, 1 << 20), (data, None));
        }
    }

    #[test]
    fn what_cannot_be_read_or_taken_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        let missing = decode(&directory, "f", Method::Gzip, 1, &mut |_| Ok(())).unwrap_err();
        assert!(matches!(missing, StorageError::OpenFile { .. }), "{missing}");
        fs::write(root.path().join("f"), flushed(Method::Lz4).1).unwrap();
        let mut calls = 0;
        let mut full = |_: &[u8]| {
            calls += 1;
            Err(StorageError::OutOfOrder)
        };
        let error = decode(&directory, "f", Method::Lz4, 1 << 20, &mut full).unwrap_err();
        assert!(matches!(error, StorageError::OutOfOrder));
        assert_eq!(calls, 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn op_034_any_file_gives_what_was_flushed_before_its_first_wrong_byte(
            method in prop::sample::select(Method::ALL.to_vec()),
            flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4),
            cut in any::<prop::sample::Index>(),
            tail in prop::collection::vec(any::<u8>(), 0..100),
            limit in 0_u64..1 << 20,
        ) {
            let (data, mut encoded, ends) = flushed(method);
            let mut first_wrong = cut.index(encoded.len());
            encoded.truncate(first_wrong);
            encoded.extend(tail);
            for (index, flip) in flips {
                if encoded.is_empty() {
                    break;
                }
                let at = index.index(encoded.len());
                encoded[at] ^= flip;
                first_wrong = first_wrong.min(at);
            }
            let (_, least) = *ends.iter().rfind(|end| end.0 <= first_wrong).unwrap();
            let least = least.min(usize::try_from(limit).unwrap());
            let (decoded, _) = decode_bytes(method, &encoded, limit);
            prop_assert!(decoded.len() as u64 <= limit);
            prop_assert!(decoded.len() >= least, "{} {}", decoded.len(), least);
            prop_assert!(decoded[..least] == data[..least]);
        }
    }
}
