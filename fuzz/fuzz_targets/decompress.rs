//! Compressed streams of a server: the first byte picks the method, the second how many bytes come at a time.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsiphon::compress::{CompressError, CompressionSpec, Decoder, Encoder, Method};

/// The most output that is looked at: a few bytes can make very many.
const ENOUGH: usize = 4 << 20;

fuzz_target!(|input: &[u8]| {
    let &[method, size, ref stream @ ..] = input else { return };
    let method = Method::ALL[usize::from(method) % Method::ALL.len()];

    let whole = decode(method, stream, stream.len().max(1));
    let chunked = decode(method, stream, usize::from(size) + 1);
    assert_eq!(whole, chunked);
    if let Ok(data) = whole {
        let mut again = Vec::new();
        let mut encoder = Encoder::new(&CompressionSpec::of(method)).unwrap();
        encoder.push(&data, &mut again).unwrap();
        encoder.finish(&mut again).unwrap();
        assert!(decode(method, &again, 1000).unwrap() == data);
    }
});

/// The data, or what is wrong with it.
fn decode(method: Method, stream: &[u8], size: usize) -> Result<Vec<u8>, CompressError> {
    let mut decoder = Decoder::new(method)?;
    let mut output = Vec::new();
    for mut chunk in stream.chunks(size) {
        while let Some(piece) = decoder.next_piece(&mut chunk)? {
            assert!(!piece.is_empty() && piece.len() <= Decoder::PIECE);
            output.extend_from_slice(&piece);
            if output.len() > ENOUGH {
                output.truncate(ENOUGH);
                return Ok(output);
            }
        }
        assert!(chunk.is_empty());
    }
    decoder.finish()?;
    Ok(output)
}
