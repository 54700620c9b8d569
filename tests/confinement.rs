//! Whatever a server sends, and in whatever way it comes, nothing outside of the backup's directories is made, changed
//! or removed, and memory stays within bounds.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use pgsiphon::compress::{CompressionSpec, Encoder, Method};
use rustix::process::Signal;
use support::base_backup::{BackupProgram, file_names};
use support::lied_to::LiedTo;
use support::scripted_backup_server::{
    Delivery, END, FILES, Member, START, SYSTEM_IDENTIFIER, ScriptedBackupServer, Session, Step, answered,
    archive, data, honest_members, manifest, new_archive, rows, seal, welcome,
};
use support::tree::{Kind, assert_same_tree, snapshot};
use support::{DEADLINE, Run, SmallDisk, wait_for};

/// A way for an archive to come and to be kept.
struct Way {
    arguments: &'static [&'static str],
    server: Server,
    /// Whether the members become files here.
    unpacks: bool,
}

#[derive(Clone, Copy)]
enum Server {
    /// One stream, and the archive in it compressed or not.
    Tagged(Option<Method>),
    /// The same without a manifest.
    WithoutManifest,
    /// A copy for each archive, and one for the manifest.
    Of14,
    /// A copy for each archive, and no manifest.
    Of12,
}

static WAYS: [Way; 13] = [
    way(&["-Fp"], Server::Tagged(None), true),
    way(&["-Fp", "-R"], Server::Tagged(None), true),
    way(&["-Fp"], Server::Tagged(Some(Method::Gzip)), true),
    way(&["-Fp"], Server::Tagged(Some(Method::Zstd)), true),
    way(&["-Fp"], Server::Of14, true),
    way(&["-Fp"], Server::Of12, true),
    way(&["-Fp", "--no-manifest"], Server::WithoutManifest, true),
    way(&["-Ft"], Server::Tagged(None), false),
    way(&["-Ft", "-R"], Server::Tagged(None), false),
    way(&["-Ft", "-z"], Server::Tagged(None), false),
    way(&["-Ft"], Server::Tagged(Some(Method::Lz4)), false),
    way(&["-Ft", "-R", "-Zserver-zstd"], Server::Tagged(Some(Method::Zstd)), false),
    way(&["-Ft"], Server::Of14, false),
];

const fn way(arguments: &'static [&'static str], server: Server, unpacks: bool) -> Way {
    Way { arguments, server, unpacks }
}

impl Way {
    /// A backup whose main archive is this one, without its end.
    fn session(&self, members: &[u8]) -> Session {
        let manifest = manifest(&FILES, "", START, END);
        let whole = [members, &[0; 1024]].concat();
        match self.server {
            Server::Tagged(None) => Session::of_archive(&whole, &manifest),
            Server::Tagged(Some(method)) => {
                let name = format!("base.tar{}", method.suffix());
                Session::of_archive_named(&name, &compressed(&CompressionSpec::of(method), &whole), &manifest)
            }
            Server::WithoutManifest => Session::of_payloads(vec![new_archive("base.tar", ""), data(&whole)]),
            Server::Of14 => Session {
                payloads: members.chunks(1500).map(<[u8]>::to_vec).collect(),
                ..Session::honest_of_14()
            },
            Server::Of12 => Session {
                payloads: members.chunks(1500).map(<[u8]>::to_vec).collect(),
                ..Session::honest_of_12()
            },
        }
    }
}

fn compressed(spec: &CompressionSpec, data: &[u8]) -> Vec<u8> {
    let (mut encoder, mut output) = (Encoder::new(spec).unwrap(), Vec::new());
    encoder.push(data, &mut output).unwrap();
    encoder.finish(&mut output).unwrap();
    output
}

/// The bytes of an honest archive with these behind its members.
fn with_bytes(surplus: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = honest_members().iter().flat_map(Member::to_bytes).collect();
    bytes.extend_from_slice(surplus);
    bytes
}

fn with_members(members: &[Member]) -> Vec<u8> {
    with_bytes(&members.iter().flat_map(Member::to_bytes).collect::<Vec<u8>>())
}

fn of_type(typeflag: u8, name: &str, data: &[u8]) -> Member {
    Member { typeflag, link: b"PG_VERSION".to_vec(), ..Member::file(name, data) }
}

/// A member whose header was changed behind the back of its checksum, or with it.
fn changed(sealed: bool, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Member::file("base/1/x", b"data").to_bytes();
    change(&mut bytes);
    if sealed {
        bytes[148..156].fill(b' ');
        let sum: u32 = bytes[..512].iter().map(|&byte| u32::from(byte)).sum();
        bytes[148..156].copy_from_slice(format!("{sum:07o} ").as_bytes());
    }
    bytes
}

/// Some of the ways for each case, so that all cases together go all ways.
fn some_ways(case: usize) -> impl Iterator<Item = &'static Way> {
    WAYS.iter().skip(case % 3).step_by(3)
}

/// The end of what both formats print: nothing of the backup stays.
const REMOVED: &str = "\npg_basebackup: removing data directory \"DIR/out\"\n";

#[test]
fn bb_121_to_128_no_way_takes_a_member_that_could_be_read_as_another() {
    let sized = |field: &[u8; 12]| {
        with_members(&[Member { size_field: Some(*field), ..Member::file("base/1/x", b"") }])
    };
    let unsafe_name = |name| format!("tar member has unsafe path name: \"{name}\"");
    let no_archive = || "input file does not appear to be a valid tar archive".to_owned();
    let no_gnu = || "GNU extensions to tar format are not supported".to_owned();
    let no_pax = || "pax extensions to tar format are not supported".to_owned();
    let invalid_size = |name| format!("tar member \"{name}\" has an invalid size");
    let smuggled = Member::file("../precious/file", b"bad").to_bytes();
    let lies = [
        (with_members(&[Member::file("/etc/passwd", b"bad")]), unsafe_name("/etc/passwd")),
        (
            with_members(&[Member::file("base/../../precious/file", b"")]),
            unsafe_name("base/../../precious/file"),
        ),
        (with_members(&[Member::directory("../precious")]), unsafe_name("../precious/")),
        (with_members(&[Member::symlink("..", "x")]), unsafe_name("..")),
        (with_members(&[of_type(b'1', "../precious/hard", b"")]), unsafe_name("../precious/hard")),
        (with_members(&[of_type(b'7', "/contiguous", b"bad")]), unsafe_name("/contiguous")),
        (with_members(&[Member::file("\0base", b"")]), "tar member has empty name".to_owned()),
        (
            with_members(&[of_type(b'L', "././@LongLink", b"../precious/file"), Member::file("x", b"")]),
            no_gnu(),
        ),
        (with_members(&[of_type(b'K', "././@LongLink", b"/etc"), Member::symlink("x", "y")]), no_gnu()),
        (with_members(&[of_type(b'x', "x", b"25 path=../precious/file\n")]), no_pax()),
        (with_members(&[of_type(b'g', "x", b"")]), no_pax()),
        (with_members(&[of_type(b'X', "x", b"")]), no_pax()),
        (with_members(&[of_type(b'1', "hard", &smuggled)]), invalid_size("hard")),
        (with_members(&[of_type(b'3', "device", &smuggled)]), invalid_size("device")),
        (with_members(&[of_type(b'5', "directory/", &smuggled)]), invalid_size("directory/")),
        (sized(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), invalid_size("base/1/x")),
        (sized(b"\x80\0\0\0\x80\0\0\0\0\0\0\0"), invalid_size("base/1/x")),
        (sized(b"-0000000001 "), invalid_size("base/1/x")),
        (with_bytes(&changed(false, |bytes| bytes[0] ^= 1)), no_archive()),
        (with_bytes(&changed(true, |bytes| bytes[257] ^= 1)), no_archive()),
        (
            with_bytes(&changed(true, |bytes| bytes[345..347].copy_from_slice(b".."))),
            "prefixes of names in tar format are not supported: \"base/1/x\"".to_owned(),
        ),
        (
            with_bytes(&Member::file("base/1/x", &[0; 5000]).to_bytes()[..3000]),
            "COPY stream ended before last file was finished".to_owned(),
        ),
    ];
    for (number, (archive, reason)) in lies.iter().enumerate() {
        for way in some_ways(number) {
            let session = way.session(archive);
            let stderr = LiedTo::new().refuse(&session, Delivery::default(), way.arguments);
            assert_eq!(stderr, format!("pg_basebackup: error: {reason}{REMOVED}"), "{:?}", way.arguments);
        }
    }
}

/// In the way of files are links, files where directories stand and the reverse, and the program's own names. What is
/// only kept as an archive makes no file but that.
#[test]
fn bb_130_to_133_no_way_puts_a_member_in_the_place_of_another() {
    // Each gets the path of something precious.
    let cases: [fn(&str) -> Vec<Member>; 9] = [
        |to| vec![Member::symlink("link", to), Member::file("link/file", b"bad")],
        |to| vec![Member::symlink("link", to), Member::directory("link/directory")],
        |to| vec![Member::symlink("pg_tblspc", to), Member::directory("pg_tblspc")],
        |to| vec![Member::symlink("link", to), Member::file("link", b"bad")],
        |to| vec![Member::symlink("link", to), Member::symlink("link/link", "x")],
        |_| vec![Member::file("base", b"bad")],
        |_| vec![Member::directory("PG_VERSION")],
        |_| vec![Member::file("PG_VERSION", b"15\n")],
        |to| vec![Member::symlink("base", to)],
    ];
    for (number, case) in cases.into_iter().enumerate() {
        for way in some_ways(number) {
            let lied_to = LiedTo::new();
            let precious = lied_to.path().join("precious");
            let session = way.session(&with_members(&case(precious.to_str().unwrap())));
            if way.unpacks {
                let stderr = lied_to.refuse(&session, Delivery::default(), way.arguments);
                assert!(stderr.ends_with(REMOVED), "{stderr}");
                assert!(stderr.contains("File exists") || stderr.contains("Not a directory"), "{stderr}");
            } else {
                let outcome = lied_to.outcome(&session, Delivery::default(), way.arguments);
                let names = fs::read_dir(lied_to.path()).unwrap().count();
                assert_eq!(names, 1 + usize::from(outcome.code() == Some(0)), "{}", outcome.stderr);
            }
        }
    }
}

#[test]
fn bb_126_no_way_makes_devices_pipes_sockets_hard_links_or_lends_rights() {
    let mut members: Vec<Member> =
        b"1346sSDMV".map(|typeflag| of_type(typeflag, &format!("odd{}", char::from(typeflag)), b"")).into();
    members.push(of_type(b'7', "odd7", b"data"));
    members.extend(honest_members());
    for member in &mut members {
        member.mode |= 0o7000;
    }
    let bytes: Vec<u8> = members.iter().flat_map(Member::to_bytes).collect();
    for way in WAYS.iter().filter(|way| way.unpacks) {
        let lied_to = LiedTo::new();
        lied_to.outcome(&way.session(&bytes), Delivery::default(), way.arguments).expect_success();
        for (path, entry) in snapshot(&lied_to.path().join("out")) {
            assert!(!path.to_str().unwrap().starts_with("odd"), "{path:?}");
            assert!(matches!(entry.kind, Kind::File { .. } | Kind::Directory), "{path:?} {entry:?}");
            assert_eq!(entry.mode & 0o7000, 0, "{path:?}");
        }
    }
}

/// The places that a server may name for its tablespaces are those that the original takes, too.
#[test]
fn bb_135_bb_136_a_tablespace_needs_a_place_that_is_empty() {
    for program in [BackupProgram::ours, || BackupProgram::real_of(18)] {
        for (location, arguments, reason) in [
            ("/", &[][..], "directory \"/\" exists but is not empty"),
            ("/etc", &[], "directory \"/etc\" exists but is not empty"),
            ("DIR/precious", &[], "directory \"DIR/precious\" exists but is not empty"),
            ("DIR/link", &[], "directory \"DIR/link\" exists but is not empty"),
            (
                "/srv/ts",
                &["-T", "/srv/ts=DIR/precious"],
                "directory \"DIR/precious\" exists but is not empty",
            ),
            ("DIR/precious/file", &[], "could not access directory \"DIR/precious/file\": Not a directory"),
        ] {
            let lied_to = LiedTo::with(program());
            symlink("precious", lied_to.path().join("link")).unwrap();
            let location = location.replace("DIR", lied_to.path().to_str().unwrap());
            let session = Session { tablespaces: vec![(16384, location.clone())], ..Session::honest() };
            let stderr = lied_to.refuse(&session, Delivery::default(), arguments);
            let expected = format!("pg_basebackup: error: {reason}{REMOVED}");
            assert_eq!(stderr, expected, "{location}");
        }
    }
}

/// A tablespace that is announced at a place that the backup itself takes, or two at one place.
#[test]
fn bb_129_bb_136_tablespaces_in_the_way_of_the_backup_or_of_each_other() {
    let whole = |path: &str| [new_archive("16384.tar", path), data(&archive(&[]))];
    for (locations, reason) in [
        (&[(16384, "DIR/out/base")][..], "could not create directory \"DIR/out/base\": File exists"),
        (&[(16384, "DIR/ts"), (16385, "DIR/ts")], "an archive that is not part of the backup: \"16384.tar\""),
        (
            &[(16384, "DIR/ts"), (16384, "DIR/ts2")],
            "an archive that is not part of the backup: \"16384.tar\"",
        ),
        (&[(16384, "pg_tblspc/16384"), (16384, "pg_tblspc/16384")], "File exists"),
        (&[(16384, "pg_tblspc/16385")], "tablespace 16384 has an unsafe location: \"pg_tblspc/16385\""),
        (&[(16384, "pg_tblspc/16384/..")], "tablespace 16384 has an unsafe location"),
        (&[(16384, "DIR/precious\0/x")], "could not access directory"),
    ] {
        let lied_to = LiedTo::new();
        let place = lied_to.path().to_str().unwrap();
        let mut session = Session::honest();
        let mut payloads = Vec::new();
        for (oid, location) in locations {
            let location = location.replace("DIR", place);
            payloads.extend(whole(&location));
            session.tablespaces.push((*oid, location));
        }
        payloads.append(&mut session.payloads);
        session.payloads = payloads;
        let outcome = lied_to.outcome(&session, Delivery::default(), &["-Fp"]).expect_code(1);
        assert!(lied_to.shown(&outcome).contains(reason), "{locations:?}: {}", outcome.stderr);
        assert!(!lied_to.path().join("out").exists(), "{}", outcome.stderr);
    }
}

#[test]
fn bb_102_names_and_places_that_are_too_long_are_not_repeated_at_length() {
    const LONG: usize = 1 << 20;
    let long = "x".repeat(LONG);
    let named = Session::of_payloads(vec![new_archive(&long, "")]);
    let placed = Session::of_payloads(vec![new_archive("base.tar", &long)]);
    let short = Session { tablespaces: vec![(16384, format!("/{long}"))], ..Session::honest() };
    let length = LONG + 3;
    for (session, reason) in [
        (named, format!("malformed COPY message of type 110, length {length}")),
        (placed, format!("malformed COPY message of type 110, length {}", length + "base.tar".len())),
        (short, format!("could not parse tablespace location \"/{}…\"", "x".repeat(199))),
    ] {
        for format in ["-Fp", "-Ft"] {
            let stderr = LiedTo::new().refuse(&session, Delivery::default(), &[format]);
            assert_eq!(stderr, format!("pg_basebackup: error: {reason}{REMOVED}"));
        }
    }
}

/// Whoever may write into the directory around the backup can move it away, and put a link into its place.
#[test]
fn bb_247_a_directory_that_is_replaced_meanwhile_stays_unharmed() {
    let mut session = Session::honest();
    session.payloads.truncate(7);
    // It waits for the client to speak, which does not.
    session.instead_of_end = Some(vec![Step::Await]);
    for format in ["-Fp", "-Ft"] {
        for exists in [false, true] {
            let lied_to = LiedTo::new();
            let [out, moved, precious] = ["out", "moved", "precious"].map(|name| lied_to.path().join(name));
            if exists {
                fs::create_dir(&out).unwrap();
            }
            let before = snapshot(&precious);
            let mut running = lied_to.run(&session, Delivery::default(), &[format]).start();
            let first = out.join(if format == "-Fp" { "PG_VERSION" } else { "base.tar" });
            wait_for("the backup to begin", DEADLINE, || first.exists());
            fs::rename(&out, &moved).unwrap();
            symlink(&precious, &out).unwrap();
            running.signal(Signal::TERM);
            let outcome = running.finish();
            assert_eq!(outcome.signal(), Some(Signal::TERM.as_raw()), "{}", outcome.stderr);
            assert_eq!(snapshot(&precious), before, "{}", outcome.stderr);
            assert_eq!(snapshot(&moved).len(), 0, "{}", outcome.stderr);
        }
    }
}

/// A kernel without `openat2`, or a sandbox that forbids it, makes no difference.
#[test]
fn bb_133_directories_are_opened_one_by_one_where_the_kernel_cannot_do_it_at_once() {
    let expected = LiedTo::new();
    expected.outcome(&Session::honest(), Delivery::default(), &[]).expect_success();
    for error in ["ENOSYS", "EPERM"] {
        let lied_to = LiedTo::new();
        let precious = lied_to.path().join("precious");
        let lie = [Member::symlink("link", precious.to_str().unwrap()), Member::file("link/file", b"bad")];
        let lie = Session::of_archive(&archive(&[honest_members(), lie.to_vec()].concat()), b"");
        let outcomes = [Session::honest(), lie].map(|session| {
            let server = ScriptedBackupServer::start(&session);
            let out = lied_to.path().join("out");
            let log = lied_to.path().join("log");
            // Syncing opens every directory once more.
            let outcome = Run::new("/usr/bin/strace")
                .args([
                    "-f",
                    "--seccomp-bpf",
                    "-e",
                    "trace=openat2",
                    "-e",
                    &format!("inject=openat2:error={error}"),
                ])
                .arg("-o")
                .arg(&log)
                .arg(BackupProgram::ours().path())
                .args(["-X", "none", "-d", &server.conninfo(), "-D"])
                .arg(&out)
                .run();
            let calls = fs::read_to_string(&log).unwrap();
            assert!(calls.contains(&format!("= -1 {error}")), "{calls}");
            if outcome.code() == Some(0) {
                assert_same_tree(&expected.path().join("out"), &out, &[]);
                fs::remove_dir_all(&out).unwrap();
            }
            (outcome.code(), lied_to.shown(&outcome))
        });
        let refused = format!(
            "pg_basebackup: error: could not open directory \"DIR/out/link\": Not a directory{REMOVED}"
        );
        assert_eq!(outcomes, [(Some(0), String::new()), (Some(1), refused)], "{error}");
    }
}

/// A file that takes no room on the way and much of it here.
fn bomb(spec: &CompressionSpec, size: usize) -> Session {
    let mut encoder = Encoder::new(spec).unwrap();
    let mut output = Vec::new();
    let size_field = format!("{size:011o} ").into_bytes().try_into().unwrap();
    let header = Member { size_field: Some(size_field), ..Member::file("bomb", b"") };
    encoder.push(&header.to_bytes(), &mut output).unwrap();
    for _ in 0..size >> 20 {
        encoder.push(&vec![0; 1 << 20], &mut output).unwrap();
    }
    encoder.push(&with_bytes(&[0; 1024]), &mut output).unwrap();
    encoder.finish(&mut output).unwrap();
    let name = format!("base.tar{}", spec.method.suffix());
    Session::of_archive_named(&name, &output, &manifest(&FILES, "", START, END))
}

/// What inflates without end takes no memory, and ends when the disk does.
#[test]
fn bb_155_archives_that_inflate() {
    const LARGE: usize = 192 << 20;
    for method in Method::ALL {
        let session = bomb(&CompressionSpec::of(method), LARGE);
        let disk = SmallDisk::new("8m");
        let out = disk.path().join("out");
        let outcome = LiedTo::new().outcome(&session, Delivery::default(), &["-D", out.to_str().unwrap()]);
        let expected = format!(
            "pg_basebackup: error: could not write to file \"{0}/bomb\": No space left on device\n\
             pg_basebackup: removing data directory \"{0}\"\n",
            out.display()
        );
        assert_eq!((outcome.code(), outcome.stderr), (Some(1), expected), "{method}");
        assert!(file_names(disk.path()).is_empty());
        // What is kept as it came is looked into all the same.
        let stderr = LiedTo::new().refuse(&session, Delivery::default(), &["-Ft"]);
        let reason = "backup verification failed: \"bomb\" was received but is not present in the manifest";
        assert_eq!(stderr, format!("pg_basebackup: error: {reason}{REMOVED}"), "{method}");
    }
}

#[test]
fn bb_155_a_window_that_nobody_asked_for() {
    let far = CompressionSpec { long_distance: true, ..CompressionSpec::of(Method::Zstd) };
    let session = bomb(&far, 1 << 20);
    for arguments in [&["-Fp"][..], &["-Ft"], &["-Fp", "-Zserver-zstd:19"]] {
        let stderr = LiedTo::new().refuse(&session, Delivery::default(), arguments);
        let start =
            "pg_basebackup: error: could not decompress data: Frame requires too much memory for decoding";
        assert!(stderr.starts_with(start), "{arguments:?}: {stderr}");
    }
    let honest = {
        let archive = compressed(&far, &archive(&honest_members()));
        Session::of_archive_named("base.tar.zst", &archive, &manifest(&FILES, "", START, END))
    };
    for asked in ["-Zserver-zstd:long", "-Zserver-zstd:20"] {
        LiedTo::new().outcome(&honest, Delivery::default(), &[asked]).expect_success();
    }
}

/// A list without end is not kept, and of a long one no more than is needed.
#[test]
fn bb_093_bb_211_lists_that_are_longer_than_any() {
    let mut steps = welcome("15.18");
    for answer in [&["0700"][..], &["16MB"], &[SYSTEM_IDENTIFIER, "1", START]] {
        steps.extend(answered(answer));
    }
    steps.push(Step::Await);
    steps.extend(rows(&[vec![Some(START), Some("1")]]).map(Step::Say));
    let row = vec![Some("16384"), Some("/srv/ts"), Some("1")];
    let mut list = rows(&[row]);
    steps.extend(list.next().map(Step::Say));
    steps.extend(list.next().map(|row| Step::SayOften(row, usize::MAX)));
    let endless = Session { first_connection: Some(steps), ..Session::honest() };
    let stderr = LiedTo::new().refuse(&endless, Delivery::default(), &[]);
    let reason = "could not get backup header: result of a replication command is larger than 33554432 bytes";
    assert_eq!(stderr, format!("pg_basebackup: error: {reason}{REMOVED}"));

    let text = String::from_utf8(manifest(&FILES, "", START, END)).unwrap();
    let (body, _) = text.split_once("\"Manifest-Checksum\"").unwrap();
    let range = format!("{{ \"Timeline\": 1, \"Start-LSN\": \"{START}\", \"End-LSN\": \"{END}\" }}");
    let long = body.replace(&range, &vec![range.as_str(); 10_000].join(",\n"));
    let long = Session::new(&honest_members(), &seal(&long));
    LiedTo::new().outcome(&long, Delivery::default(), &[]).expect_success();
}

/// Nothing is made beside the one file that an archive becomes, whatever it is called.
#[test]
fn bb_139_archives_with_the_names_of_other_files_of_the_backup() {
    let main = archive(&honest_members());
    for (name, reason) in [
        ("base.tar", "could not create file \"DIR/out/base.tar\": File exists"),
        ("backup_manifest.tmp", "cannot parse archive \"backup_manifest.tmp\""),
        ("backup_manifest", "cannot parse archive \"backup_manifest\""),
    ] {
        let mut session = Session::honest();
        session.tablespaces = vec![(16384, "/srv/ts".to_owned())];
        session.payloads = vec![
            new_archive("base.tar", ""),
            data(&main),
            new_archive(name, "/srv/ts"),
            data(&archive(&[])),
            b"m".to_vec(),
            data(&manifest(&FILES, "", START, END)),
        ];
        let stderr = LiedTo::new().refuse(&session, Delivery::default(), &["-Ft"]);
        assert!(stderr.starts_with(&format!("pg_basebackup: error: {reason}\n")), "{stderr}");
        assert!(stderr.ends_with(REMOVED), "{stderr}");
    }
}

/// Without a manifest, what is not a tar archive is kept under its name.
#[test]
fn bb_105_what_is_kept_as_it_came_cannot_be_run() {
    let lied_to = LiedTo::new();
    let session = Session::of_payloads(vec![new_archive("pg_wal.tar.gz.sh", ""), data(b"#!/bin/sh\n")]);
    lied_to.outcome(&session, Delivery::default(), &["-Ft", "--no-manifest"]).expect_success();
    assert_eq!(file_names(&lied_to.path().join("out")), ["pg_wal.tar.gz.sh"]);
    let mode = snapshot(&lied_to.path().join("out"))[Path::new("pg_wal.tar.gz.sh")].mode;
    assert_eq!(mode, 0o600);
}
