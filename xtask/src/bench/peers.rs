//! The servers that are measured, and how each is started: with the files of `peers/`, which are published with the results.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::load::app::Ports;
use super::running::Running;
use super::stage::{Stage, free_port};
use crate::shell;

/// Who is measured.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Server {
    ShimmerCat,
    Nginx,
    H2o,
    HaProxy,
    Caddy,
    MicroSocks,
    Dante,
    /// ShimmerCat while nothing happens to it: what it is compared with when something does.
    Undisturbed,
}

impl Server {
    /// How it is called in tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Server::ShimmerCat => "ShimmerCat",
            Server::Nginx => "nginx",
            Server::H2o => "H2O",
            Server::HaProxy => "HAProxy",
            Server::Caddy => "Caddy",
            Server::MicroSocks => "microsocks",
            Server::Dante => "dante",
            Server::Undisturbed => "undisturbed",
        }
    }

    /// The server of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        let all = [
            Server::ShimmerCat,
            Server::Nginx,
            Server::H2o,
            Server::HaProxy,
            Server::Caddy,
            Server::MicroSocks,
            Server::Dante,
            Server::Undisturbed,
        ];
        all.into_iter().find(|server| server.name().eq_ignore_ascii_case(name))
    }
}

/// In which way a server is started.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Way {
    /// No access log.
    Quiet,
    /// An access log, into a file.
    Logging,
    /// ShimmerCat without a warm successor, so that each renewal starts one.
    Alone,
    /// As a proxy for SOCKS5.
    Socks,
}

/// Everything that is needed to start any of them.
pub(super) struct Kit<'a> {
    pub(super) stage: &'a Stage,
    pub(super) app: Ports,
    pub(super) core: usize,
    /// ShimmerCat's program.
    pub(super) program: PathBuf,
    /// Caddy's.
    pub(super) caddy: Option<PathBuf>,
}

impl Kit<'_> {
    /// Starts a server and waits until it accepts.
    pub(super) fn start(&self, server: Server, way: Way) -> Result<Running> {
        let port = free_port(18_000)?;
        let mut command = self.command(server, way, port)?;
        let output = self.folder().join(format!("{}.out", stem(server, port)));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let started = Running::start(&mut command, self.core, address, output);
        let mut running = started.with_context(|| format!("{} does not start", server.name()))?;
        running
            .wait()
            .with_context(|| format!("{} does not serve", server.name()))?;
        Ok(running)
    }

    /// The file of a server's access log, when it writes one.
    pub(super) fn log(&self, server: Server, running: &Running) -> PathBuf {
        match server {
            Server::ShimmerCat => running.output.clone(),
            server => self
                .folder()
                .join(format!("{}.log", stem(server, running.address.port()))),
        }
    }

    /// The folder of ShimmerCat's project when it is asked at that port.
    pub(super) fn project(&self, port: u16) -> PathBuf {
        self.folder().join(format!("project-{port}"))
    }

    fn folder(&self) -> &Path {
        &self.stage.folder
    }

    fn command(&self, server: Server, way: Way, port: u16) -> Result<Command> {
        let stage = self.folder();
        let written = |name: &str, text: &str| self.written(&format!("{port}-{name}"), text, way, port);
        let mut command;
        match server {
            Server::Nginx => {
                command = program("nginx")?;
                let file = written("nginx.conf", include_str!("peers/nginx.conf"))?;
                command.arg("-p").arg(stage).arg("-c").arg(file);
            }
            Server::H2o => {
                command = program("h2o")?;
                command
                    .arg("-c")
                    .arg(written("h2o.yaml", include_str!("peers/h2o.yaml"))?);
            }
            Server::HaProxy => {
                command = program("haproxy")?;
                command
                    .arg("-db")
                    .arg("-f")
                    .arg(written("haproxy.cfg", include_str!("peers/haproxy.cfg"))?);
            }
            Server::Caddy => {
                command = Command::new(self.caddy.as_ref().context("Caddy is not installed")?);
                let file = written("Caddyfile", include_str!("peers/Caddyfile"))?;
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
                command
                    .env("HOME", stage)
                    .env("XDG_CONFIG_HOME", stage)
                    .env("XDG_DATA_HOME", stage);
            }
            Server::MicroSocks => {
                command = program("microsocks")?;
                command.args(["-i", "127.0.0.1", "-p", &port.to_string()]);
            }
            Server::Dante => {
                command = program("danted")?;
                let file = written("danted.conf", include_str!("peers/danted.conf"))?;
                command.arg("-f").arg(file).arg("-p").arg(stage.join("danted.pid"));
            }
            Server::ShimmerCat | Server::Undisturbed => command = self.shimmercat(way, port)?,
        }
        Ok(command)
    }

    fn shimmercat(&self, way: Way, port: u16) -> Result<Command> {
        // A project of its own each time: two instances do not share a folder.
        let project = self.project(port);
        if project.exists() {
            fs::remove_dir_all(&project).with_context(|| format!("cannot empty {}", project.display()))?;
        }
        fs::create_dir(&project)?;
        fs::write(project.join(".gitignore"), "*\n")?;
        std::os::unix::fs::symlink(self.folder().join("www"), project.join("www")).context("no link to the files")?;
        self.written(
            &format!("project-{port}/devlove.yaml"),
            include_str!("peers/devlove.yaml"),
            way,
            port,
        )?;
        let mut command = Command::new(&self.program);
        let address = format!("127.0.0.1:{port}");
        if way == Way::Socks {
            command.args([
                "devlove",
                "--listen",
                "127.0.0.1:0",
                "-5",
                &address,
                "--log-codes",
                "empty",
            ]);
        } else {
            command.args(["internet", "--workers", "1", "--redis", "off", "--listen", &address]);
            command
                .arg("--cert")
                .arg(self.stage.cert())
                .arg("--key")
                .arg(self.stage.key());
            let codes = if way == Way::Logging {
                "default"
            } else {
                "default\\M30201"
            };
            command.args(["--log-codes", codes]);
        }
        command.arg("-C").arg(&project);
        command
            .env("HOME", &project)
            .env("XDG_RUNTIME_DIR", &project)
            .env("XDG_STATE_HOME", &project);
        Ok(command)
    }

    /// Fills in a configuration and writes it where the server reads it.
    fn written(&self, name: &str, text: &str, way: Way, port: u16) -> Result<PathBuf> {
        let stage = self.folder().display().to_string();
        let is_root = rustix::process::geteuid().is_root();
        let as_root = |line: &str| if is_root { line.to_owned() } else { String::new() };
        let logging = |line: &str| {
            if way == Way::Logging {
                line.to_owned()
            } else {
                String::new()
            }
        };
        let nginx_log = match way {
            Way::Logging => format!("{stage}/{}.log combined buffer=64k flush=1s", stem(Server::Nginx, port)),
            _ => "off".to_owned(),
        };
        let values = [
            ("NGINX_USER", as_root("user root;")),
            ("H2O_USER", as_root("user: root")),
            ("DANTE_USER", as_root("user.privileged: root\nuser.unprivileged: root")),
            ("NGINX_LOG", nginx_log),
            (
                "H2O_LOG",
                logging(&format!("access-log: {stage}/{}.log", stem(Server::H2o, port))),
            ),
            (
                "CADDY_LOG",
                logging(&format!(
                    "log {{\n\t\toutput file {stage}/{}.log {{\n\t\t\troll_disabled\n\t\t}}\n\t}}",
                    stem(Server::Caddy, port)
                )),
            ),
            ("STANDBY", (way != Way::Alone).to_string()),
            ("PORT", port.to_string()),
            ("APP_KEEP", self.app.keep.to_string()),
            ("APP_CLOSE", self.app.close.to_string()),
            ("CERT", self.stage.cert().display().to_string()),
            ("KEY", self.stage.key().display().to_string()),
            ("BOTH", self.stage.both().display().to_string()),
            ("STAGE", stage.clone()),
        ];
        let mut text = text.to_owned();
        for (word, value) in values {
            text = text.replace(&format!("@{word}@"), &value);
        }
        let file = self.folder().join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}

/// What a server's files are called.
fn stem(server: Server, port: u16) -> String {
    format!("{}-{port}", server.name())
}

/// A program that Debian has.
pub(super) fn program(name: &str) -> Result<Command> {
    Ok(Command::new(
        shell::find(name).with_context(|| format!("`{name}` is not installed"))?,
    ))
}
