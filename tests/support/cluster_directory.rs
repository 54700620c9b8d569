//! New data directories: one run of `initdb` for each version and set of options, then copies of it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::run::Run;
use super::{Installation, ServerAccount, account, port, tree};

/// Makes `target` a copy of the cluster that `initdb` makes with these options.
///
/// All copies of one cluster have the same system identifier.
pub fn copy(installation: &Installation, initdb_args: &[String], target: &Path) {
    let template = template(installation, initdb_args);
    Run::new("/bin/cp").args(["-a", "--reflink=auto", "-T"]).args([&template, target]).run().expect_success();
}

/// Runs `initdb` for `target`; the cluster has a system identifier of its own.
pub fn create(installation: &Installation, initdb_args: &[String], target: &Path) {
    fs::create_dir(target).unwrap();
    ServerAccount::current().own(target);
    Run::new(installation.program("initdb"))
        .args(["--pgdata".as_ref(), target.as_os_str()])
        .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--nosync"])
        .args(initdb_args)
        .by_server_account()
        .run()
        .expect_success();
}

fn template(installation: &Installation, initdb_args: &[String]) -> PathBuf {
    let templates = port::shared_directory().join("templates");
    account::own_directory(&templates);
    let name = format!("{}-{}", installation.major(), fingerprint(installation, initdb_args));
    let complete = templates.join(&name);
    let lock = File::create(templates.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if !complete.exists() {
        let incomplete = templates.join(format!("{name}.new"));
        if incomplete.exists() {
            fs::remove_dir_all(&incomplete).unwrap();
        }
        create(installation, initdb_args, &incomplete);
        fs::rename(&incomplete, &complete).unwrap();
    }
    complete
}

fn fingerprint(installation: &Installation, initdb_args: &[String]) -> String {
    let mut hash = Sha256::new();
    hash.update(installation.version_text());
    for argument in initdb_args {
        hash.update("\0");
        hash.update(argument);
    }
    tree::hexadecimal(&hash.finalize()[..8])
}

/// Puts lines in front of the rules of `pg_hba.conf`, which let everybody in.
pub fn prepend_hba(data_directory: &Path, lines: &str) {
    let path = data_directory.join("pg_hba.conf");
    let rules = fs::read_to_string(&path).unwrap();
    replace(&path, &format!("{lines}\n{rules}"));
}

/// Adds settings to the end of `postgresql.conf`, where they win over earlier ones.
pub fn append_settings<'a>(data_directory: &Path, settings: impl Iterator<Item = (&'a str, &'a str)>) {
    let path = data_directory.join("postgresql.conf");
    let mut text = fs::read_to_string(&path).unwrap();
    for (name, value) in settings {
        writeln!(text, "{name} = '{}'", value.replace('\'', "''")).unwrap();
    }
    replace(&path, &text);
}

fn replace(path: &Path, text: &str) {
    let mode = fs::metadata(path).unwrap().permissions().mode();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
