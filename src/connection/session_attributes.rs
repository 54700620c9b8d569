//! Whether a server is of the kind that the user wants: `target_session_attrs` (CN-122 … CN-130).

use super::connect_error::AttemptError;
use super::error::ConnectionError;
use super::session::Session;
use crate::conninfo::TargetSessionAttrs;

/// A server of another kind than the wanted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongServer {
    /// It does not take writes.
    #[error("session is read-only")]
    ReadOnly,
    /// It takes writes.
    #[error("session is not read-only")]
    NotReadOnly,
    /// It is in recovery.
    #[error("server is in hot standby mode")]
    HotStandby,
    /// It is not.
    #[error("server is not in hot standby mode")]
    NotHotStandby,
}

/// What a server says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Nature {
    in_hot_standby: bool,
    is_read_only: bool,
}

/// Asks the server where it has not said, and judges.
pub(super) async fn check(session: &mut Session, wanted: TargetSessionAttrs) -> Result<(), AttemptError> {
    if wanted == TargetSessionAttrs::Any {
        return Ok(());
    }
    let nature = match reported(session) {
        Some(nature) => nature,
        None => ask(session).await.map_err(AttemptError::Lost)?,
    };
    judge(nature, wanted).map_err(AttemptError::WrongServer)
}

/// Servers from 14 on report it when the session starts.
fn reported(session: &Session) -> Option<Nature> {
    let is_on = |name| session.parameter(name).map(|value| value == "on");
    let in_hot_standby = is_on("in_hot_standby")?;
    let is_read_only = is_on("default_transaction_read_only")? || in_hot_standby;
    Some(Nature { in_hot_standby, is_read_only })
}

/// Older servers refuse `pg_is_in_recovery` on a replication connection, but they answer this; in recovery
/// it is on. A primary with `default_transaction_read_only` is taken for a standby (CW-05).
async fn ask(session: &mut Session) -> Result<Nature, ConnectionError> {
    let is_read_only = session.query("SHOW transaction_read_only").await?.transaction_read_only()?;
    Ok(Nature { in_hot_standby: is_read_only, is_read_only })
}

fn judge(nature: Nature, wanted: TargetSessionAttrs) -> Result<(), WrongServer> {
    use TargetSessionAttrs as Wanted;
    let (fits, otherwise) = match wanted {
        Wanted::Any => return Ok(()),
        Wanted::ReadWrite => (!nature.is_read_only, WrongServer::ReadOnly),
        Wanted::ReadOnly => (nature.is_read_only, WrongServer::NotReadOnly),
        Wanted::Primary => (!nature.in_hot_standby, WrongServer::HotStandby),
        Wanted::Standby | Wanted::PreferStandby => (nature.in_hot_standby, WrongServer::NotHotStandby),
    };
    if fits { Ok(()) } else { Err(otherwise) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_122_to_130_who_fits() {
        use TargetSessionAttrs as Wanted;
        let primary = Nature { in_hot_standby: false, is_read_only: false };
        let read_only = Nature { in_hot_standby: false, is_read_only: true };
        let standby = Nature { in_hot_standby: true, is_read_only: true };
        let texts = |wanted| {
            [primary, read_only, standby].map(|nature| match judge(nature, wanted) {
                Ok(()) => String::new(),
                Err(error) => error.to_string(),
            })
        };
        let none = "";
        for (wanted, expected) in [
            (Wanted::Any, [none, none, none]),
            (Wanted::ReadWrite, [none, "session is read-only", "session is read-only"]),
            (Wanted::ReadOnly, ["session is not read-only", none, none]),
            (Wanted::Primary, [none, none, "server is in hot standby mode"]),
            (
                Wanted::Standby,
                ["server is not in hot standby mode", "server is not in hot standby mode", none],
            ),
        ] {
            assert_eq!(texts(wanted), expected, "{wanted}");
        }
        assert_eq!(texts(Wanted::PreferStandby), texts(Wanted::Standby));
    }
}
