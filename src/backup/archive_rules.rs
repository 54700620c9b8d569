use super::destination::Form;
use super::error::BackupError;
use super::member_injection::{InjectedAttributes, MemberInjection};
use super::options::{BackupOptions, Compression};
use super::server_support::manifest_request;
use crate::compress::{CompressionSpec, LargestWindow};
use crate::protocol::{ManifestRequest, ServerFeatures};
use crate::storage::Access;

/// What becomes of the archives of a backup.
#[derive(Debug, Default)]
pub(super) struct ArchiveRules {
    /// What is put into the main archive; taken when it begins.
    pub(super) injection: Option<MemberInjection>,
    /// How the client compresses what it stores.
    pub(super) compression: Option<CompressionSpec>,
    /// How it compresses again what the server had compressed and what was changed on the way (BB-151).
    pub(super) recompression: Option<CompressionSpec>,
    /// What decompressing the archives may take in memory.
    pub(super) largest_window: LargestWindow,
    /// Whether the server leaves out the end of an archive (BB-110).
    pub(super) lack_end: bool,
    /// For the manifest, where it becomes a member of the archive (BB-156).
    pub(super) manifest_member: Option<InjectedAttributes>,
}

impl ArchiveRules {
    /// The rules for a destination of that form. What cannot be done is refused here, before the server does anything.
    pub(super) fn new(
        options: &BackupOptions,
        form: Form,
        features: ServerFeatures,
        injection: Option<MemberInjection>,
        access: Access,
    ) -> Result<Self, BackupError> {
        let has_manifest = manifest_request(options, features) != ManifestRequest::No;
        let manifest_member =
            (form == Form::SingleArchive && has_manifest).then(|| InjectedAttributes::now(access));
        let mut rules = Self { lack_end: !features.tar_terminator, manifest_member, ..Self::default() };
        match &options.compression {
            Compression::Client(_) if form == Form::Members => return Err(BackupError::CompressedMembers),
            Compression::Client(spec) => rules.compression = Some(*spec),
            Compression::Server(request) if request.method == "none" => {}
            Compression::Server(_) if manifest_member.is_some() => {
                return Err(BackupError::ManifestIntoCompressed);
            }
            Compression::Server(request) if injection.is_some() && form != Form::Members => {
                rules.recompression = CompressionSpec::parse(&request.method, request.detail.as_deref())?;
            }
            Compression::None | Compression::Server(_) => {}
        }
        if let Compression::Server(request) = &options.compression {
            rules.largest_window = match CompressionSpec::parse(&request.method, request.detail.as_deref()) {
                Ok(spec) => spec.as_ref().map(LargestWindow::of).unwrap_or_default(),
                // The server may understand what this client does not.
                Err(_) => LargestWindow::MOST,
            };
        }
        // The end of the archive has to come after the manifest.
        let end_alone = manifest_member.map(|attributes| MemberInjection::new(None, None, attributes));
        rules.injection = injection.or(end_alone);
        Ok(rules)
    }
}
