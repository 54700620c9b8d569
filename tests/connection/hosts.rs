//! Hosts in turn: which failures pass the turn on, which end it, and what is said of each.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use pgsiphon::connection::{AttemptError, Place};

use crate::attempt::{admitted, refused, refused_like_the_reference};
use crate::lying_scram_server::{offer, server_first};
use crate::support::byte_script::{ByteScriptServer, Step, authentication, message};
use crate::support::{Cluster, ReservedPort, scratch_directory};

#[test]
fn cn_296_to_300_unreachable_hosts_are_named_like_the_reference_names_them() {
    let closed = ReservedPort::reserve();
    let port = closed.number();
    let directory = scratch_directory();
    let directory = directory.path().display();
    // A socket whose server has gone.
    drop(UnixListener::bind(format!("{directory}/.s.PGSQL.7")).unwrap());
    let long = "x".repeat(100);
    for conninfo in [
        &format!("host=127.0.0.1 port={port}"),
        &format!("host=localhost port={port}"),
        &format!("hostaddr=127.0.0.1 port={port}"),
        &format!("hostaddr=127.1 port={port}"),
        &format!("hostaddr=0x7f000001 port={port}"),
        &format!("hostaddr=::1%lo port={port}"),
        &format!("host=127.0.0.1 port={port} keepalives_idle=40000"),
        &format!("host=127.0.0.1 port={port} keepalives_interval=40000"),
        &format!("host=127.0.0.1 port={port} keepalives_count=1000"),
        "hostaddr=a:b",
        "hostaddr=a%lo",
        "hostaddr=127.1.1.1.1",
        &format!("host=somewhere hostaddr=127.0.0.1 port={port}"),
        &format!("host=127.0.0.1,{directory} port={port}"),
        &format!("host={directory} port=7"),
        &format!("host=@{directory} port=7"),
        "host=no-such-host.invalid",
        "hostaddr=not.an.address",
        &format!("host=/{long}"),
        "host=127.0.0.1 port=70000",
        "host=127.0.0.1 port=0",
        &format!("host=no-such-host.invalid,127.0.0.1,{directory} port=1,{port},7"),
        &format!("host=127.0.0.1,127.0.0.1 port=70000,{port}"),
    ] {
        refused_like_the_reference(conninfo);
    }
}

#[test]
fn cn_106_a_port_that_is_no_number_stops_the_list() {
    let cluster = Cluster::builder(15).start();
    let error = refused_like_the_reference(&format!("host=127.0.0.1,127.0.0.1 port=1x,{}", cluster.port()));
    assert_eq!(error.attempts().len(), 1);
}

#[test]
fn cn_107_and_108_a_host_that_cannot_be_reached_passes_the_turn_on() {
    let closed = ReservedPort::reserve();
    let cluster = Cluster::builder(15).start();
    let (down, up) = (closed.number(), cluster.port());
    for conninfo in [
        format!("host=127.0.0.1,127.0.0.1 port={down},{up}"),
        format!("host=no-such-host.invalid,127.0.0.1 port={up}"),
        format!("hostaddr=not.an.address,127.0.0.1 port={up}"),
        format!("host=/nonexistent,127.0.0.1 port={up}"),
        format!("host=127.0.0.1,127.0.0.1 port=70000,{up}"),
        format!("host=/{},{} port={up}", "x".repeat(107), cluster.socket_dir().display()),
        // Where the first address is of another family, the second is the server's.
        format!("host=localhost port={up}"),
        // The name is not looked up.
        format!("host=no-such-host.invalid hostaddr=127.0.0.1 port={up}"),
    ] {
        admitted(&format!("{conninfo} user=postgres"));
    }
}

#[test]
fn cn_133_the_first_live_host_is_taken() {
    let first = Cluster::builder(15).start();
    let second = Cluster::builder(15).start();
    admitted(&format!("host=127.0.0.1,127.0.0.1 port={},{} user=postgres", first.port(), second.port()));
    assert!(first.log().contains("IDENTIFY_SYSTEM"));
    assert!(!second.log().contains("IDENTIFY_SYSTEM"));
}

#[test]
fn cn_110_a_refusal_stops_the_list() {
    let strict = Cluster::builder(15).hba("host replication all 127.0.0.1/32 reject").start();
    let open = Cluster::builder(15).start();
    let hosts = format!("host=127.0.0.1,127.0.0.1 port={},{}", strict.port(), open.port());
    let error = refused_like_the_reference(&format!("{hosts} user=postgres"));
    assert_eq!(error.attempts().len(), 1);
    assert!(!open.log().contains("IDENTIFY_SYSTEM"));
}

#[test]
fn cn_112_nonsense_stops_the_list() {
    let liar = ByteScriptServer::start([Step::Receive, Step::Send(message(b'Z', b"I"))]);
    let open = Cluster::builder(15).start();
    let error = refused(&format!(
        "host=127.0.0.1,127.0.0.1 port={},{} user=postgres sslmode=disable",
        liar.port(),
        open.port()
    ));
    assert_eq!(error.attempts().len(), 1);
    assert!(!open.log().contains("IDENTIFY_SYSTEM"));
}

#[test]
fn cn_115_and_116_a_host_that_does_not_answer_passes_the_turn_on_after_a_while() {
    // Connections are taken by the kernel; nobody ever reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().port();
    let alone = format!("host=127.0.0.1 port={silent} user=postgres connect_timeout=1 sslmode=disable");
    refused_like_the_reference(&alone);

    let cluster = Cluster::builder(15).start();
    let hosts = format!("host=127.0.0.1,127.0.0.1 port={silent},{}", cluster.port());
    admitted(&format!("{hosts} user=postgres connect_timeout=1"));
}

#[test]
fn cn_118_authentication_is_part_of_the_time_limit() {
    for script in [
        vec![Step::Receive, Step::Stall],
        vec![Step::Receive, offer(), Step::Stall],
        // More work than can be done in time.
        vec![Step::Receive, offer(), Step::Receive, server_first("more,s=c2FsdA==,i=10000000"), Step::Stall],
        vec![Step::Receive, Step::Send(authentication(0, b"")), Step::Stall],
        vec![Step::Receive, Step::Send(authentication(3, b"")), Step::Receive, Step::Stall],
    ] {
        let server = ByteScriptServer::start(script);
        let error = refused(&format!("{} password=p connect_timeout=1", server.conninfo()));
        assert!(matches!(error.attempts()[0].cause, AttemptError::Timeout), "{error}");
        assert!(error.to_string().ends_with(" failed: timeout expired"), "{error}");
        assert!(error.is_retryable());
    }
}

#[test]
fn cn_103_and_118_an_abstract_socket_with_a_full_queue_is_not_waited_for() {
    let name = format!("pgsiphon-full-{}", std::process::id());
    let address = rustix::net::SocketAddrUnix::new_abstract_name(format!("{name}/.s.PGSQL.5432").as_bytes());
    let address = address.unwrap();
    let socket = || {
        use rustix::net::{AddressFamily, SocketFlags, SocketType};
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()
    };
    let listener = socket();
    rustix::net::bind(&listener, &address).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let mut queued = Vec::new();
    loop {
        let client = socket();
        match rustix::net::connect(&client, &address) {
            Ok(()) => queued.push(client),
            Err(rustix::io::Errno::AGAIN) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let error = refused_like_the_reference(&format!("host=@{name} user=u"));
    assert!(error.to_string().contains("Resource temporarily unavailable"), "{error}");
}

#[test]
fn cn_103_an_abstract_socket_is_reached() {
    let name = format!("pgsiphon-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(format!("{name}/.s.PGSQL.5432")).unwrap();
    let server =
        ByteScriptServer::start_on_address(address, [Step::Receive, Step::Send(authentication(99, b""))]);
    let error = refused_like_the_reference(&format!("host=@{name} user=u"));
    assert_eq!(error.attempts()[0].place, Some(Place::Socket(format!("@{name}/.s.PGSQL.5432").into())));
    assert_eq!(server.received().len(), 2);
}
