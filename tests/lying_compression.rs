//! Backups that are verified in every form: what differs from the manifest fails the run, also where the archives
//! come compressed, are compressed here, or go to standard output.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;

use pgsiphon::compress::{CompressionSpec, Encoder, Method};
use support::base_backup::file_names;
use support::lied_to::{LiedTo, assert_refused_in};
use support::scripted_backup_server::{
    Delivery, END, FILES, Member, START, Session, archive, honest_members, manifest,
};

fn compressed(method: Method, data: &[u8]) -> Vec<u8> {
    let (mut encoder, mut output) = (Encoder::new(&CompressionSpec::of(method)).unwrap(), Vec::new());
    encoder.push(data, &mut output).unwrap();
    encoder.finish(&mut output).unwrap();
    output
}

/// A backup whose archive the server compressed.
fn session(method: Method, members: &[Member]) -> Session {
    let name = format!("base.tar{}", method.suffix());
    let archive = compressed(method, &archive(members));
    Session::of_archive_named(&name, &archive, &manifest(&FILES, "", START, END))
}

/// The members of an honest backup, one of them with another byte.
fn changed_members() -> Vec<Member> {
    let mut members = honest_members();
    let file = members.iter_mut().find(|member| member.to_bytes().starts_with(b"PG_VERSION")).unwrap();
    *file = Member::file("PG_VERSION", b"16\n");
    members
}

#[test]
fn bb_148_and_149_honest_compressed_archives_are_taken() {
    for method in Method::ALL {
        for format in ["-Fp", "-Ft"] {
            let lied_to = LiedTo::new();
            let session = session(method, &honest_members());
            lied_to.run(&session, Delivery::default(), &[format]).run().expect_success();
            let out = lied_to.path().join("out");
            if format == "-Fp" {
                assert_eq!(fs::read(out.join("base/1/1259")).unwrap(), [7; 3000]);
            } else {
                let stored = fs::read(out.join(format!("base.tar{}", method.suffix()))).unwrap();
                assert!(stored == compressed(method, &archive(&honest_members())));
            }
        }
    }
}

#[test]
fn bb_155_and_227_a_changed_byte_is_found_in_every_form() {
    const REASON: &str = "backup verification failed: checksum mismatch for file \"PG_VERSION\"";
    for method in Method::ALL {
        for format in ["-Fp", "-Ft"] {
            assert_refused_in(format, &session(method, &changed_members()), REASON);
        }
    }
    let plain = Session::new(&changed_members(), &manifest(&FILES, "", START, END));
    for options in [&["-z"][..], &["-Zlz4"], &["-Zzstd"], &["-R"], &["-R", "-z"]] {
        let options = [&["-Ft"], options].concat();
        let stderr = LiedTo::new().refuse(&plain, Delivery::default(), &options);
        assert!(stderr.starts_with(&format!("pg_basebackup: error: {REASON}\n")), "{options:?}: {stderr}");
    }
    for options in [&["-D", "-"][..], &["-D", "-", "-z"]] {
        let lied_to = LiedTo::new();
        let outcome = lied_to.run(&plain, Delivery::default(), &[&["-Ft"], options].concat()).run();
        assert_eq!(outcome.code(), Some(1));
        assert_eq!(outcome.stderr, format!("pg_basebackup: error: {REASON}\n"));
        assert!(!outcome.stdout.ends_with(&[0; 1024]), "what is refused must not look complete");
    }
}

#[test]
fn bb_155_compressed_archives_that_are_damaged_or_end_too_early() {
    let manifest = manifest(&FILES, "", START, END);
    for method in Method::ALL {
        let name = format!("base.tar{}", method.suffix());
        let whole = compressed(method, &archive(&honest_members()));
        let surplus = [&whole[..], b"surplus"].concat();
        for (what, bytes) in [
            ("short", &whole[..whole.len() - 3]),
            ("surplus", &surplus),
            ("empty", b""),
            ("other", b"no such format"),
        ] {
            for format in ["-Fp", "-Ft"] {
                let session = Session::of_archive_named(&name, bytes, &manifest);
                let stderr = LiedTo::new().refuse(&session, Delivery::default(), &[format]);
                let start = "pg_basebackup: error: could not decompress data: ";
                assert!(stderr.starts_with(start), "{name} {what} {format}: {stderr}");
            }
        }
    }
}

#[test]
fn bb_151_an_archive_that_is_changed_stays_what_its_name_says() {
    let honest = session(Method::Gzip, &honest_members());
    let asked = LiedTo::new();
    asked.run(&honest, Delivery::default(), &["-Ft", "-R", "-Zserver-gzip"]).run().expect_success();
    assert!(fs::read(asked.path().join("out/base.tar.gz")).unwrap().starts_with(&[0x1f, 0x8b]));
    for option in ["-Znone", "-Zgzip", "-Zserver-zstd"] {
        let stderr = LiedTo::new().refuse(&honest, Delivery::default(), &["-Ft", "-R", option]);
        let reason = "server sent archive \"base.tar.gz\" in another compression than it was asked for";
        assert!(stderr.starts_with(&format!("pg_basebackup: error: {reason}\n")), "{option}: {stderr}");
    }
    LiedTo::new().run(&honest, Delivery::default(), &["-Fp", "-R"]).run().expect_success();
}

#[test]
fn bb_105_archives_of_another_kind_are_kept_as_they_are_or_refused() {
    let manifest = manifest(&FILES, "", START, END);
    let session = Session::of_archive_named("base.tar.bz2", b"something else", &manifest);
    for format in ["-Fp", "-Ft"] {
        let stderr = LiedTo::new().refuse(&session, Delivery::default(), &[format]);
        let expected = "pg_basebackup: error: cannot parse archive \"base.tar.bz2\"\n\
                        pg_basebackup: detail: Only tar archives can be parsed.\n";
        assert!(stderr.starts_with(expected), "{format}: {stderr}");
    }
    let mut without_manifest = session;
    let manifest_at = without_manifest.payloads.iter().position(|payload| payload == b"m").unwrap();
    without_manifest.payloads.truncate(manifest_at);
    let lied_to = LiedTo::new();
    lied_to.run(&without_manifest, Delivery::default(), &["-Ft", "--no-manifest"]).run().expect_success();
    let out = lied_to.path().join("out");
    assert_eq!(file_names(&out), ["base.tar.bz2"]);
    assert_eq!(fs::read(out.join("base.tar.bz2")).unwrap(), b"something else");
}
