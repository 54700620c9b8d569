//! The texts of `--help` and `--version`.

/// The newest PostgreSQL release whose client this program stands in for.
const POSTGRESQL_VERSION: &str = "18.6";

/// The line that tools read the version from.
pub(super) fn version(name: &str) -> String {
    format!("{name} (PostgreSQL) {POSTGRESQL_VERSION} (pgsiphon {})\n", env!("CARGO_PKG_VERSION"))
}

/// The overview of the commands.
pub(super) fn overview(program: &str) -> String {
    format!(
        "{program} speaks PostgreSQL's physical replication protocol.

Usage:
  {program} basebackup [OPTION]...

Commands:
  basebackup     take a base backup of a running server (the options of pg_basebackup)

Options:
  -V, --version  output version information, then exit
  -?, --help     show this help, then exit

\"{program} basebackup --help\" lists the options of a command.
Under the name pg_basebackup the program is that command.
"
    )
}

/// The options of `pg_basebackup`, under the name that a user types.
pub(super) fn basebackup(command: &str) -> String {
    format!(
        "{command} takes a base backup of a running PostgreSQL server.\n\nUsage:\n  {command} [OPTION]...\n{OPTIONS}"
    )
}

const OPTIONS: &str = "
Options controlling the output:
  -D, --pgdata=DIRECTORY         where the backup goes; missing or empty
  -F, --format=p|t               as a data directory (plain, the default) or as tar files
  -r, --max-rate=RATE            limit the server to RATE kB/s, or MB/s with \"M\" after it
  -R, --write-recovery-conf      make the backup a standby of this server
  -T, --tablespace-mapping=OLDDIR=NEWDIR
                                 put the tablespace in OLDDIR into NEWDIR
      --waldir=WALDIR            put the write-ahead log into a directory of its own
  -X, --wal-method=none|fetch|stream
                                 how the WAL that the backup needs gets into it

General options:
  -c, --checkpoint=fast|spread   write the checkpoint at once or spread over time
  -C, --create-slot              create the replication slot named by --slot
  -l, --label=LABEL              label of the backup
  -n, --no-clean                 leave the files of a failed backup
  -N, --no-sync                  do not wait until the backup is on disk
  -P, --progress                 show progress
  -S, --slot=SLOTNAME            replication slot to stream WAL from
  -v, --verbose                  say what is done at each step
  -V, --version                  output version information, then exit
      --manifest-checksums=NONE|CRC32C|SHA224|SHA256|SHA384|SHA512
                                 checksum algorithm of the manifest
      --manifest-force-encode    write all file names in the manifest in hexadecimal
      --no-estimate-size         do not ask the server for an estimate of the size
      --no-manifest              no manifest, and so no verification of what arrives
      --no-slot                  no temporary replication slot
      --no-verify-checksums      do not let the server verify page checksums
      --sync-method=METHOD       how files are synced (fsync)
  -?, --help                     show this help, then exit

Connection options:
  -d, --dbname=CONNSTR           connection string or URI
  -h, --host=HOSTNAME            host name or directory of the server's socket
  -p, --port=PORT                port number
  -s, --status-interval=INTERVAL seconds between status messages to the server
  -U, --username=NAME            user to connect as
  -w, --no-password              never ask for a password
  -W, --password                 ask for a password before connecting
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bb_002_help_lines_fit_a_terminal() {
        for line in basebackup("pg_basebackup").lines().chain(overview("pgsiphon").lines()) {
            assert!(line.len() <= 95, "{line}");
        }
    }

    #[test]
    fn bb_003_version_has_the_form_that_tools_read() {
        let version = version("pg_basebackup");
        assert!(version.starts_with("pg_basebackup (PostgreSQL) 18."), "{version}");
    }
}
