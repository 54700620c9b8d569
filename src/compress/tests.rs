//! Laws of all methods: what was compressed comes back, whatever the chunks.

#![allow(clippy::unwrap_used, reason = "what fails fails the test")]

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// Specifications that take different ways through the libraries.
fn specs() -> Vec<CompressionSpec> {
    let details = [
        ("gzip", ["", "level=1", "level=2", "level=9"].as_slice()),
        ("lz4", &["", "level=1", "level=3", "level=12"]),
        ("zstd", &["", "level=-7", "level=1", "level=9", "long", "workers=1", "level=2,workers=2,long"]),
    ];
    let spec = |method, detail: &str| {
        let detail = (!detail.is_empty()).then_some(detail);
        CompressionSpec::parse(method, detail).unwrap().unwrap()
    };
    details
        .iter()
        .flat_map(|&(method, details)| details.iter().map(move |detail| spec(method, detail)))
        .collect()
}

/// Cuts the data into chunks of these sizes in turn.
fn chunks<'a>(mut data: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        let (chunk, rest) = data.split_at(data.len().min(*sizes.next()?));
        data = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}

fn encode(spec: &CompressionSpec, data: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut encoder = Encoder::new(spec).unwrap();
    let mut output = Vec::new();
    for chunk in chunks(data, sizes) {
        encoder.push(chunk, &mut output).unwrap();
    }
    encoder.finish(&mut output).unwrap();
    output
}

fn decode(method: Method, data: &[u8], sizes: &[usize]) -> Result<Vec<u8>, CompressError> {
    let mut decoder = Decoder::new(method)?;
    let mut output = Vec::new();
    for mut chunk in chunks(data, sizes) {
        while let Some(piece) = decoder.next_piece(&mut chunk)? {
            assert!(!piece.is_empty() && piece.len() <= Decoder::PIECE);
            output.extend_from_slice(&piece);
        }
        assert!(chunk.is_empty());
    }
    decoder.finish()?;
    Ok(output)
}

/// What comes out before an error, or at the end.
fn decode_what_can_be(method: Method, data: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut decoder = Decoder::new(method).unwrap();
    let mut output = Vec::new();
    for mut chunk in chunks(data, sizes) {
        loop {
            match decoder.next_piece(&mut chunk) {
                Ok(Some(piece)) => output.extend_from_slice(&piece),
                Ok(None) => break,
                Err(_) => return output,
            }
        }
    }
    output
}

/// Data that repeats itself near and far, beside data that does not.
fn sample(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut data = Vec::with_capacity(length);
    while data.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match state >> 62 {
            0 => data.extend_from_slice(&state.to_le_bytes()),
            1 => data.extend(std::iter::repeat_n(0, (state >> 32 & 0xfff) as usize)),
            _ => {
                let start = (state >> 20) as usize % (data.len() + 1);
                let end = data.len().min(start + (state >> 50 & 0x3ff) as usize);
                data.extend_from_within(start..end);
            }
        }
    }
    data.truncate(length);
    data
}

fn arbitrary_data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..2000),
        (0..1_000_000_usize).prop_map(sample),
        (any::<u8>(), 0..2_000_000_usize).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        prop::collection::vec(1..100_usize, 1..4),
        prop::collection::vec(1..300_000_usize, 1..8),
        Just(vec![usize::MAX]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn bb_155_what_was_compressed_comes_back_whatever_the_chunks(
        data in arbitrary_data(),
        spec in prop::sample::select(specs()),
        (in_sizes, out_sizes) in (sizes(), sizes()),
    ) {
        let encoded = encode(&spec, &data, &in_sizes);
        prop_assert!(decode(spec.method, &encoded, &out_sizes).unwrap() == data);
    }

    #[test]
    fn bb_155_any_bytes_are_data_or_an_error(
        data in prop::collection::vec(any::<u8>(), 0..400),
        spec in prop::sample::select(specs()),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        sizes in sizes(),
    ) {
        let mut encoded = encode(&spec, &data, &[usize::MAX]);
        for (index, flip) in flips {
            let length = encoded.len();
            encoded[index.index(length)] ^= flip;
        }
        _ = decode(spec.method, &encoded, &sizes);
        _ = decode(spec.method, &data, &sizes);
    }
}

#[test]
fn bb_155_a_stream_can_be_cut_at_every_place() {
    let data = sample(3000);
    for spec in specs() {
        let encoded = encode(&spec, &data, &[1000]);
        for cut in 1..encoded.len() {
            assert_eq!(decode(spec.method, &encoded, &[cut, usize::MAX]).unwrap(), data, "{spec:?} {cut}");
        }
        assert_eq!(decode(spec.method, &encoded, &[1]).unwrap(), data, "{spec:?}");
    }
}

#[test]
fn bb_155_a_stream_that_ends_too_early_is_not_whole() {
    for spec in specs() {
        let encoded = encode(&spec, &sample(3000), &[usize::MAX]);
        for end in 0..encoded.len() {
            let error = decode(spec.method, &encoded[..end], &[usize::MAX]).unwrap_err();
            assert_eq!(
                error.to_string(),
                "could not decompress data: unexpected end of data",
                "{spec:?} {end}"
            );
        }
    }
}

#[test]
fn what_was_flushed_can_be_decompressed_before_the_end() {
    let data = sample(700_000);
    let (first, second) = data.split_at(300_000);
    for spec in specs() {
        let (mut encoder, mut output) = (Encoder::new(&spec).unwrap(), Vec::new());
        encoder.push(first, &mut output).unwrap();
        encoder.flush(&mut output).unwrap();
        let mut decoder = Decoder::new(spec.method).unwrap();
        let (mut input, mut result) = (&output[..], Vec::new());
        while let Some(piece) = decoder.next_piece(&mut input).unwrap() {
            result.extend_from_slice(&piece);
        }
        assert!(result == first, "{spec:?}");
        encoder.flush(&mut output).unwrap();
        encoder.push(second, &mut output).unwrap();
        encoder.finish(&mut output).unwrap();
        assert!(decode(spec.method, &output, &[1000]).unwrap() == data, "{spec:?}");
    }
}

#[test]
fn rw_157_what_was_flushed_comes_out_whatever_is_behind_it() {
    // More than one block of LZ4, and more than one piece.
    let data = sample(400_000);
    let pieces = [&data[..300], &data[300..390_000], &data[390_000..390_001], &data[390_001..]];
    for spec in specs() {
        let (mut encoder, mut output, mut flushed) = (Encoder::new(&spec).unwrap(), Vec::new(), 0);
        for piece in pieces {
            encoder.push(piece, &mut output).unwrap();
            encoder.flush(&mut output).unwrap();
            flushed += piece.len();
            for behind in [vec![], vec![0xff; 100], vec![0; 1000], output.clone()] {
                let stream = [&output[..], &behind].concat();
                for sizes in [[usize::MAX], [1000]] {
                    let decoded = decode_what_can_be(spec.method, &stream, &sizes);
                    assert!(decoded.len() >= flushed, "{spec:?} {flushed} {} {sizes:?}", decoded.len());
                    assert!(decoded[..flushed] == data[..flushed], "{spec:?} {flushed}");
                }
            }
        }
    }
}

#[test]
fn rw_148_a_whole_stream_comes_out_in_front_of_a_stale_tail() {
    let data = sample(300_000);
    for spec in specs() {
        let encoded = encode(&spec, &data, &[usize::MAX]);
        for tail in [&[0][..], &[0xff; 50], &sample(1000), &encoded[encoded.len() / 2..]] {
            let stream = [&encoded[..], tail].concat();
            let decoded = decode_what_can_be(spec.method, &stream, &[100_000]);
            assert!(decoded.starts_with(&data), "{spec:?} {}", decoded.len());
            assert!(decode(spec.method, &stream, &[usize::MAX]).is_err(), "{spec:?}");
        }
    }
}

#[test]
fn bb_153_and_154_an_empty_stream_is_a_valid_file() {
    for spec in specs() {
        let encoded = encode(&spec, &[], &[1]);
        assert!(!encoded.is_empty());
        assert_eq!(decode(spec.method, &encoded, &[1]), Ok(Vec::new()));
    }
}

#[test]
fn members_and_frames_may_follow_each_other() {
    let data = [sample(70_000), Vec::new(), sample(300_000), vec![7]];
    for spec in specs() {
        let encoded = data.iter().map(|data| encode(&spec, data, &[usize::MAX])).collect::<Vec<_>>().concat();
        for sizes in [[1].as_slice(), &[7, 1000], &[40_000], &[usize::MAX]] {
            assert!(decode(spec.method, &encoded, sizes).unwrap() == data.concat(), "{spec:?} {sizes:?}");
        }
    }
}

#[test]
fn frames_to_be_skipped_are_skipped() {
    for method in [Method::Lz4, Method::Zstd] {
        let frame = encode(&CompressionSpec::of(method), b"data", &[1]);
        for length in 0..=20 {
            let skipped =
                [&[0x5a, 0x2a, 0x4d, 0x18, length, 0, 0, 0][..], &vec![b'x'; length.into()]].concat();
            let stream = [&skipped[..], &frame, &skipped, &frame].concat();
            for sizes in [[1], [5], [usize::MAX]] {
                assert_eq!(
                    decode(method, &stream, &sizes).unwrap(),
                    b"datadata",
                    "{method} {length} {sizes:?}"
                );
            }
        }
    }
}

#[test]
fn bb_155_windows_are_as_large_as_the_library_allows() {
    // Magic number, no length and no checksum, window, and one raw block of one byte, the last.
    let frame = |window| [0x28, 0xb5, 0x2f, 0xfd, 0, window, 9, 0, 0, b'x'];
    let window_of_128_mib = 17 << 3;
    assert_eq!(decode(Method::Zstd, &frame(window_of_128_mib), &[1]).unwrap(), b"x");
    for window in [window_of_128_mib + 1, 18 << 3, 0xff] {
        let error = decode(Method::Zstd, &frame(window), &[1]).unwrap_err().to_string();
        assert_eq!(error, "could not decompress data: Frame requires too much memory for decoding");
    }
}

#[test]
fn bb_155_what_expands_without_end_comes_in_pieces() {
    let data = vec![0; 30 << 20];
    for method in Method::ALL {
        let encoded = encode(&CompressionSpec::of(method), &data, &[usize::MAX]);
        let mut decoder = Decoder::new(method).unwrap();
        let mut input = &encoded[..];
        let mut length = 0;
        while let Some(piece) = decoder.next_piece(&mut input).unwrap() {
            assert!(piece.len() <= Decoder::PIECE);
            length += piece.len();
        }
        assert_eq!(length, data.len(), "{method}");
        decoder.finish().unwrap();
    }
}

#[test]
fn bb_155_pieces_stay_as_they_are_while_memory_is_used_again() {
    let data = sample(100 * Decoder::PIECE);
    for method in Method::ALL {
        let encoded = encode(&CompressionSpec::of(method), &data, &[usize::MAX]);
        for held in [0, 3, 50] {
            let mut decoder = Decoder::new(method).unwrap();
            let mut pieces = VecDeque::new();
            let (mut input, mut position) = (&encoded[..], 0);
            while let Some(piece) = decoder.next_piece(&mut input).unwrap() {
                let range = position..position + piece.len();
                position = range.end;
                pieces.push_back((range, piece));
                if pieces.len() > held {
                    pieces.pop_front();
                }
                assert!(pieces.iter().all(|(range, piece)| piece == &data[range.clone()]));
            }
            assert_eq!(position, data.len());
            assert!(decoder.kept_pieces() <= (held + 1).min(16), "{method}, {held} held");
        }
    }
}

#[test]
fn bb_155_small_pieces_hold_little_memory() {
    let data = sample(2000);
    for method in Method::ALL {
        let encoded = encode(&CompressionSpec::of(method), &data, &[usize::MAX]);
        let (mut decoder, mut pieces) = (Decoder::new(method).unwrap(), Vec::new());
        for mut byte in encoded.chunks(1) {
            while let Some(piece) = decoder.next_piece(&mut byte).unwrap() {
                pieces.push(piece);
            }
        }
        assert_eq!(pieces.concat(), data);
        assert_eq!(decoder.kept_pieces(), 1, "{method}");
    }
}

#[test]
fn bb_155_errors_say_what_the_libraries_say() {
    let encoded = |method| encode(&CompressionSpec::of(method), b"data", &[1]);
    let mut wrong_checksum = encoded(Method::Gzip);
    let end = wrong_checksum.len();
    wrong_checksum[end - 5] ^= 1;
    let mut wrong_length = encoded(Method::Gzip);
    wrong_length[end - 1] ^= 1;
    for (method, data, expected) in [
        (Method::Gzip, b"PK\x03\x04....".to_vec(), "incorrect header check"),
        (Method::Gzip, wrong_checksum, "incorrect data check"),
        (Method::Gzip, wrong_length, "incorrect length check"),
        (Method::Lz4, b"PK\x03\x04........".to_vec(), "ERROR_frameType_unknown"),
        (Method::Zstd, b"PK\x03\x04....".to_vec(), "Unknown frame descriptor"),
    ] {
        let error = decode(method, &data, &[usize::MAX]).unwrap_err().to_string();
        assert_eq!(error, format!("could not decompress data: {expected}"));
    }
}

#[test]
fn bb_155_other_bytes_behind_the_end_are_an_error() {
    for (method, behind) in
        Method::ALL.into_iter().flat_map(|method| [(method, vec![0; 20]), (method, vec![b'x'])])
    {
        let mut encoded = encode(&CompressionSpec::of(method), b"data", &[1]);
        encoded.extend_from_slice(&behind);
        for sizes in [[1], [usize::MAX]] {
            let error = decode(method, &encoded, &sizes).unwrap_err().to_string();
            assert!(error.starts_with("could not decompress data: "), "{method} {error}");
        }
    }
}

#[test]
fn bb_155_what_is_broken_stays_broken() {
    for method in Method::ALL {
        let mut decoder = Decoder::new(method).unwrap();
        let garbage = [0x55; 64];
        let first = decoder.next_piece(&mut &garbage[..]).unwrap_err().to_string();
        assert!(first.starts_with("could not decompress data: "), "{first}");
        let whole = encode(&CompressionSpec::of(method), b"data", &[1]);
        for mut input in [&whole[..], &[]] {
            let again = decoder.next_piece(&mut input).unwrap_err().to_string();
            assert_eq!(again, "could not decompress data: the data before could not be decompressed");
        }
        assert!(decoder.finish().is_err());
    }
}

#[test]
fn codecs_can_change_threads() {
    fn can_change_threads<T: Send>() {}
    can_change_threads::<Encoder>();
    can_change_threads::<Decoder>();
}

#[test]
fn levels_that_no_method_has_are_refused_when_made_by_hand() {
    for (method, level) in [(Method::Gzip, 10), (Method::Gzip, 0), (Method::Lz4, -1), (Method::Zstd, 23)] {
        let spec = CompressionSpec { level: Some(level), ..CompressionSpec::of(method) };
        let expected = format!("could not compress data: {method} has no level {level}");
        assert_eq!(Encoder::new(&spec).unwrap_err().to_string(), expected);
    }
}

#[test]
fn bb_029_a_refused_worker_count_is_told_in_the_words_of_pg_basebackup() {
    let error = CompressError::Workers { workers: 3, reason: "Unsupported parameter".to_owned() };
    assert_eq!(error.to_string(), "could not set compression worker count to 3: Unsupported parameter");
    // The library takes more than it has as all that it has.
    for workers in [0, 100_000] {
        let spec = CompressionSpec { workers: Some(workers), ..CompressionSpec::of(Method::Zstd) };
        assert_eq!(decode(Method::Zstd, &encode(&spec, b"data", &[1]), &[1]).unwrap(), b"data");
    }
}
