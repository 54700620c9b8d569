//! The control file.

use std::fs;
use std::path::Path;

use crate::judges::Judges;
use crate::specimen::{Specimen, append, cluster, flip, rewrite_manifest, truncate};
use crate::support::base_backup::manifest;

/// Damages the backup in a directory.
type Damage<'a> = &'a dyn Fn(&Path);

#[test]
fn bb_225_damaged_control_files() {
    let cluster = cluster(18);
    let backup = Specimen::plain(&cluster);
    let judges = Judges::new();
    let path = |backup: &Path| backup.join("global/pg_control");
    let size = "\"global/pg_control\" has size LEN on disk but size 8192 in the manifest";
    let crc = "DIR/global/pg_control: CRC is incorrect";
    let scenarios: [(Damage<'_>, &[&str]); 8] = [
        (&|backup| flip(&path(backup), 0), &[crc]),
        (&|backup| flip(&path(backup), 9), &[crc]),
        (&|backup| flip(&path(backup), 100), &[crc]),
        (&|backup| flip(&path(backup), 4000), &["checksum mismatch for file \"global/pg_control\""]),
        (&|backup| append(&path(backup), b"x"), &[&size.replace("LEN", "8193")]),
        (&|backup| truncate(&path(backup), 296), &[&size.replace("LEN", "296")]),
        (
            &|backup| truncate(&path(backup), 100),
            &[&size.replace("LEN", "100"), "could not read file \"DIR/global/pg_control\": read 100 of 296"],
        ),
        (
            &|backup| fs::remove_file(path(backup)).unwrap(),
            &["\"global/pg_control\" is present in the manifest but not on disk"],
        ),
    ];
    for (damage, errors) in scenarios {
        let damaged = backup.damaged(damage);
        let root = damaged.path();
        let errors: Vec<String> =
            errors.iter().map(|error| error.replace("DIR", root.to_str().unwrap())).collect();
        judges.judge(&[&root]).finds(&errors.iter().map(String::as_str).collect::<Vec<_>>());
        judges.judge(&["-ni".as_ref(), "global".as_ref(), root.as_os_str()]).is_good();
    }
}

#[track_caller]
fn control_file_of_another_cluster_is_found(major: u16) {
    let cluster = cluster(major);
    let backup = Specimen::plain(&cluster);
    let id = manifest(&backup.path())["System-Identifier"].to_string();
    let foreign = backup.damaged(|backup| {
        rewrite_manifest(backup, &format!("\"System-Identifier\": {id}"), "\"System-Identifier\": 7");
    });
    let judges = Judges::new();
    let root = foreign.path();
    let error = format!(
        "{}/global/pg_control: manifest system identifier is 7, but control file has {id}",
        root.display()
    );
    let tar = Specimen::tar(&cluster, &[]).damaged(|backup| {
        rewrite_manifest(backup, &format!("\"System-Identifier\": {id}"), "\"System-Identifier\": 7");
    });
    let in_archive =
        format!("base.tar: global/pg_control: manifest system identifier is 7, but control file has {id}");
    if major == 18 {
        judges.judge(&[&root]).finds(&[&error]);
        judges.judge(&["-n".as_ref(), tar.path().as_os_str()]).finds(&[&in_archive]);
    } else {
        // The real program of 18 takes the control file of 17 for a damaged one of its own version.
        let stderr = judges.ours(&[&root]).expect_code(1).stderr;
        assert_eq!(stderr, format!("pg_verifybackup: error: {error}\n"));
        let stderr = judges.ours(&["-n".as_ref(), tar.path().as_os_str()]).expect_code(1).stderr;
        assert_eq!(stderr, format!("pg_verifybackup: error: {in_archive}\n"));
    }
}

#[test]
fn bb_225_a_control_file_of_another_cluster_of_postgresql_17() {
    control_file_of_another_cluster_is_found(17);
}

#[test]
fn bb_225_a_control_file_of_another_cluster_of_postgresql_18() {
    control_file_of_another_cluster_is_found(18);
}
