//! Passwords that SCRAM prepares: ours must end as the bytes that the server made its secret from.

use crate::attempt::{admitted, refused};
use crate::support::Cluster;

/// A password, and another one that the server takes for the same.
const SAME: [(&str, &str); 11] = [
    // A soft hyphen is nothing.
    ("I\u{ad}X", "IX"),
    // Compatibility forms.
    ("\u{2168}", "IX"),
    ("\u{aa}", "a"),
    ("\u{ff21}\u{ff22}", "AB"),
    // An accent on its own.
    ("e\u{301}", "\u{e9}"),
    // Spaces of other widths.
    ("a\u{a0}b", "a b"),
    ("a\u{3000}b", "a b"),
    ("a\u{200b}b", "a b"),
    ("\u{5d0}\u{ad}1\u{5d0}", "\u{5d0}1\u{5d0}"),
    // A letter from right to left that becomes one with a mark, which has no direction.
    ("\u{5d0}\u{fb1d}", "\u{5d0}\u{ad}\u{fb1d}"),
    // Braille had no direction when the standard was written.
    ("\u{5d0}\u{2801}\u{fb1d}", "\u{5d0}\u{ad}\u{2801}\u{fb1d}"),
];

/// A password, and another one that the server tells from it.
const DIFFERENT: [(&str, &str); 11] = [
    ("USER", "user"),
    ("\u{e9}X", "\u{e9}x"),
    // Prohibited characters: the bytes count.
    ("\u{2168}\u{7}", "IX\u{7}"),
    ("a\u{ad}\u{340}", "a\u{340}"),
    ("\u{2168}\u{e000}", "IX\u{e000}"),
    // Characters of both directions.
    ("\u{627}\u{2168}", "\u{627}IX"),
    // A vowel that had one when the standard was written.
    ("\u{5d0}\u{17b4}\u{5d0}", "\u{5d0}\u{ad}\u{17b4}\u{5d0}"),
    // Digits at the end of a text from right to left.
    ("\u{5d0}\u{fb1d}1", "\u{5d0}\u{ad}\u{fb1d}1"),
    // Characters that the old version of Unicode does not have.
    ("\u{2168}\u{1f511}", "IX\u{1f511}"),
    ("\u{1f130}", "A"),
    // Nothing would be left.
    ("\u{ad}", "\u{ad}\u{ad}"),
];

fn cluster(major: u16) -> Cluster {
    Cluster::builder(major).hba("host replication all 127.0.0.1/32 scram-sha-256").start()
}

/// Makes a role with a password; gives the start of a connection string.
fn role(cluster: &Cluster, number: usize, password: &str) -> String {
    let set = "SET password_encryption = 'scram-sha-256'";
    cluster.psql(&format!("{set}; CREATE ROLE u{number} REPLICATION LOGIN PASSWORD '{password}'"));
    format!("host=127.0.0.1 port={} user=u{number}", cluster.port())
}

#[test]
fn cn_239_passwords_that_are_the_same() {
    for major in [10, 15, 18] {
        let cluster = cluster(major);
        for (number, (one, other)) in SAME.into_iter().enumerate() {
            let conninfo = role(&cluster, number, one);
            for password in [one, other] {
                admitted(&format!("{conninfo} password='{password}'"));
            }
        }
    }
}

#[test]
fn cn_240_to_243_passwords_that_differ() {
    for major in [10, 15, 18] {
        let cluster = cluster(major);
        for (number, (one, other)) in DIFFERENT.into_iter().enumerate() {
            let conninfo = role(&cluster, number, one);
            admitted(&format!("{conninfo} password='{one}'"));
            refused(&format!("{conninfo} password='{other}'"));
        }
    }
}
