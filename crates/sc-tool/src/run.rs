//! `sc-tool run` and `sc-tool env`: other programs inside the little network.
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value};

use crate::args::{Env, Run};
use crate::browsers::on_path;
use crate::environment::{self, Variables};
use crate::launch;
use crate::report::Report;
use crate::screen::Screen;
use crate::shell;
use crate::surroundings::Surroundings;
use crate::target::Target;

/// What a shell returns for a command that is not there.
const NOT_FOUND: u8 = 127;

/// Becomes the command, with the variables set; with `SHIMMERCAT=0`, without them.
///
/// Errors: no instance; the command cannot be started. Exit code 127 when there is no such command, as in a shell.
pub(crate) fn run(args: &Run, around: &Surroundings, screen: Screen) -> Result<ExitCode, Report> {
    let variables = match around.switched_off {
        true => Variables::new(),
        false => answering(&args.place, around, screen)?,
    };
    let program = args.command.first().map(OsString::as_os_str).unwrap_or_default();
    if on_path(program, &around.path).is_none() && !Path::new(program).exists() {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        screen.report(&Report::because(
            format!("cannot start `{}`", program.to_string_lossy()),
            &missing,
        ));
        return Ok(ExitCode::from(NOT_FOUND));
    }
    launch::become_program(&args.command, variables)
}

/// Prints the variables as lines for a shell, or as JSON.
///
/// Errors: no instance.
pub(crate) fn env(args: &Env, around: &Surroundings, screen: Screen) -> Result<ExitCode, Report> {
    let variables = answering(&args.place, around, screen)?;
    let text = match args.json {
        true => {
            let text = |value: OsString| Value::from(value.to_string_lossy().into_owned());
            let object: Map<_, _> = variables.into_iter().map(|(name, value)| (name, text(value))).collect();
            format!("{}\n", Value::Object(object))
        }
        false => {
            let line = |(name, value): &(String, OsString)| format!("export {name}={}\n", shell::quote(value));
            variables.iter().map(line).collect()
        }
    };
    screen.data(&text);
    Ok(ExitCode::SUCCESS)
}

fn answering(place: &crate::args::Where, around: &Surroundings, screen: Screen) -> Result<Variables, Report> {
    let (target, silence) = Target::find_answering(place, around)?;
    if let Some(silence) = silence {
        screen.warning(&silence);
    }
    environment::variables(&target, around)
}
