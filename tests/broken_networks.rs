//! Connections that are cut, reset, stalled, slow or damaged, in each phase of what the programs do: every one of them
//! ends in a clear error within the time that the user gives, with nothing left behind, or in a new connection.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
#[cfg(feature = "tls")]
use support::ServerTls;
use support::archived_wal::{ArchivedWal, position};
use support::base_backup::{BackupProgram, verify};
#[cfg(feature = "tls")]
use support::certificates::{Certificate, Template};
use support::message_proxy::{Fate, Harm, MessageProxy, Moment, Place};
use support::scripted_backup_server::message;
use support::wal_program::WalProgram;
use support::{
    Cluster, ClusterBuilder, DEADLINE, Outcome, Run, Running, scratch_directory, wait_for,
    wait_until_nothing_replicates,
};

const MAJOR: u16 = 15;
const SEGMENT_SIZE: u64 = 1 << 20;

/// How soon a failure must be noticed, with room for a busy machine: a backup may have to come before it.
const PROMPTLY: Duration = Duration::from_secs(30);

/// What stands in a table, and so in one message with data.
const IN_TABLE: &str = "these bytes stand in a table";

/// What stands in WAL, and so in one message of the stream.
const IN_WAL: &str = "these bytes stand in the write-ahead log";

/// The connections of a backup, in the order in which they are made.
const BACKUP: usize = 0;
const WAL: usize = 1;

/// Each phase of a backup with its WAL: on which connection, and at which message of the server.
const PHASES: [(&str, usize, Moment); 16] = [
    ("authentication", BACKUP, Moment::new("R", 1)),
    ("start-up", BACKUP, Moment::new("S", 3)),
    ("the first command", BACKUP, Moment::new("T", 1)),
    ("IDENTIFY_SYSTEM", BACKUP, Moment::new("T", 3)),
    ("the start of the backup", BACKUP, Moment::new("T", 4)),
    ("the list of tablespaces", BACKUP, Moment::new("T", 5)),
    ("the start of the data", BACKUP, Moment::new("H", 1)),
    ("the data", BACKUP, Moment::new("dd", 20)),
    ("between two archives", BACKUP, Moment::new("dn", 2)),
    ("the manifest", BACKUP, Moment::new("dm", 1)),
    ("the end of the data", BACKUP, Moment::new("c", 1)),
    ("the end of the backup", BACKUP, Moment::new("T", 6)),
    ("the last word", BACKUP, Moment::new("Z", 5)),
    ("the slot", WAL, Moment::new("T", 2)),
    ("START_REPLICATION", WAL, Moment::new("W", 1)),
    ("the WAL", WAL, Moment::new("dw", 1)),
];

/// A server with two archives to send, which may be asked for several backups at once.
fn cluster() -> Cluster {
    fill(Cluster::builder(MAJOR))
}

/// The same where connections can be encrypted.
#[cfg(feature = "tls")]
fn encrypting_cluster() -> Cluster {
    let certificate = Certificate::root("Root of servers").issue(&Template::server("localhost"));
    fill(Cluster::builder(MAJOR).tls(ServerTls::new(&certificate)))
}

fn fill(builder: ClusterBuilder) -> Cluster {
    let cluster = builder
        .initdb_arg("--wal-segsize=1")
        .setting("max_wal_senders", "40")
        .setting("max_replication_slots", "40")
        .setting("wal_keep_size", "1GB")
        .setting("wal_recycle", "off")
        .start();
    let location = cluster.make_directory("tablespace").display().to_string();
    cluster.psql(&format!("CREATE TABLESPACE t LOCATION '{location}'"));
    cluster.psql(&format!(
        "CREATE TABLE elsewhere TABLESPACE t AS SELECT 1; CREATE TABLE t AS SELECT '{IN_TABLE}'"
    ));
    cluster
}

fn back_up(program: &BackupProgram, conninfo: &str, out: &Path) -> Run {
    Run::new(program.path()).args(["--no-sync", "-c", "fast", "-d", conninfo, "-D"]).arg(out)
}

/// The connection of that number gets that fate, and those before it are clean.
fn only(connection: usize, fate: Fate) -> Vec<Fate> {
    let mut fates = vec![Fate::Clean; connection];
    fates.push(fate);
    fates
}

/// A backup through such a network fails soon with status 1 and leaves nothing. Gives what was printed.
#[track_caller]
fn fails(cluster: &Cluster, fates: Vec<Fate>, options: &[&str]) -> String {
    fails_over(&MessageProxy::start(cluster.port(), fates), options)
}

#[track_caller]
fn fails_over(proxy: &MessageProxy, options: &[&str]) -> String {
    let program = BackupProgram::ours();
    let directory = scratch_directory();
    let out = directory.path().join("out");
    let started = Instant::now();
    let run = back_up(&program, &proxy.conninfo(), &out).args(["-Ft"]).args(options);
    let stderr = run.run().expect_code(1).stderr;
    assert!(started.elapsed() < PROMPTLY, "{:?}: {stderr}", started.elapsed());
    assert!(!out.exists(), "{stderr}");
    stderr
}

/// Does the same for each of these, some at a time.
fn for_each<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    const AT_ONCE: usize = 8;
    for items in items.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            for item in items {
                scope.spawn(|| work(item));
            }
        });
    }
}

#[test]
fn bb_099_a_connection_that_is_cut_or_reset_in_any_phase_fails_the_backup() {
    let cluster = cluster();
    let cases: Vec<_> = PHASES.iter().enumerate().collect();
    for_each(&cases, |&(index, &(phase, connection, moment))| {
        let place = [Place::Before, Place::Inside, Place::After][index % 3];
        // After the last word there is nothing left to be lost.
        let place = if phase == "the last word" { Place::Before } else { place };
        let harm = if index % 2 == 0 { Harm::Cut(place) } else { Harm::Reset(place) };
        let stderr = fails(&cluster, only(connection, Fate::Harmed(moment, harm)), &[]);
        assert!(stderr.contains("server closed the connection unexpectedly"), "{phase}: {stderr}");
    });
    let stderr = fails(&cluster, vec![Fate::Refused], &[]);
    assert!(stderr.starts_with("pg_basebackup: error: connection to server at"), "{stderr}");
    wait_until_nothing_replicates(&cluster);
}

#[test]
fn a_server_that_falls_silent_in_any_phase_is_given_up_after_the_receive_timeout() {
    let cluster = cluster();
    for_each(&PHASES, |&(phase, connection, moment)| {
        let harm = Harm::Stall(if phase == "the data" { Place::Inside } else { Place::Before });
        let stderr = fails(&cluster, only(connection, Fate::Harmed(moment, harm)), &["--receive-timeout=1"]);
        let reason = match phase {
            "authentication" | "start-up" => "failed: timeout expired\n",
            _ => "no message from the server for 1 seconds\n",
        };
        assert!(stderr.contains(reason), "{phase}: {stderr}");
        let hints = stderr.contains("hint: The server says nothing while it writes a checkpoint");
        assert_eq!(hints, phase == "the start of the backup", "{phase}: {stderr}");
    });
    for connection in [BACKUP, WAL] {
        let stderr = fails(&cluster, only(connection, Fate::Mute), &["--receive-timeout=1"]);
        assert!(stderr.contains("failed: timeout expired\n"), "{stderr}");
    }
    wait_until_nothing_replicates(&cluster);
}

/// Which is why the timeout has to be longer than that.
#[test]
fn a_server_is_silent_while_it_writes_a_checkpoint_and_while_it_waits_for_its_archive() {
    let cluster =
        Cluster::builder(MAJOR).setting("archive_mode", "on").setting("archive_command", "false").start();
    let program = BackupProgram::ours();
    let directory = scratch_directory();
    let out = directory.path().join("out");
    let impatient = |checkpoint: &str| {
        let run = back_up(&program, &cluster.conninfo(), &out);
        run.args(["-X", "none", "--receive-timeout=1", "-c", checkpoint]).run().expect_code(1).stderr
    };
    let end = format!("pg_basebackup: removing data directory \"{}\"\n", out.display());
    let stderr = impatient("fast");
    let expected =
        "pg_basebackup: error: could not read COPY data: no message from the server for 1 seconds\n";
    assert_eq!(stderr, format!("{expected}{end}"));

    cluster.psql("CREATE TABLE t AS SELECT repeat('x', 500) FROM generate_series(1, 5000)");
    let expected = "pg_basebackup: error: could not initiate base backup: no message from the server for 1 seconds\n\
                    pg_basebackup: hint: The server says nothing while it writes a checkpoint: use --checkpoint=fast, \
                    or a longer --receive-timeout.\n";
    assert_eq!(impatient("spread"), format!("{expected}{end}"));
}

/// What takes its time is a reader of standard output, and not the server.
#[test]
fn the_time_in_which_the_client_is_busy_does_not_count_as_silence() {
    let cluster = Cluster::builder(MAJOR).start();
    let program = BackupProgram::ours();
    let mut child = Command::new(program.path())
        .args([
            "-c",
            "fast",
            "-X",
            "none",
            "-Ft",
            "-D",
            "-",
            "--receive-timeout=1",
            "-d",
            &cluster.conninfo(),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = "SELECT backup_streamed > 0 FROM pg_stat_progress_basebackup";
    wait_for("the backup to begin", DEADLINE, || cluster.psql(begun) == "t");
    let unread = Instant::now();
    wait_for("the timeout to pass several times", DEADLINE, || unread.elapsed() > Duration::from_secs(3));
    let mut archive = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut archive).unwrap();
    let outcome = child.wait_with_output().unwrap();
    assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
    assert!(tar::Archive::new(&archive[..]).entries().unwrap().count() > 100);
}

#[test]
fn bb_100_messages_that_drip_byte_by_byte_change_nothing() {
    let cluster = cluster();
    let program = BackupProgram::ours();
    let directory = scratch_directory();
    let (out, location) = (directory.path().join("out"), directory.path().join("t"));
    let mapping = cluster.psql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 't'");
    let proxy = MessageProxy::start(cluster.port(), vec![Fate::Dripping; 2]);
    back_up(&program, &proxy.conninfo(), &out)
        .args(["--receive-timeout=60", "-T"])
        .arg(format!("{mapping}={}", location.display()))
        .run()
        .expect_success();
    verify(cluster.installation(), &out, &[]);
}

#[test]
fn bits_that_flip_and_messages_that_nobody_sent() {
    let cluster = cluster();
    let in_table = Fate::Harmed(Moment::holding("dd", IN_TABLE), Harm::FlipBit);
    let file = cluster.psql("SELECT pg_relation_filepath('t')");
    let stderr = fails(&cluster, vec![in_table], &[]);
    let expected =
        format!("pg_basebackup: error: backup verification failed: checksum mismatch for file \"{file}\"\n");
    assert!(stderr.contains(&expected), "{stderr}");

    let stderr =
        fails(&cluster, vec![Fate::Harmed(Moment::new("dm", 1), Harm::Inject(message(b'Z', b"I")))], &[]);
    assert!(stderr.contains("unexpected message \"Z\" from server"), "{stderr}");

    let notice = message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mlook here\0\0");
    let parameter = message(b'S', b"TimeZone\0Nowhere\0");
    let program = BackupProgram::ours();
    let directory = scratch_directory();
    for (name, connection, kind) in [("data", BACKUP, "dd"), ("wal", WAL, "dw")] {
        let harm = Harm::Inject([&notice[..], &parameter].concat());
        let fates = only(connection, Fate::Harmed(Moment::new(kind, 1), harm));
        let proxy = MessageProxy::start(cluster.port(), fates);
        let run = back_up(&program, &proxy.conninfo(), &directory.path().join(name)).args(["-Ft"]);
        assert_eq!(run.run().expect_success().stderr, "NOTICE:  look here\n");
    }
}

/// A receiver at work behind a network that harms its connections one after the other.
struct Receiver {
    running: Running,
    proxy: MessageProxy,
    directory: tempfile::TempDir,
    fates: usize,
}

impl Receiver {
    fn start(cluster: &Cluster, mut fates: Vec<Fate>) -> Self {
        let harmed = fates.len();
        fates.push(Fate::Dripping);
        Self::start_over(MessageProxy::start(cluster.port(), fates), harmed, 1)
    }

    /// Over a network that harms the first connections, so many of them. Silence has a limit, in seconds.
    fn start_over(proxy: MessageProxy, harmed: usize, silence: u32) -> Self {
        let directory = scratch_directory();
        let silence = format!("--receive-timeout={silence}");
        let options = ["--synchronous", "--wait-for-server", &silence, "--status-interval=1"];
        let program = WalProgram::ours();
        let running =
            program.run().args(options).args(["-d", &proxy.conninfo(), "-D"]).arg(directory.path()).start();
        Self { running, proxy, directory, fates: harmed }
    }

    /// Ends it. Each harm has cost one connection, and everything up to `end` is there. Gives what was printed.
    #[track_caller]
    fn finish(mut self, cluster: &Cluster, end: &str) -> String {
        self.running.signal(Signal::INT);
        let Outcome { stderr, .. } = self.running.finish().expect_success();
        assert_eq!(stderr.matches("disconnected; waiting ").count(), self.fates, "{stderr}");
        assert_eq!(self.proxy.accepted(), self.fates + 1, "{stderr}");
        let found = ArchivedWal::new(self.directory.path(), cluster.data_dir(), SEGMENT_SIZE).check();
        assert!(found.recoverable >= position(end), "{found:X?} does not reach {end}: {stderr}");
        stderr
    }
}

/// Writes WAL until all the receivers are on their last connections and have everything. Gives the end of it.
fn write_until_received(cluster: &Cluster, receivers: &[Receiver]) -> String {
    cluster.psql(&format!("SELECT pg_logical_emit_message(true, '', '{IN_WAL}')"));
    cluster.psql("CREATE TABLE filler AS SELECT repeat('x', 500) FROM generate_series(1, 4000)");
    wait_for("the last connection of each", DEADLINE, || {
        receivers.iter().all(|receiver| receiver.proxy.accepted() > receiver.fates)
    });
    let end = cluster.psql("SELECT pg_current_wal_flush_lsn()");
    let received = format!("SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= '{end}'");
    wait_for("everything to be received", DEADLINE, || {
        cluster.psql(&received) == receivers.len().to_string()
    });
    end
}

#[test]
fn rw_191_and_233_a_receiver_comes_back_after_whatever_happens_in_any_phase() {
    let cluster = cluster();
    cluster.psql("SELECT pg_switch_wal()");
    let harmed = |kind, number, harm| Fate::Harmed(Moment::new(kind, number), harm);
    let receivers = [
        vec![
            Fate::Refused,
            harmed("R", 1, Harm::Cut(Place::Inside)),
            harmed("S", 3, Harm::Reset(Place::Before)),
            harmed("T", 2, Harm::Cut(Place::After)),
        ],
        vec![
            harmed("W", 1, Harm::Cut(Place::Before)),
            Fate::Mute,
            harmed("T", 2, Harm::Stall(Place::Inside)),
            harmed("W", 1, Harm::Stall(Place::Before)),
        ],
        vec![
            harmed("dw", 1, Harm::Cut(Place::Inside)),
            harmed("dw", 1, Harm::Stall(Place::Inside)),
            harmed("dk", 1, Harm::Reset(Place::Inside)),
        ],
        vec![
            Fate::Harmed(Moment::holding("dw", IN_WAL), Harm::FlipBit),
            harmed("dw", 1, Harm::Inject(message(b'Z', b"I"))),
        ],
    ]
    .map(|fates| Receiver::start(&cluster, fates));
    let end = write_until_received(&cluster, &receivers);
    let [_, silent, cut, damaged] = receivers.map(|receiver| receiver.finish(&cluster, &end));
    assert_eq!(silent.matches("error: no message from the server for 1 seconds\n").count(), 2, "{silent}");
    assert_eq!(silent.matches("failed: timeout expired\n").count(), 1, "{silent}");
    assert!(cut.contains("error: could not receive data from WAL stream: server closed"), "{cut}");
    assert!(damaged.contains("incorrect resource manager data checksum"), "{damaged}");
    assert!(damaged.contains("unexpected message \"Z\" from server"), "{damaged}");
}

/// After how many bytes of the server something happens to an encrypted connection of a backup.
#[cfg(feature = "tls")]
const ENCRYPTED_PHASES: [(&str, usize, usize); 6] = [
    ("the answer to the request for TLS", BACKUP, 0),
    ("the handshake", BACKUP, 1),
    ("inside the handshake", BACKUP, 500),
    ("the data", BACKUP, 1_000_000),
    ("the handshake of the WAL's connection", WAL, 500),
    ("the WAL", WAL, 100_000),
];

/// After so many bytes a connection is encrypted, and a session has begun.
#[cfg(feature = "tls")]
const SESSION: usize = 50_000;

#[cfg(feature = "tls")]
#[test]
fn cn_189_bb_099_an_encrypted_connection_that_breaks_in_any_phase_fails_the_backup() {
    let cluster = encrypting_cluster();
    let harms = [
        (Harm::Cut(Place::Inside), "unexpected", false),
        (Harm::Reset(Place::Inside), "server closed the connection unexpectedly", false),
        (Harm::Stall(Place::Inside), "no message from the server for 3 seconds\n", true),
        (Harm::FlipBit, "SSL error: decryption failed or bad record mac\n", true),
    ];
    let cases: Vec<_> =
        ENCRYPTED_PHASES.iter().flat_map(|phase| harms.iter().map(move |harm| (phase, harm))).collect();
    for_each(&cases, |&(&(phase, connection, bytes), (harm, reason, is_of_session))| {
        // One bit of a handshake may say anything.
        if matches!(harm, Harm::FlipBit) && bytes < SESSION {
            return;
        }
        let reason = if *is_of_session && bytes < SESSION { "failed: timeout expired\n" } else { reason };
        let fates = only(connection, Fate::HarmedAfter(bytes, harm.clone()));
        let proxy = MessageProxy::start_encrypted(cluster.port(), fates);
        let limit: &[&str] = if matches!(harm, Harm::Stall(_)) { &["--receive-timeout=3"] } else { &[] };
        let stderr = fails_over(&proxy, limit);
        assert!(stderr.contains(reason), "{phase}, {harm:?}: {stderr}");
    });
    wait_until_nothing_replicates(&cluster);
}

#[cfg(feature = "tls")]
#[test]
fn cn_189_rw_191_and_233_a_receiver_comes_back_after_whatever_happens_to_an_encrypted_connection() {
    let cluster = encrypting_cluster();
    cluster.psql("SELECT pg_switch_wal()");
    let in_session = |harm| Fate::HarmedAfter(100_000, harm);
    let receivers = [
        vec![
            Fate::HarmedAfter(500, Harm::Stall(Place::Inside)),
            Fate::HarmedAfter(1, Harm::Reset(Place::Before)),
            Fate::HarmedAfter(0, Harm::Cut(Place::Before)),
        ],
        [Harm::Stall(Place::Inside), Harm::Reset(Place::Inside), Harm::Cut(Place::Inside)]
            .map(in_session)
            .to_vec(),
        [Harm::FlipBit, Harm::Stall(Place::Before), Harm::FlipBit].map(in_session).to_vec(),
    ]
    .map(|fates| {
        let harmed = fates.len();
        Receiver::start_over(MessageProxy::start_encrypted(cluster.port(), fates), harmed, 4)
    });
    let end = write_until_received(&cluster, &receivers);
    let [connecting, broken, damaged] = receivers.map(|receiver| receiver.finish(&cluster, &end));
    assert!(connecting.contains("failed: timeout expired\n"), "{connecting}");
    assert!(broken.contains("error: no message from the server for 4 seconds\n"), "{broken}");
    assert!(broken.contains("server closed the connection unexpectedly\n"), "{broken}");
    let reason = "WAL stream: SSL error: decryption failed or bad record mac\n";
    assert_eq!(damaged.matches(reason).count(), 2, "{damaged}");
}

/// Where the very first connection decides, it is tried once, but not for ever.
#[test]
fn rw_056_rw_233_the_first_connection_of_a_receiver_is_given_up_after_the_receive_timeout() {
    let cluster = Cluster::builder(MAJOR).start();
    let program = WalProgram::ours();
    for fate in [Fate::Mute, Fate::Harmed(Moment::new("R", 1), Harm::Stall(Place::Inside))] {
        let proxy = MessageProxy::start(cluster.port(), vec![fate]);
        let directory = scratch_directory();
        let run = program.run().args(["--receive-timeout=1", "-d", &proxy.conninfo(), "-D"]);
        let stderr = run.arg(directory.path()).run().expect_code(1).stderr;
        assert!(stderr.contains("failed: timeout expired\n"), "{stderr}");
        assert_eq!(proxy.accepted(), 1, "{stderr}");
    }
}
