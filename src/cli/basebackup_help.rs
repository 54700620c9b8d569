//! The text of `pg_basebackup --help`.

use super::claimed_version::ClaimedVersion;

/// The options, under the name that a user types, as far as the version that is stood in for has them.
pub(super) fn text(command: &str, claim: ClaimedVersion) -> String {
    let since_17 = |lines: &'static str| if claim.major() >= 17 { lines } else { "" };
    let incremental = since_17(INCREMENTAL);
    let sync_method = since_17(SYNC_METHOD);
    format!(
        "{command} takes a base backup of a running PostgreSQL server.

Usage:
  {command} [OPTION]...

Options controlling the output:
  -D, --pgdata=DIRECTORY         where the backup goes; missing or empty (\"-\" with -Ft: stdout)
  -F, --format=p|t               as a data directory (plain, the default) or as tar files
{incremental}{OUTPUT_OPTIONS}{GENERAL_OPTIONS}{sync_method}{CONNECTION_OPTIONS}{OWN_OPTIONS}"
    )
}

const INCREMENTAL: &str = "  -i, --incremental=OLDMANIFEST  \
only what changed since the backup with that manifest
";

const SYNC_METHOD: &str = "      --sync-method=fsync|syncfs \
sync each file, or the whole file system at the end
";

const OUTPUT_OPTIONS: &str =
    "  -r, --max-rate=RATE            limit the server to RATE kB/s, or MB/s with \"M\" after it
  -R, --write-recovery-conf      make the backup a standby of this server
  -t, --target=TARGET[:DETAIL]   let the server keep the backup or send it elsewhere
  -T, --tablespace-mapping=OLDDIR=NEWDIR
                                 put the tablespace in OLDDIR into NEWDIR
      --waldir=WALDIR            put the write-ahead log into a directory of its own
  -X, --wal-method=none|fetch|stream
                                 how the WAL that the backup needs gets into it
  -z, --gzip                     compress tar files with gzip
  -Z, --compress=[{client|server}-]METHOD[:DETAIL]
                                 compress with gzip, lz4 or zstd; DETAIL is a level, or a list
                                 of level=N, workers=N and long with commas between them
  -Z, --compress=none            do not compress
";

const GENERAL_OPTIONS: &str = "
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
";

const CONNECTION_OPTIONS: &str = "  -?, --help                     show this help, then exit

Connection options:
  -d, --dbname=CONNSTR           connection string or URI
  -h, --host=HOSTNAME            host name or directory of the server's socket
  -p, --port=PORT                port number
  -s, --status-interval=INTERVAL seconds between status messages to the server
  -U, --username=NAME            user to connect as
  -w, --no-password              never ask for a password
  -W, --password                 ask for a password before connecting
";

const OWN_OPTIONS: &str = "
Options that PostgreSQL's pg_basebackup does not have (never abbreviated):
      --restore-command=COMMAND  how the restored server gets WAL from an archive
      --recovery-target=immediate
                                 recover until the backup is consistent
      --recovery-target-name=NAME
                                 recover to the restore point of that name
      --recovery-target-time=TIME
                                 recover to that time
      --recovery-target-xid=XID  recover to the end of that transaction
      --recovery-target-lsn=LSN  recover to that WAL location
      --recovery-target-inclusive=on|off
                                 with what happened at the target, or without it
      --recovery-target-timeline=current|latest|TLI
                                 timeline to recover along
      --recovery-target-action=pause|promote|shutdown
                                 what the server does at the target
      --primary-slot-name=NAME   with -R: slot of the standby, if not the one of --slot
      --promote-trigger-file=PATH
                                 with -R, servers before 16: file that promotes the standby
      --no-password-in-conninfo  with -R: the standby finds its password in a password file
      --receive-timeout=SECS     how long a server may be silent until it counts as dead
                                 (default: 0, for ever)
      --retries=N                take a backup again, up to N times, that failed because of
                                 the network or a server that was not ready (default: 0)
Without -R the recovery options make the backup one that recovers from an archive.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(major: u32) -> String {
        text("pg_basebackup", ClaimedVersion::newest_of(major).unwrap())
    }

    #[test]
    fn bb_002_help_lines_fit_a_terminal() {
        for line in text_of(18).lines() {
            assert!(line.len() <= 95, "{line}");
        }
    }

    #[test]
    fn the_documentation_has_each_own_option_about_failures() {
        let compatibility = include_str!("../../docs/compatibility.md");
        for option in ["--receive-timeout=SECS", "--retries=N"] {
            assert!(OWN_OPTIONS.contains(&format!("      {option} ")), "{option}");
            assert!(compatibility.contains(&format!("| `{option}` |")), "{option}");
        }
    }

    #[test]
    fn bb_002_help_lists_what_the_version_has() {
        for (option, since) in [("--incremental=", 17), ("--sync-method=", 17), ("--target=", 15)] {
            for major in [15, 16, 17, 18] {
                assert_eq!(text_of(major).contains(option), major >= since, "{option} in {major}");
            }
        }
    }
}
