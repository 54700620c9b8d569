//! Every promise has a test: each id of each family stands in the name of one.
//!
//! The names are those of functions in the sources, also of those that a macro makes. One name may carry several
//! ids: `cn_001_and_003_…`, `cn_010_to_019_…`, `bb_066_cn_275_cn_305_…`.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

/// Promises about one thing.
struct Family {
    about: &'static str,
    /// What the ids begin with, as in the names of tests.
    prefix: &'static str,
    /// The ids, without their letters.
    ids: RangeInclusive<u16>,
    /// What there is nothing to test for, and why.
    not_applicable: &'static [(u16, &'static str)],
}

const FAMILIES: [Family; 4] = [
    Family {
        about: "connecting",
        prefix: "cn",
        ids: 1..=320,
        not_applicable: &[
            (138, "no request to cancel is ever sent, which the test of CN-314 shows"),
            (258, "the flows of OAuth are refused"),
            (259, "the flows of OAuth are refused"),
            (260, "the flows of OAuth are refused"),
            (261, "the flows of OAuth are refused"),
            (262, "the flows of OAuth are refused"),
            (263, "the flows of OAuth are refused"),
            (317, "only BASE_BACKUP has several results, and every test of a backup reads them"),
        ],
    },
    Family { about: "base backups", prefix: "bb", ids: 1..=272, not_applicable: &[] },
    Family { about: "receiving WAL", prefix: "rw", ids: 1..=235, not_applicable: &[] },
    Family { about: "what is durable", prefix: "i", ids: 1..=17, not_applicable: &[] },
];

/// The ids of a family that a name carries.
fn ids_of(prefix: &str, name: &str) -> BTreeSet<u16> {
    let mut ids = BTreeSet::new();
    for part in format!("_{name}").split(&format!("_{prefix}_")).skip(1) {
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

/// The names in a source that begin with an id: no other thing than a test has such a name.
fn names_with_ids(source: &str) -> impl Iterator<Item = &str> {
    let names = source.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    names.filter(|name| {
        FAMILIES.iter().any(|family| {
            let number = name.strip_prefix(family.prefix).and_then(|rest| rest.strip_prefix('_'));
            number
                .and_then(|rest| rest.get(..3))
                .is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_digit()))
        })
    })
}

/// Adds the names in the sources below `directory`.
fn collect(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("checklist.rs")
        {
            names.extend(names_with_ids(&fs::read_to_string(&path).unwrap()).map(str::to_owned));
        }
    }
}

#[track_caller]
fn every_promise_has_a_test(prefix: &str) {
    let family = FAMILIES.iter().find(|family| family.prefix == prefix).unwrap();
    let mut names = BTreeSet::new();
    for directory in ["src", "tests"] {
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut names);
    }
    let mut tests: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for name in &names {
        for id in ids_of(prefix, name) {
            tests.entry(id).or_default().push(name);
        }
    }
    let about = family.about;
    let excused: BTreeSet<u16> = family.not_applicable.iter().map(|(id, _)| *id).collect();
    let missing: Vec<u16> =
        family.ids.clone().filter(|id| !tests.contains_key(id) && !excused.contains(id)).collect();
    assert!(missing.is_empty(), "of the promises about {about}, no test is named after {missing:?}");
    let unknown: Vec<_> = tests.iter().filter(|(id, _)| !family.ids.contains(id)).collect();
    assert!(unknown.is_empty(), "there are no such promises about {about}: {unknown:?}");
}

#[test]
fn every_promise_about_connecting_has_a_test() {
    every_promise_has_a_test("cn");
}

#[test]
fn every_promise_about_base_backups_has_a_test() {
    every_promise_has_a_test("bb");
}

#[test]
fn every_promise_about_receiving_wal_has_a_test() {
    every_promise_has_a_test("rw");
}

#[test]
fn every_promise_about_what_is_durable_has_a_test() {
    every_promise_has_a_test("i");
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
        assert_eq!(ids_of("cn", name), ids.into_iter().collect(), "{name}");
    }
}

#[test]
fn names_are_read_from_sources() {
    let source = "/// BB-007, and bb_7_is_none\n#[test]\nfn bb_001_what() { a_bb_002_what(); }\n\
                  with_each! { bb_003_cn_004_what: 15; cn_005_what, bbb_006_what: 16; }";
    let names: Vec<_> = names_with_ids(source).collect();
    assert_eq!(names, ["bb_001_what", "bb_003_cn_004_what", "cn_005_what"]);
}

/// Each row of the table names its test last.
#[test]
fn every_fault_in_the_documentation_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("docs/faults.md")).unwrap();
    let rows: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix("` |")).collect();
    assert!(rows.len() >= 60, "{} rows", rows.len());
    for row in rows {
        let (_, test) = row.rsplit_once('`').unwrap();
        let (file, function) = test.split_once("::").unwrap();
        let path = if file.starts_with("src/") { root.join(file) } else { root.join("tests").join(file) };
        let source = fs::read_to_string(path.with_extension("rs"));
        let has_test = source.is_ok_and(|source| source.contains(&format!("fn {function}(")));
        assert!(has_test, "there is no test {test}");
    }
}
