//! The command line as it is typed. What the values mean is decided in `settings.rs`.

use std::num::NonZeroU16;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Serves the sites of devlove.yaml: on your machine while you build them, and
/// to the Internet when they are done.
#[derive(Debug, Parser)]
#[command(name = "shimmercat", version, max_term_width = 80, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    // Without words here clap takes those of the struct, which are longer in `--help`.
    #[command(alias = "delove")]
    Devlove(Devlove),
    Internet(Internet),
    /// Reads devlove.yaml and reports every mistake; binds nothing
    Check(Check),
    /// Writes a commented first devlove.yaml for what it finds in the folder
    Init(Init),
    /// Shows what the running instance of this project serves and refused
    Status(Talk),
    /// Makes the running instance of this project read its file again
    Reload(Talk),
    /// Renews the workers of the running instance, one lane or all, and waits
    Recycle(Recycle),
    /// Prints the latest log lines of the running instance
    Logs(Logs),
    Drill(Drill),
    /// Prints the JSON Schema of devlove.yaml
    Schema,
    /// Prints a completion script for a shell
    Completions {
        shell: clap_complete::Shell,
    },
    /// Prints the manual page
    Man,
    /// A worker's process; the master starts it
    #[command(hide = true)]
    Worker,
    /// The instance of a drill; the drill starts it
    #[command(hide = true)]
    Drilled,
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
    #[command(flatten)]
    pub(crate) log: Log,
}

/// A master mode for monitoring workers and running in the Internet.
///
/// Serves the public sites of devlove.yaml over HTTPS with one certificate. The
/// first process is the master: it owns every listening socket and keeps the
/// workers that serve. Each worker ends and is followed by a new one every 15
/// to 30 minutes, and no request is lost by that. It stays in the foreground
/// and keeps its user: a service manager does the rest.
#[derive(Args, Debug)]
#[command(
    after_long_help = "Examples:\n  shimmercat internet --listen 0.0.0.0:443,[::]:443 -t 0.0.0.0:80\n  shimmercat internet --cert fullchain.pem --key privkey.pem\n\nTo bind the ports 443 and 80 without being root:\n  setcap cap_net_bind_service=+ep `which shimmercat`"
)]
pub(crate) struct Internet {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Addresses of HTTPS, e.g. 0.0.0.0:443,[::]:443; here or in the file
    #[arg(
        long,
        value_name = "ADDR,…",
        env = "SHIMMERCAT_LISTEN",
        value_delimiter = ',',
        help_heading = "Network"
    )]
    pub(crate) listen: Vec<String>,
    /// Addresses of plain HTTP that only redirect to HTTPS, e.g. 0.0.0.0:80
    #[arg(
        short = 't',
        value_name = "ADDR,…",
        env = "SHIMMERCAT_REDIRECT",
        value_delimiter = ',',
        help_heading = "Network"
    )]
    pub(crate) redirect: Vec<String>,
    /// Opens the little network too, for names such as phpmyadmin
    #[arg(long = "enable-socks-5", env = "SHIMMERCAT_ENABLE_SOCKS_5", help_heading = "Network")]
    pub(crate) enable_socks_5: bool,
    /// Port of the little network [default: 127.0.0.1:2006]
    #[arg(
        short = '5',
        long = "socks-5",
        value_name = "ADDR",
        env = "SHIMMERCAT_SOCKS_5",
        help_heading = "Network"
    )]
    pub(crate) socks_5: Option<String>,
    /// With the little network: lets other names through to the Internet, all
    /// of them or only those listed
    #[arg(short = 'w', value_name = "HOST,…", num_args = 0..=1, value_delimiter = ',', help_heading = "Network")]
    pub(crate) forward: Option<Vec<String>>,
    /// Certificate chain, PEM [default: cert.pem in the scratch folder]
    #[arg(long, value_name = "FILE", env = "SHIMMERCAT_CERT", help_heading = "Certificate")]
    pub(crate) cert: Option<PathBuf>,
    /// Its private key, PEM [default: privkey.pem in the scratch folder]
    #[arg(long, value_name = "FILE", env = "SHIMMERCAT_KEY", help_heading = "Certificate")]
    pub(crate) key: Option<PathBuf>,
    /// Number of lanes, each with a worker of its own [default: one per core]
    #[arg(long, value_name = "N", env = "SHIMMERCAT_WORKERS", value_parser = how_many, help_heading = "Workers")]
    pub(crate) workers: Option<NonZeroU16>,
    /// Redis that the workers share: auto starts an own one, off uses none
    #[arg(
        long,
        value_name = "URL|auto|off",
        env = "SHIMMERCAT_REDIS",
        help_heading = "Workers"
    )]
    pub(crate) redis: Option<String>,
    #[command(flatten)]
    pub(crate) log: Log,
}

#[derive(Args, Debug)]
pub(crate) struct Log {
    /// Which events are logged, e.g. 'all\connection' or 'default+M00101'
    #[arg(long, value_name = "EXPR", env = "SHIMMERCAT_LOG_CODES", help_heading = "Log")]
    pub(crate) log_codes: Option<String>,
    /// Short lines for a person, or one JSON object a line [default: auto]
    #[arg(long, value_enum, env = "SHIMMERCAT_LOG_FORMAT", help_heading = "Log")]
    pub(crate) log_format: Option<LogFormat>,
}

fn how_many(text: &str) -> Result<NonZeroU16, String> {
    text.parse().map_err(|_| "it is a number from 1 to 65535".to_owned())
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
    /// Also tells what this mode would refuse or do differently, and ends with
    /// 4 if there is something
    #[arg(long = "as", value_name = "MODE", value_enum)]
    pub(crate) mode: Option<Mode>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Mode {
    /// On this machine, while the sites are built
    Devlove,
    /// To the Internet: the certificate is looked at as well
    Internet,
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

#[derive(Args, Debug)]
pub(crate) struct Recycle {
    #[command(flatten)]
    pub(crate) talk: Talk,
    /// Only this lane, counted from 0
    #[arg(long, value_name = "N")]
    pub(crate) lane: Option<u16>,
}

#[derive(Args, Debug)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) talk: Talk,
    /// Goes on with every line that comes
    #[arg(short, long)]
    pub(crate) follow: bool,
}

/// Loads your sites on loopback while workers and Redis die, counts losses.
///
/// A second instance of this program serves your configuration on free ports of
/// the loopback interface, from a temporary folder, with your certificate if it
/// covers every public site and else with one made for the drill. Clients load
/// it over HTTP/1.1 and HTTP/2 while workers are recycled and killed, settings
/// change and Redis is killed and stopped. Every answer is compared with that of
/// a quiet first round. At the end stands `lost=0`, or each request that was
/// lost. An instance that runs already, its files and its Redis are left alone.
///
/// What is asked for: up to 40 files below the root-dir of each public site, and
/// GET and HEAD of `/` of each public site, also where an application answers:
/// some hundred times a second. --no-apps leaves applications alone.
///
/// Exit codes: 0 when nothing was lost, 1 when something was or the drill was
/// stopped before its end, 3 for mistakes of the configuration.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:\n  shimmercat drill\n  shimmercat drill --seed 42 --seconds 60 --json")]
pub(crate) struct Drill {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Repeats the requests and disturbances of another drill
    /// [default: a new one, printed]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// How long the load lasts
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,
    /// Leaves applications alone: asks for files only
    #[arg(long)]
    pub(crate) no_apps: bool,
    /// Prints one JSON object, the whole plan included
    #[arg(long)]
    pub(crate) json: bool,
    /// Certificate chain, PEM [default: cert.pem in the scratch folder]
    #[arg(long, value_name = "FILE", env = "SHIMMERCAT_CERT", help_heading = "As internet")]
    pub(crate) cert: Option<PathBuf>,
    /// Its private key, PEM [default: privkey.pem in the scratch folder]
    #[arg(long, value_name = "FILE", env = "SHIMMERCAT_KEY", help_heading = "As internet")]
    pub(crate) key: Option<PathBuf>,
    /// Number of lanes [default: one per core]
    #[arg(long, value_name = "N", env = "SHIMMERCAT_WORKERS", value_parser = how_many, help_heading = "As internet")]
    pub(crate) workers: Option<NonZeroU16>,
}
