//! What the program makes of connections: what it prints, how it ends, and what it asks of the server.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, Signal, getpid, pidfd_getfd, pidfd_open};
use socket2::Socket;

use crate::attempt::{admitted, config, config_with, connected, refused_like_the_reference};
use crate::support::byte_script::{ByteScriptServer, Step, message};
use crate::support::{
    Cluster, Outcome, Personality, ReservedPort, Run, Terminal, client_program, scratch_directory,
    start_slow_backup,
};

/// A backup by that program, with nothing but its connection to speak of.
fn back_up(program: &Path, arguments: &[&str]) -> Outcome {
    let directory = scratch_directory();
    Run::new(program)
        .args(["--no-password", "--no-sync", "--checkpoint=fast"])
        .args(arguments)
        .arg("--pgdata")
        .arg(directory.path().join("backup"))
        .run()
}

/// The program under test and the real one.
fn programs() -> (Personality, [std::path::PathBuf; 2]) {
    let ours = Personality::named("pg_basebackup");
    let paths = [ours.path().to_owned(), client_program("pg_basebackup")];
    (ours, paths)
}

fn without_hints(stderr: &str) -> String {
    let lines = stderr.split_inclusive('\n');
    lines.filter(|line| !line.starts_with("pg_basebackup: hint: ")).collect()
}

/// Checks that both programs end with status 1 and print the same but for hints.
#[track_caller]
fn refused_alike(arguments: &[&str]) -> String {
    let (_ours, [ours, real]) = programs();
    let [ours, real] = [ours, real].map(|path| back_up(&path, arguments).expect_code(1).stderr);
    assert_eq!(without_hints(&ours), real, "{arguments:?}");
    real
}

fn connections(cluster: &Cluster) -> usize {
    cluster.log().matches("connection received: ").count()
}

#[test]
fn cn_113_and_301_every_attempt_is_told_of_and_the_program_ends_with_status_1() {
    let (down, also_down) = (ReservedPort::reserve(), ReservedPort::reserve());
    let ports = format!("{},{}", down.number(), also_down.number());
    let text = refused_alike(&["-d", &format!("host=127.0.0.1,127.0.0.1 port={ports} user=u")]);
    assert_eq!(text.matches("Connection refused").count(), 2);
}

#[test]
fn cn_114_success_says_nothing_of_what_went_before() {
    let down = ReservedPort::reserve();
    let cluster = Cluster::builder(15).start();
    let hosts = format!(
        "host=127.0.0.1,no-such-host.invalid,127.0.0.1 port={},1,{} user=postgres",
        down.number(),
        cluster.port()
    );
    let outcome = back_up(programs().0.path(), &["-Xfetch", "-d", &hosts]).expect_success();
    assert_eq!(outcome.stderr, "");
}

#[test]
fn cn_117_no_time_limit_is_a_time_limit_of_zero_or_less() {
    let cluster = Cluster::builder(15).start();
    for limit in ["0", "-1", "-2147483648", "''"] {
        let conninfo = format!("{} connect_timeout={limit}", cluster.conninfo());
        assert_eq!(config(&conninfo).connect_timeout, None, "{limit}");
        admitted(&conninfo);
    }
}

/// The sockets of this process that are connected to that port.
fn sockets_to(port: u16) -> Vec<Socket> {
    let this_process = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = descriptors.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let copies = numbers.filter_map(|number| {
        // Other threads close theirs in the meantime.
        let copy: OwnedFd = pidfd_getfd(&this_process, number, PidfdGetfdFlags::empty()).ok()?;
        Some(Socket::from(copy))
    });
    copies
        .filter(|socket| {
            let peer = socket.peer_addr().ok().and_then(|address| address.as_socket());
            peer.is_some_and(|address| address.port() == port)
        })
        .collect()
}

#[test]
fn cn_119_and_120_the_options_of_the_socket() {
    // Nobody else connects to it.
    let cluster = Cluster::builder(15).start();
    let _session = connected(config(&format!(
        "{} tcp_user_timeout=54321 keepalives_idle=900 keepalives_interval=70 keepalives_count=5",
        cluster.conninfo()
    )));
    let sockets = sockets_to(cluster.port());
    let [socket] = &sockets[..] else { panic!("there is one session: {sockets:?}") };
    assert_eq!(socket.tcp_user_timeout().unwrap().unwrap().as_millis(), 54321);
    assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), 900);
    assert_eq!(socket.tcp_keepalive_interval().unwrap().as_secs(), 70);
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 5);
}

#[test]
fn cn_121_numbers_that_are_none() {
    let cluster = Cluster::builder(15).start();
    for (keyword, value) in [
        ("keepalives", "x"),
        ("keepalives_idle", "1s"),
        ("keepalives_interval", "99999999999"),
        ("keepalives_count", "1.5"),
        ("tcp_user_timeout", "-"),
        ("connect_timeout", "soon"),
    ] {
        let text = refused_alike(&["-d", &format!("{} {keyword}={value}", cluster.conninfo())]);
        let reason = format!("invalid integer value \"{value}\" for connection option \"{keyword}\"");
        assert!(text.contains(&reason), "{text}");
    }
}

#[test]
fn cn_277_a_password_that_is_asked_for_first_costs_no_connection() {
    let rules = "host replication keeper 127.0.0.1/32 scram-sha-256";
    for (options, expected) in [(&["-W"][..], 1), (&[], 2)] {
        let cluster = Cluster::builder(15).setting("log_connections", "on").hba(rules).start();
        cluster.psql(
            "SET password_encryption = 'scram-sha-256'; CREATE ROLE keeper REPLICATION LOGIN PASSWORD 'p'",
        );
        let directory = scratch_directory();
        let out = directory.path().join("out").to_str().unwrap().to_owned();
        let conninfo = format!("host=127.0.0.1 port={} user=keeper", cluster.port());
        let before = connections(&cluster);
        let arguments: Vec<String> =
            ["-N", "-c", "fast", "-Xnone", "-d", &conninfo, "-D", &out].map(str::to_owned).to_vec();
        let arguments: Vec<String> =
            arguments.into_iter().chain(options.iter().map(|&option| option.to_owned())).collect();
        let program = Personality::named("pg_basebackup");
        let mut terminal = Terminal::start(program.path(), &arguments);
        terminal.wait_for("Password: ");
        terminal.type_keys("p\n");
        let (code, screen) = terminal.finish();
        assert_eq!(code, 0, "{screen}");
        assert_eq!(connections(&cluster) - before, expected, "{options:?}");
    }
}

#[test]
fn cn_283_a_password_of_the_environment_goes_before_the_password_file() {
    let cluster = Cluster::builder(15).hba("host replication keeper 127.0.0.1/32 password").start();
    cluster.psql("CREATE ROLE keeper REPLICATION LOGIN PASSWORD 'right'");
    let directory = scratch_directory();
    let file = directory.path().join("passwords");
    let conninfo = format!("host=127.0.0.1 port={} user=keeper passfile={}", cluster.port(), file.display());
    for (in_file, in_environment, is_admitted) in
        [("wrong", "right", true), ("right", "wrong", false), ("right", "", true)]
    {
        std::fs::write(&file, format!("*:*:*:*:{in_file}\n")).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let result =
            crate::attempt::try_config(config_with(&conninfo, &[("PGPASSWORD", in_environment.to_owned())]));
        assert_eq!(result.is_ok(), is_admitted, "{in_file} {in_environment}");
    }
}

/// A report with these fields, each of which begins with its code.
fn report(fields: &[&str]) -> Vec<u8> {
    message(b'E', format!("{}\0\0", fields.join("\0")).as_bytes())
}

#[test]
fn cn_285_to_287_and_290_to_292_refusals_are_laid_out_as_the_reference_does() {
    for fields in [
        &["SFATAL", "VFATAL", "C28000", "Mno entry"][..],
        &["SFATAL", "VFATAL", "C28000", "Mno entry", "Dfor you", "Hgo away"],
        &["SFATAL", "VFATAL", "C28000", "Mno entry", "Wwhile looking"],
        &["SFATAL", "VFATAL", "C28000", "Mno\nentry", "Dfor\n\tyou"],
        &["SFATAL", "VFATAL", "C28000", "Mno entry", "qSELECT 1", "Wa\nb"],
        // Servers say it in their own language.
        &["SSCHWERWIEGEND", "VFATAL", "C28000", "Mkein Eintrag für größere Gäste", "Hweggehen"],
        &["SFATAL", "C28000", "Mof a server before 9.6"],
        &["SFATAL", "VFATAL", "C28000", "M"],
    ] {
        let server = ByteScriptServer::start([Step::Receive, Step::Send(report(fields))]);
        let error = refused_like_the_reference(&server.conninfo());
        let severity = &fields[0][1..];
        assert!(error.to_string().contains(&format!(" failed: {severity}:  ")), "{error}");
        refused_alike(&["-d", &server.conninfo()]);
    }
}

#[test]
fn cn_288_and_289_notices_are_printed_as_they_are_and_are_no_failure() {
    let cluster = Cluster::builder(15).start();
    let conninfo = format!("{} options='-c client_min_messages=log'", cluster.conninfo());
    let (_ours, paths) = programs();
    for path in paths {
        let outcome = back_up(&path, &["-Xnone", "-d", &conninfo]).expect_success();
        let line = "LOG:  received replication command: SHOW data_directory_mode\n";
        assert!(outcome.stderr.contains(line), "{}: {}", path.display(), outcome.stderr);
        assert!(!outcome.stderr.contains("pg_basebackup:"), "{}", outcome.stderr);
    }
}

/// The commands of all sessions: their first words, and what they show.
fn commands(cluster: &Cluster, from: usize) -> Vec<String> {
    let log = cluster.log();
    let lines = log[from..].lines().filter_map(|line| line.split_once("received replication command: "));
    let mut commands: Vec<String> = lines
        .map(|(_, command)| match command.split_once(' ') {
            Some((first, _)) if first != "SHOW" => first.to_owned(),
            _ => command.to_owned(),
        })
        .collect();
    commands.sort_unstable();
    commands
}

#[test]
fn cn_311_and_316_nothing_is_set_and_nothing_is_asked_that_the_reference_does_not_ask() {
    let cluster = Cluster::builder(15).start();
    let (_ours, paths) = programs();
    let asked = paths.map(|path| {
        let before = cluster.log().len();
        back_up(&path, &["-d", &cluster.conninfo()]).expect_success();
        commands(&cluster, before)
    });
    assert_eq!(asked[0], asked[1]);
    assert!(asked[0].iter().any(|command| command == "SHOW data_directory_mode"));
    let sets = |command: &String| command.starts_with("SET") || command.starts_with("SELECT");
    assert!(!asked[0].iter().any(sets), "{asked:?}");
}

#[test]
fn cn_312_both_connections_say_the_same() {
    let cluster = Cluster::builder(15).setting("log_connections", "on").start();
    let conninfo =
        format!("{} application_name=both options='-c wal_sender_timeout=7min'", cluster.conninfo());
    back_up(programs().0.path(), &["-d", &conninfo]).expect_success();
    let log = cluster.log();
    let line = "replication connection authorized: user=postgres application_name=both";
    assert_eq!(log.matches(line).count(), 2, "{log}");
}

/// A relay that leads its first client to one server and all others to another.
fn relay(first: u16, others: u16) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut target = first;
        // It ends with the process of the test.
        while let Ok((client, _)) = listener.accept() {
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).unwrap();
            target = others;
            forward(client.try_clone().unwrap(), server.try_clone().unwrap());
            forward(server, client);
        }
    });
    port
}

fn forward(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        // Either side may leave at any time.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.flush().and_then(|()| to.shutdown(std::net::Shutdown::Write));
    });
}

#[test]
fn cn_313_a_second_connection_to_another_cluster_is_noticed() {
    let one = Cluster::builder(15).start();
    let other = Cluster::builder(15).own_system_identifier().start();
    let (_ours, paths) = programs();
    for path in paths {
        let conninfo = format!("host=127.0.0.1 port={} user=postgres", relay(one.port(), other.port()));
        let outcome = back_up(&path, &["-d", &conninfo]).expect_code(1);
        let text = "system identifier does not match between base backup and streaming connection";
        assert!(outcome.stderr.contains(text), "{}", outcome.stderr);
    }
}

#[test]
fn cn_314_no_request_to_cancel_is_sent() {
    let cluster = Cluster::builder(15).setting("log_connections", "on").start();
    let program = Personality::named("pg_basebackup");
    let directory = scratch_directory();
    let out = directory.path().join("out").to_str().unwrap().to_owned();
    let remote = |log: &str| log.matches("connection received: host=127.0.0.1").count();
    let mut running = start_slow_backup(&cluster, program.path(), &["-D", &out]);
    let before = remote(&cluster.log());
    running.signal(Signal::INT);
    running.finish();
    crate::support::wait_until_nothing_replicates(&cluster);
    assert_eq!((before, remote(&cluster.log())), (2, 2));
}
