//! A program at a terminal of its own, as a person meets it; the terminal is that of `script`.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::wait::{DEADLINE, wait_for, wait_for_some};

/// A program that runs at a terminal. It is ended if this value is dropped before it has finished.
#[derive(Debug)]
pub struct Terminal {
    script: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts a program; its standard streams are the terminal.
    #[track_caller]
    pub fn start(program: &Path, arguments: &[impl AsRef<OsStr>]) -> Self {
        let words = std::iter::once(program.as_os_str()).chain(arguments.iter().map(AsRef::as_ref));
        let quoted: Vec<String> = words.map(|word| quote(word.to_str().unwrap())).collect();
        let mut script = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command"])
            .arg(format!("exec {}", quoted.join(" ")))
            .arg("/dev/null")
            .env_clear()
            .envs([
                ("PATH", "/usr/bin:/bin"),
                ("LC_ALL", "C"),
                ("HOME", "/nonexistent"),
                ("SHELL", "/bin/sh"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut output, copy) = (script.stdout.take().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                copy.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        let keyboard = script.stdin.take().unwrap();
        Self { script, keyboard, screen }
    }

    /// Everything that the screen has shown.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    /// Waits until the screen shows that text.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        wait_for(&format!("\"{text}\" on the screen"), DEADLINE, || self.screen().contains(text));
    }

    /// Types, with the keys as they are.
    pub fn type_keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end; gives the exit status, above 128 after a signal, and all that the screen showed.
    #[track_caller]
    pub fn finish(mut self) -> (i32, String) {
        let status = wait_for_some("the program to end", DEADLINE, || self.script.try_wait().unwrap());
        (status.code().unwrap(), self.screen())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
