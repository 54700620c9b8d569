//! The text of `pg_receivewal --help`.

use super::claimed_version::ClaimedVersion;

/// The options, under the name that a user types, as far as the version that is stood in for has them.
pub(super) fn text(command: &str, claim: ClaimedVersion) -> String {
    let compression = if claim.major() >= 15 { METHODS } else { LEVELS };
    format!(
        "{command} receives the write-ahead log of a PostgreSQL server as it is written.

Usage:
  {command} [OPTION]...

Options:
  -D, --directory=DIR            existing directory that the log is kept in
  -E, --endpos=LSN               stop once the log beyond that location was received
{OPTIONS}{compression}{CONNECTION_OPTIONS}{OWN_OPTIONS}"
    )
}

const OPTIONS: &str = "      --if-not-exists            with --create-slot: a slot that is there will do
  -n, --no-loop                  end when the connection is lost
      --no-sync                  do not wait until the log is on disk
  -s, --status-interval=SECS     seconds between status messages to the server (default: 10)
  -S, --slot=SLOTNAME            replication slot to stream from
      --synchronous              put the log on disk, and say so, as soon as it comes
  -v, --verbose                  say what is done at each step
  -V, --version                  output version information, then exit
";

const METHODS: &str = "  -Z, --compress=METHOD[:DETAIL]
                                 compress with gzip, lz4 or zstd; DETAIL is a level, or a list
                                 of level=N, workers=N and long with commas between them
";

const LEVELS: &str = "  -Z, --compress=0-9             compress segments with gzip at that level
";

const CONNECTION_OPTIONS: &str = "  -?, --help                     show this help, then exit

Connection options:
  -d, --dbname=CONNSTR           connection string or URI
  -h, --host=HOSTNAME            host name or directory of the server's socket
  -p, --port=PORT                port number
  -U, --username=NAME            user to connect as
  -w, --no-password              never ask for a password
  -W, --password                 ask for a password before connecting

Instead of receiving:
      --create-slot              create the replication slot named by --slot
      --drop-slot                drop the replication slot named by --slot
";

const OWN_OPTIONS: &str = "
Options that PostgreSQL's pg_receivewal does not have (never abbreviated):
      --receive-timeout=SECS     how long a server may be silent until it counts as dead
                                 (default: 60; 0: for ever)
      --wait-for-server          go on trying also when the first connection fails
      --give-up-after=SECS       end after so long without a connection that streams
      --status-file=FILE         keep a JSON document about the state of the receiver there

The exit status is 0 after an orderly end, 1 after a failure, and 3 if the server has
removed a part of the log that the directory lacks.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(major: u32) -> String {
        text("pg_receivewal", ClaimedVersion::newest_of(major).unwrap())
    }

    #[test]
    fn rw_005_help_lines_fit_a_terminal() {
        for major in [14, 18] {
            for line in text_of(major).lines() {
                assert!(line.len() <= 95, "{line}");
            }
        }
    }

    #[test]
    fn rw_219_the_documentation_has_each_own_option_and_compares_with_a_standby() {
        let compatibility = include_str!("../../docs/compatibility.md");
        let (_, section) = compatibility.split_once("\n## `pg_receivewal`\n").unwrap();
        let own = OWN_OPTIONS.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
        for option in own.map(|line| line.split_whitespace().next().unwrap()) {
            assert!(section.contains(&format!("| `--{option}` |")), "{option}");
        }
        let receiving = include_str!("../../docs/receiving.md");
        let (_, comparison) = receiving.split_once("standby's WAL receiver:\n").unwrap();
        for topic in [
            "`application_name`",
            "reports as applied",
            "hot standby feedback",
            "reports as flushed",
            "a silent server",
            "a failed write",
            "a failed sync",
        ] {
            assert!(comparison.lines().any(|line| line.starts_with(&format!("| {topic}"))), "{topic}");
        }
    }

    #[test]
    fn rw_005_help_tells_what_the_version_compresses_with() {
        assert!(text_of(14).contains("--compress=0-9") && !text_of(14).contains("METHOD"));
        assert!(text_of(15).contains("--compress=METHOD[:DETAIL]"));
    }
}
