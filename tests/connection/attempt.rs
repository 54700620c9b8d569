//! Attempts to connect: ours, each within a deadline, and those of the reference.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};

use pgsiphon::client::ReplicationClient;
use pgsiphon::connection::{ConnectError, Notice};
use pgsiphon::conninfo::{Config, Environment, Settings};

use crate::support::{DEADLINE, Installation, Run, client_program, scratch_directory};

/// A variable of an environment that says nothing else of PostgreSQL.
pub(crate) type Variable = (&'static str, String);

/// What both sides are told: a connection string and environment variables.
pub(crate) fn config_with(conninfo: &str, variables: &[Variable]) -> Config {
    let environment = Environment::from_lookup(|name| {
        let told = variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.into());
        told.or_else(|| (name == "HOME").then(|| "/nonexistent".into()))
    });
    let settings = Settings::builder().connection_string(conninfo).environment(environment).build().unwrap();
    Config::from_settings(&settings).unwrap()
}

pub(crate) fn config(conninfo: &str) -> Config {
    config_with(conninfo, &[])
}

/// Runs a future on a thread of its own, so that not even one that never yields can hang a test.
///
/// # Panics
///
/// If it panics, or is not done by the deadline.
#[track_caller]
pub(crate) fn in_time<F>(future: F) -> F::Output
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // Nobody waits any more if the deadline has passed.
        let _ = sender.send(runtime.block_on(future));
    });
    match receiver.recv_timeout(DEADLINE) {
        Ok(output) => output,
        Err(error) => panic!("it panicked or did not end in time: {error}"),
    }
}

/// Connects, identifies the system, and takes leave.
pub(crate) fn try_config(config: Config) -> Result<(), ConnectError> {
    in_time(async move {
        let mut client = ReplicationClient::connect(&config).await?;
        client.identify_system().await.unwrap();
        client.close().await;
        Ok(())
    })
}

/// # Panics
///
/// With the error, if no session could be had.
#[track_caller]
pub(crate) fn admitted(conninfo: &str) {
    if let Err(error) = try_config(config(conninfo)) {
        panic!("{conninfo}: {error}");
    }
}

/// Why no session could be had.
///
/// # Panics
///
/// If one could.
#[track_caller]
pub(crate) fn refused(conninfo: &str) -> ConnectError {
    match try_config(config(conninfo)) {
        Ok(()) => panic!("{conninfo} leads to a session"),
        Err(error) => error,
    }
}

/// Why no session could be had, and what was said through the notice handler.
#[track_caller]
pub(crate) fn refused_with_notices(conninfo: &str) -> (ConnectError, Vec<String>) {
    let (result, notices) = with_notices(config(conninfo));
    (result.unwrap_err(), notices)
}

/// Connects, identifies the system, and takes leave; the notices are those of the whole session.
pub(crate) fn with_notices(config: Config) -> (Result<(), ConnectError>, Vec<String>) {
    let notices = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&notices);
    let result = in_time(async move {
        let handler = move |notice: &Notice| sink.lock().unwrap().push(notice.to_string());
        let mut client = ReplicationClient::connect_with(&config, Arc::new(handler)).await?;
        client.identify_system().await.unwrap();
        client.close().await;
        Ok(())
    });
    let notices = notices.lock().unwrap().clone();
    (result, notices)
}

/// What the reference, `pg_basebackup` 15, says when it cannot connect: everything but its name.
pub(crate) fn reference(conninfo: &str) -> String {
    reference_with(conninfo, &[])
}

#[track_caller]
pub(crate) fn reference_with(conninfo: &str, variables: &[Variable]) -> String {
    refusal_by(client_program("pg_basebackup"), conninfo, variables)
}

#[track_caller]
fn refusal_by(program: PathBuf, conninfo: &str, variables: &[Variable]) -> String {
    let directory = scratch_directory();
    let run = Run::new(program).args(["--no-password", "--wal-method=none", "-d"]);
    let run = run.arg(conninfo).arg("-D").arg(directory.path().join("backup"));
    let run = variables.iter().fold(run, |run, (name, value)| run.env(name, value));
    let stderr = run.run().expect_code(1).stderr;
    stderr.replacen("pg_basebackup: error: ", "", 1).trim_end_matches('\n').to_owned()
}

/// Checks that we and the reference are refused in the same words; gives our error.
#[track_caller]
pub(crate) fn refused_like_the_reference(conninfo: &str) -> ConnectError {
    let error = refused(conninfo);
    assert_eq!(error.to_string(), reference(conninfo), "{conninfo}");
    error
}

/// The same with the newest of the references, which knows settings that the other does not.
#[track_caller]
pub(crate) fn refused_like_the_newest_reference(conninfo: &str) -> ConnectError {
    let error = refused(conninfo);
    let program = Installation::find(18).program("pg_basebackup");
    assert_eq!(error.to_string(), refusal_by(program, conninfo, &[]), "{conninfo}");
    error
}

/// A session that stays until it is dropped.
#[track_caller]
pub(crate) fn connected(config: Config) -> ReplicationClient {
    in_time(async move { ReplicationClient::connect(&config).await }).unwrap()
}
