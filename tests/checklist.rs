//! Every promise about connecting has a test: each id from CN-001 to CN-320 stands in the name of one.
//!
//! The names are those of functions in the sources. One name may carry several ids: `cn_001_and_003_…`,
//! `cn_010_to_019_…`, `bb_066_cn_275_cn_305_…`.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The ids, without their letters.
const IDS: std::ops::RangeInclusive<u16> = 1..=320;

/// What there is nothing to test for, and why.
const NOT_APPLICABLE: [(u16, &str); 8] = [
    (138, "no request to cancel is ever sent, which the test of CN-314 shows"),
    (258, "the flows of OAuth are refused"),
    (259, "the flows of OAuth are refused"),
    (260, "the flows of OAuth are refused"),
    (261, "the flows of OAuth are refused"),
    (262, "the flows of OAuth are refused"),
    (263, "the flows of OAuth are refused"),
    (317, "only BASE_BACKUP has several results, and every test of a backup reads them"),
];

/// The ids that the name of a function carries.
fn ids_of(name: &str) -> BTreeSet<u16> {
    let mut ids = BTreeSet::new();
    for part in format!("_{name}").split("_cn_").skip(1) {
        let mut begin_of_range = None;
        let mut last = None;
        for word in part.split('_') {
            match (word, word.parse::<u16>()) {
                ("to", _) => begin_of_range = last,
                ("and", _) => {}
                (_, Ok(id)) if word.len() == 3 => {
                    ids.extend(begin_of_range.take().unwrap_or(id)..=id);
                    last = Some(id);
                }
                _ => break,
            }
        }
    }
    ids
}

/// Adds the names of the functions in the sources below `directory`, by the ids that they carry.
fn collect(directory: &Path, names: &mut BTreeMap<u16, Vec<String>>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            let declarations = source.lines().filter_map(|line| {
                let line = line.trim_start();
                line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")
            });
            for name in declarations.filter_map(|rest| rest.split(['(', '<']).next()) {
                for id in ids_of(name) {
                    names.entry(id).or_default().push(name.to_owned());
                }
            }
        }
    }
}

#[test]
fn every_promise_about_connecting_has_a_test() {
    let mut names = BTreeMap::new();
    for directory in ["src", "tests"] {
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut names);
    }
    let excused: BTreeSet<u16> = NOT_APPLICABLE.iter().map(|(id, _)| *id).collect();
    let missing: Vec<u16> = IDS.filter(|id| !names.contains_key(id) && !excused.contains(id)).collect();
    assert!(missing.is_empty(), "no test is named after CN ids {missing:?}");
    let unknown: Vec<_> = names.iter().filter(|(id, _)| !IDS.contains(*id)).collect();
    assert!(unknown.is_empty(), "there are no such ids: {unknown:?}");
}

#[test]
fn ids_are_read_from_names() {
    for (name, ids) in [
        ("cn_001_what", vec![1]),
        ("cn_001_and_003_what", vec![1, 3]),
        ("cn_010_to_013_what", vec![10, 11, 12, 13]),
        ("cn_007_008_and_014_to_016_what", vec![7, 8, 14, 15, 16]),
        ("bb_066_cn_275_cn_305_what", vec![275, 305]),
        ("bb_066_cn_275_bb_070_what", vec![275]),
        ("cn_164_with_version_123", vec![164]),
        ("a_cancel_of_123", vec![]),
    ] {
        assert_eq!(ids_of(name), ids.into_iter().collect(), "{name}");
    }
}
