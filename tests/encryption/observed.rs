//! What became of an attempt to connect: what its client says, and what the server has logged of it.

use std::fmt;

use crate::support::Cluster;

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    /// The client's error, with `@` for the name of the server; none if there was a session.
    pub(crate) refusal: Option<String>,
    /// How many connections the server has received.
    pub(crate) connections: usize,
    /// The protocol of the session that was admitted, if any; `plain` is none.
    pub(crate) protocol: Option<String>,
    /// How its user was authenticated. Servers before 14 do not say; those before 16 not in all cases.
    pub(crate) method: Option<String>,
}

impl Observed {
    /// From a client's error and the part of the server's log that is about the attempt.
    pub(crate) fn new(refusal: Option<String>, log: &str) -> Self {
        let admission = log.lines().find(|line| line.contains("replication connection authorized: "));
        let protocol = admission.map(|line| word_after(line, "(protocol=").unwrap_or("plain").to_owned());
        Self {
            refusal,
            connections: log.matches("connection received: ").count(),
            protocol,
            method: word_after(log, " method=").map(str::to_owned),
        }
    }
}

fn word_after<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split([',', ' ', '\n', ')']).next()
}

/// The error, or else the protocol and the method, and in front of both the number of connections unless it
/// is one.
impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.connections != 1 {
            write!(f, "{} connections: ", self.connections)?;
        }
        match &self.refusal {
            Some(text) => f.write_str(text),
            None => f.write_str(self.protocol.as_deref().unwrap_or("no session")),
        }
    }
}

/// The end of a server's log at some moment.
pub(crate) struct LogMark(usize);

impl LogMark {
    pub(crate) fn now(cluster: &Cluster) -> Self {
        Self(cluster.log().len())
    }

    /// What was logged since.
    pub(crate) fn since(&self, cluster: &Cluster) -> String {
        cluster.log()[self.0..].to_owned()
    }
}
