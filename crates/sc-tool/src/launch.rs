//! Starting a browser: either wait for it, or leave it running in a session of its own.
//!
//! A session can only be begun by the new process itself. As this program has no `unsafe`, it starts itself once more
//! with the hidden command `detached`, which begins the session and then becomes the browser.
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::files;
use crate::report::Report;

/// A browser that fails to start does so within this time; one that outlives it is left alone.
const START_TIME: Duration = Duration::from_millis(700);

/// What is shown of the log of a browser that failed.
const LOG_LINES: usize = 6;

/// A program to start.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    /// The browser.
    pub(crate) program: &'a Path,
    /// Its arguments.
    pub(crate) args: &'a [OsString],
    /// `SSLKEYLOGFILE`.
    pub(crate) keylog: Option<&'a Path>,
}

/// Starts the browser with our own streams and waits for its end.
///
/// Errors: it cannot be started.
pub(crate) fn wait(start: &Start<'_>) -> Result<ExitCode, Report> {
    let mut command = Command::new(start.program);
    set_keylog(&mut command, start.keylog);
    let status = command
        .args(start.args)
        .status()
        .map_err(|error| cannot_start(start.program, &error))?;
    Ok(exit_code(status))
}

/// Starts the browser in a session of its own, its output in `log`, and returns when it has not failed at once.
///
/// Errors: it cannot be started; it failed at once, with the end of its output.
pub(crate) fn detach(start: &Start<'_>, log: &Path) -> Result<(), Report> {
    let failed = |error: io::Error| Report::because(format!("cannot write `{}`", log.display()), &error);
    let output = files::log(log).map_err(failed)?;
    let errors = output.try_clone().map_err(failed)?;
    let this = env::current_exe().map_err(|error| cannot_start(start.program, &error))?;
    let mut command = Command::new(this);
    set_keylog(&mut command, start.keylog);
    command.arg("detached").arg("--").arg(start.program).args(start.args);
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    let mut child = command.spawn().map_err(|error| cannot_start(start.program, &error))?;
    let (ended, end) = mpsc::channel();
    thread::spawn(move || drop(ended.send(child.wait())));
    match end.recv_timeout(START_TIME) {
        Err(_) => Ok(()),
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(_) => {
            let told = std::fs::read(log).unwrap_or_default();
            let told = String::from_utf8_lossy(&told);
            let lines: Vec<&str> = told.lines().filter(|line| !line.trim().is_empty()).collect();
            let tail = lines
                .get(lines.len().saturating_sub(LOG_LINES)..)
                .unwrap_or_default()
                .join("\n  ");
            Err(Report::failed(format!(
                "`{}` ended at once and said:\n  {tail}",
                start.program.display()
            )))
        }
    }
}

/// The hidden command: begins a session and becomes the program.
///
/// Errors: the program cannot be started.
pub(crate) fn detached(command: &[OsString]) -> Result<ExitCode, Report> {
    // Refused only to the leader of a group, who is no part of the caller's session either.
    let _ = rustix::process::setsid();
    become_program(command, Vec::new())
}

/// Replaces this process by a program.
///
/// Errors: it cannot be started; on success this does not return.
pub(crate) fn become_program(command: &[OsString], variables: Vec<(String, OsString)>) -> Result<ExitCode, Report> {
    let Some((program, args)) = command.split_first() else {
        return Err(Report::usage("no command was given"));
    };
    let error = Command::new(program).args(args).envs(variables).exec();
    Err(cannot_start(Path::new(program), &error))
}

/// The exit code that a shell would give: its own, or 128 and the signal.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn set_keylog(command: &mut Command, keylog: Option<&Path>) {
    if let Some(keylog) = keylog {
        command.env("SSLKEYLOGFILE", keylog);
    }
}

fn cannot_start(program: &Path, error: &io::Error) -> Report {
    Report::because(format!("cannot start `{}`", program.display()), error)
}

/// Do these arguments ask for one result, after which the browser ends by itself?
pub(crate) fn is_one_shot(args: &[OsString]) -> bool {
    let starts = |arg: &OsStr| {
        let arg = arg.to_string_lossy();
        ["--screenshot", "--dump-dom", "--print-to-pdf"].iter().any(|flag| {
            arg.strip_prefix(flag)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
    };
    args.iter().any(|arg| starts(arg))
}
