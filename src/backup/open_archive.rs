//! The archive at hand on its way from the server to the destination.
//!
//! ```text
//! chunk ──► decompress ──► cut into members, observe ──► inject ──► compress ──► destination
//! ```
//!
//! Each stage is there only where it is wanted. What no stage changes goes to the destination as it came.

use bytes::Bytes;

use super::archive_format::ArchiveFormat;
use super::compressor::Compressor;
use super::destination::{Destination, Form};
use super::error::BackupError;
use super::member_injection::{MemberInjection, Stretch};
use super::outlet::Outlet;
use crate::compress::{CompressionSpec, Decoder, LargestWindow};
use crate::tar::{END_OF_ARCHIVE, Piece, TarSplitter};

/// What is to become of an archive.
#[derive(Debug)]
pub(super) struct Treatment {
    pub(super) format: ArchiveFormat,
    /// What decompressing it may take in memory.
    pub(super) largest_window: LargestWindow,
    /// What is put into it.
    pub(super) injection: Option<MemberInjection>,
    /// How it is compressed before it is stored; archives that the server compressed are only if they were changed.
    pub(super) compression: Option<CompressionSpec>,
    /// Whether the server leaves out the two blocks at the end (BB-110).
    pub(super) lacks_end: bool,
}

/// An archive that has begun and not ended.
pub(super) struct OpenArchive {
    decoder: Option<Decoder>,
    content: Content,
    way: Way,
    lacks_end: bool,
}

/// What is done with the bytes of the tar archive.
#[expect(clippy::large_enum_variant, reason = "there is one, in a box")]
enum Content {
    /// Nothing, not even a look.
    Opaque,
    /// They are observed.
    Observed(TarSplitter),
    /// Files are put into it.
    Injected {
        injection: MemberInjection,
        /// Cuts what comes out again, where the destination wants members.
        members: Option<TarSplitter>,
    },
}

/// What the destination gets.
enum Way {
    /// The bytes as they were received.
    AsReceived,
    /// The members.
    Members,
    /// The bytes of the tar archive.
    Tar,
    /// The bytes of the tar archive, compressed.
    Compressed(Compressor),
}

/// An archive whose members have all come, and which is to get one more.
pub(super) struct LastMember {
    way: Way,
    /// What comes after it.
    tail: Bytes,
}

impl OpenArchive {
    /// An archive that begins. One of unknown format is not looked into.
    pub(super) fn begin(treatment: Treatment, form: Form) -> Result<Self, BackupError> {
        let Treatment { format, largest_window, injection, compression, lacks_end } = treatment;
        let (decoder, opaque) = match format {
            ArchiveFormat::Tar(method) => {
                let decoder = method.map(|method| Decoder::with_window(method, largest_window));
                (decoder.transpose()?, false)
            }
            ArchiveFormat::Unknown => (None, true),
        };
        let members = form == Form::Members;
        let way = match compression {
            _ if members => Way::Members,
            Some(spec) => Way::Compressed(Compressor::new(&spec)?),
            None if injection.is_some() => Way::Tar,
            None => Way::AsReceived,
        };
        let content = match injection {
            _ if opaque => Content::Opaque,
            None => Content::Observed(TarSplitter::new()),
            Some(injection) => Content::Injected { injection, members: members.then(TarSplitter::new) },
        };
        Ok(Self { decoder, content, way, lacks_end })
    }

    /// Takes in the next bytes from the server; `observe` sees every piece of the archive as the server sent it.
    pub(super) fn take<D: Destination + ?Sized>(
        &mut self,
        chunk: &Bytes,
        observe: &mut impl FnMut(&Piece<'_>),
        outlet: &mut Outlet<'_, D>,
    ) -> Result<(), BackupError> {
        match &mut self.decoder {
            None => self.content.take(chunk, observe, &mut self.way, outlet)?,
            Some(decoder) => {
                let mut rest: &[u8] = chunk;
                while let Some(piece) = decoder.next_piece(&mut rest)? {
                    self.content.take(&piece, observe, &mut self.way, outlet)?;
                }
            }
        }
        match &self.way {
            Way::AsReceived => outlet.write(chunk.clone()),
            Way::Members | Way::Tar | Way::Compressed(_) => Ok(()),
        }
    }

    /// Ends the archive.
    pub(super) fn finish<D: Destination + ?Sized>(
        self,
        observe: &mut impl FnMut(&Piece<'_>),
        outlet: &mut Outlet<'_, D>,
    ) -> Result<(), BackupError> {
        self.before_last_member(observe, outlet)?.finish(outlet)
    }

    /// Ends what the server sent of the archive, and leaves room for another member.
    pub(super) fn before_last_member<D: Destination + ?Sized>(
        mut self,
        observe: &mut impl FnMut(&Piece<'_>),
        outlet: &mut Outlet<'_, D>,
    ) -> Result<LastMember, BackupError> {
        // An empty member at the very end is complete without another byte.
        self.content.take(&Bytes::new(), observe, &mut self.way, outlet)?;
        if let Some(decoder) = self.decoder {
            decoder.finish()?;
        }
        let (tail, way) = match self.content {
            Content::Opaque => (Bytes::new(), self.way),
            Content::Observed(splitter) => {
                splitter.finish()?;
                let is_stored = !matches!(self.way, Way::Members);
                let end: &'static [u8] = if self.lacks_end && is_stored { &END_OF_ARCHIVE } else { &[] };
                (Bytes::from_static(end), self.way)
            }
            Content::Injected { injection, members: None } => (injection.finish()?.into(), self.way),
            Content::Injected { injection, members: Some(mut splitter) } => {
                store_members(&injection.finish()?.into(), &mut splitter, outlet)?;
                (Bytes::new(), self.way)
            }
        };
        Ok(LastMember { way, tail })
    }
}

impl Content {
    fn take<D: Destination + ?Sized>(
        &mut self,
        tar: &Bytes,
        observe: &mut impl FnMut(&Piece<'_>),
        way: &mut Way,
        outlet: &mut Outlet<'_, D>,
    ) -> Result<(), BackupError> {
        match self {
            Self::Opaque => way.pass(tar.clone(), outlet),
            Self::Observed(splitter) => {
                let mut rest: &[u8] = tar;
                while let Some(piece) = splitter.next_piece(&mut rest)? {
                    observe(&piece);
                    if matches!(way, Way::Members) {
                        store(&piece, tar, outlet)?;
                    }
                }
                way.pass(tar.clone(), outlet)
            }
            Self::Injected { injection, members } => {
                for stretch in injection.push(tar, |piece| observe(piece))? {
                    let bytes = match stretch {
                        Stretch::Received(slice) => tar.slice_ref(slice),
                        Stretch::Written(written) => written.into(),
                    };
                    match members {
                        Some(splitter) => store_members(&bytes, splitter, outlet)?,
                        None => way.pass(bytes, outlet)?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl Way {
    /// Passes on bytes of the tar archive, if these are what the destination gets.
    fn pass<D: Destination + ?Sized>(
        &mut self,
        tar: Bytes,
        outlet: &mut Outlet<'_, D>,
    ) -> Result<(), BackupError> {
        match self {
            Self::AsReceived | Self::Members => Ok(()),
            Self::Tar => outlet.write(tar),
            Self::Compressed(compressor) => compressor.push(&tar, outlet),
        }
    }
}

impl LastMember {
    /// Writes a part of the member: its header, its data or its padding.
    pub(super) fn write<D: Destination + ?Sized>(
        &mut self,
        bytes: Bytes,
        outlet: &mut Outlet<'_, D>,
    ) -> Result<(), BackupError> {
        match &mut self.way {
            Way::Members => Ok(()),
            Way::AsReceived | Way::Tar => outlet.write(bytes),
            Way::Compressed(compressor) => compressor.push(&bytes, outlet),
        }
    }

    /// Ends the archive.
    pub(super) fn finish<D: Destination + ?Sized>(
        mut self,
        outlet: &mut Outlet<'_, D>,
    ) -> Result<(), BackupError> {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            self.write(tail, outlet)?;
        }
        match self.way {
            Way::Compressed(compressor) => compressor.finish(outlet),
            Way::AsReceived | Way::Members | Way::Tar => Ok(()),
        }
    }
}

fn store_members<D: Destination + ?Sized>(
    tar: &Bytes,
    splitter: &mut TarSplitter,
    outlet: &mut Outlet<'_, D>,
) -> Result<(), BackupError> {
    let mut rest: &[u8] = tar;
    while let Some(piece) = splitter.next_piece(&mut rest)? {
        store(&piece, tar, outlet)?;
    }
    Ok(())
}

/// Hands over a piece whose slices are parts of `tar`.
fn store<D: Destination + ?Sized>(
    piece: &Piece<'_>,
    tar: &Bytes,
    outlet: &mut Outlet<'_, D>,
) -> Result<(), BackupError> {
    match piece {
        Piece::Entry(entry) => Ok(outlet.begin_member(entry)?),
        Piece::Data(data) => outlet.write(tar.slice_ref(data)),
        Piece::EntryEnd => Ok(outlet.end_member()?),
        Piece::Padding(_) | Piece::End(_) => Ok(()),
    }
}
