//! The command lines of the tools that run `pg_basebackup`, with the environment and the pipes that they give it, and
//! what each of them reads afterwards.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs::{self, DirBuilder};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::OFlags;
use support::archives::test_compressed;
use support::base_backup::{file_names, verify, verify_archives};
use support::certificates::{Certificate, CertificateStore, Template};
use support::{Cluster, DEADLINE, Outcome, Personality, Run, ServerTls, scratch_directory, wait_for_some};
use tempfile::TempDir;

/// A server to back up, and a place to which.
struct Bench {
    cluster: Cluster,
    program: Personality,
    scratch: TempDir,
}

impl Bench {
    fn of(major: u16) -> Self {
        Self::with(major, &[])
    }

    fn with(major: u16, settings: &[(&str, &str)]) -> Self {
        // No tool waits here for a checkpoint that is spread over time.
        let builder = Cluster::builder(major).setting("checkpoint_completion_target", "0");
        let cluster =
            settings.iter().fold(builder, |builder, (name, value)| builder.setting(name, value)).start();
        cluster.psql(
            "CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'secret';
             CREATE TABLE t AS SELECT generate_series(1, 1000) AS i",
        );
        Self { cluster, program: Personality::named("pg_basebackup"), scratch: scratch_directory() }
    }

    /// A path that does not exist yet.
    fn place(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn make_place(&self, name: &str) -> PathBuf {
        let path = self.place(name);
        DirBuilder::new().mode(0o700).recursive(true).create(&path).unwrap();
        path
    }

    /// `HOST` and `PORT` are those of the server, `PLACE` is where backups go.
    fn fill_in(&self, text: &str) -> String {
        let port = self.cluster.port().to_string();
        text.replace("HOST", "127.0.0.1")
            .replace("PORT", &port)
            .replace("PLACE", self.scratch.path().to_str().unwrap())
    }

    fn run(&self, arguments: &[&str]) -> Run {
        Run::new(self.program.path()).args(arguments.iter().map(|argument| self.fill_in(argument)))
    }

    /// A command line for a shell that finds the program along its search path.
    fn shell(&self, line: &str) -> Run {
        let directory = self.program.path().parent().unwrap().display();
        Run::new("/bin/sh")
            .args(["-c", &self.fill_in(line)])
            .env("PATH", format!("{directory}:/usr/bin:/bin"))
    }

    #[track_caller]
    fn verify(&self, name: &str) {
        verify(self.cluster.installation(), &self.place(name), &[]);
    }
}

#[track_caller]
fn assert_silent(outcome: &Outcome) {
    assert_eq!((outcome.stdout.len(), outcome.stderr.as_str()), (0, ""));
}

const BARMAN: [&str; 6] = [
    "--dbname=dbname=replication host=HOST options=-cdatestyle=iso port=PORT replication=true user=replicator \
     application_name=barman_streaming_backup",
    "-v",
    "--no-password",
    "--no-slot",
    "--wal-method=none",
    "--checkpoint=fast",
];

/// Barman takes away what is in parentheses, and wants two numbers in the second word.
#[test]
fn barman_reads_the_version() {
    let bench = Bench::of(15);
    let outcome = bench.run(&["--version"]).run().expect_success();
    let text = outcome.stdout_text().replace("(PostgreSQL)", "");
    let (text, _) = text.split_once('(').unwrap();
    let words: Vec<_> = text.split_whitespace().collect();
    let (major, minor) = words[1].split_once('.').unwrap();
    assert_eq!((words[0], words.len()), ("pg_basebackup", 2));
    assert!(major.parse::<u32>().is_ok() && minor.parse::<u32>().is_ok(), "{words:?}");
}

#[test]
fn barman_backs_up_into_an_empty_directory() {
    let bench = Bench::of(15);
    bench.make_place("plain/data");
    let outcome = bench.run(&BARMAN).run_into("plain/data", &bench).expect_success();
    assert!(outcome.stderr.contains("pg_basebackup: base backup completed\n"), "{}", outcome.stderr);
    verify(bench.cluster.installation(), &bench.place("plain/data"), &["-n"]);

    let old = bench.cluster.make_directory("ts 1");
    bench.cluster.psql(&format!("CREATE TABLESPACE ts LOCATION '{}'", old.display()));
    bench.make_place("mapped/data");
    let new = bench.make_place("mapped/16400");
    let mapping = format!("--tablespace-mapping={}={}", old.display(), new.display());
    bench.run(&BARMAN).args([&mapping, "--max-rate=81920"]).run_into("mapped/data", &bench).expect_success();
    assert_eq!(file_names(&new).len(), 1);
    verify(bench.cluster.installation(), &bench.place("mapped/data"), &["-n"]);
}

#[test]
fn barman_compresses() {
    let bench = Bench::of(15);
    for (name, options, main_archive) in [
        ("gzip", &["--format=tar", "--compress=gzip:level=1"][..], "base.tar.gz"),
        ("lz4", &["--format=tar", "--compress=client-lz4"], "base.tar.lz4"),
        ("zstd", &["--format=tar", "--compress=server-zstd:level=4,workers=1"], "base.tar.zst"),
        ("zstd_here", &["--format=tar", "--compress=client-zstd:level=4,workers=2"], "base.tar.zst"),
        ("none", &["--format=tar", "--compress=none"], "base.tar"),
        ("old", &["--format=tar", "--compress=1", "--gzip"], "base.tar.gz"),
    ] {
        bench.make_place(name);
        let run = bench.run(&BARMAN).args(options);
        // What Barman takes for an older program gets older options.
        let run = if name == "old" { run.env("PGSIPHON_PG_VERSION", "14") } else { run };
        run.run_into(name, &bench).expect_success();
        let place = bench.place(name);
        assert_eq!(file_names(&place), ["backup_manifest", main_archive]);
        if main_archive != "base.tar" {
            test_compressed(&place.join(main_archive));
        }
        verify_archives(bench.cluster.installation(), &place);
    }
    bench.make_place("plain");
    bench
        .run(&BARMAN)
        .args(["--format=plain", "--compress=server-gzip"])
        .run_into("plain", &bench)
        .expect_success();
    verify(bench.cluster.installation(), &bench.place("plain"), &["-n"]);
}

#[test]
fn barman_takes_an_increment() {
    let bench = Bench::with(18, &[("summarize_wal", "on")]);
    for (name, parent) in [("parent", None), ("child", Some("parent"))] {
        bench.make_place(&format!("{name}/data"));
        let run = bench.run(&BARMAN);
        let run = match parent {
            Some(parent) => {
                run.arg(bench.fill_in(&format!("--incremental=PLACE/{parent}/data/backup_manifest")))
            }
            None => run,
        };
        run.run_into(&format!("{name}/data"), &bench).expect_success();
    }
    let label = fs::read_to_string(bench.place("child/data/backup_label")).unwrap();
    assert!(label.contains("INCREMENTAL FROM LSN: "), "{label}");
    verify(bench.cluster.installation(), &bench.place("child/data"), &["-n"]);
}

trait RunInto {
    fn run_into(self, name: &str, bench: &Bench) -> Outcome;
}

impl RunInto for Run {
    /// Runs with the directory in the form that Barman gives it.
    #[track_caller]
    fn run_into(self, name: &str, bench: &Bench) -> Outcome {
        let outcome = self.arg(format!("--pgdata={}", bench.place(name).display())).run();
        assert!(outcome.stdout.is_empty());
        outcome
    }
}

/// repmgr calls a shell, has made the directory, and appends what the user configured: the later label counts.
#[test]
fn repmgr_clones_a_standby() {
    let bench = Bench::of(15);
    bench.make_place("standby");
    bench.cluster.psql("SELECT pg_create_physical_replication_slot('repmgr_slot_2')");
    let old = bench.cluster.make_directory("ts");
    bench.cluster.psql(&format!("CREATE TABLESPACE ts LOCATION '{}'", old.display()));
    let outcome = bench
        .shell(&format!(
            "pg_basebackup -l \"repmgr base backup\"  -D PLACE/standby -h HOST -p PORT -U replicator -c fast \
             -T {}=PLACE/ts -X stream -S repmgr_slot_2 --waldir=PLACE/wal --max-rate=400M \
             --label=\"my own label\" --progress",
            old.display()
        ))
        .run()
        .expect_success();
    assert!(outcome.stderr.contains("100%") && !outcome.stderr.contains('\r'), "{}", outcome.stderr);
    let label = fs::read_to_string(bench.place("standby/backup_label")).unwrap();
    assert!(label.contains("LABEL: my own label\n"), "{label}");
    assert_eq!(fs::read_link(bench.place("standby/pg_wal")).unwrap(), bench.place("wal"));
    bench.verify("standby");
}

#[test]
fn patroni_makes_a_replica() {
    let bench = Bench::of(15);
    let pgpass = bench.place("pgpass");
    fs::write(&pgpass, bench.fill_in("HOST:PORT:*:replicator:secret\n")).unwrap();
    fs::set_permissions(&pgpass, fs::Permissions::from_mode(0o600)).unwrap();
    let outcome = bench
        .shell(
            "umask 0077; exec pg_basebackup --pgdata=PLACE/replica -X stream '--dbname=dbname=postgres \
             user=replicator host=HOST port=PORT' --verbose --max-rate=100M --checkpoint=fast \
             --waldir=PLACE/wal --compress=server-lz4 --no-password",
        )
        .env("PGPASSFILE", &pgpass)
        .run()
        .expect_success();
    assert!(outcome.stderr.ends_with("pg_basebackup: base backup completed\n"), "{}", outcome.stderr);
    bench.verify("replica");
}

#[test]
fn pg_auto_failover_initializes_a_standby() {
    let bench = Bench::of(15);
    bench.cluster.psql("SELECT pg_create_physical_replication_slot('pgautofailover_standby_2')");
    bench.make_place("backup");
    let pgdata = bench.make_place("node_2");
    for (name, more) in [("backup/older", &[][..]), ("backup/newer", &["--checkpoint=fast"])] {
        let place = bench.place(name);
        let outcome = bench
            .run(&[
                "-w",
                "-d",
                "application_name=pgautofailover_standby_2 host=HOST port=PORT user=replicator sslmode=prefer",
                "--pgdata",
                place.to_str().unwrap(),
                "-U",
                "replicator",
                "--verbose",
                "--progress",
                "--max-rate",
                "500M",
                "--wal-method=stream",
                "--slot",
                "pgautofailover_standby_2",
            ])
            .args(more)
            .env("POSIXLY_CORRECT", "1")
            .env("PGDATA", &pgdata)
            .env("PGCONNECT_TIMEOUT", "2")
            .env("PGAPPNAME", "pgautofailover_standby_2")
            .env("PGPASSWORD", "secret")
            .run()
            .expect_success();
        assert!(outcome.stderr.contains("base backup completed"), "{}", outcome.stderr);
        bench.verify(name);
    }
    assert!(file_names(&pgdata).is_empty());
    let names = bench.cluster.log();
    assert!(names.contains("pgautofailover_standby_2 LOG:  received replication command: START_REPLICATION"));
}

/// Through `pg_wrapper`, which calls the program by its full path, as the user who owns the server.
#[test]
fn debian_backs_up_a_cluster() {
    let bench = Bench::of(15);
    let bin = bench.make_place("postgresql/15/bin");
    std::os::unix::fs::symlink(support::pgsiphon(), bin.join("pg_basebackup")).unwrap();
    let out = bench.cluster.make_directory("backups").join("out");
    fs::set_permissions(bench.scratch.path().join("postgresql"), fs::Permissions::from_mode(0o755)).unwrap();
    for directory in ["postgresql/15", "postgresql/15/bin"] {
        fs::set_permissions(bench.place(directory), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let program = bin.join("pg_basebackup");
    let version = Run::new(&program).arg("--version").run().expect_success().stdout_text();
    assert!(version.starts_with("pg_basebackup (PostgreSQL) 15."), "{version}");
    let outcome = Run::new("/bin/sh")
        .args(["-c", "umask 027; exec \"$0\" \"$@\""])
        .arg(&program)
        .args(["--verbose", "--progress", "--format", "tar", "--gzip", "-D"])
        .arg(&out)
        .env("PGAPPNAME", "pg_basebackup@15-main.service")
        .env("PGCLUSTER", "15/main")
        .env("PGHOST", bench.cluster.socket_dir())
        .env("PGPORT", bench.cluster.port().to_string())
        .env("PGSYSCONFDIR", "/etc/postgresql-common")
        .by_server_account()
        .run()
        .expect_success();
    assert!(outcome.stderr.contains("base backup completed"), "{}", outcome.stderr);
    assert_eq!(file_names(&out), ["backup_manifest", "base.tar.gz", "pg_wal.tar.gz"]);
    for name in ["base.tar.gz", "pg_wal.tar.gz"] {
        test_compressed(&out.join(name));
    }
}

/// It wants the major version that it was built for, and glues the user's options to its own.
#[test]
fn pglogical_creates_a_subscriber() {
    let bench = Bench::of(15);
    let version =
        bench.shell("pg_basebackup --version").env("PGSIPHON_PG_VERSION", "15").run().expect_success();
    let text = version.stdout_text();
    assert_eq!(text.split(' ').nth(2).unwrap().split('.').next(), Some("15"));
    let line =
        "pg_basebackup -D \"PLACE/new\" -d \"user=postgres host=HOST port=PORT dbname=postgres\" -X s -P";
    bench.shell(&format!("{line} -c fast")).run().expect_success();
    bench.verify("new");
    let glued = bench.shell(&format!("{line}-c fast")).run().expect_code(1);
    assert!(glued.stderr.starts_with("pg_basebackup: error: invalid option -- '-'\n"), "{}", glued.stderr);
}

const PGHOARD: [&str; 9] = [
    "--format",
    "tar",
    "--label",
    "pghoard_base_backup",
    "--verbose",
    "--wal-method=none",
    "--progress",
    "--dbname",
    "dbname='replication' host='HOST' port='PORT' replication='true' user='replicator'",
];

/// `PGHoard` makes both ends of its pipes non-blocking.
#[test]
fn pghoard_reads_non_blocking_pipes() {
    let bench = Bench::of(15);
    let mut command = Command::new(bench.program.path());
    command.args(PGHOARD.map(|argument| bench.fill_in(argument))).args(["--pgdata", "-"]);
    let (mut stdout, mut stderr) = (non_blocking_pipe(), non_blocking_pipe());
    command.stdin(Stdio::null()).stdout(Stdio::from(stdout.1)).stderr(Stdio::from(stderr.1));
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut archive = Vec::new();
    let mut messages = String::new();
    let reader = std::thread::spawn(move || {
        stderr.0.read_to_string(&mut messages).unwrap();
        messages
    });
    stdout.0.read_to_end(&mut archive).unwrap();
    let status = wait_for_some("the backup to end", DEADLINE, || child.try_wait().unwrap());
    let messages = reader.join().unwrap();
    assert!(status.success(), "{messages}");
    assert!(messages.contains("base backup completed") && messages.contains("100%"), "{messages}");
    // It looks for the label in the first member, which is followed by the rest of the archive.
    assert_eq!(&archive[..12], b"backup_label");
    assert!(archive[512..1024].starts_with(b"START WAL LOCATION: "));
    fs::write(bench.place("base.tar"), &archive).unwrap();
    bench.make_place("restored");
    bench.shell("tar -xf PLACE/base.tar -C PLACE/restored").run().expect_success();
    verify(bench.cluster.installation(), &bench.place("restored"), &["-n"]);
}

#[test]
fn pghoard_backs_up_into_tar_files() {
    let bench = Bench::of(15);
    bench.run(&PGHOARD).args(["--pgdata", &bench.fill_in("PLACE/hoard")]).run().expect_success();
    assert_eq!(file_names(&bench.place("hoard")), ["backup_manifest", "base.tar"]);
}

/// A pipe whose both ends are non-blocking for the writer, and blocking for the reader of this test.
fn non_blocking_pipe() -> (std::io::PipeReader, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    let writer = OwnedFd::from(writer);
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    (reader, writer)
}

#[test]
fn testgres_backs_up_by_each_method() {
    let bench = Bench::of(18);
    for method in ["fetch", "stream", "none"] {
        let place = format!("PLACE/{method}/data");
        let line =
            ["-p", "PORT", "-h", "127.0.0.1", "-U", "postgres", "-D", &place, "-X", method, "-c", "fast"];
        let outcome = bench.run(&line).run().expect_success();
        let options: &[&str] = if method == "none" {
            // A message of the server, which has no archive.
            assert!(
                outcome.stderr.starts_with("NOTICE:  WAL archiving is not enabled"),
                "{}",
                outcome.stderr
            );
            &["-n"]
        } else {
            assert_silent(&outcome);
            &[]
        };
        verify(bench.cluster.installation(), &bench.place(method).join("data"), options);
    }
}

#[test]
fn pgpool_recovers_a_node_in_a_strict_shell() {
    let bench = Bench::of(15);
    let script = bench.fill_in(
        "set -o errexit; set -o xtrace; pg_basebackup -h HOST -U replicator -p PORT -D PLACE/node -X stream; \
         echo done",
    );
    let directory = bench.program.path().parent().unwrap().display();
    let outcome = Run::new("/bin/bash")
        .args(["-c", &script])
        .env("PATH", format!("{directory}:/usr/bin:/bin"))
        .run()
        .expect_success();
    assert_eq!(outcome.stdout_text(), "done\n");
    bench.verify("node");
}

/// With a client certificate, over TLS that is verified.
#[test]
fn cloudnative_pg_joins_an_instance() {
    let server = Certificate::root("Root of servers");
    let clients = Certificate::root("Root of clients");
    let certificate = server.issue(&Template::server("db").ip("127.0.0.1"));
    let cluster = Cluster::builder(18)
        .setting("checkpoint_completion_target", "0")
        .tls(ServerTls::new(&certificate).client_authority(&clients))
        .hba("hostssl replication streaming_replica 127.0.0.1/32 cert\nhost replication streaming_replica all reject")
        .start();
    cluster.psql("CREATE ROLE streaming_replica LOGIN REPLICATION");
    let client = clients.issue(&Template::client("streaming_replica"));
    let store = CertificateStore::new();
    let key = store.write("tls.key", client.key_pem());
    let pem = store.write("tls.crt", client.pem());
    let root = store.write("ca.crt", server.pem());
    let scratch = scratch_directory();
    let conninfo = format!(
        "host=127.0.0.1 user=streaming_replica port={} sslkey={key} sslcert={pem} sslrootcert={root} \
         application_name=pod-1 sslmode=verify-ca dbname=postgres connect_timeout=5 \
         options='-c wal_sender_timeout=0s'",
        cluster.port()
    );
    let out = scratch.path().join("pgdata");
    let outcome = Run::new(Personality::named("pg_basebackup").path())
        .arg("-D")
        .arg(&out)
        .args(["-v", "-w", "-d", &conninfo, "--waldir"])
        .arg(scratch.path().join("wal"))
        .run()
        .expect_success();
    assert!(outcome.stderr.ends_with("pg_basebackup: base backup completed\n"), "{}", outcome.stderr);
    verify(cluster.installation(), &out, &[]);
}

#[test]
fn tutorials_make_standbys() {
    let bench = Bench::of(15);
    for (name, options) in [
        ("bundled", "-P -Xs -R"),
        ("formatted", "-Fp -Xs -P -R -C -S replica"),
        ("asked", "-vP -w"),
        ("tar", "-Ft -z -P -R"),
        ("level", "-Ft -z -Z 9 -l 'nightly backup' -c fast -X fetch -w --no-verify-checksums -v"),
    ] {
        let line = format!("pg_basebackup -h HOST -U replicator -p PORT -D PLACE/{name} {options}");
        bench.shell(&line).env("PGPASSWORD", "secret").run().expect_success();
        if options.starts_with("-Ft") {
            test_compressed(&bench.place(name).join("base.tar.gz"));
        } else {
            bench.verify(name);
            assert_eq!(bench.place(name).join("standby.signal").exists(), options.contains("-R"), "{name}");
        }
    }
    let slot = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'replica'";
    assert_eq!(bench.cluster.psql(slot), "1");
}

#[test]
fn tutorials_retry_until_the_server_is_there() {
    let bench = Bench::of(15);
    bench
        .shell(
            "until pg_basebackup --pgdata=PLACE/replica -R --slot=replication_slot --create-slot --host=HOST \
             --port=PORT; do echo waiting; exit 1; done",
        )
        .env("PGUSER", "replicator")
        .env("PGPASSWORD", "secret")
        .run()
        .expect_success();
    bench.verify("replica");
}

#[test]
fn tutorials_pipe_the_archive_into_gzip() {
    let bench = Bench::of(15);
    let line =
        "pg_basebackup -h HOST -U replicator -p PORT -D - -Ft -X fetch -P | gzip > PLACE/backup.tar.gz";
    let outcome = bench.shell(line).run().expect_success();
    assert!(outcome.stderr.contains("100%"), "{}", outcome.stderr);
    bench.make_place("restored");
    bench.shell("tar -xzf PLACE/backup.tar.gz -C PLACE/restored").run().expect_success();
    bench.verify("restored");
    // A reader that leaves ends the backup, and it is no success.
    let line =
        "{ pg_basebackup -h HOST -U replicator -p PORT -D - -Ft -X fetch; echo $? >&2; } | head -c 100000";
    let outcome = bench.shell(line).run().expect_success();
    assert_eq!(outcome.stdout.len(), 100_000);
    assert!(!outcome.stderr.ends_with("\n0\n") && outcome.stderr != "0\n", "{}", outcome.stderr);
}

/// The password file that tutorials have: a line for the database `replication`, and comments.
#[test]
fn tutorials_keep_the_password_in_a_file() {
    let cluster = Cluster::builder(15)
        .setting("checkpoint_completion_target", "0")
        .hba("host replication replicator 127.0.0.1/32 scram-sha-256")
        .start();
    cluster.psql("CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'se:cr\\et'");
    let scratch = scratch_directory();
    let pgpass = scratch.path().join(".pgpass");
    let line = format!("127.0.0.1:{}:replication:replicator:se\\:cr\\\\et", cluster.port());
    fs::write(&pgpass, format!("# for the standby\n{line}\n")).unwrap();
    fs::set_permissions(&pgpass, fs::Permissions::from_mode(0o600)).unwrap();
    let out = scratch.path().join("out");
    let back_up = |out: &Path| {
        Run::new(Personality::named("pg_basebackup").path())
            .env("HOME", scratch.path())
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &cluster.port().to_string(),
                "-U",
                "replicator",
                "-w",
                "-R",
                "-D",
            ])
            .arg(out)
            .run()
    };
    assert_silent(&back_up(&out).expect_success());
    fs::set_permissions(&pgpass, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = back_up(&scratch.path().join("other")).expect_code(1);
    assert!(refused.stderr.contains("fe_sendauth: no password supplied"), "{}", refused.stderr);
}
