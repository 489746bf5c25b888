//! Data on stdout: what a command was asked for, and nothing else.

use std::io::{ErrorKind, Write};

use crate::report::{Kind, Report};

/// Prints text on stdout, with a final line end.
///
/// Errors: stdout cannot be written; a reader that went away (a closed pipe) is none.
pub(crate) fn data(text: &str) -> Result<(), Report> {
    let mut out = std::io::stdout().lock();
    let written = out
        .write_all(text.trim_end_matches('\n').as_bytes())
        .and_then(|()| out.write_all(b"\n"));
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Report::new(Kind::Failed, "cannot write to stdout").caused_by(&error))
        }
        _ => Ok(()),
    }
}
