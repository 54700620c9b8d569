use super::error::ClientError;
use crate::connection::{ConnectError, Notice, Session, connect};
use crate::conninfo::{Config, Host};
use crate::protocol::{RecordedSlot, ServerFeatures, select_slot};

/// A session with a database, for what a session in replication mode cannot be asked.
#[derive(Debug)]
pub(crate) struct QueryClient {
    session: Session,
}

impl QueryClient {
    /// Connects to that one of the hosts.
    pub(crate) async fn connect(config: &Config, host: &Host) -> Result<Self, ConnectError> {
        let log = |notice: &Notice| tracing::debug!(%notice, "notice");
        let session = connect(&config.for_host(host).for_queries(), std::sync::Arc::new(log)).await?;
        Ok(Self { session })
    }

    /// What is recorded of a replication slot; none if there is no such slot.
    pub(crate) async fn slot(&mut self, name: &str) -> Result<Option<RecordedSlot>, ClientError> {
        let command = select_slot(name, ServerFeatures::of(self.session.server_version()));
        let refused = |source| ClientError::Command { command: "SELECT".to_owned(), source };
        Ok(self.session.query(&command).await.map_err(refused)?.recorded_slot(name)?)
    }

    /// Takes leave of the server.
    pub(crate) async fn close(self) {
        self.session.close().await;
    }
}
