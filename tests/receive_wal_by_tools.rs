//! The command lines of the tools that run `pg_receivewal`, with the environment and the pipes that they give it, and
//! what each of them looks at afterwards.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::wal_program::{WalProgram, end_of_wal, names_in, write_wal};
use support::{Cluster, DEADLINE, Run, scratch_directory, wait_for, wait_for_some};
use tempfile::TempDir;

/// A server to receive from, and a place to receive into.
struct Bench {
    cluster: Cluster,
    program: WalProgram,
    place: TempDir,
}

impl Bench {
    fn new() -> Self {
        let cluster = Cluster::builder(15).initdb_arg("--wal-segsize=1").start();
        cluster.psql("CREATE ROLE streaming_barman LOGIN REPLICATION PASSWORD 'secret'");
        Self { cluster, program: WalProgram::ours(), place: scratch_directory() }
    }

    /// `HOST`, `PORT` and `SOCKETS` are those of the server, `PLACE` is where WAL goes.
    fn run(&self, arguments: &[&str]) -> Run {
        self.program.run().args(arguments.iter().map(|argument| self.fill_in(argument)))
    }

    fn fill_in(&self, text: &str) -> String {
        let sockets = self.cluster.socket_dir().to_str().unwrap();
        text.replace("HOST", "127.0.0.1")
            .replace("PORT", &self.cluster.port().to_string())
            .replace("%SOCKETS", &sockets.replace('/', "%2F"))
            .replace("SOCKETS", sockets)
            .replace("PLACE", self.place.path().to_str().unwrap())
    }

    /// The segment that the server writes now.
    fn current_segment(&self) -> PathBuf {
        let name = self.cluster.psql(&format!("SELECT pg_walfile_name('{}')", end_of_wal(&self.cluster)));
        self.place.path().join(name)
    }

    /// Waits for the complete segment, which must be what the server has.
    #[track_caller]
    fn expect_segment(&self, segment: &Path) {
        wait_for("the segment to be complete", DEADLINE, || segment.exists());
        let of_server = self.cluster.data_dir().join("pg_wal").join(segment.file_name().unwrap());
        assert!(std::fs::read(segment).unwrap() == std::fs::read(of_server).unwrap());
    }

    fn sender(&self, column: &str) -> Option<String> {
        let found = self.cluster.psql(&format!("SELECT {column} FROM pg_stat_replication"));
        Some(found).filter(|found| !found.is_empty())
    }
}

/// Barman reads messages line by line, empties a partial segment of another size than these two, and sends SIGINT.
#[test]
fn rw_001_rw_200_barman() {
    let bench = Bench::new();
    bench
        .run(&["-d", "host=HOST port=PORT user=postgres", "-S", "barman", "--create-slot"])
        .run()
        .expect_success();
    let arguments = [
        "--dbname=dbname=replication host=HOST options=-cdatestyle=iso port=PORT replication=true \
         user=streaming_barman application_name=barman_receive_wal",
        "--verbose",
        "--no-loop",
        "--no-password",
        "--directory=PLACE",
        "--slot=barman",
    ];
    let mut child = Command::new(bench.program.path())
        .args(arguments.map(|argument| bench.fill_in(argument)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with("pg_receivewal: starting log streaming at "));
    let name = wait_for_some("the connection", DEADLINE, || bench.sender("application_name"));
    assert_eq!(name, "barman_receive_wal");
    let first = bench.current_segment();
    write_wal(&bench.cluster, 1500);
    assert!(lines.next().unwrap().starts_with("pg_receivewal: finished segment at "));
    bench.expect_segment(&first);
    let partial = bench.current_segment().with_extension("partial");
    wait_for("the next segment", DEADLINE, || partial.exists());
    assert_eq!(partial.metadata().unwrap().len(), 1 << 20);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());

    std::fs::write(&partial, "").unwrap();
    write_wal(&bench.cluster, 1500);
    let end = end_of_wal(&bench.cluster);
    write_wal(&bench.cluster, 1);
    let line = [
        "--dbname=host=HOST port=PORT user=postgres",
        "-n",
        "--directory=PLACE",
        "--slot=barman",
        "-E",
        &end,
    ];
    bench.run(&line).run().expect_success();
    bench.expect_segment(&partial.with_extension(""));
}

/// The service of Debian makes its slot each time, compresses, and is found by the name that it gives; after SIGINT
/// what came of the last segment can be read.
#[test]
fn rw_044_rw_162_rw_215_the_service_of_debian() {
    let bench = Bench::new();
    let environment = |run: Run| {
        run.env("PGAPPNAME", "pg_receivewal@15-main.service")
            .env("PGHOST", bench.cluster.socket_dir())
            .env("PGPORT", bench.cluster.port().to_string())
            .env("PGUSER", "postgres")
            .env("PGSYSCONFDIR", "/etc/postgresql-common")
            .current_dir("/")
    };
    for _ in 0..2 {
        let line = ["--slot", "pg_receivewal_service", "--create-slot", "--if-not-exists"];
        let outcome = environment(bench.run(&line)).run().expect_success();
        assert_eq!((outcome.stdout.len(), outcome.stderr.as_str()), (0, ""));
    }
    let line = ["-D", "PLACE", "--slot", "pg_receivewal_service", "--compress=5"];
    let mut running = environment(bench.run(&line)).start();
    let name = wait_for_some("the connection", DEADLINE, || bench.sender("application_name"));
    assert_eq!(name, "pg_receivewal@15-main.service");
    let first = bench.current_segment();
    write_wal(&bench.cluster, 1500);
    wait_for("the segment", DEADLINE, || first.with_extension("gz").exists() && !first.exists());
    let next = bench.current_segment();
    wait_for("the next one", DEADLINE, || next.with_extension("partial").exists());
    running.signal(Signal::INT);
    running.finish().expect_success();
    let names: Vec<_> = [first.with_extension("gz"), next.with_extension("gz.partial")].to_vec();
    let found: Vec<_> =
        names_in(bench.place.path()).iter().map(|name| bench.place.path().join(name)).collect();
    assert_eq!(found, names);
    for name in names {
        assert!(!gunzip(&name).is_empty());
    }
}

/// What is in the file, as far as it goes.
#[track_caller]
fn gunzip(path: &Path) -> Vec<u8> {
    let file = std::fs::File::open(path).unwrap();
    let output = Command::new("gzip").arg("-dc").stdin(file).output().unwrap();
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// `PGHoard` watches for the new name of a file that it knows, stops the program while its disk is full, and terminates
/// it in the end.
#[test]
fn rw_160_rw_201_rw_220_pghoard() {
    let bench = Bench::new();
    bench
        .run(&["-d", "host=HOST port=PORT user=postgres", "-S", "pghoard", "--create-slot"])
        .run()
        .expect_success();
    let mut running = bench
        .run(&["--status-interval", "1", "--verbose", "--directory", "PLACE", "--dbname"])
        .arg(bench.fill_in("dbname='replication' host='HOST' port='PORT' replication='true' user='postgres'"))
        .args(["--slot", "pghoard"])
        .start();
    let segment = bench.current_segment();
    write_wal(&bench.cluster, 1);
    let partial = segment.with_extension("partial");
    let inode = wait_for_some("the segment to begin", DEADLINE, || Some(partial.metadata().ok()?.ino()));
    running.signal(Signal::STOP);
    write_wal(&bench.cluster, 1500);
    running.signal(Signal::CONT);
    bench.expect_segment(&segment);
    assert_eq!(segment.metadata().unwrap().ino(), inode);
    running.signal(Signal::TERM);
    running.finish().expect_success();
}

/// A side-car container, with a URI in which the socket's directory is escaped.
#[test]
fn rw_021_rw_040_a_side_car() {
    let bench = Bench::new();
    let uri = "postgres://postgres@%SOCKETS:PORT/postgres?sslmode=prefer&application_name=side%2dcar";
    let line = ["--slot", "S", "--create-slot", "--if-not-exists", "--directory", "PLACE", "--dbname", uri];
    // The server folds nothing in quotes.
    assert!(bench.run(&line).run().expect_code(1).stderr.contains("contains invalid character"));
    let line = ["--slot", "s", "--create-slot", "--if-not-exists", "--directory", "PLACE", "--dbname", uri];
    bench.run(&line).run().expect_success();
    let line = ["--slot", "s", "--compress", "0", "--directory", "PLACE", "--dbname", uri];
    let mut running = bench.run(&line).start();
    let name = wait_for_some("the connection", DEADLINE, || bench.sender("application_name"));
    assert_eq!(name, "side-car");
    let segment = bench.current_segment();
    write_wal(&bench.cluster, 1500);
    bench.expect_segment(&segment);
    running.signal(Signal::INT);
    running.finish().expect_success();
}

/// Scripts that say everything in the environment, and want commits to wait for what is on disk.
#[test]
fn rw_016_rw_022_rw_216_scripts_with_an_environment() {
    let bench = Bench::new();
    let environment = |run: Run| {
        run.env("PGHOST", "127.0.0.1")
            .env("PGPORT", bench.cluster.port().to_string())
            .env("PGUSER", "streaming_barman")
            .env("PGPASSWORD", "secret")
            .current_dir(bench.place.path())
    };
    environment(bench.run(&["--no-password", "--slot=s", "--create-slot", "--if-not-exists"]))
        .run()
        .expect_success();
    std::fs::create_dir(bench.place.path().join("wals")).unwrap();
    let mut running = environment(bench.run(&[
        "--dbname=dbname=replication options=-cdatestyle=iso replication=true application_name=pg_receivewal",
        "--verbose",
        "--no-password",
        "--directory=wals",
        "--slot=s",
        "--synchronous",
    ]))
    .start();
    wait_for_some("the connection", DEADLINE, || bench.sender("pid"));
    write_wal(&bench.cluster, 1);
    let end = end_of_wal(&bench.cluster);
    wait_for("WAL to be on disk", DEADLINE, || {
        bench.cluster.psql(&format!("SELECT flush_lsn >= '{end}' FROM pg_stat_replication")) == "t"
    });
    running.signal(Signal::INT);
    running.finish().expect_success();
}
