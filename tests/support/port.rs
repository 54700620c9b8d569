//! Ports for servers, each held by one process at a time.
//!
//! They lie below the range from which the kernel takes ports of outgoing connections, so that a server
//! finds its port free again when it is restarted.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use super::account;

const LOWEST: u16 = 10_240;
const HIGHEST: u16 = 32_767;

/// A port that no other test process uses, until this value is dropped.
#[derive(Debug)]
pub struct ReservedPort {
    number: u16,
    _lock: File,
}

impl ReservedPort {
    /// Reserves a port on which nothing listens.
    pub fn reserve() -> Self {
        loop {
            let span = u32::from(HIGHEST - LOWEST) + 1;
            let offset = getrandom::u32().unwrap() % span;
            if let Some(port) = Self::try_reserve(LOWEST + u16::try_from(offset).unwrap()) {
                return port;
            }
        }
    }

    /// Reserves that port, if no other test process has it and nothing listens on it.
    pub fn try_reserve(number: u16) -> Option<Self> {
        let directory = shared_directory().join("ports");
        account::own_directory(&directory);
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(number.to_string()))
            .unwrap();
        lock.try_lock().ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self { number, _lock: lock })
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}

/// What the test processes of one user share: locks of ports, and clusters to copy from.
pub fn shared_directory() -> std::path::PathBuf {
    let path = Path::new("/tmp").join(format!("pgsiphon-tests-{}", account::own_uid()));
    account::own_directory(&path);
    path
}
