//! Manifests that are none.

use std::fs;

use crate::judges::Judges;
use crate::specimen::{Specimen, append, cluster, rewrite_manifest, sealed};
use crate::support::scratch_directory;

const VERSION: &str = "\"PostgreSQL-Backup-Manifest-Version\": 1";

/// What both programs say of a directory that holds nothing but this manifest.
#[track_caller]
fn refused(manifests: &[(&str, &str)]) {
    let judges = Judges::new();
    let directory = scratch_directory();
    for (manifest, error) in manifests {
        fs::write(directory.path().join("backup_manifest"), manifest).unwrap();
        judges.judge(&["-n".as_ref(), directory.path().as_os_str()]).finds(&[error]);
    }
}

#[test]
fn bb_232_parse_errors() {
    let table: [(String, &str); 36] = [
        ("{\n".into(), "The input string ended unexpectedly."),
        (String::new(), "The input string ended unexpectedly."),
        ("x\n".into(), "Token \"x\" is invalid."),
        ("{}\n".into(), "unexpected object end"),
        ("[]\n".into(), "unexpected array start"),
        ("1\n".into(), "unexpected scalar"),
        ("{\"not-expected\": 1}\n".into(), "expected version indicator"),
        ("{\"Files\": []}\n".into(), "expected version indicator"),
        ("{\"PostgreSQL-Backup-Manifest-Version\": \"phooey\"}\n".into(), "manifest version not an integer"),
        ("{\"PostgreSQL-Backup-Manifest-Version\": 9876599}\n".into(), "unexpected manifest version"),
        (format!("{{{VERSION}}}\n"), "unexpected object end"),
        (format!("{{{VERSION}, \"Oops\": 1}}\n"), "unrecognized top-level field"),
        (
            "{\"PostgreSQL-Backup-Manifest-Version\": 2, \"System-Identifier\": \"x\"}\n".into(),
            "system identifier in manifest not an integer",
        ),
        (format!("{{{VERSION}, \"Files\": true}}\n"), "unexpected scalar"),
        (format!("{{{VERSION}, \"Files\": {{}}}}\n"), "unexpected object start"),
        (format!("{{{VERSION}, \"Files\": [{{}}]}}\n"), "missing path name"),
        (
            format!("{{{VERSION}, \"Files\": [{{\"Path\": \"x\", \"Encoded-Path\": \"1234\"}}]}}\n"),
            "both path name and encoded path name",
        ),
        (format!("{{{VERSION}, \"Files\": [{{\"Oops\": 1}}]}}\n"), "unexpected file field"),
        (format!("{{{VERSION}, \"Files\": [{{\"Path\": \"x\"}}]}}\n"), "missing size"),
        (
            format!("{{{VERSION}, \"Files\": [{{\"Path\": \"x\", \"Size\": \"Oops\"}}]}}\n"),
            "file size is not an integer",
        ),
        (
            format!("{{{VERSION}, \"Files\": [{{\"Encoded-Path\": \"123\", \"Size\": 0}}]}}\n"),
            "could not decode file name",
        ),
        (
            format!("{{{VERSION}, \"Files\": [{{\"Path\": \"x\", \"Size\": 0, \"Checksum\": \"1234\"}}]}}\n"),
            "checksum without algorithm",
        ),
        (format!("{{{VERSION}, \"WAL-Ranges\": [{{\"Oops\": 1}}]}}\n"), "unexpected WAL range field"),
        (format!("{{{VERSION}, \"WAL-Ranges\": [{{}}]}}\n"), "missing timeline"),
        (format!("{{{VERSION}, \"WAL-Ranges\": [{{\"Timeline\": 1}}]}}\n"), "missing start LSN"),
        (
            format!("{{{VERSION}, \"WAL-Ranges\": [{{\"Timeline\": 1, \"Start-LSN\": \"0/0\"}}]}}\n"),
            "missing end LSN",
        ),
        (
            format!(
                "{{{VERSION}, \"WAL-Ranges\": [{{\"Timeline\": \"x\", \"Start-LSN\": \"0/0\", \"End-LSN\": \"0/0\"}}]}}\n"
            ),
            "timeline is not an integer",
        ),
        (
            format!(
                "{{{VERSION}, \"WAL-Ranges\": [{{\"Timeline\": 1, \"Start-LSN\": \"oops\", \"End-LSN\": \"0/0\"}}]}}\n"
            ),
            "could not parse start LSN",
        ),
        (
            format!(
                "{{{VERSION}, \"WAL-Ranges\": [{{\"Timeline\": 1, \"Start-LSN\": \"0/0\", \"End-LSN\": \"oops\"}}]}}\n"
            ),
            "could not parse end LSN",
        ),
        (format!("{{{VERSION}, \"Files\": [], \"Manifest-Checksum\": null}}"), "expected at least 2 lines"),
        (
            format!("{{{VERSION},\n\"Files\": [],\n\"Manifest-Checksum\": null}}"),
            "last line not newline-terminated",
        ),
        (format!("{{{VERSION}, \"Manifest-Checksum\": \"00\", \"Files\": []}}\n"), "unexpected object field"),
        (format!("{{{VERSION}, \"Files\": [,]}}\n"), "Expected JSON value, but found \",\"."),
        (format!("{{{VERSION}; \"Files\": []}}\n"), "Token \";\" is invalid."),
        (
            format!("{{{VERSION}, \"Files\": [{{\"Path\": \"a\\q\"}}]}}\n"),
            "Escape sequence \"\\q\" is invalid.",
        ),
        (
            format!("{{{VERSION}, \"Files\": []}}\n").replace('}', "]"),
            "Expected \",\" or \"}\", but found \"]\".",
        ),
    ];
    let table =
        table.map(|(manifest, fault)| (manifest, format!("could not parse backup manifest: {fault}")));
    let table: Vec<(&str, &str)> = table.iter().map(|(manifest, error)| (&**manifest, &**error)).collect();
    refused(&table);
}

#[test]
fn bb_233_manifests_that_mean_nothing() {
    let file =
        |fields: &str| format!("{{{VERSION}, \"Files\": [{{\"Path\": \"x\", \"Size\": 0{fields}}}]}}\n");
    let twice = "}, {\"Path\": \"x\", \"Size\": 0";
    let encoded = "}, {\"Encoded-Path\": \"78\", \"Size\": 0";
    let good = sealed(&format!("{{{VERSION},\n"));
    refused(&[
        (&file(twice), "duplicate path name in backup manifest: \"x\""),
        (&file(encoded), "duplicate path name in backup manifest: \"x\""),
        (
            &file(", \"Checksum-Algorithm\": \"Oops\", \"Checksum\": \"00\""),
            "unrecognized checksum algorithm: \"Oops\"",
        ),
        (
            &file(", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"Oops\""),
            "invalid checksum for file \"x\": \"Oops\"",
        ),
        (
            &file(", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"0\""),
            "invalid checksum for file \"x\": \"0\"",
        ),
        (
            &format!("{{{VERSION}, \"Files\": [],\n\"Manifest-Checksum\": \"Hi, mom\"}}\n"),
            "invalid manifest checksum: \"Hi, mom\"",
        ),
        (
            &format!("{{{VERSION}, \"Files\": [],\n\"Manifest-Checksum\": null}}\n"),
            "invalid manifest checksum: \"null\"",
        ),
        (
            &format!("{{{VERSION}, \"Files\": [],\n\"Manifest-Checksum\": \"{}\"}}\n", "0".repeat(64)),
            "manifest checksum mismatch",
        ),
        (&format!("{good}\n"), "manifest checksum mismatch"),
        (&good.replace("\"}", "\"\n}"), "manifest checksum mismatch"),
    ]);
    let judges = Judges::new();
    let directory = scratch_directory();
    let upper = good.to_uppercase();
    let (_, digits) = upper.rsplit_once(": ").unwrap();
    for manifest in [
        good.clone(),
        format!("{}: {digits}", good.rsplit_once(": ").unwrap().0),
        sealed(&format!("\n\t{{{VERSION} ,\r\n\"WAL-Ranges\":[ ],\n\"Files\"\n:[]\n,\n")),
        format!("{good} ").replace("}\n ", "}  \n"),
    ] {
        fs::write(directory.path().join("backup_manifest"), manifest).unwrap();
        // An empty directory is a backup in tar format.
        judges.judge(&["-n".as_ref(), directory.path().as_os_str()]).is_good();
    }
}

#[test]
fn bb_210_bb_233_a_manifest_that_somebody_changed() {
    let cluster = cluster(18);
    let backup = Specimen::plain(&cluster);
    let judges = Judges::new();
    let appended = backup.damaged(|backup| append(&backup.join("backup_manifest"), b"\n"));
    judges.judge(&[appended.path()]).finds(&["manifest checksum mismatch"]);
    let edited = backup.damaged(|backup| {
        let path = backup.join("backup_manifest");
        let text = fs::read_to_string(&path).unwrap().replacen("\"Size\": 3,", "\"Size\": 4,", 1);
        fs::write(path, text).unwrap();
    });
    judges.judge(&[edited.path()]).finds(&["manifest checksum mismatch"]);
    let resealed = backup.damaged(|backup| rewrite_manifest(backup, "\"Size\": 3,", "\"Size\": 4,"));
    assert_eq!(judges.judge(&[resealed.path()]).errors().len(), 1);
}

/// Where the real program goes on to the other files; both end with status 1.
#[test]
fn bb_227_checksums_of_the_wrong_length() {
    let cluster = cluster(18);
    let short = Specimen::plain(&cluster).damaged(|backup| {
        let listed = "\"Files\": [\n{ \"Path\": \"x\", \"Size\": 1, \"Checksum-Algorithm\": \"CRC32C\", \
                      \"Checksum\": \"0000\" },";
        rewrite_manifest(backup, "\"Files\": [", listed);
        fs::write(backup.join("x"), "a").unwrap();
    });
    Judges::new().judge(&[short.path()]).finds(&["file \"x\" has checksum of length 2, but expected 4"]);
}
