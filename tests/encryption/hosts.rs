//! Several hosts: which of them is taken, by what it is, and which failures of encryption pass the turn on.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpListener;

use tempfile::TempDir;

use crate::attempt::{config, in_time};
use crate::bench::{Authorities, libpq_refusal, our_refusal};
use crate::observed::LogMark;
use crate::peer::{Peer, read_packet};
use crate::support::base_backup::BackupProgram;
use crate::support::byte_script::fatal;
use crate::support::certificates::{CertificateStore, Template};
use crate::support::{Cluster, ReservedPort, ServerTls, scratch_directory};

/// Servers that go by letters.
struct Hosts {
    servers: Vec<(char, Cluster)>,
    /// `X`: where nobody listens.
    closed: ReservedPort,
}

impl Hosts {
    fn new(servers: Vec<(char, Cluster)>) -> Self {
        Self { servers, closed: ReservedPort::reserve() }
    }

    fn port(&self, letter: char) -> u16 {
        let server = self.servers.iter().find(|(name, _)| *name == letter);
        server.map_or_else(|| self.closed.number(), |(_, cluster)| cluster.port())
    }

    fn conninfo(&self, order: &str, rest: &str) -> String {
        let hosts = vec!["127.0.0.1"; order.len()].join(",");
        let ports: Vec<_> = order.chars().map(|letter| self.port(letter).to_string()).collect();
        format!("host={hosts} port={} user=postgres gssencmode=disable {rest}", ports.join(","))
    }

    /// The letter of the server that identified itself to the client, or else the error, with `@` and a
    /// letter for the name of each server.
    fn outcome(&self, attempt: impl FnOnce() -> Option<String>) -> String {
        let marks: Vec<_> = self.servers.iter().map(|(_, cluster)| LogMark::now(cluster)).collect();
        let Some(mut refusal) = attempt() else {
            let is_taken = |mark: &LogMark, cluster| mark.since(cluster).contains("IDENTIFY_SYSTEM");
            let taken = self.servers.iter().zip(marks).filter(|((_, cluster), mark)| is_taken(mark, cluster));
            return taken.map(|((letter, _), _)| *letter).collect();
        };
        for letter in self.servers.iter().map(|(letter, _)| *letter).chain(['X']) {
            let name = format!("connection to server at \"127.0.0.1\", port {} failed: ", self.port(letter));
            refusal = refusal.replace(&name, &format!("@{letter} "));
        }
        refusal
    }

    fn ours(&self, order: &str, rest: &str) -> String {
        self.outcome(|| our_refusal(&self.conninfo(order, rest)))
    }

    fn libpq(&self, order: &str, rest: &str) -> String {
        self.outcome(|| libpq_refusal(&self.conninfo(order, rest), &[]))
    }

    /// Checks that we and libpq take the same server, or fail in the same words.
    #[track_caller]
    fn expect(&self, order: &str, rest: &str, outcome: &str) {
        assert_eq!(self.libpq(order, rest), outcome, "libpq: {order} {rest}");
        assert_eq!(self.ours(order, rest), outcome, "{order} {rest}");
    }
}

/// A primary `P` and its standby `S`.
fn primary_and_standby(major: u16) -> (Hosts, TempDir) {
    // At this level the server speaks of clients that vanish.
    let primary = Cluster::builder(major).setting("log_min_messages", "debug1").start();
    let directory = scratch_directory();
    let backup = directory.path().join("standby");
    BackupProgram::real(&primary)
        .back_up(&primary, &backup)
        .args(["-R", "-X", "fetch"])
        .run()
        .expect_success();
    let standby = Cluster::existing(major, &backup).start();
    (Hosts::new(vec![('P', primary), ('S', standby)]), directory)
}

const REFUSED: &str =
    "@X Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?";

/// What is wanted, where, and what is found there.
const ATTRIBUTES: [(&str, &str, &str); 26] = [
    ("any", "PS", "P"),
    ("any", "SP", "S"),
    ("any", "XSP", "S"),
    ("read-write", "PS", "P"),
    ("read-write", "SP", "P"),
    ("read-write", "XSP", "P"),
    ("read-write", "S", "@S session is read-only"),
    ("read-only", "PS", "S"),
    ("read-only", "SP", "S"),
    ("read-only", "P", "@P session is not read-only"),
    ("primary", "PS", "P"),
    ("primary", "SP", "P"),
    ("primary", "XSP", "P"),
    ("primary", "S", "@S server is in hot standby mode"),
    ("primary", "SS", "@S server is in hot standby mode\n@S server is in hot standby mode"),
    ("standby", "PS", "S"),
    ("standby", "SP", "S"),
    ("standby", "XPS", "S"),
    ("standby", "P", "@P server is not in hot standby mode"),
    ("standby", "PP", "@P server is not in hot standby mode\n@P server is not in hot standby mode"),
    ("prefer-standby", "PS", "S"),
    ("prefer-standby", "SP", "S"),
    ("prefer-standby", "P", "P"),
    ("prefer-standby", "S", "S"),
    ("prefer-standby", "XP", "P"),
    ("prefer-standby", "PXS", "S"),
];

#[track_caller]
fn attributes_are_found(major: u16) {
    let (hosts, _directory) = primary_and_standby(major);
    for (attributes, order, outcome) in ATTRIBUTES {
        let rest = format!("target_session_attrs={attributes}");
        // On purpose we ask older servers in a way that they can answer (CW-05).
        if major >= 14 || matches!(attributes, "any" | "read-write" | "read-only") {
            assert_eq!(hosts.libpq(order, &rest), outcome, "libpq: {major} {order} {rest}");
        }
        assert_eq!(hosts.ours(order, &rest), outcome, "{major} {order} {rest}");
    }
    let read_only = "options='-c default_transaction_read_only=on'";
    hosts.expect("P", &format!("target_session_attrs=read-only {read_only}"), "P");
    let text = "@P session is read-only\n@S session is read-only";
    hosts.expect("PS", &format!("target_session_attrs=read-write {read_only}"), text);
    for attributes in ["read-only", "read-write", "prefer-standby"] {
        let passes = if attributes == "prefer-standby" { 2 } else { 1 };
        let text = vec![REFUSED; passes].join("\n");
        hosts.expect("X", &format!("target_session_attrs={attributes}"), &text);
    }
}

/// A session that is not what was wanted ends in the way that sessions should.
#[track_caller]
fn leave_is_taken(major: u16) {
    let (hosts, _directory) = primary_and_standby(major);
    for (attributes, order) in [("primary", "SSP"), ("standby", "PPS"), ("read-write", "SP")] {
        assert!(!hosts.ours(order, &format!("target_session_attrs={attributes}")).starts_with('@'));
    }
    for (letter, cluster) in &hosts.servers {
        // The server has noticed the end of a session before it begins to stop.
        let log = cluster.log();
        assert!(!log.contains("unexpected EOF on"), "{letter}: {log}");
    }
}

#[test]
fn cn_111_and_122_to_130_what_a_session_must_be_versions_10_to_12() {
    (10..=12).for_each(attributes_are_found);
}

#[test]
fn cn_111_and_122_to_130_what_a_session_must_be_versions_13_to_15() {
    (13..=15).for_each(attributes_are_found);
}

#[test]
fn cn_111_and_122_to_130_what_a_session_must_be_versions_16_to_18() {
    (16..=18).for_each(attributes_are_found);
}

#[test]
fn cn_128_a_session_that_is_not_wanted_is_closed_politely() {
    [13, 18].into_iter().for_each(leave_is_taken);
}

/// A server of another authority `W`, one without TLS `N`, one that rejects us over TLS `R`, and a good one
/// `G`; and the file of roots of all but the first.
fn servers_with_tls() -> (Hosts, String, CertificateStore) {
    let authorities = Authorities::new();
    let store = authorities.store();
    let roots = format!("sslrootcert={}/root.crt", store.path().display());
    let wrong = authorities.other.issue(&Template::server("localhost"));
    let right = ServerTls::new(&authorities.server());
    let start = |tls: ServerTls, hba: &str| Cluster::builder(18).hba(hba).tls(tls).start();
    let hosts = Hosts::new(vec![
        ('W', start(ServerTls::new(&wrong), "")),
        ('N', start(ServerTls::off(), "")),
        ('R', start(right.clone(), "hostssl replication all all reject")),
        ('G', start(right, "")),
    ]);
    (hosts, roots, store)
}

#[test]
fn cn_110_112_and_113_failures_of_encryption_end_the_list_as_in_libpq() {
    let (hosts, roots, _store) = servers_with_tls();
    let verify = format!("sslmode=verify-ca {roots}");
    hosts.expect("G", &verify, "G");
    hosts.expect("XG", &verify, "G");
    let unverified = "SSL error: certificate verify failed";
    hosts.expect("WG", &verify, &format!("@W {unverified}"));
    hosts.expect("XWG", &verify, &format!("{REFUSED}\n@W {unverified}"));
    hosts.expect("NG", "sslmode=require", "@N server does not support SSL, but SSL was required");
    let rejected = "@R FATAL:  pg_hba.conf rejects replication connection for host \"127.0.0.1\", user \
        \"postgres\", SSL encryption";
    hosts.expect("RG", "sslmode=require", rejected);
    hosts.expect("RG", "sslmode=prefer", "R");
    hosts.expect("NG", "sslmode=prefer", "N");
}

#[test]
fn cn_115_and_116_silence_in_the_handshake_passes_the_turn_on() {
    let authorities = Authorities::new();
    let cluster = Cluster::builder(18).tls(ServerTls::new(&authorities.server())).start();
    // Connections are taken by the kernel; nobody ever reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let conninfo = format!(
        "host=127.0.0.1,127.0.0.1 port={port},{} user=postgres sslmode=require connect_timeout=1",
        cluster.port()
    );
    assert_eq!(our_refusal(&conninfo), None);
}

/// Peers that stop the list of hosts at once; each knows how many have come.
fn stoppers() -> Vec<Peer> {
    let refuse = |mut socket: std::net::TcpStream| {
        read_packet(&mut socket)?;
        socket.write_all(&fatal("28000", "no"))
    };
    (0..3).map(|_| Peer::start(refuse)).collect()
}

fn list(ports: &[u16], rest: &str) -> String {
    let hosts = vec!["127.0.0.1"; ports.len()].join(",");
    let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
    format!("host={hosts} port={} user=u sslmode=disable gssencmode=disable {rest}", ports.join(","))
}

#[test]
fn cn_131_at_random_every_host_has_its_turn() {
    let peers = stoppers();
    let ports: Vec<_> = peers.iter().map(Peer::port).collect();
    // One of them is left out by chance once in ten thousand million.
    for _ in 0..60 {
        our_refusal(&list(&ports, "load_balance_hosts=random")).unwrap();
    }
    let visits: Vec<_> = peers.iter().map(Peer::take_connections).collect();
    assert!(visits.iter().sum::<usize>() == 60 && visits.iter().all(|&count| count > 0), "{visits:?}");

    for _ in 0..10 {
        our_refusal(&list(&ports, "load_balance_hosts=disable")).unwrap();
        our_refusal(&list(&ports, "")).unwrap();
    }
    let visits: Vec<_> = peers.iter().map(Peer::take_connections).collect();
    assert_eq!(visits, [20, 0, 0]);
}

#[test]
fn cn_132_at_random_the_only_live_host_is_found_and_each_is_tried_once() {
    let cluster = Cluster::builder(18).start();
    let closed = [ReservedPort::reserve(), ReservedPort::reserve()];
    let ports = [closed[0].number(), cluster.port(), closed[1].number()];
    for _ in 0..10 {
        let conninfo = list(&ports, "load_balance_hosts=random").replace("user=u", "user=postgres");
        assert_eq!(our_refusal(&conninfo), None);
    }
    let dead = [ports[0], ports[2]];
    let mut orders = BTreeSet::new();
    for _ in 0..40 {
        let refusal = our_refusal(&list(&dead, "load_balance_hosts=random")).unwrap();
        let places: Vec<_> =
            dead.iter().map(|port| refusal.find(&format!("port {port} ")).unwrap()).collect();
        orders.insert(places[0] < places[1]);
        assert_eq!(refusal.matches("Connection refused").count(), 2);
    }
    assert_eq!(orders.len(), 2, "both orders");
}

#[test]
fn cn_104_and_196_each_family_of_addresses() {
    let authorities = Authorities::new();
    let cluster = Cluster::builder(18)
        .hba("host replication all ::1/128 trust")
        .tls(ServerTls::new(&authorities.server()))
        .start();
    // A machine without IPv6 has nothing to show here.
    let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
    for host in ["127.0.0.1", "localhost", "::1"] {
        if host != "::1" || has_ipv6 {
            let conninfo = format!("host={host} port={} user=postgres sslmode=require", cluster.port());
            in_time(async move {
                pgsiphon::client::ReplicationClient::connect(&config(&conninfo)).await.unwrap().close().await;
            });
        }
    }
}
