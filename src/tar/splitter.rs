//! A push parser that cuts the chunks of a tar stream into its members.
//!
//! In: chunks of any size. Out: [`Piece`]s, in order, whose slices are parts of the chunk. The one thing
//! that is copied is the header block of the member at hand.

use super::header::{self, Entry};
use super::{BLOCK_SIZE, HeaderBlock, TarError, padding_len};

static ZERO_BLOCK: HeaderBlock = [0; BLOCK_SIZE];

/// A part of a tar stream.
///
/// Each member is one `Entry`, any number of `Data` whose lengths add up to its size, one `EntryEnd` and any
/// number of `Padding`. After the first `End` there is nothing else. Slices are never empty, and with the
/// [header blocks](TarSplitter::header_block) they are all bytes of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'c> {
    /// A member begins.
    Entry(Entry),
    /// Some of the data of the member.
    Data(&'c [u8]),
    /// The data of the member is complete.
    EntryEnd,
    /// Bytes between the data of the member and the next header, fewer than a block in all.
    Padding(&'c [u8]),
    /// The zero block that ends the archive, and whatever comes after it.
    End(&'c [u8]),
}

/// Cuts a tar stream that comes in chunks.
///
/// ```
/// use pgsiphon::tar::{MemberHeader, Piece, TarSplitter};
///
/// let header = MemberHeader { path: b"PG_VERSION", mode: 0o600, uid: 0, gid: 0, size: 3, modified_at: 0 };
/// let mut stream = header.to_block()?.to_vec();
/// stream.extend_from_slice(b"18\n");
/// stream.resize(1024, 0);
///
/// let (mut splitter, mut data) = (TarSplitter::new(), Vec::new());
/// for mut chunk in stream.chunks(100) {
///     while let Some(piece) = splitter.next_piece(&mut chunk)? {
///         if let Piece::Data(bytes) = piece {
///             data.extend_from_slice(bytes);
///         }
///     }
/// }
/// splitter.finish()?;
/// assert_eq!(data, b"18\n");
/// # Ok::<(), pgsiphon::tar::TarError>(())
/// ```
#[derive(Debug)]
pub struct TarSplitter {
    state: State,
    /// The last header, or as many bytes of the next one as have come.
    header: HeaderBlock,
    /// How many bytes of the next header have come; below [`BLOCK_SIZE`].
    gathered: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Data { left: u64, padding: usize },
    EntryEnd { padding: usize },
    Padding { left: usize },
    End,
    Refused,
}

impl Default for TarSplitter {
    fn default() -> Self {
        Self::new()
    }
}

impl TarSplitter {
    /// A splitter at the start of an archive.
    pub const fn new() -> Self {
        Self { state: State::Header, header: ZERO_BLOCK, gathered: 0 }
    }

    /// Takes the next piece off the front of `chunk`, or nothing once all of it is taken. Ask until there is
    /// nothing, also of an empty chunk: the end of an empty member takes no bytes.
    ///
    /// After an error every further call and [`finish`](Self::finish) fail as well.
    pub fn next_piece<'c>(&mut self, chunk: &mut &'c [u8]) -> Result<Option<Piece<'c>>, TarError> {
        match self.state {
            State::Header => self.next_header(chunk),
            State::Data { left, padding } => Ok(take(chunk, left).map(|data| {
                let left = left - data.len() as u64;
                self.state =
                    if left > 0 { State::Data { left, padding } } else { State::EntryEnd { padding } };
                Piece::Data(data)
            })),
            State::EntryEnd { padding } => {
                self.state = State::after_data(padding);
                Ok(Some(Piece::EntryEnd))
            }
            State::Padding { left } => Ok(take(chunk, left as u64).map(|bytes| {
                self.state = State::after_data(left - bytes.len());
                Piece::Padding(bytes)
            })),
            State::End => Ok(take(chunk, u64::MAX).map(Piece::End)),
            State::Refused => Err(TarError::NotATarArchive),
        }
    }

    /// The header of the member of the last [`Piece::Entry`], valid until the next bytes are taken in after
    /// that member.
    pub const fn header_block(&self) -> &HeaderBlock {
        &self.header
    }

    /// How many bytes at the end of what was taken in belong to a header that is not complete.
    pub const fn incomplete_header_len(&self) -> usize {
        self.gathered
    }

    /// Says whether the stream may end here. The zero blocks at the end may be missing (BB-128).
    pub const fn finish(&self) -> Result<(), TarError> {
        match self.state {
            State::Header if self.gathered == 0 => Ok(()),
            State::End => Ok(()),
            State::Refused => Err(TarError::NotATarArchive),
            _ => Err(TarError::UnfinishedMember),
        }
    }

    fn next_header<'c>(&mut self, chunk: &mut &'c [u8]) -> Result<Option<Piece<'c>>, TarError> {
        let Some(bytes) = take(chunk, (BLOCK_SIZE - self.gathered) as u64) else { return Ok(None) };
        self.header[self.gathered..][..bytes.len()].copy_from_slice(bytes);
        self.gathered += bytes.len();
        if self.gathered < BLOCK_SIZE {
            return Ok(None);
        }
        self.gathered = 0;
        if self.header == ZERO_BLOCK {
            self.state = State::End;
            return Ok(Some(Piece::End(&ZERO_BLOCK)));
        }
        let entry = header::parse(&self.header).inspect_err(|_| self.state = State::Refused)?;
        let padding = padding_len(entry.size);
        self.state = match entry.size {
            0 => State::EntryEnd { padding },
            left => State::Data { left, padding },
        };
        Ok(Some(Piece::Entry(entry)))
    }
}

impl State {
    const fn after_data(padding: usize) -> Self {
        if padding > 0 { Self::Padding { left: padding } } else { Self::Header }
    }
}

/// Takes at most `most` bytes off the front, or nothing if there are none.
fn take<'c>(chunk: &mut &'c [u8], most: u64) -> Option<&'c [u8]> {
    let len = usize::try_from(most).unwrap_or(usize::MAX).min(chunk.len());
    let (taken, rest) = chunk.split_at(len);
    *chunk = rest;
    (!taken.is_empty()).then_some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::tar::{END_OF_ARCHIVE, EntryKind, MemberHeader};

    /// A stream read to its end: what each member is and holds, all bytes that came out, and how it ended.
    #[derive(Debug, Default, PartialEq)]
    struct Read {
        members: Vec<(Entry, Vec<u8>, bool)>,
        bytes: Vec<u8>,
        error: Option<TarError>,
    }

    fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Read {
        let (mut splitter, mut read) = (TarSplitter::new(), Read::default());
        for chunk in chunks {
            if let Err(error) = read_chunk(&mut splitter, chunk, &mut read) {
                read.error = Some(error);
                assert!(splitter.finish().is_err());
                return read;
            }
        }
        read.error = splitter.finish().err();
        read
    }

    fn read_chunk(splitter: &mut TarSplitter, mut chunk: &[u8], read: &mut Read) -> Result<(), TarError> {
        while let Some(piece) = splitter.next_piece(&mut chunk)? {
            match piece {
                Piece::Entry(entry) => {
                    read.bytes.extend_from_slice(splitter.header_block());
                    read.members.push((entry, Vec::new(), false));
                }
                Piece::Data(data) => {
                    read.bytes.extend_from_slice(data);
                    read.members.last_mut().unwrap().1.extend_from_slice(data);
                }
                Piece::EntryEnd => read.members.last_mut().unwrap().2 = true,
                Piece::Padding(bytes) | Piece::End(bytes) => {
                    assert!(!bytes.is_empty());
                    read.bytes.extend_from_slice(bytes);
                }
            }
        }
        assert_eq!(chunk, b"");
        Ok(())
    }

    fn member(path: &[u8], data: &[u8]) -> Vec<u8> {
        let header =
            MemberHeader { path, mode: 0o600, uid: 0, gid: 0, size: data.len() as u64, modified_at: 0 };
        let mut bytes = header.to_block().unwrap().to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len() + padding_len(data.len() as u64), 0);
        bytes
    }

    /// The stream cut at the given places, which may be out of order, doubled or beyond the end.
    fn cut<'a>(stream: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
        let mut places: Vec<_> = places.iter().map(|&place| place.min(stream.len())).collect();
        places.extend([0, stream.len()]);
        places.sort_unstable();
        places.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect()
    }

    #[test]
    fn bb_123_what_follows_the_zero_block_is_swallowed() {
        let mut stream = member(b"a", b"x");
        stream.extend_from_slice(&END_OF_ARCHIVE[..512]);
        stream.extend_from_slice(&member(b"b", b"y"));
        stream.extend_from_slice(b"rubbish");
        let read = read([&stream[..]]);
        assert_eq!((read.members.len(), read.error, read.bytes), (1, None, stream));
    }

    #[test]
    fn bb_126_unknown_members_pass_with_their_data() {
        let mut stream = ::tar::Builder::new(Vec::new());
        let mut header = ::tar::Header::new_ustar();
        header.set_entry_type(::tar::EntryType::new(b'7'));
        header.set_size(3);
        header.set_mode(0o644);
        stream.append_data(&mut header, "contiguous", &b"abc"[..]).unwrap();
        let read = read([&stream.into_inner().unwrap()[..]]);
        assert_eq!(read.members[0].0.kind, EntryKind::Other(b'7'));
        assert_eq!((&read.members[0].1[..], read.error), (&b"abc"[..], None));
    }

    #[test]
    fn bb_128_a_stream_may_end_only_between_members() {
        let stream = [member(b"a", b""), member(b"b", b"data")].concat();
        for len in 0..=stream.len() {
            let whole = [0, 512, 1536].contains(&len);
            let expected = (!whole).then_some(TarError::UnfinishedMember);
            assert_eq!(read([&stream[..len]]).error, expected, "{len}");
        }
    }

    #[test]
    fn nothing_is_read_after_a_refused_header() {
        let mut splitter = TarSplitter::new();
        let good = member(b"a", b"");
        let mut bad = good.clone();
        bad[0] = b'b';
        for mut chunk in [&bad[..], &good] {
            assert_eq!(splitter.next_piece(&mut chunk), Err(TarError::NotATarArchive));
        }
        assert_eq!(splitter.finish(), Err(TarError::NotATarArchive));
    }

    fn data() -> impl Strategy<Value = Vec<u8>> {
        (prop_oneof![Just(0usize), Just(512), 0..1600usize], any::<u8>())
            .prop_map(|(len, first)| (0..len).map(|at| first.wrapping_add(at as u8)).collect())
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_pieces(
            members in vec(("[a-z]{1,9}(/[a-z]{1,9}){0,2}", data()), 0..6),
            tail in vec(0u8..2, 0..1500),
            places in vec(0usize..12_000, 0..40),
        ) {
            let mut stream: Vec<u8> =
                members.iter().flat_map(|(path, data)| member(path.as_bytes(), data)).collect();
            stream.extend(tail);
            let whole = read([&stream[..]]);
            prop_assert_eq!(&read(cut(&stream, &places)), &whole);
            prop_assert_eq!(&read(stream.chunks(1)), &whole);
            if whole.error.is_none() {
                prop_assert_eq!(&whole.bytes, &stream);
                prop_assert!(whole.members.iter().all(|(_, _, ended)| *ended));
            }
        }

        #[test]
        fn the_tar_crate_and_the_splitter_agree(
            members in vec(("[a-z]{1,40}(/[a-z]{1,40}){0,1}", 0..3u8, 0..0o10_000u32, data()), 0..6),
            places in vec(0usize..12_000, 0..20),
        ) {
            let mut builder = ::tar::Builder::new(Vec::new());
            let mut expected = Vec::new();
            for (path, kind, mode, data) in &members {
                let mut header = ::tar::Header::new_gnu();
                header.set_mode(*mode);
                header.set_size(0);
                match kind {
                    0 => {
                        header.set_size(data.len() as u64);
                        builder.append_data(&mut header, path, &data[..]).unwrap();
                        expected.push((path.clone(), EntryKind::File, *mode, data.clone()));
                    }
                    1 => {
                        header.set_entry_type(::tar::EntryType::Directory);
                        builder.append_data(&mut header, format!("{path}/"), &b""[..]).unwrap();
                        expected.push((path.clone(), EntryKind::Directory, *mode, Vec::new()));
                    }
                    _ => {
                        header.set_entry_type(::tar::EntryType::Symlink);
                        builder.append_link(&mut header, path, "/mnt/ts").unwrap();
                        let kind = EntryKind::Symlink { target: b"/mnt/ts".to_vec() };
                        expected.push((path.clone(), kind, *mode, Vec::new()));
                    }
                }
            }
            let stream = builder.into_inner().unwrap();
            let read = read(cut(&stream, &places));
            prop_assert_eq!(read.error, None);
            prop_assert_eq!(&read.bytes, &stream);
            let found: Vec<_> = read.members.into_iter()
                .map(|(entry, data, _)| (entry.path.to_string(), entry.kind, entry.mode, data))
                .collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn no_input_panics(stream in vec(any::<u8>(), 0..3000), places in vec(0usize..3000, 0..8)) {
            prop_assert_eq!(read(cut(&stream, &places)), read([&stream[..]]));
        }
    }
}
