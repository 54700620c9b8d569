//! A server that breaks the protocol, breaks off, or says too much: the backup fails with status 1 and the
//! reason, and nothing of it stays.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use rustix::process::Signal;
use support::lied_to::{LiedTo, assert_refused, assert_refused_in};
use support::scripted_backup_server::{
    Delivery, END, FILES, START, Session, Step, archive, data, error, honest_members, manifest, message,
    new_archive,
};
use support::tree::{assert_same_tree, snapshot};
use support::{DEADLINE, wait_for};

fn of_payloads(payloads: &[&[u8]]) -> Session {
    Session::of_payloads(payloads.iter().map(|&payload| payload.to_vec()).collect())
}

/// The honest backup with one message of the copy put in after so many.
fn with_payload(at: usize, payload: &[u8]) -> Session {
    let mut session = Session::honest();
    session.payloads.insert(at, payload.to_vec());
    session
}

#[test]
fn bb_102_names_of_archives_that_are_paths() {
    for name in ["/etc/base.tar", "../base.tar", "a/base.tar", "..", ".", "", ".base.tar", "a\\b.tar"] {
        let session = of_payloads(&[&new_archive(name, "")]);
        assert_refused(&session, &format!("invalid archive name: \"{name}\""));
    }
    let long = format!("{}.tar", "x".repeat(300));
    let reason = format!("could not create file \"DIR/out/{long}\": File name too long");
    assert_refused_in("-Ft", &of_payloads(&[&new_archive(&long, "")]), &reason);
    assert_refused_in(
        "-Fp",
        &of_payloads(&[&new_archive("base.tar.rar", "")]),
        "cannot parse archive \"base.tar.rar\"\npg_basebackup: detail: Only tar archives can be parsed.",
    );
}

#[test]
fn bb_103_bb_104_messages_out_of_turn_or_form() {
    assert_refused(&of_payloads(&[&data(b"x")]), "unexpected payload data");
    assert_refused(&with_payload(0, &data(b"x")), "unexpected payload data");
    let end = Session::honest().payloads.len();
    assert_refused(&with_payload(end, &new_archive("more.tar", "")), "archives must precede manifest");
    assert_refused(&with_payload(end, b"m"), "server sent more than one backup manifest");
    for (payload, reason) in [
        (&b""[..], "empty COPY message"),
        (b"x", "malformed COPY message of type 120, length 1"),
        (b"\0\0", "malformed COPY message of type 0, length 2"),
        (b"mx", "malformed COPY message of type 109, length 2"),
        (b"p\0\0\0\0\0\0\0", "malformed COPY message of type 112, length 8"),
        (b"p\0\0\0\0\0\0\0\0\0", "malformed COPY message of type 112, length 10"),
        (b"n", "malformed COPY message of type 110, length 1"),
        (b"nbase.tar\0", "malformed COPY message of type 110, length 10"),
        (b"nbase.tar\0\0x", "malformed COPY message of type 110, length 12"),
    ] {
        for at in [0, 3, end] {
            assert_refused(&with_payload(at, payload), reason);
        }
    }
}

#[test]
fn archives_that_are_too_few_or_too_many() {
    let manifest = manifest(&FILES, "", START, END);
    let main = archive(&honest_members());
    assert_refused(&of_payloads(&[]), "server sent no archive of the main data directory");
    assert_refused(
        &of_payloads(&[&new_archive("base.tar", ""), &data(&main)]),
        "server sent no backup manifest",
    );
    assert_refused(
        &of_payloads(&[b"m", &data(&manifest)]),
        "backup verification failed: \"backup_label\" is present in the manifest but was not received",
    );
    let unannounced = of_payloads(&[&new_archive("1.tar", "/srv/elsewhere")]);
    assert_refused(
        &unannounced,
        "server sent an archive for a tablespace that is not part of the backup: \"/srv/elsewhere\"",
    );
    let twice = [&new_archive("base.tar", "")[..], &data(&main)];
    let stderr = LiedTo::new().refuse(&of_payloads(&[twice, twice].concat()), Delivery::default(), &["-Ft"]);
    assert!(stderr.contains("base.tar"), "{stderr}");
}

/// Every tablespace that was announced has to come.
#[test]
fn an_announced_tablespace_that_does_not_come() {
    let main = archive(&honest_members());
    for format in ["-Fp", "-Ft"] {
        let lied_to = LiedTo::new();
        let location = lied_to.path().join("tablespace").display().to_string();
        let session = Session {
            tablespaces: vec![(16384, location.clone())],
            ..of_payloads(&[&new_archive("base.tar", ""), &data(&main)])
        };
        let outcome = lied_to.run(&session, Delivery::default(), &[format, "--no-manifest"]).run();
        let expected = "pg_basebackup: error: server sent no archive of the tablespace \"DIR/tablespace\"\n";
        assert!(lied_to.shown(&outcome).starts_with(expected), "{}", outcome.stderr);
        assert_eq!(outcome.code(), Some(1));
        assert!(!lied_to.path().join("out").exists());
    }
}

#[test]
fn bb_129_tablespaces_at_places_that_are_none() {
    for location in ["", "../precious", "pg_tblspc/16385", "pg_tblspc/../../precious", "base"] {
        let session = Session { tablespaces: vec![(16384, location.to_owned())], ..Session::honest() };
        assert_refused(&session, &format!("tablespace 16384 has an unsafe location: \"{location}\""));
    }
}

#[test]
fn bb_095_bb_098_errors_of_the_server() {
    let at_end = |steps: Vec<Step>| Session { instead_of_end: Some(steps), ..Session::honest() };
    let failed =
        || Step::Say(error("ERROR", "58P01", "could not read file \"base/1/2\": Input/output error"));
    let ready = || Step::Say(message(b'Z', b"I"));
    let reason = "backup failed: ERROR:  could not read file \"base/1/2\": Input/output error";
    for payloads in [0, 1, 4, Session::honest().payloads.len()] {
        let mut session = at_end(vec![failed(), ready()]);
        session.payloads.truncate(payloads);
        assert_refused(&session, reason);
    }
    assert_refused(&at_end(vec![Step::Say(message(b'c', b"")), failed(), ready()]), reason);
    // After the end position, and of the kind that says that pages are corrupt only in its text.
    let mut steps = Session::honest().steps();
    let copy_end =
        steps.iter().position(|step| matches!(step, Step::Say(message) if message[0] == b'c')).unwrap();
    let mut end = steps.split_off(copy_end);
    end.truncate(4);
    end.extend([failed(), ready()]);
    assert_refused(
        &at_end(end),
        "final receive failed: ERROR:  could not read file \"base/1/2\": Input/output error",
    );
}

/// A connection that is cut after any message of the session fails the backup, and says that it was cut.
#[test]
fn bb_066_bb_099_a_connection_that_is_cut_anywhere() {
    let session = Session::honest();
    let said = session.steps().iter().filter(|step| matches!(step, Step::Say(_))).count();
    // Without the last message there is all that matters, and yet no word that it went well.
    for cut_after in 0..said {
        let format = if cut_after % 2 == 0 { "-Fp" } else { "-Ft" };
        let delivery = Delivery { cut_after, ..Delivery::default() };
        let stderr = LiedTo::new().refuse(&session, delivery, &[format]);
        assert!(stderr.contains("server closed the connection unexpectedly"), "{cut_after}: {stderr}");
    }
}

/// However the bytes come, the backup is the same.
#[test]
fn bb_100_any_cut_of_the_stream_gives_the_same_backup() {
    let honest = Session::honest();
    let manifest = manifest(&FILES, "", START, END);
    let mut padded = archive(&honest_members());
    padded.resize(padded.len() + (1 << 20), 0);
    let large = of_payloads(&[&new_archive("base.tar", ""), &data(&padded), b"m", &data(&manifest)]);
    let mut small = Session::of_payloads(vec![new_archive("base.tar", "")]);
    small.payloads.extend(archive(&honest_members()).chunks(1).map(data));
    small.payloads.extend([vec![b'm'], data(b"")]);
    small.payloads.extend(manifest.chunks(1).map(data));
    let bytewise = Delivery { bytes_at_once: 1, ..Delivery::default() };
    let expected = LiedTo::new();
    expected.run(&honest, Delivery::default(), &[]).run().expect_success();
    for (session, delivery) in
        [(&honest, bytewise), (&large, Delivery::default()), (&small, Delivery::default())]
    {
        let lied_to = LiedTo::new();
        lied_to.run(session, delivery, &[]).run().expect_success();
        assert_same_tree(&expected.path().join("out"), &lied_to.path().join("out"), &[]);
    }
    let archives = LiedTo::new();
    archives.run(&honest, bytewise, &["-Ft"]).run().expect_success();
    let base = std::fs::read(archives.path().join("out/base.tar")).unwrap();
    assert!(base == archive(&honest_members()), "the archive differs from what was sent");
}

#[test]
fn cn_303_a_message_that_is_larger_than_any() {
    let payload = data(&b"x".repeat(17 << 20));
    let stderr = LiedTo::new().refuse(&with_payload(1, &payload), Delivery::default(), &[]);
    let expected = "could not read COPY data: lost synchronization with server: got message type \"d\", length \
                    17825797";
    assert!(stderr.contains(expected), "{stderr}");
}

/// What never ends can be ended, and takes no memory meanwhile.
#[test]
fn bb_249_cn_302_a_server_that_never_stops_talking() {
    const MOST_MEMORY: u64 = 64 << 20;
    let notice = |text: &str| message(b'N', format!("SNOTICE\0VNOTICE\0C00000\0M{text}\0\0").as_bytes());
    let parameter = message(b'S', format!("name\0{}\0", "x".repeat(60_000)).as_bytes());
    for chatter in [Step::SayOften(notice("and so on"), 50_000), Step::SayOften(parameter, 5_000)] {
        let lied_to = LiedTo::new();
        let before = snapshot(lied_to.path());
        let talk = vec![chatter, Step::SayOften(notice("for ever"), usize::MAX)];
        let session = Session { instead_of_end: Some(talk), ..Session::honest() };
        let mut running = lied_to.run(&session, Delivery::default(), &[]).start();
        wait_for("the program to have listened for long", DEADLINE, || {
            assert!(running.is_running(), "{}", running.stderr_so_far());
            running.stderr_so_far().contains("NOTICE:  for ever\n")
        });
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak * 1024 < MOST_MEMORY, "{peak} kB");
        running.signal(Signal::TERM);
        assert_eq!(running.finish().signal(), Some(Signal::TERM.as_raw()));
        assert_eq!(snapshot(lied_to.path()), before);
    }
}
