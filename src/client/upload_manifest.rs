use super::error::ClientError;
use crate::connection::{ConnectionError, Reply, Session};
use crate::protocol;

/// A manifest on its way to the server; it borrows the client until it is finished.
#[derive(Debug)]
pub struct ManifestUpload<'a> {
    session: &'a mut Session,
}

impl<'a> ManifestUpload<'a> {
    pub(super) async fn begin(session: &'a mut Session) -> Result<Self, ClientError> {
        let command = protocol::upload_manifest();
        if let Err(source) = session.start_command(&command).await {
            return Err(ClientError::Command { command, source });
        }
        match session.reply().await.map_err(ClientError::UploadManifest)? {
            Reply::CopyIn => Ok(Self { session }),
            reply => Err(ClientError::UploadStatus(status_name(&reply))),
        }
    }

    /// Sends the next bytes of the manifest, in one message.
    ///
    /// # Errors
    /// If the server has refused the manifest already, that is the error. The client can then only be closed.
    ///
    /// # Cancel safety
    /// When the future is dropped, the bytes are sent whole with what is sent next.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.session.send_copy_in(bytes).await.map_err(|error| match error {
            ConnectionError::Server(_) => ClientError::UploadManifest(error),
            _ => ClientError::SendCopyData(error),
        })
    }

    /// Ends the manifest, and waits until the server has judged it.
    ///
    /// # Cancel safety
    /// A dropped future leaves a client that can only be closed.
    pub async fn finish(self) -> Result<(), ClientError> {
        self.session.end_copy_in().await.map_err(|error| match error {
            ConnectionError::Server(_) => ClientError::UploadManifest(error),
            _ => ClientError::SendCopyEnd(error),
        })?;
        match self.session.reply().await.map_err(ClientError::UploadManifest)? {
            Reply::Complete => {}
            reply => return Err(ClientError::UploadStatus(status_name(&reply))),
        }
        match self.session.reply().await.map_err(ClientError::UploadManifest)? {
            Reply::Ready => Ok(()),
            _ => Err(ClientError::SurplusUploadResult),
        }
    }
}

/// What libpq calls a result of this kind.
fn status_name(reply: &Reply) -> &'static str {
    match reply {
        Reply::Rows(_) => "PGRES_TUPLES_OK",
        Reply::Complete => "PGRES_COMMAND_OK",
        Reply::CopyOut => "PGRES_COPY_OUT",
        Reply::CopyIn => "PGRES_COPY_IN",
        Reply::CopyBoth => "PGRES_COPY_BOTH",
        // No result at all counts as a failure.
        Reply::Ready => "PGRES_FATAL_ERROR",
    }
}
