//! Backups that bring along how a server recovers from them: it reaches its target, finds its archive, its primary, its
//! password and its trigger file, and nobody has edited a file.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/library_backup.rs"]
mod library_backup;
mod support;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use library_backup::{into_archives, into_directory, options, settings};
use pgsiphon::backup::{BackupOptions, RecoveryOptions, RecoveryTarget, RecoveryTargetAction, WalMethod};
use support::base_backup::{unpack, verify_if_possible};
use support::{Cluster, DEADLINE, ServerAccount, scratch_directory, wait_for};
use tempfile::TempDir;

/// A server that archives its WAL, and a place for backups of it.
struct Origin {
    cluster: Cluster,
    archive: TempDir,
    scratch: TempDir,
}

impl Origin {
    fn start(major: u16) -> Self {
        let (archive, scratch) = (scratch_directory(), scratch_directory());
        ServerAccount::current().own(archive.path());
        let mut builder = Cluster::builder(major)
            .setting("archive_mode", "on")
            .setting("archive_command", &format!("cp %p {}/%f", archive.path().display()));
        if major >= 11 {
            builder = builder.initdb_arg("--wal-segsize=1");
        }
        let cluster = builder.start();
        cluster.psql("CREATE TABLE events (name text)");
        if major >= 12 {
            // As in a server that was itself restored in such a way.
            cluster.psql("ALTER SYSTEM SET recovery_target_name = 'long ago'");
            cluster.psql("ALTER SYSTEM SET recovery_target_time = '2001-01-01'");
        }
        Self { cluster, archive, scratch }
    }

    fn major(&self) -> u16 {
        self.cluster.installation().major()
    }

    fn happens(&self, name: &str) {
        self.cluster.psql(&format!("INSERT INTO events VALUES ('{name}')"));
    }

    fn position(&self) -> pgsiphon::types::Lsn {
        self.cluster.psql("SELECT pg_current_wal_insert_lsn()").parse().unwrap()
    }

    fn segment_size(&self) -> u64 {
        if self.major() >= 11 { 1 << 20 } else { 16 << 20 }
    }

    /// A tar backup of a server that shall recover up to a target, unpacked.
    fn backup(&self, name: &str, target: RecoveryTarget, action: RecoveryTargetAction) -> PathBuf {
        let recovery = RecoveryOptions {
            restore_command: Some(format!("cp {}/%f %p", self.archive.path().display())),
            target: Some(target),
            target_action: Some(action),
            ..RecoveryOptions::default()
        };
        let options = BackupOptions { recovery: Some(recovery), ..options(WalMethod::Fetch) };
        let archives = self.scratch.path().join(format!("{name}.archives"));
        into_archives(&self.cluster.conninfo(), &options, &archives).unwrap();
        let unpacked = self.scratch.path().join(name);
        unpack(&archives, &unpacked);
        verify_if_possible(self.cluster.installation(), &unpacked, &[]);
        unpacked
    }

    /// Has everything archived that was written so far.
    fn archive_all(&self) {
        let last = self.cluster.psql("SELECT pg_walfile_name(pg_current_wal_lsn())");
        self.cluster.psql("SELECT pg_switch_wal()");
        wait_for("the archive to have it all", DEADLINE, || self.archive.path().join(&last).exists());
    }

    fn start_on(&self, data_directory: &Path) -> Cluster {
        Cluster::existing(self.major(), data_directory).setting("archive_mode", "off").start()
    }

    /// A time that comes after the event and a while later, and a backup that ends there. How long a while must be
    /// to take a backup in it depends on the machine.
    fn backup_up_to_a_time(&self, event: &str) -> PathBuf {
        for seconds in [2, 8, 30] {
            let in_a_while = format!("SELECT clock_timestamp() + interval '{seconds} s'");
            let time = self.cluster.psql(&in_a_while);
            let target = RecoveryTarget::Time(time.clone());
            let backup = self.backup(&format!("time-{seconds}"), target, RecoveryTargetAction::Promote);
            self.happens(event);
            let is_over = || self.cluster.psql(&format!("SELECT clock_timestamp() > '{time}'")) == "t";
            if !is_over() {
                wait_for("the time to come", DEADLINE, is_over);
                return backup;
            }
        }
        panic!("a backup takes longer than half a minute");
    }
}

#[track_caller]
fn assert_recovers(origin: &Origin, backup: &Path, events: &str, action: RecoveryTargetAction) {
    let restored = origin.start_on(backup);
    let paused = "SELECT pg_is_wal_replay_paused()";
    match action {
        RecoveryTargetAction::Pause => {
            wait_for("recovery to pause", DEADLINE, || restored.psql(paused) == "t");
        }
        _ => wait_for("recovery to end", DEADLINE, || !restored.is_in_recovery()),
    }
    let happened = restored.psql("SELECT string_agg(DISTINCT name, ' ' ORDER BY name) FROM events");
    assert_eq!(happened, events, "{}", backup.display());
}

#[track_caller]
fn targets_are_reached(major: u16) {
    use RecoveryTargetAction::{Pause, Promote};

    let origin = Origin::start(major);
    origin.happens("a");
    let immediate = origin.backup("immediate", RecoveryTarget::Immediate, Promote);
    let name = origin.backup("name", RecoveryTarget::Name("it's here".into()), Pause);
    let position = origin.position() + 8 * origin.segment_size();
    let lsn = origin.backup("lsn", RecoveryTarget::Lsn(position), Promote);
    let this_transaction: u64 = origin.cluster.psql("SELECT txid_current()").parse().unwrap();
    let xid = origin.backup("xid", RecoveryTarget::TransactionId(this_transaction + 1), Promote);

    origin.happens("b");
    origin.cluster.psql("SELECT pg_create_restore_point('it''s here')");
    origin.happens("c");
    let time = origin.backup_up_to_a_time("d");
    origin.happens("e");
    assert!(origin.position() < position);
    while origin.position() <= position {
        origin.cluster.psql("SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()");
    }
    origin.happens("f");
    origin.archive_all();

    for (backup, events, action) in [
        (immediate, "a", Promote),
        (xid, "a b", Promote),
        (name, "a b", Pause),
        (time, "a b c d", Promote),
        (lsn, "a b c d e", Promote),
    ] {
        assert_recovers(&origin, &backup, events, action);
    }
}

#[test]
fn targets_of_postgresql_10_are_reached() {
    targets_are_reached(10);
}

#[test]
fn targets_of_postgresql_12_are_reached() {
    targets_are_reached(12);
}

#[test]
fn targets_of_postgresql_15_are_reached() {
    targets_are_reached(15);
}

#[test]
fn targets_of_postgresql_18_are_reached() {
    targets_are_reached(18);
}

/// A backup that becomes a standby with these wishes.
#[track_caller]
fn standby(primary: &Cluster, conninfo: &str, wishes: RecoveryOptions, directory: &Path) -> Cluster {
    let recovery = RecoveryOptions { primary: Some(settings(conninfo)), ..wishes };
    let options = BackupOptions { recovery: Some(recovery), ..options(WalMethod::Fetch) };
    into_directory(conninfo, &options, directory, Vec::new()).unwrap();
    let standby = Cluster::existing(primary.installation().major(), directory).start();
    standby.wait_until_streaming(primary);
    standby
}

#[track_caller]
fn a_trigger_file_promotes(major: u16) {
    let primary = Cluster::builder(major).start();
    let scratch = scratch_directory();
    let trigger = scratch.path().join("it's time");
    let wishes = RecoveryOptions {
        trigger_file: Some(trigger.to_str().unwrap().to_owned()),
        ..RecoveryOptions::default()
    };
    let standby = standby(&primary, &primary.conninfo(), wishes, &scratch.path().join("standby"));
    assert!(standby.is_in_recovery());
    // The server removes it.
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o777)).unwrap();
    File::create(&trigger).unwrap();
    wait_for("the standby to be promoted", DEADLINE, || !standby.is_in_recovery());
    standby.psql("CREATE TABLE written_after_promotion ()");
}

#[test]
fn bb_054_a_trigger_file_promotes_a_standby_of_postgresql_10() {
    a_trigger_file_promotes(10);
}

#[test]
fn bb_054_a_trigger_file_promotes_a_standby_of_postgresql_11() {
    a_trigger_file_promotes(11);
}

#[test]
fn a_trigger_file_promotes_a_standby_of_postgresql_14() {
    a_trigger_file_promotes(14);
}

/// The password is nowhere in the backup, and the standby finds it in the password file; its slot is one that was not
/// used for the backup.
#[test]
fn a_standby_reads_its_password_from_a_file() {
    let primary = Cluster::builder(18)
        .hba(
            "host all replicator 127.0.0.1/32 scram-sha-256\n\
                                            host replication replicator 127.0.0.1/32 scram-sha-256",
        )
        .start();
    primary.psql("CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'tell nobody'");
    primary.psql("SELECT pg_create_physical_replication_slot('of_the_standby')");
    let scratch = scratch_directory();
    let passfile = scratch.path().join("passfile");
    fs::write(&passfile, "*:*:*:*:tell nobody\n").unwrap();
    fs::set_permissions(&passfile, Permissions::from_mode(0o600)).unwrap();
    ServerAccount::current().own(&passfile);
    let conninfo = format!(
        "host=127.0.0.1 port={} user=replicator password='tell nobody' passfile={}",
        primary.port(),
        passfile.display()
    );
    let wishes = RecoveryOptions {
        no_password: true,
        primary_slot_name: Some("of_the_standby".into()),
        ..RecoveryOptions::default()
    };
    let directory = scratch.path().join("standby");
    let standby = standby(&primary, &conninfo, wishes, &directory);
    let settings = fs::read_to_string(directory.join("postgresql.auto.conf")).unwrap();
    assert!(settings.contains("passfile=") && !settings.contains("tell nobody"), "{settings}");
    let slot = "SELECT active FROM pg_replication_slots WHERE slot_name = 'of_the_standby'";
    assert_eq!(primary.psql(slot), "t");
    drop(standby);
}

/// A backup of a standby that shall be restored is no standby any more.
#[test]
fn a_backup_of_a_standby_is_restored_as_a_server_of_its_own() {
    let origin = Origin::start(15);
    origin.happens("a");
    origin.cluster.psql("ALTER SYSTEM RESET ALL");
    let standby = standby(
        &origin.cluster,
        &origin.cluster.conninfo(),
        RecoveryOptions::default(),
        &origin.scratch.path().join("standby"),
    );
    let recovery = RecoveryOptions { restore_command: Some("false".into()), ..RecoveryOptions::default() };
    let options = BackupOptions { recovery: Some(recovery), ..options(WalMethod::Fetch) };
    let directory = origin.scratch.path().join("restored");
    into_directory(&standby.conninfo(), &options, &directory, Vec::new()).unwrap();
    assert!(!directory.join("standby.signal").exists());
    verify_if_possible(origin.cluster.installation(), &directory, &[]);
    assert_recovers(&origin, &directory, "a", RecoveryTargetAction::Promote);
}

/// What the server could not follow is said before it is asked for anything, and leaves nothing.
#[test]
fn a_trigger_file_is_refused_where_there_is_none() {
    let cluster = Cluster::builder(16).start();
    let scratch = scratch_directory();
    let directory = scratch.path().join("backup");
    let recovery = RecoveryOptions {
        primary: Some(settings(&cluster.conninfo())),
        trigger_file: Some("/tmp/trigger".into()),
        ..RecoveryOptions::default()
    };
    let options = BackupOptions { recovery: Some(recovery), ..options(WalMethod::None) };
    let error = into_directory(&cluster.conninfo(), &options, &directory, Vec::new()).unwrap_err();
    let version = cluster.psql("SHOW server_version");
    assert_eq!(error.to_string(), format!("server version {version} has no setting for a trigger file"));
    assert_eq!(error.hint().unwrap(), "Promote the standby with \"pg_ctl promote\" or pg_promote().");
    assert!(!directory.exists());
    assert!(!cluster.log().contains("BASE_BACKUP"));
}
