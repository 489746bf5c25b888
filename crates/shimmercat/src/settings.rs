//! From the command line and the file to settings: flag, then environment (both by clap), then file, then default.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use sc_config::{Address, Diagnostic, Forward, Found, Homes, Loaded, LogFormat, NamePattern, Places, Redis, Settings};
use sc_devlove::log_codes::LogCodes;

use crate::args::{self, Devlove, Internet, Place};
use crate::report::{Kind, Report};

/// The project that a command is about.
pub(crate) fn found(place: &Place) -> Result<Found, Report> {
    let start = working_dir(place)?;
    if let Some(config) = place.config.as_ref().filter(|config| !start.join(config).exists()) {
        let message = format!("there is no file `{}`", config.display());
        return Err(Report::new(Kind::Configuration, message).hint("leave --config out to look for devlove.yaml"));
    }
    Ok(sc_config::discover(&start, place.config.as_deref()))
}

/// The folder where the search begins.
pub(crate) fn working_dir(place: &Place) -> Result<PathBuf, Report> {
    let dir = place.working_dir.clone().unwrap_or_else(|| PathBuf::from("."));
    dir.canonicalize().map_err(|error| {
        Report::new(Kind::Usage, format!("cannot look at the folder `{}`", dir.display())).caused_by(&error)
    })
}

/// Where the project keeps what is not committed.
pub(crate) fn places(folder: &Path, place: &Place) -> Result<Places, Report> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let home = variable("HOME").ok_or_else(|| Report::new(Kind::Failed, "HOME is not set"))?;
    let homes = Homes {
        home,
        xdg_state_home: variable("XDG_STATE_HOME"),
        xdg_runtime_dir: variable("XDG_RUNTIME_DIR"),
    };
    Places::of(folder, &place.scratch_dir_name, &homes)
        .map_err(|error| Report::new(Kind::Failed, "the project's folders cannot be used").caused_by(&error))
}

/// The file's settings alone.
///
/// Errors: the file's mistakes, all of them; also a `log-codes` with codes that no event has, which the file's own checks
/// do not know.
pub(crate) fn load(found: &Found) -> Result<Loaded, Vec<Diagnostic>> {
    let loaded = sc_config::load(found)?;
    match loaded.settings.log_codes.as_deref().map(LogCodes::parse) {
        Some(Err(error)) => Err(vec![
            Diagnostic::error(format!("`log-codes` in the file: {error}")).hint(LOG_CODES_HINT),
        ]),
        _ => Ok(loaded),
    }
}

/// What to try when an expression of log codes cannot be read.
pub(crate) const LOG_CODES_HINT: &str =
    "sets are all, default, empty, connection; codes look like M40101; join with + and \\";

/// The file's settings with the command line laid over them.
///
/// Errors: the file's mistakes, all of them; warnings are handed back beside the settings.
pub(crate) fn read(found: &Found, flags: &Flags) -> Result<(Settings, Vec<Diagnostic>), Vec<Diagnostic>> {
    let loaded = load(found)?;
    let mut settings = loaded.settings;
    flags.lay_over(&mut settings);
    Ok((settings, loaded.warnings))
}

/// What the command line says about settings, checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    listen: Option<Vec<Address>>,
    socks5: Option<Address>,
    enable_socks5: bool,
    forward: Option<Forward>,
    bandwidth: Option<u64>,
    latency: Option<std::time::Duration>,
    redirect: Option<Vec<Address>>,
    certificate: Option<(PathBuf, PathBuf)>,
    workers: Option<NonZeroU16>,
    redis: Option<Redis>,
    log_codes: Option<String>,
    log_format: Option<LogFormat>,
}

impl Flags {
    /// Checks the values of `devlove` as they were typed.
    ///
    /// Errors: the first value that cannot be read, with its option and what to try.
    pub(crate) fn of(args: &Devlove) -> Result<Self, Report> {
        let bandwidth = args
            .sim_bandwidth
            .as_deref()
            .map(|text| value("--sim-bandwidth", text, sc_config::units::bandwidth(text)));
        let latency = args
            .sim_latency
            .as_deref()
            .map(|text| value("--sim-latency", text, sc_config::units::latency(text)));
        Ok(Flags {
            listen: listening_all("--listen", &args.listen)?,
            socks5: socks5(args.socks_5.as_deref())?,
            forward: args.forward.as_deref().map(forward).transpose()?,
            bandwidth: bandwidth.transpose()?,
            latency: latency.transpose()?,
            log_codes: args.log.log_codes.clone(),
            log_format: args.log.log_format.map(log_format),
            ..Flags::default()
        })
    }

    /// Checks the values of `internet` as they were typed.
    ///
    /// Errors: as [`Flags::of`].
    pub(crate) fn of_internet(args: &Internet) -> Result<Self, Report> {
        let redis = |text: &String| {
            // What was typed may hold a password, so it is not repeated.
            text.parse::<Redis>()
                .map_err(|error| Report::new(Kind::Usage, format!("--redis {error}")).hint(REDIS_HINT))
        };
        Ok(Flags {
            listen: named_all("--listen", &args.listen)?,
            socks5: args
                .socks_5
                .as_deref()
                .map(|text| named("--socks-5", text))
                .transpose()?,
            enable_socks5: args.enable_socks_5,
            forward: args.forward.as_deref().map(forward).transpose()?,
            redirect: named_all("-t", &args.redirect)?,
            certificate: certificate(args)?,
            workers: args.workers,
            redis: args.redis.as_ref().map(redis).transpose()?,
            log_codes: args.log.log_codes.clone(),
            log_format: args.log.log_format.map(log_format),
            ..Flags::default()
        })
    }

    fn lay_over(&self, settings: &mut Settings) {
        let flags = self.clone();
        if let Some(listen) = flags.listen {
            settings.listen = listen;
            settings.listen_given = true;
        }
        if let Some(socks5) = flags.socks5 {
            settings.socks5 = Some(socks5);
            settings.socks5_given = true;
        }
        if let Some((cert, key)) = flags.certificate {
            (settings.cert, settings.key) = (Some(cert), Some(key));
        }
        settings.enable_socks5 |= flags.enable_socks5;
        settings.forward = flags.forward.unwrap_or_else(|| settings.forward.clone());
        settings.shape.bandwidth = flags.bandwidth.or(settings.shape.bandwidth);
        settings.shape.latency = flags.latency.or(settings.shape.latency);
        settings.redirect = flags.redirect.unwrap_or_else(|| std::mem::take(&mut settings.redirect));
        settings.workers = flags.workers.or(settings.workers);
        settings.redis = flags.redis.unwrap_or_else(|| settings.redis.clone());
        settings.log_codes = flags.log_codes.or(settings.log_codes.take());
        settings.log_format = flags.log_format.unwrap_or(settings.log_format);
    }
}

/// What to try when the place of a Redis cannot be read.
const REDIS_HINT: &str = "URLs begin with `redis://`, `rediss://` or `unix://`";

fn log_format(typed: args::LogFormat) -> LogFormat {
    match typed {
        args::LogFormat::Auto => LogFormat::Auto,
        args::LogFormat::Pretty => LogFormat::Pretty,
        args::LogFormat::Json => LogFormat::Json,
    }
}

fn listening_all(option: &str, typed: &[String]) -> Result<Option<Vec<Address>>, Report> {
    all(typed, |text| listening(option, text))
}

fn named_all(option: &str, typed: &[String]) -> Result<Option<Vec<Address>>, Report> {
    all(typed, |text| named(option, text))
}

fn all(typed: &[String], read: impl Fn(&str) -> Result<Address, Report>) -> Result<Option<Vec<Address>>, Report> {
    let all: Vec<_> = typed.iter().map(|text| read(text)).collect::<Result<_, _>>()?;
    Ok(Some(all).filter(|all| !all.is_empty()))
}

fn socks5(typed: Option<&str>) -> Result<Option<Address>, Report> {
    typed.map(|text| listening("--socks-5", text)).transpose()
}

/// Both files or none; absolute, since they are read again for as long as the program runs.
fn certificate(args: &Internet) -> Result<Option<(PathBuf, PathBuf)>, Report> {
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .map_err(|error| Report::new(Kind::Usage, format!("cannot find `{}`", path.display())).caused_by(&error))
    };
    match (&args.cert, &args.key) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some((absolute(cert)?, absolute(key)?))),
        (given, _) => {
            let (one, other) = if given.is_some() {
                ("--cert", "--key")
            } else {
                ("--key", "--cert")
            };
            let message = format!("{one} is given without {other}");
            Err(Report::new(Kind::Usage, message).hint("a certificate and its key belong together"))
        }
    }
}

fn value<T, E: std::fmt::Display>(option: &str, text: &str, parsed: Result<T, E>) -> Result<T, Report> {
    parsed.map_err(|error| Report::new(Kind::Usage, format!("{option} {text}: {error}")))
}

/// An address as it was typed. A name stays one: there may be several sockets of that name, and a master looks for them.
fn named(option: &str, text: &str) -> Result<Address, Report> {
    let parsed = text.parse::<Address>().and_then(Address::for_listening);
    parsed.map_err(|error| Report::new(Kind::Usage, format!("{option} {text}: {error}")).hint(error.hint()))
}

fn listening(option: &str, text: &str) -> Result<Address, Report> {
    match named(option, text)? {
        Address::SocketName(name) => activated(option, &name),
        other => Ok(other),
    }
}

/// The descriptor that a service manager passed under a name (sd_listen_fds(3)).
fn activated(option: &str, name: &str) -> Result<Address, Report> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let is_ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    let at = names.split(':').position(|known| known == name).filter(|_| is_ours);
    match at.and_then(|at| i32::try_from(at + FIRST_ACTIVATED).ok()) {
        Some(number) => Ok(Address::Fd(number)),
        None => Err(Report::new(
            Kind::Usage,
            format!("{option}: no socket named `{name}` was passed to this process"),
        )
        .hint("a service manager passes sockets by LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID")),
    }
}

/// The first descriptor of socket activation (sd_listen_fds(3)).
const FIRST_ACTIVATED: usize = 3;

fn forward(hosts: &[String]) -> Result<Forward, Report> {
    if hosts.is_empty() {
        return Ok(Forward::All);
    }
    let names = hosts.iter().map(|host| value("-w", host, host.parse::<NamePattern>()));
    Ok(Forward::Only(names.collect::<Result<_, _>>()?))
}

/// Which events are told. The file's own text was parsed by [`read`] already: what fails here was typed.
pub(crate) fn log_codes(text: Option<&str>) -> Result<LogCodes, Report> {
    let Some(text) = text else {
        return Ok(LogCodes::default());
    };
    LogCodes::parse(text)
        .map_err(|error| Report::new(Kind::Usage, format!("--log-codes: {error}")).hint(LOG_CODES_HINT))
}

/// Random bits that no other instance has.
pub(crate) fn random() -> Result<u64, Report> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| Report::new(Kind::Failed, "the system gives no random bytes").caused_by(&error))?;
    Ok(u64::from_ne_bytes(bytes))
}
