//! Archives of a backup as the tools of the system see them: tested, decompressed, listed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Run;
use super::base_backup::file_names;

/// The tool that knows the format of a file, by its suffix.
fn tool(path: &Path) -> Option<&'static str> {
    match path.extension()?.to_str()? {
        "gz" => Some("gzip"),
        "lz4" => Some("lz4"),
        "zst" => Some("zstd"),
        _ => None,
    }
}

/// Lets the tool of its format test a compressed file.
#[track_caller]
pub fn test_compressed(path: &Path) {
    let tool = tool(path).unwrap_or_else(|| panic!("{} is not compressed", path.display()));
    // Streams with long-distance matching want a window that has to be allowed.
    let options: &[&str] = if tool == "zstd" { &["--long=27", "-q", "-t"] } else { &["-t"] };
    Run::new(format!("/usr/bin/{tool}")).args(options).arg(path).run().expect_success();
}

/// Puts a copy of the directory into `target` in which no file is compressed, as the system's tools decompress them.
#[track_caller]
pub fn decompressed(directory: &Path, target: &Path) {
    std::fs::create_dir(target).unwrap();
    for name in file_names(directory) {
        let path = directory.join(&name);
        let Some(tool) = tool(&path) else {
            std::fs::copy(&path, target.join(&name)).unwrap();
            continue;
        };
        let output = target.join(PathBuf::from(&name).file_stem().unwrap());
        let mut command = Command::new(format!("/usr/bin/{tool}"));
        command.args(if tool == "zstd" { &["--long=27", "-q", "-d", "-c"][..] } else { &["-d", "-c"] });
        let status =
            command.arg(&path).stdout(File::create(output).unwrap()).stderr(Stdio::inherit()).status();
        assert!(status.unwrap().success(), "{tool} cannot decompress {}", path.display());
    }
}
