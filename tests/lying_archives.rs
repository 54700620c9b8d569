//! Archives and manifests that no PostgreSQL server sends: each is refused by name, nothing outside of the
//! destination is touched, and nothing of it stays.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;

use support::lied_to::{LiedTo, assert_refused, assert_refused_in};
use support::scripted_backup_server::{
    ContentFile, Delivery, END, FILES, Member, START, Session, archive, file_line, honest_members, manifest,
    seal,
};
use support::tree::snapshot;

/// An otherwise honest backup with these members at the end.
fn with_members(members: &[Member]) -> Session {
    Session::new(&[honest_members(), members.to_vec()].concat(), &manifest(&FILES, "", START, END))
}

#[test]
fn an_honest_backup_is_taken() {
    for format in ["-Fp", "-Ft"] {
        let lied_to = LiedTo::new();
        lied_to.run(&Session::honest(), Delivery::default(), &[format]).run().expect_success();
        let file = if format == "-Fp" { "base/1/1259" } else { "base.tar" };
        assert!(lied_to.path().join("out").join(file).exists());
        assert!(lied_to.path().join("out/backup_manifest").exists());
    }
}

#[test]
fn bb_125_names_that_lead_out() {
    for name in ["/etc/passwd", "../precious/file", "base/../../precious/file", "..", "base/..", "/"] {
        let reason = format!("tar member has unsafe path name: \"{name}\"");
        assert_refused(&with_members(&[Member::file(name, b"bad")]), &reason);
        assert_refused(&with_members(&[Member::symlink(name, "x")]), &reason);
    }
    assert_refused(
        &with_members(&[Member::directory("../precious")]),
        "tar member has unsafe path name: \"../precious/\"",
    );
    assert_refused(&with_members(&[Member::file("", b"bad")]), "tar member has empty name");
}

/// A link that the server has sent leads nowhere, whatever it points at.
#[test]
fn bb_133_members_below_a_link() {
    let lied_to = LiedTo::new();
    let precious = lied_to.path().join("precious");
    let link = |name: &str| Member::symlink(name, precious.to_str().unwrap());
    for (members, reason) in [
        (
            vec![link("link"), Member::file("link/file", b"bad")],
            "could not open directory \"DIR/out/link\": Not a directory",
        ),
        (
            vec![link("link"), Member::directory("link/directory")],
            "could not open directory \"DIR/out/link\": Not a directory",
        ),
        (
            vec![link("link"), Member::directory("link")],
            "could not create directory \"DIR/out/link\": File exists",
        ),
        (
            vec![link("pg_tblspc"), Member::directory("pg_tblspc")],
            "could not open directory \"DIR/out/pg_tblspc\": Not a directory",
        ),
        (
            vec![link("file"), Member::file("file", b"bad")],
            "could not create file \"DIR/out/file\": File exists",
        ),
        (
            vec![link("backup_manifest.tmp")],
            "could not create file \"DIR/out/backup_manifest.tmp\": File exists",
        ),
    ] {
        let stderr = lied_to.refuse(&with_members(&members), Delivery::default(), &[]);
        let expected =
            format!("pg_basebackup: error: {reason}\npg_basebackup: removing data directory \"DIR/out\"\n");
        assert_eq!(stderr, expected);
    }
}

#[test]
fn bb_133_relative_links_that_lead_out() {
    for target in ["..", "../precious", "base/../../precious"] {
        let reason = format!("link target has unsafe path name: \"{target}\"");
        assert_refused_in("-Fp", &with_members(&[Member::symlink("link", target)]), &reason);
    }
}

#[test]
fn bb_130_bb_132_what_comes_twice() {
    for (members, reason) in [
        (
            vec![Member::file("PG_VERSION", b"16\n")],
            "could not create file \"DIR/out/PG_VERSION\": File exists",
        ),
        (vec![Member::directory("base")], "could not create directory \"DIR/out/base\": File exists"),
        (vec![Member::file("base", b"")], "could not create file \"DIR/out/base\": File exists"),
        (
            vec![Member::directory("PG_VERSION")],
            "could not create directory \"DIR/out/PG_VERSION\": File exists",
        ),
        (
            vec![Member::file("PG_VERSION/x", b"")],
            "could not open directory \"DIR/out/PG_VERSION\": Not a directory",
        ),
        (
            vec![Member::file("missing/x", b"")],
            "could not open directory \"DIR/out/missing\": No such file or directory",
        ),
    ] {
        assert_refused_in("-Fp", &with_members(&members), reason);
    }
    assert_refused_in(
        "-Ft",
        &with_members(&[Member::file("PG_VERSION", b"16\n")]),
        "backup verification failed: \"PG_VERSION\" was received more than once",
    );
}

/// Hard links, devices and pipes are skipped with their data; bits that lend rights are dropped.
#[test]
fn bb_126_what_no_data_directory_has() {
    let lied_to = LiedTo::new();
    let odd = b"13467".map(|typeflag| Member {
        typeflag,
        link: b"PG_VERSION".to_vec(),
        ..Member::file(&format!("odd{}", char::from(typeflag)), if typeflag == b'7' { b"data" } else { b"" })
    });
    let mut members = honest_members();
    members.splice(0..0, odd);
    for member in &mut members {
        member.mode |= 0o7000;
    }
    let session = Session::new(&members, &manifest(&FILES, "", START, END));
    lied_to.run(&session, Delivery::default(), &[]).run().expect_success();
    let backup = snapshot(&lied_to.path().join("out"));
    assert!(backup.keys().all(|path| !path.to_str().unwrap().starts_with("odd")), "{backup:?}");
    assert!(backup.values().all(|entry| entry.mode & 0o7000 == 0), "{backup:?}");

    // A manifest that lists one of them as a file lies.
    let listed: Vec<ContentFile> = [&FILES[..], &[("odd7", b"data")]].concat();
    let session = Session::new(&members, &manifest(&listed, "", START, END));
    let reason = "backup verification failed: \"odd7\" is present in the manifest but was not received";
    assert_refused(&session, reason);
}

#[test]
fn bb_121_bb_122_bb_124_headers_that_are_none() {
    let broken = |change: fn(&mut Vec<u8>)| {
        let mut bytes = Member::file("x", b"data").to_bytes();
        change(&mut bytes);
        let archive = [archive(&honest_members())[..].strip_suffix(&[0; 1024]).unwrap(), &bytes].concat();
        Session::of_archive(&archive, &manifest(&FILES, "", START, END))
    };
    let no_archive = "input file does not appear to be a valid tar archive";
    assert_refused(&broken(|bytes| bytes[0] ^= 1), no_archive);
    assert_refused(&broken(|bytes| bytes[150] ^= 1), no_archive);
    assert_refused(&broken(|bytes| bytes.fill(0xff)), no_archive);

    let sized =
        |field: &[u8; 12]| with_members(&[Member { size_field: Some(*field), ..Member::file("x", b"") }]);
    for field in [
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\0\0\0\x80\0\0\0\0\0\0\0",
        b"\x80\x01\0\0\0\0\0\0\0\0\0\0",
        b"-0000000001 ",
        b"not a number",
    ] {
        for format in ["-Fp", "-Ft"] {
            let stderr = LiedTo::new().refuse(&sized(field), Delivery::default(), &[format]);
            assert!(stderr.contains("\"x\""), "{stderr}");
        }
    }
    // The largest size that there can be is believed, and the data is missing.
    assert_refused(
        &sized(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
        "COPY stream ended before last file was finished",
    );
    assert_refused(
        &with_members(&[Member { typeflag: b'x', ..Member::file("x", b"") }]),
        "pax extensions to tar format are not supported",
    );
}

#[test]
fn bb_128_an_archive_that_ends_early() {
    let whole = archive(&honest_members());
    let manifest = manifest(&FILES, "", START, END);
    for length in [1, 511, 513, 700, whole.len() - 1024 - 513, whole.len() - 1024 - 8000] {
        let session = Session::of_archive(&whole[..length], &manifest);
        assert_refused(&session, "COPY stream ended before last file was finished");
    }
    // A file that is missing altogether is missed by the manifest.
    let session = Session::of_archive(&[0; 1024], &manifest);
    let reason =
        "backup verification failed: \"backup_label\" is present in the manifest but was not received";
    assert_refused(&session, reason);
}

#[test]
fn bb_222_to_227_manifests_that_describe_something_else() {
    let of = |files: &[ContentFile]| Session::new(&honest_members(), &manifest(files, "", START, END));
    let changed = |index: usize, file: ContentFile| {
        let mut files = FILES;
        files[index] = file;
        of(&files)
    };
    for (session, difference) in [
        (
            of(&[&FILES[..], &[("base/1/missing", b"x")]].concat()),
            "\"base/1/missing\" is present in the manifest but was not received",
        ),
        (of(&FILES[..4]), "\"global/pg_control\" was received but is not present in the manifest"),
        (
            changed(1, ("PG_VERSION", b"15")),
            "\"PG_VERSION\" has size 3 as received but size 2 in the manifest",
        ),
        (changed(1, ("PG_VERSION", b"16\n")), "checksum mismatch for file \"PG_VERSION\""),
        (
            changed(1, ("PG_VERSIOM", b"15\n")),
            "\"PG_VERSIOM\" is present in the manifest but was not received",
        ),
        (of(&[&FILES[..], &FILES[1..2]].concat()), "duplicate path name in backup manifest: \"PG_VERSION\""),
    ] {
        assert_refused(&session, &format!("backup verification failed: {difference}"));
    }
}

/// The manifest itself would take its place, and nothing of that name would be as the manifest says.
#[test]
fn bb_222_a_manifest_that_lists_itself() {
    let itself: ContentFile = ("backup_manifest", b"something else");
    let mut members = honest_members();
    members.insert(0, Member::file(itself.0, itself.1));
    let session = Session::new(&members, &manifest(&[&FILES[..], &[itself]].concat(), "", START, END));
    assert_refused(
        &session,
        "backup verification failed: \"backup_manifest\" is present in the manifest itself",
    );
    let session = Session::new(&members, &manifest(&FILES, "", START, END));
    let reason =
        "backup verification failed: \"backup_manifest\" was received but is not present in the manifest";
    assert_refused(&session, reason);
}

#[test]
fn bb_210_bb_232_bb_233_manifests_that_are_none() {
    let good = manifest(&FILES, "", START, END);
    let with = |manifest: &[u8]| Session::new(&honest_members(), manifest);
    let mut flipped = good.clone();
    flipped[60] ^= 1;
    let refused = |manifest: &[u8]| {
        let stderr = LiedTo::new().refuse(&with(manifest), Delivery::default(), &[]);
        assert!(stderr.contains("manifest"), "{stderr}");
    };
    refused(&flipped);
    refused(&good[..good.len() - 1]);
    refused(&good[..good.len() / 2]);
    refused(&[&good[..], b"\n"].concat());
    refused(b"");
    refused(b"not a manifest\n");
    refused(&b"x".repeat(200_000));
    let text = String::from_utf8(good).unwrap();
    let (body, _) = text.split_once("\"Manifest-Checksum\"").unwrap();
    assert_refused(
        &with(format!("{body}\"Manifest-Checksum\": \"{}\"}}\n", "0".repeat(64)).as_bytes()),
        "manifest checksum mismatch",
    );
    // Sealed as it should be, and still not to be had.
    for (from, to, reason) in [
        ("\"Size\": 3,", "\"Size\": -3,", "could not parse backup manifest: file size is not an integer"),
        ("CRC32C", "CRC64", "unrecognized checksum algorithm: \"CRC64\""),
        ("839206e3", "xyz", "invalid checksum for file \"PG_VERSION\": \"xyz\""),
    ] {
        let line = file_line("PG_VERSION", 3, "839206e3").replace(from, to);
        let body = body.replacen("\"Files\": [\n", &format!("\"Files\": [\n{line},\n"), 1);
        assert_refused(&with(&seal(&body)), reason);
    }
}

#[test]
fn bb_205_bb_211_a_manifest_of_another_backup() {
    let foreign = manifest(&FILES, "\"System-Identifier\": 7000000000000000002,\n", START, END);
    let session = Session { version: "17.5", ..Session::new(&honest_members(), &foreign) };
    assert_refused(
        &session,
        "manifest system identifier is 7000000000000000002, but the server has 7000000000000000001",
    );
    for (start, end) in [("0/1000028", END), (START, "0/2000101")] {
        let session = Session::new(&honest_members(), &manifest(&FILES, "", start, end));
        let reason =
            format!("manifest describes WAL from {start} to {end}, but the backup needs {START} to {END}");
        assert_refused(&session, &reason);
    }
    let text = String::from_utf8(manifest(&FILES, "", START, END)).unwrap();
    let (body, _) = text.split_once("\"Manifest-Checksum\"").unwrap();
    let with_body = |body: &str| Session::new(&honest_members(), &seal(body));
    assert_refused(
        &with_body(&body.replace("\"Timeline\": 1", "\"Timeline\": 2")),
        "manifest describes WAL of timeline 2, but the backup needs timeline 1",
    );
    let (before, rest) = body.split_once("{ \"Timeline\"").unwrap();
    let (_, after) = rest.split_once("}\n").unwrap();
    assert_refused(
        &with_body(&format!("{before}{after}")),
        "manifest does not say which WAL the backup needs",
    );
}

/// Not even the owner can look into such a directory, and yet it has to go.
#[test]
fn bb_241_a_directory_that_nobody_may_read() {
    let lied_to = LiedTo::new();
    let locked = Member { mode: 0, ..Member::directory("locked") };
    let mut members = honest_members();
    members.push(locked);
    members.push(Member::file("locked/file", b"bad"));
    let session = Session::new(&members, &manifest(&FILES, "", START, END));
    let mine = lied_to.path().join("mine");
    fs::create_dir(&mine).unwrap();
    support::ServerAccount::current().own(&mine);
    let out = mine.join("out");
    let outcome =
        lied_to.run(&session, Delivery::default(), &["-D", out.to_str().unwrap()]).by_server_account().run();
    let expected = format!(
        "pg_basebackup: error: backup verification failed: \"locked/file\" was received but is not present in \
         the manifest\npg_basebackup: removing data directory \"{}\"\n",
        out.display()
    );
    assert_eq!((outcome.code(), outcome.stderr), (Some(1), expected));
    assert!(!out.exists());
}
