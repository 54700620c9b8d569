//! Puts files of the client's own into a tar archive that passes.
//!
//! In: the chunks of an archive. Out: the same archive as a row of slices, with members changed, dropped
//! and added. Stretches without a change come out as they came in, one slice for all members of a chunk;
//! only what the client itself writes is copied. The end of the archive is always the two zero blocks,
//! whatever the server sent (BB-142).

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use crate::storage::Access;
use crate::tar::{
    END_OF_ARCHIVE, Entry, EntryKind, MemberHeader, Piece, TarError, TarSplitter, padding_len, with_new_size,
};

/// A file that the client puts into an archive.
///
/// It may hold a password: `Debug` shows its name and size alone, and the memory is overwritten when it is
/// dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct InjectedFile {
    /// The name, at most 99 bytes.
    pub path: &'static str,
    /// What is in it.
    pub content: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for InjectedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InjectedFile").field("path", &self.path).field("size", &self.content.len()).finish()
    }
}

/// What the members that the client writes say of themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InjectedAttributes {
    /// Permission bits of new members.
    pub mode: u32,
    /// The time of change of new and changed members, in seconds since 1970.
    pub modified_at: u64,
}

/// A part of the archive that comes out. `Debug` shows sizes alone, because what was written may be secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Stretch<'c> {
    /// Bytes of the chunk, unchanged.
    Received(&'c [u8]),
    /// Bytes that the client wrote, or a header that came in several chunks.
    Written(Vec<u8>),
}

impl fmt::Debug for Stretch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Received(bytes) => write!(f, "Received({} bytes)", bytes.len()),
            Self::Written(bytes) => write!(f, "Written({} bytes)", bytes.len()),
        }
    }
}

impl AsRef<[u8]> for Stretch<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Received(bytes) => bytes,
            Self::Written(bytes) => bytes,
        }
    }
}

/// Rewrites one archive.
///
/// A member named like the file to append to keeps its bytes and gets the content behind them; if there is
/// none, the file is added at the end. Members named like the file to replace are dropped, and the file is
/// added last. With neither, what changes is the end of the archive alone, so that further members can be
/// put before [`finish`](Self::finish)'s.
#[derive(Debug)]
pub struct MemberInjection {
    splitter: TarSplitter,
    appended: Option<InjectedFile>,
    replaced: Option<InjectedFile>,
    left_out: Option<&'static str>,
    attributes: InjectedAttributes,
    at_hand: AtHand,
    append_done: bool,
}

/// What becomes of the member at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtHand {
    Kept,
    Dropped,
    /// The content is put behind its data, and padding to match this size.
    Appended {
        size: u64,
    },
}

impl MemberInjection {
    /// A rewriter at the start of an archive.
    pub const fn new(
        appended: Option<InjectedFile>,
        replaced: Option<InjectedFile>,
        attributes: InjectedAttributes,
    ) -> Self {
        Self {
            splitter: TarSplitter::new(),
            appended,
            replaced,
            left_out: None,
            attributes,
            at_hand: AtHand::Kept,
            append_done: false,
        }
    }

    /// Drops members of that name, too.
    pub fn without(self, path: &'static str) -> Self {
        Self { left_out: Some(path), ..self }
    }

    /// Takes in a chunk and returns the part of the archive that it settles. `observe` sees every piece of
    /// the archive *as received*, in order.
    ///
    /// Up to a header of the archive is held back from one chunk to the next.
    pub fn push<'c>(
        &mut self,
        chunk: &'c [u8],
        mut observe: impl FnMut(&Piece<'c>),
    ) -> Result<Vec<Stretch<'c>>, TarError> {
        let mut rewriting = Rewriting { chunk, kept_from: 0, stretches: Vec::new() };
        let (mut rest, mut start) = (chunk, 0);
        loop {
            let gathered = self.splitter.incomplete_header_len();
            let Some(piece) = self.splitter.next_piece(&mut rest)? else { break };
            observe(&piece);
            let end = chunk.len() - rest.len();
            match &piece {
                Piece::Entry(entry) => self.decide(entry, gathered > 0, start, end, &mut rewriting),
                Piece::EntryEnd => self.append(start, &mut rewriting),
                Piece::Data(_) if self.at_hand == AtHand::Dropped => rewriting.leave_out(start, end),
                Piece::Padding(_) if self.at_hand != AtHand::Kept => rewriting.leave_out(start, end),
                Piece::End(_) => rewriting.leave_out(start, end),
                Piece::Data(_) | Piece::Padding(_) => {}
            }
            start = end;
        }
        let settled = chunk.len().saturating_sub(self.splitter.incomplete_header_len());
        rewriting.keep_until(settled);
        Ok(rewriting.stretches)
    }

    /// Returns what comes after all that was received: the files that are not yet in it, and the end of the
    /// archive. Whatever else belongs in the archive must be put before.
    pub fn finish(self) -> Result<Vec<u8>, TarError> {
        self.splitter.finish()?;
        let mut tail = Vec::new();
        for file in self.appended.iter().filter(|_| !self.append_done).chain(&self.replaced) {
            let size = file.content.len() as u64;
            tail.extend_from_slice(&self.attributes.header(file.path, size).to_block()?);
            tail.extend_from_slice(&file.content);
            tail.resize(tail.len() + padding_len(size), 0);
        }
        tail.extend_from_slice(&END_OF_ARCHIVE);
        Ok(tail)
    }

    fn decide(
        &mut self,
        entry: &Entry,
        gathered: bool,
        start: usize,
        end: usize,
        rewriting: &mut Rewriting<'_>,
    ) {
        let named = |file: &Option<InjectedFile>| {
            file.as_ref().is_some_and(|file| file.path.as_bytes() == entry.path.as_bytes())
        };
        let header = self.splitter.header_block();
        let is_left_out = self.left_out.is_some_and(|path| path.as_bytes() == entry.path.as_bytes());
        if is_left_out || named(&self.replaced) {
            self.at_hand = AtHand::Dropped;
            rewriting.leave_out(start, end);
        } else if let Some(file) = self.appended.as_ref().filter(|_| entry.kind == EntryKind::File)
            && named(&self.appended)
        {
            let size = entry.size + file.content.len() as u64;
            self.at_hand = AtHand::Appended { size };
            rewriting.leave_out(start, end);
            rewriting.write(end, with_new_size(header, size, self.attributes.modified_at).to_vec());
        } else {
            self.at_hand = AtHand::Kept;
            if gathered {
                rewriting.leave_out(start, end);
                rewriting.write(end, header.to_vec());
            }
        }
    }

    /// At the end of the data of a member: writes what goes behind it.
    fn append(&mut self, at: usize, rewriting: &mut Rewriting<'_>) {
        if let (AtHand::Appended { size }, Some(file)) = (self.at_hand, &self.appended) {
            let mut bytes = file.content.to_vec();
            bytes.resize(bytes.len() + padding_len(size), 0);
            rewriting.write(at, bytes);
            self.append_done = true;
        }
    }
}

impl InjectedAttributes {
    /// Those of files that are made now, for whoever may read the backup.
    pub(super) fn now(access: Access) -> Self {
        let modified_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { mode: access.file_mode(), modified_at }
    }

    /// The header of a new member. The owner's numbers are those of the reference implementation.
    pub(super) const fn header(self, path: &str, size: u64) -> MemberHeader<'_> {
        MemberHeader {
            path: path.as_bytes(),
            mode: self.mode,
            uid: 0o4000,
            gid: 0o2000,
            size,
            modified_at: self.modified_at,
        }
    }
}

/// What comes out for a chunk. Positions are offsets in the chunk and never go back.
struct Rewriting<'c> {
    chunk: &'c [u8],
    /// The start of the stretch that will come out as it is.
    kept_from: usize,
    stretches: Vec<Stretch<'c>>,
}

impl Rewriting<'_> {
    fn keep_until(&mut self, end: usize) {
        if end > self.kept_from {
            self.stretches.push(Stretch::Received(&self.chunk[self.kept_from..end]));
            self.kept_from = end;
        }
    }

    fn leave_out(&mut self, start: usize, end: usize) {
        self.keep_until(start);
        self.kept_from = end;
    }

    fn write(&mut self, at: usize, bytes: Vec<u8>) {
        self.keep_until(at);
        if !bytes.is_empty() {
            self.stretches.push(Stretch::Written(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const ATTRIBUTES: InjectedAttributes = InjectedAttributes { mode: 0o640, modified_at: 1_800_000_000 };

    fn member(path: &str, data: &[u8]) -> Vec<u8> {
        let size = data.len() as u64;
        let header =
            MemberHeader { path: path.as_bytes(), mode: 0o600, uid: 101, gid: 104, size, modified_at: 0 };
        let mut bytes = header.to_block().unwrap().to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len() + padding_len(size), 0);
        bytes
    }

    fn injection() -> MemberInjection {
        MemberInjection::new(
            Some(InjectedFile { path: "conf", content: b"more\n".to_vec().into() }),
            Some(InjectedFile { path: "signal", content: Vec::new().into() }),
            ATTRIBUTES,
        )
    }

    fn rewrite<'a>(
        mut injection: MemberInjection,
        chunks: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<u8>, TarError> {
        let mut result = Vec::new();
        for chunk in chunks {
            for stretch in injection.push(chunk, |_| ())? {
                assert!(!stretch.as_ref().is_empty());
                result.extend_from_slice(stretch.as_ref());
            }
        }
        result.extend(injection.finish()?);
        Ok(result)
    }

    /// What the tar crate finds: path, mode, owner, content.
    fn unpacked(archive: &[u8]) -> Vec<(String, u32, u64, Vec<u8>)> {
        let mut archive = ::tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let header = entry.header();
            (
                entry.path().unwrap().to_str().unwrap().to_owned(),
                header.mode().unwrap(),
                header.uid().unwrap(),
                content,
            )
        });
        entries.collect()
    }

    #[test]
    fn bb_141_a_chunk_without_changes_is_one_slice() {
        let chunk = [member("a", b"1"), member("b", &[2; 600]), member("c", b"")].concat();
        let mut injection = injection();
        assert_eq!(injection.push(&chunk, |_| ()).unwrap(), [Stretch::Received(&chunk[..])]);
    }

    #[test]
    fn an_incomplete_header_is_held_back() {
        let chunk = [member("a", b"1"), member("b", b"2")].concat();
        let mut injection = injection();
        let first = injection.push(&chunk[..1100], |_| ()).unwrap();
        assert_eq!(first, [Stretch::Received(&chunk[..1024])]);
        assert_eq!(injection.push(&chunk[1100..1200], |_| ()).unwrap(), []);
        let last = injection.push(&chunk[1200..], |_| ()).unwrap();
        let header = chunk[1024..1536].to_vec();
        assert_eq!(last, [Stretch::Written(header), Stretch::Received(&chunk[1536..])]);
    }

    #[test]
    fn a_changed_member_keeps_its_bytes_owner_and_mode() {
        let chunk = [member("a", b"1"), member("conf", &[b'x'; 510]), member("z", b"2")].concat();
        let result = rewrite(injection(), [&chunk[..]]).unwrap();
        let conf = [&[b'x'; 510][..], b"more\n"].concat();
        assert_eq!(
            unpacked(&result),
            [
                ("a".to_owned(), 0o600, 101, b"1".to_vec()),
                ("conf".to_owned(), 0o600, 101, conf),
                ("z".to_owned(), 0o600, 101, b"2".to_vec()),
                ("signal".to_owned(), 0o640, 0o4000, Vec::new()),
            ]
        );
        assert_eq!(result[..1024], chunk[..1024]);
    }

    #[test]
    fn bb_142_nothing_to_inject_leaves_the_members_and_ends_the_archive() {
        let members = member("a", b"1");
        for end in [0, 512, 1024, 10240] {
            let mut archive = members.clone();
            archive.resize(archive.len() + end, 0);
            let result = rewrite(MemberInjection::new(None, None, ATTRIBUTES), [&archive[..]]).unwrap();
            assert_eq!(result, [&members[..], &END_OF_ARCHIVE].concat(), "{end}");
        }
    }

    #[test]
    fn bb_128_a_cut_archive_is_no_archive() {
        let archive = member("a", b"1");
        assert_eq!(rewrite(injection(), [&archive[..700]]), Err(TarError::UnfinishedMember));
    }

    #[test]
    fn the_observer_sees_what_was_received() {
        let archive = [member("conf", b"old"), member("signal", b"s")].concat();
        let mut seen = Vec::new();
        injection()
            .push(&archive, |piece| {
                if let Piece::Data(data) = piece {
                    seen.push(data.to_vec());
                }
            })
            .unwrap();
        assert_eq!(seen, [b"old".to_vec(), b"s".to_vec()]);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_archive(
            members in vec((prop_oneof!["[a-z]{1,9}", Just("conf".to_owned()), Just("signal".to_owned())],
                vec(any::<u8>(), 0..1100)), 0..6),
            end in prop_oneof![Just(0usize), Just(512), Just(1024), Just(2048)],
            places in vec(0usize..8000, 0..30),
        ) {
            let mut archive: Vec<u8> =
                members.iter().flat_map(|(path, data)| member(path, data)).collect();
            archive.resize(archive.len() + end, 0);
            let mut places: Vec<_> = places.into_iter().map(|place| place.min(archive.len())).collect();
            places.extend([0, archive.len()]);
            places.sort_unstable();
            let result =
                rewrite(injection(), places.windows(2).map(|ends| &archive[ends[0]..ends[1]])).unwrap();
            prop_assert_eq!(&result, &rewrite(injection(), [&archive[..]]).unwrap());
            prop_assert_eq!(&result, &rewrite(injection(), archive.chunks(61)).unwrap());

            let mut expected: Vec<(String, Vec<u8>)> =
                members.into_iter().filter(|(path, _)| path != "signal").collect();
            let mut found = false;
            for (_, data) in expected.iter_mut().filter(|(path, _)| path == "conf") {
                data.extend_from_slice(b"more\n");
                found = true;
            }
            if !found {
                expected.push(("conf".to_owned(), b"more\n".to_vec()));
            }
            expected.push(("signal".to_owned(), Vec::new()));
            let unpacked: Vec<_> =
                unpacked(&result).into_iter().map(|(path, _, _, data)| (path, data)).collect();
            prop_assert_eq!(unpacked, expected);
            prop_assert_eq!(&result[result.len() - 1024..], &END_OF_ARCHIVE[..]);
        }
    }
}
