//! How long an answer may take.

use std::time::Duration;

use super::error::ReceiveError;
use crate::client::ClientError;

/// The answer of a server, which counts as dead if it does not come within `limit` (OP-25). None waits for ever.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    answer: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ReceiveError> {
    let Some(limit) = limit else { return Ok(answer.await?) };
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(ReceiveError::Silent(limit)),
    }
}
