//! A server whose short answers are not what they should be, and whose long ones are unusual: this program
//! says and does what the real one does.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;

use support::base_backup::BackupProgram;
use support::lied_to::LiedTo;
use support::scripted_backup_server::{
    Delivery, END, FILES, START, SYSTEM_IDENTIFIER, ScriptedBackupServer, Session, Step, answered,
    honest_members, manifest, message, rows, seal, welcome, with_completion_tag,
};
use support::{Personality, Run, Terminal, scratch_directory};

/// The version of the real program, which prints nothing else than ours here.
const REAL: u16 = 18;

fn programs() -> [BackupProgram; 2] {
    [BackupProgram::real_of(REAL), BackupProgram::ours()]
}

/// Both programs fail in exactly these words.
#[track_caller]
fn assert_refused_alike(session: &Session, arguments: &[&str], expected: &str) {
    for program in programs() {
        let path = program.path().display().to_string();
        let stderr = LiedTo::with(program).refuse(session, Delivery::default(), arguments);
        assert_eq!(stderr, expected, "{path}");
    }
}

const REMOVED: &str = "pg_basebackup: removing data directory \"DIR/out\"\n";

fn ready() -> Step {
    Step::Say(message(b'Z', b"I"))
}

fn completed() -> Step {
    Step::Say(message(b'C', b"SELECT\0"))
}

/// An error or a notice with all that can be said in one.
fn report(tag: u8, fields: &str) -> Step {
    Step::Say(message(tag, format!("{}\0\0", fields.replace('|', "\0")).as_bytes()))
}

#[test]
fn bb_067_integer_datetimes_must_be_on() {
    let is_parameter =
        |step: &Step| matches!(step, Step::Say(said) if said[5..].starts_with(b"integer_datetimes"));
    for (value, reason) in [
        (Some("off"), "\"integer_datetimes\" compile flag does not match server"),
        (Some("ON"), "\"integer_datetimes\" compile flag does not match server"),
        (None, "could not determine server setting for \"integer_datetimes\""),
    ] {
        let mut steps = welcome("15.18");
        let at = steps.iter().position(is_parameter).unwrap();
        steps.remove(at);
        if let Some(value) = value {
            let body = format!("integer_datetimes\0{value}\0");
            steps.insert(at, Step::Say(message(b'S', body.as_bytes())));
        }
        let session = Session { first_connection: Some(steps), ..Session::honest() };
        assert_refused_alike(&session, &[], &format!("pg_basebackup: error: {reason}\n"));
    }
}

#[test]
fn bb_076_completion_tags_mean_nothing() {
    for tag in ["", "SELECT", "SELECT 1", "IDENTIFY_SYSTEM", "nonsense 7"] {
        let steps = with_completion_tag(Session::honest().steps(), tag);
        let session = Session { first_connection: Some(steps), ..Session::honest() };
        for program in programs() {
            let outcome = LiedTo::with(program).run(&session, Delivery::default(), &[]).run();
            assert_eq!((outcome.code(), outcome.stderr.as_str()), (Some(0), ""), "{tag}");
        }
    }
}

#[test]
fn bb_094_a_backup_without_an_end() {
    let with_end = |result: Vec<Step>| {
        let copy_done = Step::Say(message(b'c', b""));
        let steps = [vec![copy_done], result, vec![completed(), ready()]].concat();
        Session { instead_of_end: Some(steps), ..Session::honest() }
    };
    let end = vec![Some(END), Some("1")];
    let two_rows: Vec<Step> = rows(&[end.clone(), end.clone()]).map(Step::Say).collect();
    let no_row: Vec<Step> = {
        let mut messages: Vec<Vec<u8>> = rows(&[end]).collect();
        messages.remove(1);
        messages.into_iter().map(Step::Say).collect()
    };
    let missing =
        format!("pg_basebackup: error: no write-ahead log end position returned from server\n{REMOVED}");
    for result in [two_rows, no_row] {
        assert_refused_alike(&with_end(result), &[], &missing);
    }
    let failed = report(b'E', "SERROR|VERROR|C58030|Mcould not write file \"x\"|DThe disk is full.");
    let failed = vec![failed, ready()];
    let expected = format!(
        "pg_basebackup: error: backup failed: ERROR:  could not write file \"x\"\nDETAIL:  The disk is full.\n\
         {REMOVED}"
    );
    assert_refused_alike(&with_end(failed), &[], &expected);
}

/// A terminal takes orders in what it shows; whoever else reads gets every byte.
#[test]
fn bb_097_what_a_server_says_drives_no_terminal() {
    let mut steps = welcome("15.18");
    steps.extend([Step::Await, report(b'E', "SERROR|VERROR|C42501|M\u{1b}]0;owned\u{7}no"), ready()]);
    let session = Session { first_connection: Some(steps), ..Session::honest() };
    let server = ScriptedBackupServer::start_with(&session, Delivery::default());
    let directory = scratch_directory();
    let out = directory.path().join("out");
    let arguments = ["-D", out.to_str().unwrap(), "-X", "none", "-d", &server.conninfo()];
    let program = Personality::named("pg_basebackup");
    let (status, screen) = Terminal::start(program.path(), &arguments).finish();
    assert_eq!(status, 1, "{screen}");
    assert!(screen.contains("ERROR:  \u{fffd}]0;owned\u{fffd}no"), "{screen:?}");
    assert!(!screen.contains('\u{7}'), "{screen:?}");
    let outcome = Run::new(program.path()).args(arguments).run().expect_code(1);
    assert!(outcome.stderr.contains("ERROR:  \u{1b}]0;owned\u{7}no"), "{}", outcome.stderr);
}

/// What stands before the text of the server is the program's; everything after it has its own line.
#[test]
fn bb_097_errors_come_with_all_that_the_server_says_of_them() {
    let fields = "SERROR|VERROR|C42501|Mpermission denied\nfor you|DThe reason.\nAll of it.|HAsk somebody.|\
                  Wwhile reading|Fbackup.c|L123|Rbackup";
    let text = "ERROR:  permission denied\nfor you\nDETAIL:  The reason.\nAll of it.\nHINT:  Ask somebody.\n\
                CONTEXT:  while reading\n";
    let answers: [&[&str]; 4] = [&["0700"], &["16MB"], &[SYSTEM_IDENTIFIER, "1", START], &[]];
    let prefixes = [
        "could not send replication command \"SHOW data_directory_mode\": ",
        "could not send replication command \"SHOW wal_segment_size\": ",
        "could not send replication command \"IDENTIFY_SYSTEM\": ",
        "could not initiate base backup: ",
    ];
    for (answered_before, prefix) in prefixes.into_iter().enumerate() {
        let mut steps = welcome("15.18");
        steps.extend(answers[..answered_before].iter().flat_map(|answer| answered(answer)));
        steps.extend([Step::Await, report(b'E', fields), ready()]);
        let session = Session { first_connection: Some(steps), ..Session::honest() };
        let removed = if answered_before == 0 { "" } else { REMOVED };
        assert_refused_alike(&session, &[], &format!("pg_basebackup: error: {prefix}{text}{removed}"));
    }
}

/// Where the server was when it gave a notice does not matter to anybody.
#[test]
fn bb_096_bb_097_notices_come_with_what_to_do_about_them() {
    let notice =
        report(b'N', "SWARNING|VWARNING|C01000|Mlook\nout|DThe reason.|HDo something.|Wwhile writing");
    let text = "WARNING:  look\nout\nDETAIL:  The reason.\nHINT:  Do something.\n";
    let honest = Session::honest().steps();
    let first_data =
        honest.iter().position(|step| matches!(step, Step::Say(said) if said[0] == b'd')).unwrap();
    // Before the answer to a command, between two pieces of an archive, at the very end.
    for at in [8, first_data + 3, honest.len() - 1] {
        let mut steps = honest.clone();
        steps.insert(at, notice.clone());
        let session = Session { first_connection: Some(steps), ..Session::honest() };
        for program in programs() {
            let outcome = LiedTo::with(program).run(&session, Delivery::default(), &[]).run();
            assert_eq!((outcome.code(), outcome.stderr.as_str()), (Some(0), text), "{at}");
        }
    }
}

/// Whatever the layout of the manifest is, its bytes are those of the server.
#[test]
fn bb_212_the_manifest_is_stored_byte_for_byte() {
    let usual = String::from_utf8(manifest(&FILES, "", START, END)).unwrap();
    let without_seal = usual.rsplit_once("\"Manifest-Checksum\"").unwrap().0;
    let unusual = without_seal
        .replace("\"Size\": ", "\"Size\"  :\t ")
        .replace("\"Path\": \"backup_label\"", "\"Path\": \"b\\u0061ckup_l\\u0061bel\"")
        .replace("],\n", "\t],\r\n");
    let sealed = seal(&unusual);
    for format in ["-Fp", "-Ft"] {
        for program in programs() {
            let lied_to = LiedTo::with(program);
            let session = Session::new(&honest_members(), &sealed);
            lied_to.run(&session, Delivery::default(), &[format]).run().expect_success();
            assert_eq!(fs::read(lied_to.path().join("out/backup_manifest")).unwrap(), sealed, "{format}");
        }
    }
}

/// However far a backup had come when it failed, nothing that stays looks like a whole one.
#[test]
fn bb_214_a_backup_that_failed_has_no_manifest() {
    let steps = Session::honest().steps();
    let said = |step: &Step, tag: u8| matches!(step, Step::Say(said) if said[0] == tag);
    let copy_done = steps.iter().position(|step| said(step, b'c')).unwrap();
    let failed = report(b'E', "SERROR|VERROR|C58030|Mno luck");
    for at in copy_done..steps.len() - 1 {
        let mut steps = steps[..at].to_vec();
        steps.extend([failed.clone(), ready()]);
        let session = Session { first_connection: Some(steps), ..Session::honest() };
        for format in ["-Fp", "-Ft"] {
            for program in programs() {
                let lied_to = LiedTo::with(program);
                let run = lied_to.run(&session, Delivery::default(), &[format, "--no-clean"]);
                let outcome = run.run().expect_code(1);
                let out = lied_to.path().join("out");
                assert!(out.join("backup_manifest.tmp").exists(), "{}", outcome.stderr);
                assert!(!out.join("backup_manifest").exists(), "{}", outcome.stderr);
            }
        }
    }
}
