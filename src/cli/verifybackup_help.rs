//! The text of `pg_verifybackup --help`.

use super::claimed_version::ClaimedVersion;

/// The options, under the name that a user types, as far as the version that is stood in for has them.
pub(super) fn text(command: &str, claim: ClaimedVersion) -> String {
    let since = |major, line: &'static str| if claim.major() >= major { line } else { "" };
    let format = since(18, FORMAT);
    let progress = since(16, PROGRESS);
    format!(
        "{command} compares a backup with its manifest.

Usage:
  {command} [OPTION]... BACKUPDIR

Options:
  -e, --exit-on-error         stop at the first problem
{format}  -i, --ignore=RELATIVE_PATH  leave out this path and everything below it
  -m, --manifest-path=PATH    where the manifest is (BACKUPDIR/backup_manifest)
  -n, --no-parse-wal          do not read the write-ahead log that the backup needs
{progress}  -q, --quiet                 print nothing but problems
  -s, --skip-checksums        compare presence and sizes only
  -w, --wal-directory=PATH    where the write-ahead log is (BACKUPDIR/pg_wal)
  -V, --version               output version information, then exit
  -?, --help                  show this help, then exit
"
    )
}

const FORMAT: &str =
    "  -F, --format=p|t            a data directory (plain) or tar files; if not given, it shows
";

const PROGRESS: &str = "  -P, --progress              show progress
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bb_217_lines_of_the_help_fit_a_terminal() {
        for line in text("pg_verifybackup", ClaimedVersion::NEWEST).lines() {
            assert!(line.len() <= 95, "{line}");
        }
    }
}
