//! The command line as it is typed. What it means is decided in [`crate::target`] and by each command.
//!
//! The short flags of the original `sc-tool chrome` (`-5 -m -x -d -V -s`) keep their letters and long names.
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed while running, 2 command line, 3 configuration,
4 doctor found something, 5 address already taken. `run`, and `chrome` and
`firefox` when they wait, return the code of what they started.";

const CHROME_EXAMPLES: &str = "\
Examples:
  sc-tool chrome
  sc-tool chrome www.example.com/cart
  sc-tool chrome www.example.com -- --headless --screenshot=page.png";

const FIREFOX_EXAMPLES: &str = "\
Examples:
  sc-tool firefox www.example.com/cart
  sc-tool firefox www.example.com -- --headless --screenshot page.png";

const RUN_EXAMPLES: &str = "\
Examples:
  sc-tool run -- curl https://www.example.com/
  sc-tool run -- npm test

With SHIMMERCAT=0 in the environment the command runs as if sc-tool were not
there.";

const ENV_EXAMPLE: &str = "\
Example:
  eval \"$(sc-tool env)\"";

const TCP_EXAMPLES: &str = "\
Examples:
  sc-tool tcp mysql.example.com:3306
  sc-tool tcp mysql --listen 127.0.0.1:3306";

/// Opens a browser, a shell or a program inside the little network of a running `shimmercat devlove`.
#[derive(Debug, Parser)]
#[command(name = "sc-tool", version, max_term_width = 100, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Open a Chromium-family browser in the project's own profile
    #[command(after_help = CHROME_EXAMPLES)]
    Chrome(Chrome),
    /// Open Firefox in the project's own profile
    #[command(after_help = FIREFOX_EXAMPLES)]
    Firefox(Browse),
    /// Run a command with the variables of `sc-tool env`
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Print the variables that make other programs use the same names and trust
    #[command(after_help = ENV_EXAMPLE)]
    Env(Env),
    /// Print a proxy auto-config for the project's names
    Pac(Pac),
    /// Export, trust or untrust the project's CA
    Ca(Ca),
    /// Open a local port that leads to a name of the little network
    #[command(after_help = TCP_EXAMPLES)]
    Tcp(Tcp),
    /// Check everything between a browser and the sites
    Doctor(Doctor),
    /// Start the rest of the command line in a session of its own
    #[command(hide = true)]
    Detached(Detached),
}

/// Which instance is meant.
#[derive(clap::Args, Debug)]
pub(crate) struct Where {
    /// Port of the proxy; by default that of the running instance of this project, and 2006 when only the host is given
    #[arg(help_heading = "Which instance", short = '5', long = "socks5-port", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Host of the proxy; by default that of the running instance, and 127.0.0.1 when only the port is given
    #[arg(
        help_heading = "Which instance",
        short = 'm',
        long = "socks5-host",
        value_name = "HOST"
    )]
    pub(crate) host: Option<String>,
    #[command(flatten)]
    pub(crate) project: Project,
}

/// Which project is meant.
#[derive(clap::Args, Debug)]
pub(crate) struct Project {
    /// Look for the project from here instead of the current folder
    #[arg(help_heading = "Which instance", short = 'C', long, value_name = "DIR")]
    pub(crate) working_dir: Option<PathBuf>,
    /// Name of the project's scratch folder
    #[arg(help_heading = "Which instance", long, value_name = "NAME", default_value = sc_config::places::DEFAULT_SCRATCH_NAME, hide_default_value = true)]
    pub(crate) scratch_dir_name: String,
}

/// What both kinds of browsers take.
#[derive(clap::Args, Debug)]
pub(crate) struct Browse {
    /// Pages to open; a name without a scheme means https. Without any, the first site of the project
    #[arg(value_name = "URL")]
    pub(crate) urls: Vec<String>,
    #[command(flatten)]
    pub(crate) place: Where,
    /// Browser to start, a name on PATH or a path; by default the first one found
    #[arg(short = 'x', long, value_name = "FILE")]
    pub(crate) executable: Option<PathBuf>,
    /// Folder of the profile: empty, new, or made by sc-tool; by default one per project in the state folder
    #[arg(short = 'd', long, value_name = "DIR")]
    pub(crate) user_dir: Option<PathBuf>,
    /// Throw the profile away and begin with a new one
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Wait until the browser ends, and end with its exit code; implied by --screenshot, --dump-dom and --print-to-pdf
    #[arg(long)]
    pub(crate) wait: bool,
    /// Print the browser's command line
    #[arg(short = 'V', long)]
    pub(crate) verbose: bool,
    /// Let the browser write its TLS secrets to FILE (SSLKEYLOGFILE)
    #[arg(short = 's', long, value_name = "FILE")]
    pub(crate) ssl_keylog: Option<PathBuf>,
    /// Print the command line and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Arguments for the browser itself, e.g. `-- --headless --screenshot=page.png`
    #[arg(last = true, value_name = "BROWSER-ARG")]
    pub(crate) browser_args: Vec<OsString>,
}

/// `sc-tool chrome`
#[derive(clap::Args, Debug)]
pub(crate) struct Chrome {
    #[command(flatten)]
    pub(crate) browse: Browse,
    /// Forbid the browser to resolve any name itself (--host-resolver-rules; it shows a warning bar)
    #[arg(long)]
    pub(crate) strict_dns: bool,
}

/// `sc-tool run`
#[derive(clap::Args, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) place: Where,
    /// The command and its arguments
    #[arg(
        trailing_var_arg = true,
        required = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub(crate) command: Vec<OsString>,
}

/// `sc-tool env`
#[derive(clap::Args, Debug)]
pub(crate) struct Env {
    #[command(flatten)]
    pub(crate) place: Where,
    /// Print one JSON object instead of export lines
    #[arg(long)]
    pub(crate) json: bool,
}

/// `sc-tool pac`
#[derive(clap::Args, Debug)]
pub(crate) struct Pac {
    #[command(flatten)]
    pub(crate) place: Where,
}

/// `sc-tool ca`
#[derive(clap::Args, Debug)]
pub(crate) struct Ca {
    #[command(subcommand)]
    pub(crate) action: CaAction,
}

/// What to do with the CA.
#[derive(Debug, Subcommand)]
pub(crate) enum CaAction {
    /// Write the CA's certificate (PEM, no key) to FILE or stdout
    Export {
        /// Where to
        file: Option<PathBuf>,
        #[command(flatten)]
        project: Project,
    },
    /// Trust the CA outside sc-tool's profiles, in your NSS database; never needed for `sc-tool chrome`
    Trust {
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        project: Project,
    },
    /// Take that trust back
    Untrust {
        #[command(flatten)]
        project: Project,
    },
}

/// `sc-tool tcp`
#[derive(clap::Args, Debug)]
pub(crate) struct Tcp {
    /// Name in the little network and its port; the port may be left out when the project's file gives the name one
    #[arg(value_name = "NAME[:PORT]")]
    pub(crate) name: String,
    /// Address to listen on; by default a free port on 127.0.0.1
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", hide_default_value = true)]
    pub(crate) listen: String,
    #[command(flatten)]
    pub(crate) place: Where,
}

/// `sc-tool doctor`
#[derive(clap::Args, Debug)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) place: Where,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// The hidden launcher.
#[derive(clap::Args, Debug)]
pub(crate) struct Detached {
    /// The program and its arguments
    #[arg(trailing_var_arg = true, required = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,
}
