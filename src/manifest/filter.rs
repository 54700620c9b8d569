//! Leaves files out of a manifest.
//!
//! In: the bytes of a manifest in chunks of any size. Out: the same bytes without the lines of some files, the
//! commas right and the manifest's own checksum made anew. A manifest that is not sound never becomes a sound
//! one: from its first fault on it passes as it is, and what comes out has no valid checksum either. So does one
//! that is not laid out as servers do it, with each file on a line of its own.

use super::{
    ChecksumAlgorithm, Checksummer, FileEntry, ManifestError, ManifestFault, ManifestItem, ManifestReader,
};

/// The longest line that is taken, in bytes without its newline. The longest that a server writes has a
/// path of 1024 bytes, each of them escaped.
const MAX_LINE_LEN: usize = super::MAX_TOKEN_LEN;

/// What the last line begins with; nothing else may be on it, because it is written anew.
const CHECKSUM_FIELD: &str = "\"Manifest-Checksum\"";

/// Passes a manifest on without the files that are not to be kept.
///
/// It holds one line of the manifest at most. The last line, with the checksum, comes out only when the whole
/// manifest is known to be sound.
#[derive(Debug)]
pub struct ManifestFilter {
    keep: fn(&FileEntry) -> bool,
    reader: ManifestReader,
    /// What is wrong with the manifest; nothing is left out any more.
    fault: Option<ManifestError>,
    /// The beginning of a line whose end has not come; at most [`MAX_LINE_LEN`] bytes.
    partial: Vec<u8>,
    /// What followed the last file of the list, kept or not: it belongs behind the last one that was kept.
    entry_end: Vec<u8>,
    /// Whether a file was kept, after which `entry_end` is still to be written.
    entry_is_open: bool,
    /// The last line, once it has come.
    checksum_line: Vec<u8>,
    /// Over all lines that were passed on.
    checksummer: Checksummer,
}

impl ManifestFilter {
    /// A filter that keeps the files for which `keep` says so.
    pub fn new(keep: fn(&FileEntry) -> bool) -> Self {
        Self {
            keep,
            reader: ManifestReader::new(),
            fault: None,
            partial: Vec::new(),
            entry_end: Vec::new(),
            entry_is_open: false,
            checksum_line: Vec::new(),
            checksummer: Checksummer::new(ChecksumAlgorithm::Sha256),
        }
    }

    /// Takes in the next bytes, and appends to `out` what is passed on of them.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        for piece in chunk.split_inclusive(|&byte| byte == b'\n') {
            self.push_piece(piece, out);
        }
    }

    /// Ends the manifest: appends the rest of it to `out` and says whether it was sound. If it was not, what was
    /// passed on is not a manifest to be used.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), ManifestError> {
        if self.fault.is_none()
            && let Err(fault) = self.check_end()
        {
            self.give_up(fault, out);
        }
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let last_line = format!(
            "{CHECKSUM_FIELD}: \"{}\"}}
",
            self.checksummer.finish()
        );
        out.extend_from_slice(last_line.as_bytes());
        Ok(())
    }

    /// Takes in a line, or a part of one.
    fn push_piece(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        if self.fault.is_some() {
            return out.extend_from_slice(piece);
        }
        let is_complete = piece.ends_with(b"\n");
        if self.partial.len() + piece.len() > MAX_LINE_LEN + usize::from(is_complete) {
            self.give_up(ManifestFault::LineTooLong.into(), out);
            return out.extend_from_slice(piece);
        }
        if !is_complete {
            self.partial.extend_from_slice(piece);
        } else if self.partial.is_empty() {
            self.pass_line(piece, out);
        } else {
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(piece);
            self.pass_line(&line, out);
        }
    }

    fn pass_line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        match self.read_line(line) {
            Ok(Line::File(file)) => self.pass_file(&file, line, out),
            Ok(Line::Checksum) => self.checksum_line.extend_from_slice(line),
            Ok(Line::Other) => {
                self.end_entry(out);
                self.write(line, out);
            }
            Err(fault) => {
                self.give_up(fault, out);
                out.extend_from_slice(line);
            }
        }
    }

    /// Says what is on a line, if it is no more than can be left out or written anew with it.
    fn read_line(&mut self, line: &[u8]) -> Result<Line, ManifestError> {
        if !self.checksum_line.is_empty() {
            // Its checksum is that of all lines but the last, which that line is no longer.
            return Err(ManifestError::ManifestChecksumMismatch);
        }
        let was_between_files = self.reader.is_between_files();
        let (mut rest, mut items, mut file) = (line, 0, None);
        while let Some(item) = self.reader.next_item(&mut rest)? {
            items += 1;
            if let ManifestItem::File(listed) = item {
                file = Some(listed);
            }
        }
        let is_between_files = was_between_files && self.reader.is_between_files();
        let is_alone = items == 1 && is_between_files && line.starts_with(b"{");
        let is_blank = line.trim_ascii().is_empty();
        match file {
            Some(file) if is_alone => Ok(Line::File(file)),
            // A comma here would stay when the file behind it goes.
            None if is_between_files && !is_blank => Err(ManifestFault::SeveralOnALine.into()),
            None if self.reader.finish().is_err() => Ok(Line::Other),
            None if line.starts_with(CHECKSUM_FIELD.as_bytes()) => Ok(Line::Checksum),
            _ => Err(ManifestFault::SeveralOnALine.into()),
        }
    }

    fn pass_file(&mut self, file: &FileEntry, line: &[u8], out: &mut Vec<u8>) {
        let object = line.trim_ascii_end();
        let object = object.strip_suffix(b",").unwrap_or(object);
        if (self.keep)(file) {
            self.end_entry(out);
            self.write(object, out);
            self.entry_is_open = true;
        }
        self.entry_end.clear();
        self.entry_end.extend_from_slice(&line[object.len()..]);
    }

    /// Writes what belongs behind the last file that was kept.
    fn end_entry(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.entry_is_open, false) {
            let end = std::mem::take(&mut self.entry_end);
            self.write(&end, out);
        }
    }

    fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.checksummer.update(bytes);
        out.extend_from_slice(bytes);
    }

    fn check_end(&mut self) -> Result<(), ManifestError> {
        self.reader.next_item(&mut &self.partial[..])?;
        self.reader.finish()
    }

    /// Passes on everything that was held back, as it came.
    fn give_up(&mut self, fault: ManifestError, out: &mut Vec<u8>) {
        self.end_entry(out);
        out.append(&mut self.checksum_line);
        out.append(&mut self.partial);
        self.fault = Some(fault);
    }
}

/// What is on a line.
enum Line {
    /// One file of the list.
    File(FileEntry),
    /// The manifest's checksum, and with it the end of a sound manifest.
    Checksum,
    /// Neither.
    Other,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A manifest with these files, as servers write it.
    fn manifest(files: &[String]) -> Vec<u8> {
        let mut text = "{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\
                        \"System-Identifier\": 7000000000000000001,\n\
                        \"Files\": [\n"
            .to_owned();
        let lines: Vec<String> = files
            .iter()
            .map(|path| {
                let encoded: Vec<_> = path.bytes().map(|byte| format!("{byte:02x}")).collect();
                let encoded = encoded.concat();
                let name = if path.len() % 2 == 0 {
                    format!("\"Path\": \"{path}\"")
                } else {
                    format!("\"Encoded-Path\": \"{encoded}\"")
                };
                format!(
                    "{{ {name}, \"Size\": 8192, \"Last-Modified\": \"2026-01-01 00:00:00 GMT\", \
                     \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"839206e3\" }}"
                )
            })
            .collect();
        text.push_str(&lines.join(",\n"));
        text.push_str(if lines.is_empty() { "],\n" } else { "\n],\n" });
        text.push_str(
            "\"WAL-Ranges\": [\n\
             { \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000100\" }\n],\n",
        );
        let mut checksummer = Checksummer::new(ChecksumAlgorithm::Sha256);
        checksummer.update(text.as_bytes());
        format!("{text}\"Manifest-Checksum\": \"{}\"}}\n", checksummer.finish()).into_bytes()
    }

    fn is_kept(file: &FileEntry) -> bool {
        !file.path.ends_with(b"x")
    }

    /// What comes out of the filter, and whether it found the manifest sound.
    fn filtered(
        manifest: &[u8],
        keep: fn(&FileEntry) -> bool,
        chunk: usize,
    ) -> (Vec<u8>, Result<(), ManifestError>) {
        let mut filter = ManifestFilter::new(keep);
        let mut out = Vec::new();
        manifest.chunks(chunk).for_each(|chunk| filter.push(chunk, &mut out));
        let verdict = filter.finish(&mut out);
        (out, verdict)
    }

    fn is_sound(manifest: &[u8]) -> bool {
        let mut reader = ManifestReader::new();
        let mut rest = manifest;
        while !rest.is_empty() {
            if reader.next_item(&mut rest).is_err() {
                return false;
            }
        }
        reader.finish().is_ok()
    }

    #[test]
    fn bb_112_files_are_left_out_wherever_they_stand() {
        for paths in ["ax b c", "a bx c", "a b cx", "ax bx c", "a bx cx", "ax b cx", "ax bx cx", "ax", "a b"]
        {
            let paths: Vec<String> = paths.split(' ').map(str::to_owned).collect();
            let kept: Vec<String> = paths.iter().filter(|path| !path.ends_with('x')).cloned().collect();
            let (out, verdict) = filtered(&manifest(&paths), is_kept, 7);
            verdict.unwrap();
            assert_eq!(out, manifest(&kept), "{paths:?}");
        }
    }

    #[test]
    fn bb_114_a_manifest_that_is_not_sound_passes_as_it_is_if_nothing_was_left_out() {
        let whole = manifest(&["a".to_owned(), "b".to_owned()]);
        let surplus = [&whole[..], b"\n"].concat();
        let surplus_without_newline = [&whole[..], b" "].concat();
        let long = [&whole[..40], &vec![b' '; 2 * MAX_LINE_LEN], &whole[40..]].concat();
        let unterminated = &whole[..whole.len() - 1];
        for damaged in
            [&whole[..200], unterminated, &surplus, &surplus_without_newline, &long, b"garbage", b""]
        {
            let (out, verdict) = filtered(damaged, is_kept, 100);
            assert!(verdict.is_err(), "{}", String::from_utf8_lossy(damaged));
            assert_eq!(out, damaged);
        }
    }

    /// Whoever reads such a manifest finds nothing wrong with it; here it would be taken apart in the wrong places.
    #[test]
    fn bb_112_another_layout_passes_as_it_is() {
        let whole = String::from_utf8(manifest(&["a".to_owned(), "bx".to_owned()])).unwrap();
        let (lines, _) = whole.split_once("\"Manifest-Checksum\"").unwrap();
        for (from, to) in [
            (" },\n", " },"),
            (" },\n", " }\n,"),
            (" },\n", " }\n,\n"),
            ("\"Size\"", "\n\"Size\""),
            ("[\n{", "[{"),
            (" }\n],", " } ],"),
            ("\n],\n", "\n],"),
        ] {
            let lines = lines.replace(from, to);
            let mut checksummer = Checksummer::new(ChecksumAlgorithm::Sha256);
            checksummer.update(&lines.as_bytes()[..lines.rfind('\n').map_or(0, |at| at + 1)]);
            let laid_out = format!("{lines}\"Manifest-Checksum\": \"{}\"}}\n", checksummer.finish());
            let laid_out = laid_out.into_bytes();
            assert!(is_sound(&laid_out), "{from:?} -> {to:?}");
            let (out, verdict) = filtered(&laid_out, is_kept, 50);
            assert_eq!(verdict, Err(ManifestFault::SeveralOnALine.into()), "{from:?} -> {to:?}");
            assert!(out == laid_out || !is_sound(&out), "{from:?} -> {to:?}");
        }
    }

    proptest! {
        #[test]
        fn bb_112_any_chunking_gives_a_sound_manifest_of_what_was_kept(
            paths in proptest::collection::vec("[a-w]{1,6}x?", 0..6),
            chunk in 1usize..300,
        ) {
            let original = manifest(&paths);
            let (whole, verdict) = filtered(&original, |_| true, chunk);
            prop_assert!(verdict.is_ok());
            prop_assert_eq!(&whole, &original);
            let (out, verdict) = filtered(&original, is_kept, chunk);
            prop_assert!(verdict.is_ok());
            prop_assert!(is_sound(&out));
            prop_assert_eq!(&out, &filtered(&original, is_kept, original.len()).0);
        }

        #[test]
        fn bb_114_no_damage_is_made_good(
            paths in proptest::collection::vec("[a-w]{1,6}x?", 0..6),
            at in any::<prop::sample::Index>(),
            flip in 1u8..=255,
            chunk in 1usize..300,
        ) {
            let mut damaged = manifest(&paths);
            let at = at.index(damaged.len());
            damaged[at] ^= flip;
            let (out, verdict) = filtered(&damaged, is_kept, chunk);
            prop_assert_eq!(verdict.is_ok(), is_sound(&damaged));
            prop_assert_eq!(is_sound(&out), is_sound(&damaged));
        }
    }
}
