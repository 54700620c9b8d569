//! A base backup that is under way and will stay so: there is all the time in the world to disturb it.

use std::path::Path;

use super::{Cluster, DEADLINE, Run, Running, wait_for, wait_for_some};

/// Starts a backup that the server slows down, and waits until data is coming, and WAL too with
/// `-X stream`, which is the default.
#[track_caller]
pub fn start_slow_backup(cluster: &Cluster, program: &Path, arguments: &[&str]) -> Running {
    let mut running = backup(cluster, program).args(["-r", "32", "-c", "fast"]).args(arguments).start();
    wait_for_phase(cluster, &mut running, "streaming database files");
    // More than the server keeps back before it sends, so that the client has seen the beginning.
    wait_for("data to come", DEADLINE, || {
        cluster.psql("SELECT backup_streamed > 16384 FROM pg_stat_progress_basebackup") == "t"
    });
    if !arguments.iter().any(|argument| argument.starts_with("-X")) {
        wal_sender(cluster);
    }
    running
}

/// A backup of that cluster over TCP, without syncing.
pub fn backup(cluster: &Cluster, program: &Path) -> Run {
    Run::new(program).args(["--no-sync", "-d", &cluster.conninfo()])
}

/// Waits until the server says that its backup is in that phase.
#[track_caller]
pub fn wait_for_phase(cluster: &Cluster, running: &mut Running, phase: &str) {
    wait_for(phase, DEADLINE, || {
        assert!(running.is_running(), "the backup ended early; it printed\n{}", running.stderr_so_far());
        cluster.psql("SELECT phase FROM pg_stat_progress_basebackup") == phase
    });
}

/// The process of the server that sends the backup.
#[track_caller]
pub fn backup_sender(cluster: &Cluster) -> u32 {
    wait_for_some("a backup", DEADLINE, || {
        cluster.psql("SELECT pid FROM pg_stat_progress_basebackup").parse().ok()
    })
}

/// The process of the server that sends the WAL that goes along.
#[track_caller]
pub fn wal_sender(cluster: &Cluster) -> u32 {
    let query = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'START_REPLICATION%' AND wait_event <> ''";
    wait_for_some("WAL to be sent along", DEADLINE, || cluster.psql(query).parse().ok())
}

/// Waits until nobody is connected for replication and no slot is left.
#[track_caller]
pub fn wait_until_nothing_replicates(cluster: &Cluster) {
    wait_for("all replication connections and slots to go", DEADLINE, || {
        cluster.psql(
            "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender')
                  + (SELECT count(*) FROM pg_replication_slots)",
        ) == "0"
    });
}
