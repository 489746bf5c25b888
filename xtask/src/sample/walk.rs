//! `cargo xtask demo`, second half: starts the sample application and `shimmercat devlove`, and shows the main job.
//!
//! Every step asks through the proxy as a browser would, prints one line and fails the command when the answer is not
//! the one that the README promises. It ends by printing how to open the site; on a terminal it stays up until Ctrl-C.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::client::{Client, Connected, Reply};
use super::instance::Instance;
use super::server::Server;
use crate::shell;

/// The ports that `sample/devlove.yaml` sends the application's names to.
const APP_PORTS: (u16, u16) = (8000, 8007);

/// Runs the whole demonstration; with `keep`, until it is interrupted.
pub(crate) async fn run(keep: bool) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("no signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("no signals")?;
    let folder = shell::root().join("sample");
    let programs = std::env::current_exe()?
        .parent()
        .map(Path::to_path_buf)
        .context("no folder of programs")?;
    let (app, override_file) = application(&folder).await?;
    println!(
        "sample application   {} (plain HTTP), {} (TCP echo)",
        app.http(),
        app.echo()
    );

    let work = async {
        let instance = Instance::start(&programs.join("shimmercat"), &folder).await?;
        println!(
            "shimmercat devlove   proxy {}, HTTPS {}\n",
            instance.proxy,
            instance.https.join(" ")
        );
        if let Err(error) = steps(&instance).await {
            return Err(error.context(format!("what shimmercat printed:\n{}\n", instance.held())));
        }
        println!("\nEverything above was answered on this machine; nothing left it.");
        if keep {
            next(&programs, "next:");
            println!("\nCtrl-C stops the site and its application.\n");
            instance.pass_on();
            let status = instance.ended().await?;
            ensure!(status.success(), "shimmercat ended with {status}");
        } else {
            println!("\nIts last words, with the ledger of what was refused:");
            instance.stop().await?;
            println!("\nTo open it, run `cargo xtask demo` in a terminal, where it stays up, and in another one:");
            next(&programs, " ");
        }
        Ok(())
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        failed = app.run() => failed,
        _ = interrupt.recv(), if !keep => bail!("interrupted"),
        _ = terminate.recv() => bail!("asked to stop"),
    };
    drop(override_file);
    outcome
}

fn next(programs: &Path, word: &str) {
    println!(
        "{word} {} chrome -C sample https://www.example.com/",
        programs.join("sc-tool").display()
    );
}

/// Each step of the main job, in the order in which the README tells it.
async fn steps(instance: &Instance) -> Result<()> {
    let client = Client::new(instance.proxy, &instance.ca)?;

    let page = client.get("www.example.com", "/").await?;
    ensure!(
        is_sample_page(&page),
        "the page came back as {}: {}",
        page.status,
        page.body
    );
    let facts = format!("{}, {}, {} bytes", page.status, page.security, page.body.len());
    told("static page", "https://www.example.com/", &facts);

    for (what, host, path) in [
        ("application", "www.example.com", "/api/hello"),
        ("second site", "api.example.com", "/hello"),
        ("wildcard name", "acme.tenants.example.com", "/hello"),
    ] {
        let words = hello(&client.get(host, path).await?, host)?;
        told(what, &format!("https://{host}{path}"), &words);
    }

    let words = "hello over the little network";
    let back = client.websocket("www.example.com", "/live", words).await?;
    ensure!(back == words, "the websocket echoed `{back}`");
    told("websocket", "wss://www.example.com/live", &format!("echoed “{back}”"));

    let page = client.get("www.google.com", "/").await?;
    ensure!(
        is_sample_page(&page),
        "www.google.com came back as {}: {}",
        page.status,
        page.body
    );
    told(
        "preloaded name",
        "https://www.google.com/",
        &format!("{}, {}, the same page", page.status, page.security),
    );

    let page = client.get_plain("www.example.com", "/").await?;
    let target = page.header("location");
    ensure!(
        (300..400).contains(&page.status),
        "plain HTTP came back as {}",
        page.status
    );
    ensure!(target == "https://www.example.com/", "plain HTTP leads to `{target}`");
    told(
        "plain HTTP",
        "http://www.example.com/",
        &format!("{} to {target}", page.status),
    );

    let back = client.tcp("echo", 7, "any protocol").await?;
    ensure!(back == "any protocol", "the TCP name echoed `{back}`");
    told("TCP by name", "echo:7", &format!("echoed “{back}”"));

    let reply = match client.connect("third-party.example.net", 443).await? {
        Connected::Refused(reply) => reply,
        Connected::Stream(_) => bail!("a third party was connected to, without `-w`"),
    };
    ensure!(reply == 2, "the third party was refused with reply {reply:02}, not 02");
    told(
        "third party",
        "https://third-party.example.net/track.js",
        "refused: SOCKS5 reply 02, not allowed",
    );
    Ok(())
}

fn is_sample_page(page: &Reply) -> bool {
    page.status == 200 && page.body.contains("little network")
}

/// What the sample application says, if it was asked under the right name.
fn hello(reply: &Reply, host: &str) -> Result<String> {
    ensure!(
        reply.status == 200,
        "the application answered {}: {}",
        reply.status,
        reply.body
    );
    let said: Value = serde_json::from_str(&reply.body).context("the application's answer is not JSON")?;
    ensure!(
        said["host"] == host,
        "the application was asked as {}, not {host}",
        said["host"]
    );
    Ok(format!("{}, {}, asked as {host}", reply.status, said["message"]))
}

fn told(what: &str, asked: &str, answer: &str) {
    println!("  {what:<15} {asked:<41} {answer}");
}

/// Removes the override that was written for this run.
struct Override(PathBuf);

impl Drop for Override {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

/// Binds the application where the sample configuration expects it. When a port is taken, it moves, and a
/// `devlove.local.yaml` says so for the length of the run: that is what this file is for.
async fn application(folder: &Path) -> Result<(Server, Option<Override>)> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if let Ok(app) = Server::bind(at(APP_PORTS.0), at(APP_PORTS.1)).await {
        return Ok((app, None));
    }
    let file = folder.join("devlove.local.yaml");
    if file.exists() {
        bail!(
            "port {} or {} is taken, and {} is yours: stop what listens there",
            APP_PORTS.0,
            APP_PORTS.1,
            file.display()
        );
    }
    let app = Server::bind(at(0), at(0)).await?;
    let (http, echo) = (app.http(), app.echo());
    let consultant = format!("consultant: {{ connect-to: {http} }}");
    let text = format!(
        "# Written by `cargo xtask demo`, because port {} or {} was taken. Removed when it ends.\n\
         shimmercat-devlove:\n  domains:\n    www.example.com:\n      {consultant}\n    www.google.com:\n      {consultant}\n    \
         api.example.com: {{ port: {} }}\n    \"*.tenants.example.com\": {{ port: {} }}\n    echo:\n      tcp: {{ 7: {echo} }}\n",
        APP_PORTS.0,
        APP_PORTS.1,
        http.port(),
        http.port(),
    );
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok((app, Some(Override(file))))
}
