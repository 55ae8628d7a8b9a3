//! update: reads a record, and changes it unless somebody else has done so meanwhile.

use std::{
    ffi::{OsStr, OsString},
    io::Write as _,
    process::{Command, Stdio},
};

use dht_client::{Change as Decision, Error, ErrorKind, Limits, Updated};

use super::record::value_of;
use crate::{
    args::{KeyArgs, UpdateArgs},
    failure::{Exit, Failure, say},
    session::Access,
};

/// What is to become of the record.
enum Change {
    /// This value, if `expected` is the one that is there, or nothing is expected.
    Value {
        value: Vec<u8>,
        expected: Option<OsString>,
    },
    /// What this shell command makes of the value.
    Exec(OsString),
    Remove,
}

pub(crate) async fn update(access: &Access, args: &UpdateArgs) -> Result<Exit, Failure> {
    let limits = Limits { update_retries_max: args.retries, ..access.limits() };
    let mut session = access.open_neo("update", limits).await?;
    let KeyArgs { channel, key } = &args.place;
    let change = Change::of(args)?;
    let mut failure = None;
    let records = session.channel(channel);
    let updating = records.update(*key, |value| {
        change.decide(value).unwrap_or_else(|refused| {
            failure = Some(refused);
            Decision::Keep
        })
    });
    let updated = session.ask(updating).await;
    match (failure, updated) {
        (Some(failure), _) => Err(failure),
        (None, Ok(Updated::Written | Updated::Removed | Updated::Kept)) => Ok(Exit::Done),
        (None, Ok(Updated::NoRecord)) => {
            say(&format!("dht: no record {key} in channel {channel}"));
            Ok(Exit::No)
        }
        (None, Err(Failure::Request(Error { kind: ErrorKind::Conflict(tries), .. }))) => {
            Err(Failure::Conflict(format!(
                "record {key} in channel {channel} was changed by somebody else while it was \
                 updated; tries: {tries}"
            )))
        }
        (None, Err(failure)) => Err(failure),
    }
}

impl Change {
    fn of(args: &UpdateArgs) -> Result<Self, Failure> {
        Ok(match (&args.exec, args.remove) {
            (Some(command), _) => Self::Exec(command.clone()),
            (None, true) => Self::Remove,
            (None, false) => Self::Value {
                value: value_of(args.value.as_deref(), args.file.as_deref())?,
                expected: args.expect.clone(),
            },
        })
    }

    fn decide(&self, old: &[u8]) -> Result<Decision, Failure> {
        match self {
            Self::Value { expected: Some(expected), .. } if expected.as_encoded_bytes() != old => {
                Err(Failure::Conflict("the record is not what --expect says".to_owned()))
            }
            Self::Value { value, .. } => Ok(Decision::Write(value.clone().into())),
            Self::Exec(command) => exec(command, old).map(Decision::from),
            Self::Remove => Ok(Decision::Remove),
        }
    }
}

/// What a shell command writes that is given the value.
fn exec(command: &OsStr, value: &[u8]) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| Failure::Exec(format!("could not be run: {error}"));
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take().expect("piped");
    // Beside the reading: a command may write before it has read everything.
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A command that does not want it all may be gone by now.
            let _ = stdin.write_all(value);
        });
        child.wait_with_output()
    });
    let output = output.map_err(failed)?;
    match (output.status.success(), output.stdout.is_empty()) {
        (false, _) => Err(Failure::Exec(format!("failed ({})", output.status))),
        (true, true) => {
            Err(Failure::Exec("wrote nothing (`update --remove` removes a record)".to_owned()))
        }
        (true, false) => Ok(output.stdout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &str, value: &[u8]) -> Result<Vec<u8>, String> {
        exec(OsStr::new(command), value).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_command_makes_the_new_value_of_the_old_one() {
        assert_eq!(run("tr a-z A-Z", b"abc"), Ok(b"ABC".to_vec()));
        assert_eq!(run("echo x", &[b'v'; 1 << 20]), Ok(b"x\n".to_vec()), "it need not read");
        let large = vec![b'v'; 1 << 20];
        assert_eq!(run("cat", &large), Ok(large), "far more than a pipe holds");
    }

    #[test]
    fn a_command_that_fails_or_writes_nothing_changes_nothing() {
        let failed = run("echo x; exit 3", b"").expect_err("it fails");
        assert!(failed.contains("failed (exit status: 3); the record was left"), "{failed}");
        let nothing = run("cat > /dev/null", b"abc").expect_err("no output");
        assert!(nothing.contains("wrote nothing"), "{nothing}");
    }

    #[test]
    fn an_unexpected_value_is_a_conflict() {
        let value = b"new".to_vec();
        let change = Change::Value { value, expected: Some("old".into()) };
        assert_eq!(change.decide(b"old").ok(), Some(Decision::from(b"new".to_vec())));
        assert!(matches!(change.decide(b"other"), Err(Failure::Conflict(_))));
    }
}
