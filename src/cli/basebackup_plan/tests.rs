use super::*;
use crate::cli::connection_arguments::PasswordPrompt;
use crate::compress::{CompressionSpec, Method};
use crate::protocol::{Checkpoint, ServerTarget};

fn parse_as(major: u32, line: &[&str]) -> Result<Plan, Refusal> {
    let line = std::iter::once("pg_basebackup").chain(line.iter().copied()).map(OsString::from).collect();
    parse(line, ClaimedVersion::newest_of(major).unwrap(), false)
}

#[track_caller]
fn plan_of(line: &[&str]) -> Plan {
    parse_as(18, line).unwrap()
}

#[track_caller]
fn usage(line: &[&str]) -> String {
    match parse_as(18, line).unwrap_err() {
        Refusal::Usage(message) => message,
        Refusal::Value(message) => panic!("{line:?}: {message}"),
    }
}

#[track_caller]
fn refused_value(major: u32, line: &[&str]) -> String {
    match parse_as(major, line).unwrap_err() {
        Refusal::Value(message) => message,
        Refusal::Usage(message) => panic!("{line:?}: {message}"),
    }
}

fn streams_with(slot: ReceiveSlot) -> backup::WalMethod {
    backup::WalMethod::Stream { slot, status_interval: Some(Duration::from_secs(10)) }
}

#[test]
fn bb_001_the_same_line_in_every_form() {
    for line in [
        &["-D", "/d", "-PvXs"][..],
        &["-D/d", "-P", "-v", "-X", "stream"],
        &["--pgdata=/d", "-vP", "--wal-method", "s"],
        &["--pgdat", "/d", "--prog", "-v", "--wal-m=stream", "--"],
        &["-D", "/x", "-D", "/d", "-PP", "-vvv", "-Xf", "-Xs"],
    ] {
        let plan = plan_of(line);
        let path = PathBuf::from("/d");
        let output = Output::Directory { path, wal_directory: None, tablespace_mappings: Vec::new() };
        assert_eq!(plan.output, output, "{line:?}");
        assert_eq!(plan.options.wal, streams_with(ReceiveSlot::Temporary), "{line:?}");
        assert!(plan.progress && plan.verbose, "{line:?}");
    }
    assert_eq!(plan_of(&["-D", "x", "-l", "-x"]).options.label, "-x");
    assert_eq!(plan_of(&["-D", "x", "-l", ""]).options.label, "");
}

#[test]
fn every_option_has_its_effect() {
    let plan = plan_of(&[
        "-D",
        "d",
        "-F",
        "t",
        "-i",
        "m",
        "-r",
        "1M",
        "-R",
        "-X",
        "s",
        "-z",
        "-c",
        "fast",
        "-C",
        "-S",
        "slot",
        "-l",
        "label",
        "-n",
        "-P",
        "-v",
        "--manifest-checksums=sha256",
        "--manifest-force-encode",
        "-s",
        "0",
        "--no-verify-checksums",
        "-d",
        "c",
        "-h",
        "host",
        "-p",
        "1",
        "-U",
        "user",
        "-W",
        "--sync-method=syncfs",
    ]);
    let slot = ReceiveSlot::Create("slot".to_owned());
    assert_eq!(plan.output, Output::TarFiles("d".into()));
    let options = &plan.options;
    assert_eq!(options.incremental.as_deref(), Some(Path::new("m")));
    assert_eq!((options.max_rate, options.checkpoint), (Some(1024), Checkpoint::Fast));
    assert_eq!(options.wal, backup::WalMethod::Stream { slot, status_interval: None });
    assert_eq!(options.compression, Compression::Client(CompressionSpec::of(Method::Gzip)));
    assert_eq!(options.label, "label");
    assert_eq!(options.manifest_checksums.as_deref(), Some("sha256"));
    assert_eq!(options.manifest, ManifestRequest::ForceEncode);
    assert!(options.estimate_size && !options.verify_page_checksums && options.recovery.is_some());
    assert!(plan.standby && plan.progress && plan.verbose);
    assert_eq!((plan.sync_policy, plan.clean_up), (SyncPolicy::FileSystem, CleanUpPolicy::Keep));
    let connection = plan.connection;
    assert_eq!(connection.prompt(), PasswordPrompt::First);
    let texts = [connection.connection_string, connection.host, connection.port, connection.user];
    assert_eq!(texts.map(Option::unwrap), ["c", "host", "1", "user"]);

    let plan =
        plan_of(&["-D", "d", "-N", "--no-slot", "--no-estimate-size", "--no-manifest", "--waldir=/w", "-w"]);
    assert_eq!(plan.options.wal, streams_with(ReceiveSlot::None));
    assert_eq!(plan.options.manifest, ManifestRequest::No);
    assert!(!plan.options.estimate_size && plan.options.verify_page_checksums);
    assert_eq!(plan.sync_policy, SyncPolicy::Never);
    assert_eq!(plan.connection.prompt(), PasswordPrompt::Never);
}

#[test]
fn nothing_said_is_the_default_of_the_library() {
    let plan = plan_of(&["-D", "d"]);
    assert_eq!(format!("{:?}", plan.options), format!("{:?}", BackupOptions::default()));
    assert_eq!((plan.sync_policy, plan.clean_up), (SyncPolicy::Durable, CleanUpPolicy::Undo));
    assert_eq!(plan.connection.prompt(), PasswordPrompt::OnDemand);
}

#[test]
fn bb_240_paths_lose_what_says_nothing() {
    for (typed, meant) in [
        ("d/", "d"),
        ("d//", "d"),
        ("/a//d/./", "/a/d"),
        ("./d", "./d"),
        (".", "."),
        ("./", "."),
        ("..", ".."),
    ] {
        let Output::Directory { path, wal_directory, .. } =
            plan_of(&["-D", typed, "--waldir", "/w//x/"]).output
        else {
            panic!("{typed} is no directory")
        };
        assert_eq!(path.as_os_str(), meant);
        assert_eq!(wal_directory.unwrap().as_os_str(), "/w/x");
    }
}

#[test]
fn bb_006_the_last_one_wins() {
    let prompt = |line: &[&str]| plan_of(line).connection.prompt();
    assert_eq!(prompt(&["-D", "d", "-w", "-W"]), PasswordPrompt::First);
    assert_eq!(prompt(&["-D", "d", "-W", "-w"]), PasswordPrompt::Never);
    let Output::Directory { tablespace_mappings, .. } =
        plan_of(&["-D", "d", "-T", "/a=/b", "-T/c=/d"]).output
    else {
        panic!("no directory")
    };
    assert_eq!(tablespace_mappings.len(), 2);
    let compression = |line: &[&str]| plan_of(&[&["-D", "d", "-Ft"], line].concat()).options.compression;
    assert_eq!(compression(&["-z", "-Z", "none"]), Compression::None);
    assert_eq!(compression(&["-Z", "none", "-z"]), Compression::Client(CompressionSpec::of(Method::Gzip)));
    assert_eq!(
        compression(&["--compress=1", "--gzip"]),
        Compression::Client(CompressionSpec::of(Method::Gzip))
    );
}

#[test]
fn bb_007_values_are_judged_before_combinations() {
    let expected = "invalid checkpoint argument \"bogus\", must be \"fast\" or \"spread\"";
    assert_eq!(refused_value(18, &["extra", "-c", "bogus"]), expected);
}

#[test]
fn bb_022_and_023_integers_follow_the_claimed_version() {
    let level_five =
        Compression::Client(CompressionSpec { level: Some(5), ..CompressionSpec::of(Method::Gzip) });
    for (major, argument, compression) in [
        (18, "5", Some(&level_five)),
        (18, "client-5", Some(&level_five)),
        (18, "0", Some(&Compression::None)),
        (18, "", Some(&Compression::None)),
        (15, "5", Some(&level_five)),
        (15, "client-5", None),
        (15, "0", None),
        (15, "", None),
        // The programs before 15 knew only levels, and 0 as none.
        (14, "5", Some(&level_five)),
        (14, "0", Some(&Compression::None)),
    ] {
        let plan = parse_as(major, &["-D", "d", "-Ft", "-Z", argument]).ok();
        let found = plan.map(|plan| plan.options.compression);
        assert_eq!(found.as_ref(), compression, "{major} {argument:?}");
    }
}

#[test]
fn bb_024_long_distance_is_unknown_to_fifteen() {
    let line = ["-D", "d", "-Ft", "-Z", "zstd:long"];
    let message = "invalid compression specification: unrecognized compression option: \"long\"";
    assert_eq!(refused_value(15, &line), message);
    assert!(parse_as(16, &line).is_ok());
}

#[test]
fn bb_025_the_client_compresses_unless_there_is_a_target() {
    let request = |method: &str, detail: Option<&str>| {
        Compression::Server(CompressionRequest {
            method: method.to_owned(),
            detail: detail.map(str::to_owned),
        })
    };
    let to_files = |argument| plan_of(&["-D", "d", "-Ft", "-Z", argument]).options.compression;
    let to_target = |argument| plan_of(&["-t", "blackhole", "-Xn", "-Z", argument]).options.compression;
    assert_eq!(to_files("lz4"), Compression::Client(CompressionSpec::of(Method::Lz4)));
    assert_eq!(to_files("client-lz4"), Compression::Client(CompressionSpec::of(Method::Lz4)));
    assert_eq!(to_files("server-lz4:3"), request("lz4", Some("3")));
    assert_eq!(to_target("lz4"), request("lz4", None));
    assert_eq!(to_target("none"), request("none", None));
    assert_eq!(to_target("server-bogus:x"), request("bogus", Some("x")));
    assert_eq!(plan_of(&["-t", "blackhole", "-Xn", "-z"]).options.compression, request("gzip", None));
    assert_eq!(plan_of(&["-t", "blackhole", "-Xn"]).options.compression, Compression::None);
}

#[test]
fn bb_026_and_027_only_the_clients_compression_is_validated() {
    let message = "unrecognized compression algorithm: \"bogus\"";
    assert_eq!(refused_value(18, &["-D", "d", "-Z", "bogus"]), message);
    assert_eq!(refused_value(18, &["-t", "blackhole", "-Z", "client-bogus"]), message);
    assert!(parse_as(18, &["-D", "d", "-Z", "server-bogus"]).is_ok());
}

#[test]
fn bb_030_a_target_is_where_the_backup_goes() {
    let plan = plan_of(&["-t", "server:/a:b", "-Xf"]);
    let target = ServerTarget { name: "server".to_owned(), detail: Some("/a:b".to_owned()) };
    assert_eq!((plan.output, plan.options.target), (Output::Target, Some(target)));
    let plan = plan_of(&["-t", "blackhole", "-t", "client", "-D", "d", "-Fp"]);
    assert_eq!(plan.options.target, None);
}

#[test]
fn bb_031_to_049_combinations_are_refused() {
    for (line, message) in [
        (&["-D", "d", "x"][..], "too many command-line arguments (first is \"x\")"),
        (&["-t", "blackhole", "-Fp"], "cannot specify both format and backup target"),
        (&[], "must specify output directory or backup target"),
        (&["-t", "client"], "must specify output directory or backup target"),
        (&["-D", "d", "-t", "blackhole"], "cannot specify both output directory and backup target"),
        (
            &["-t", "blackhole", "-Z", "client-none"],
            "client-side compression is not possible when a backup target is specified",
        ),
        (&["-D", "d", "-z"], "only tar mode backups can be compressed"),
        (&["-t", "blackhole"], "WAL cannot be streamed when a backup target is specified"),
        (&["-D", "-", "-Ft"], "cannot stream write-ahead logs in tar mode to stdout"),
        (&["-D", "d", "-Xf", "-S", "s"], "replication slots can only be used with WAL streaming"),
        (&["-D", "d", "--no-slot", "-S", "s", "-C"], "--no-slot cannot be used with slot name"),
        (&["-D", "d", "-C"], "--create-slot needs a slot to be specified using --slot"),
        (&["-D", "d", "-C", "--no-slot"], "--create-slot needs a slot to be specified using --slot"),
        (
            &["-t", "blackhole", "-Xn", "--waldir", "w"],
            "WAL directory location cannot be specified along with a backup target",
        ),
        (&["-D", "d", "--waldir", "/w", "-Ft"], "WAL directory location can only be specified in plain mode"),
        (&["-D", "d", "--waldir", "w"], "WAL directory location must be an absolute path"),
        (
            &["-D", "d", "-P", "--no-estimate-size"],
            "--progress and --no-estimate-size are incompatible options",
        ),
        (
            &["-D", "d", "--no-manifest", "--manifest-checksums=none"],
            "--no-manifest and --manifest-checksums are incompatible options",
        ),
        (
            &["-D", "d", "--no-manifest", "--manifest-force-encode"],
            "--no-manifest and --manifest-force-encode are incompatible options",
        ),
    ] {
        assert_eq!(usage(line), message, "{line:?}");
    }
}

#[test]
fn bb_051_harmless_combinations_are_accepted() {
    for line in [
        &["-D", "d", "--no-slot", "-Xf"][..],
        &["-D", "d", "--no-slot", "-Xn"],
        &["-D", "d", "-P"],
        &["-D", "d", "-Ft", "-T", "/a=/b"],
        &["-D", "-", "-Fp"],
        &["-D", "d", "-Z", "server-gzip"],
        &["-D", "d", "-Ft", "-i", "m"],
        &["-t", "blackhole", "-Xf", "-i", "m"],
        &["-D", "d", "--sync-method=fsync", "-Z", "none"],
    ] {
        assert!(parse_as(18, line).is_ok(), "{line:?}");
    }
    assert_eq!(plan_of(&["-D", "-", "-Fp"]).options.compression, Compression::None);
    assert_eq!(plan_of(&["-D", "-", "-Ft", "-Xf"]).output, Output::Stdout);
}

#[test]
fn patience_is_off_unless_it_is_asked_for() {
    let plan = plan_of(&["-D", "d"]);
    assert_eq!((plan.options.receive_timeout, plan.retries), (None, 0));
    let plan = plan_of(&["-D", "d", "--receive-timeout=60", "--retries=5"]);
    assert_eq!((plan.options.receive_timeout, plan.retries), (Some(Duration::from_mins(1)), 5));
    assert_eq!(plan.clean_up, CleanUpPolicy::UndoEverything);
    assert_eq!(plan_of(&["-D", "d", "--receive-timeout", "0"]).options.receive_timeout, None);
    assert_eq!(plan_of(&["-D", "d", "-n", "--retries=0"]).clean_up, CleanUpPolicy::Keep);
    for (line, message) in [
        (["-D", "d", "--receive-timeout=x"], "invalid value \"x\" for option --receive-timeout"),
        (["-D", "d", "--retries=-1"], "--retries must be in range 0..1000"),
        (["-D", "d", "--retries=1001"], "--retries must be in range 0..1000"),
    ] {
        assert_eq!(refused_value(18, &line), message);
    }
    let clash = usage(&["-D", "d", "-n", "--retries=1"]);
    assert_eq!(clash, "--no-clean and --retries are incompatible options");
}
