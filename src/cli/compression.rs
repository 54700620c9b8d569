//! What `-Z` asks of the client.

use super::claimed_version::ClaimedVersion;
use crate::compress::{CompressionSpec, InvalidCompression, Method};

/// What the client is asked for; programs before 16 do not know long-distance mode.
pub(super) fn client_compression(
    method: &str,
    detail: Option<&str>,
    claim: ClaimedVersion,
) -> Result<Option<CompressionSpec>, InvalidCompression> {
    let mut keywords = detail.unwrap_or_default().split(',').map(|item| item.split('=').next());
    let is_known = method == "none" || Method::from_name(method).is_some();
    if is_known && claim.major() < 16 && keywords.any(|keyword| keyword == Some("long")) {
        return Err(InvalidCompression::Detail("unrecognized compression option: \"long\"".to_owned()));
    }
    CompressionSpec::parse(method, detail)
}
