//! The command line as it is typed. What the values mean is decided in `settings.rs`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Web sites under development open in a real browser under their real names.
#[derive(Debug, Parser)]
#[command(name = "shimmercat", version, max_term_width = 80, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves the sites of devlove.yaml on this machine, for whoever builds them
    #[command(alias = "delove")]
    Devlove(Devlove),
    /// A master mode for monitoring workers and running in the Internet (not in this version)
    #[command(hide = true)]
    Internet {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        _rest: Vec<String>,
    },
    /// Reads devlove.yaml and reports every mistake; binds nothing
    Check(Check),
    /// Writes a commented first devlove.yaml for what it finds in the folder
    Init(Init),
    /// Shows what the running instance of this project serves and refused
    Status(Talk),
    /// Makes the running instance of this project read its file again
    Reload(Talk),
    /// Prints the JSON Schema of devlove.yaml
    Schema,
    /// Prints a completion script for a shell
    Completions { shell: clap_complete::Shell },
    /// Prints the manual page
    Man,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// Where devlove.yaml and the scratch folder are looked for; then each
    /// parent up to the repository's root
    #[arg(
        short = 'C',
        long,
        value_name = "DIR",
        env = "SHIMMERCAT_WORKING_DIR",
        help_heading = "Where"
    )]
    pub(crate) working_dir: Option<PathBuf>,
    /// Reads this file instead
    #[arg(long, value_name = "FILE", env = "SHIMMERCAT_CONFIG", help_heading = "Where")]
    pub(crate) config: Option<PathBuf>,
    /// Name of the scratch folder; another name lets a second instance run
    #[arg(
        long,
        value_name = "NAME",
        env = "SHIMMERCAT_SCRATCH_DIR_NAME",
        default_value = ".shimmercat.loves.devs",
        help_heading = "Where"
    )]
    pub(crate) scratch_dir_name: String,
}

/// Serves the sites of devlove.yaml on this machine, for whoever builds them.
///
/// Every site opens under its real name over HTTPS and HTTP/2, in a browser
/// that `sc-tool chrome` starts. Nothing else on the machine is changed, and
/// without -w nothing leaves it.
#[derive(Args, Debug)]
#[command(
    after_long_help = "Example:\n  shimmercat devlove -w fonts.googleapis.com,fonts.gstatic.com\n  sc-tool chrome https://www.example.com/"
)]
pub(crate) struct Devlove {
    #[command(flatten)]
    pub(crate) place: Place,
    /// HTTPS port [default: 127.0.0.1:4043, or the next free one]
    #[arg(
        long,
        value_name = "ADDR",
        env = "SHIMMERCAT_LISTEN",
        value_delimiter = ',',
        help_heading = "Network"
    )]
    pub(crate) listen: Vec<String>,
    /// Port of the little network: SOCKS5, HTTP proxy, PAC
    /// [default: 127.0.0.1:2006, or the next free one]
    #[arg(
        short = '5',
        long = "socks-5",
        value_name = "ADDR",
        env = "SHIMMERCAT_SOCKS_5",
        help_heading = "Network"
    )]
    pub(crate) socks_5: Option<String>,
    /// Lets names that are not configured through to the Internet: all of
    /// them, or only those listed
    #[arg(short = 'w', value_name = "HOST,…", num_args = 0..=1, value_delimiter = ',', help_heading = "Network")]
    pub(crate) forward: Option<Vec<String>>,
    /// Simulates a slower line, e.g. 7Mbit/s
    #[arg(
        long,
        value_name = "RATE",
        env = "SHIMMERCAT_SIM_BANDWIDTH",
        help_heading = "Network"
    )]
    pub(crate) sim_bandwidth: Option<String>,
    /// Simulates a longer round trip, e.g. 210ms
    #[arg(long, value_name = "TIME", env = "SHIMMERCAT_SIM_LATENCY", help_heading = "Network")]
    pub(crate) sim_latency: Option<String>,
    /// Which events are logged, e.g. 'all\connection' or 'default+M00101'
    #[arg(long, value_name = "EXPR", env = "SHIMMERCAT_LOG_CODES", help_heading = "Log")]
    pub(crate) log_codes: Option<String>,
    /// Short lines for a person, or one JSON object a line [default: auto]
    #[arg(long, value_enum, env = "SHIMMERCAT_LOG_FORMAT", help_heading = "Log")]
    pub(crate) log_format: Option<LogFormat>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Pretty on a terminal, JSON otherwise
    Auto,
    /// Short lines for a person
    Pretty,
    /// One JSON object a line
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Args, Debug)]
pub(crate) struct Init {
    /// The folder of the project
    #[arg(short = 'C', long, value_name = "DIR", default_value = ".")]
    pub(crate) working_dir: PathBuf,
    /// Prints the file instead of writing it
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Talk {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Prints one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
