//! `shimmercat init`: a first devlove.yaml for what is in the folder. An existing one is never touched.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use crate::args::Init;
use crate::output;
use crate::report::{Kind, Report};

/// Writes the file, or prints it.
pub(crate) fn run(args: &Init) -> Result<(), Report> {
    let text = sc_config::init_template(&args.working_dir);
    if args.print {
        return output::data(&text);
    }
    let path = args.working_dir.join(sc_config::discover::FILE_NAMES[0]);
    let shown = path.display();
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => {
            Report::say(&format!("wrote {shown}\nnext: shimmercat devlove"));
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(Report::new(Kind::Failed, format!("`{shown}` is there already"))
                .hint("see what would be written with --print"))
        }
        Err(error) => Err(Report::new(Kind::Failed, format!("cannot write `{shown}`")).caused_by(&error)),
    }
}
