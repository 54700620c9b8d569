//! Compressed streams of a server: the first byte picks the method, the second how many bytes come at a time.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsiphon::compress::{CompressionSpec, Decoder, Encoder, Method};

/// The most output that is looked at: a few bytes can make very many.
const ENOUGH: usize = 4 << 20;

fuzz_target!(|input: &[u8]| {
    let &[method, size, ref stream @ ..] = input else { return };
    let method = Method::ALL[usize::from(method) % Method::ALL.len()];

    let whole = decode(method, stream, stream.len().max(1));
    let chunked = decode(method, stream, usize::from(size) + 1);
    if whole == Outcome::TooMuch || chunked == Outcome::TooMuch {
        return;
    }
    // Of a frame with an empty last block the library checks the declared length only if it gets it in one piece.
    let one_is_wrong = (whole == Outcome::Wrong) != (chunked == Outcome::Wrong);
    if method == Method::Zstd && one_is_wrong {
        return;
    }
    assert_eq!(whole, chunked);
    if let Outcome::Data(data) = whole {
        let again = encode(method, &data, size);
        assert_eq!(decode(method, &again, 1000), Outcome::Data(data));
    }
});

#[derive(Debug, PartialEq)]
enum Outcome {
    Data(Vec<u8>),
    TooMuch,
    Wrong,
}

fn decode(method: Method, stream: &[u8], size: usize) -> Outcome {
    let mut decoder = Decoder::new(method).unwrap();
    let mut output = Vec::new();
    for mut chunk in stream.chunks(size) {
        loop {
            let piece = match decoder.next_piece(&mut chunk) {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(_) => return Outcome::Wrong,
            };
            assert!(!piece.is_empty() && piece.len() <= Decoder::PIECE);
            output.extend_from_slice(&piece);
            if output.len() > ENOUGH {
                return Outcome::TooMuch;
            }
        }
        assert!(chunk.is_empty());
    }
    decoder.finish().map_or(Outcome::Wrong, |()| Outcome::Data(output))
}

fn encode(method: Method, data: &[u8], size: u8) -> Vec<u8> {
    let level = (method != Method::Zstd).then_some(i32::from(size % 9) + 1);
    let spec = CompressionSpec { level, ..CompressionSpec::of(method) };
    let mut encoder = Encoder::new(&spec).unwrap();
    let mut output = Vec::new();
    for chunk in data.chunks(usize::from(size) + 1) {
        encoder.push(chunk, &mut output).unwrap();
    }
    encoder.finish(&mut output).unwrap();
    output
}
