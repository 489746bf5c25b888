//! Commands that talk to the running instance of a project: one HTTP request over its control socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use sc_config::Instance;
use serde_json::Value;

use crate::args::Talk;
use crate::output;
use crate::report::{Kind, Report};
use crate::settings;

/// How long an instance may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer is never larger than this.
const ANSWER_BYTES: u64 = 64 << 20;

/// `shimmercat status`.
pub(crate) fn status(args: &Talk) -> Result<(), Report> {
    let (_, status) = ask(args, "GET", "/status")?;
    if args.json {
        return output::data(&status.to_string());
    }
    output::data(&summary(&status).join("\n"))
}

/// `shimmercat reload`: prints what changed; the instance's mistakes are this command's failure.
pub(crate) fn reload(args: &Talk) -> Result<(), Report> {
    let (code, verdict) = ask(args, "POST", "/reload")?;
    if args.json {
        output::data(&verdict.to_string())?;
    }
    match texts(&verdict["changes"]) {
        _ if code == 409 => Err(Report::mistakes(texts(&verdict["mistakes"]))),
        _ if code != 200 => Err(Report::new(Kind::Failed, refusal(code, &verdict))),
        _ if args.json => Ok(()),
        changes if changes.is_empty() => output::data("nothing changed"),
        changes => output::data(&changes.join("\n")),
    }
}

fn refusal(code: u16, answer: &Value) -> String {
    match answer["error"].as_str() {
        Some(error) => format!("the instance did not do it: {error}"),
        None => format!("the instance did not do it: it answered with status {code}"),
    }
}

fn summary(status: &Value) -> Vec<String> {
    let text = |name: &str| status[name].as_str().unwrap_or("-").to_owned();
    let mut lines = vec![
        format!("shimmercat {} {}, pid {}", text("mode"), text("version"), status["pid"]),
        format!("  folder   {}", text("folder")),
        format!("  https    {}", texts(&status["https"]).join(", ")),
        format!("  network  {}", text("proxy")),
    ];
    for site in status["sites"].as_array().into_iter().flatten() {
        let to: Vec<_> = site["root_dir"]
            .as_str()
            .map(str::to_owned)
            .into_iter()
            .chain(texts(&site["connect_to"]))
            .collect();
        lines.push(format!(
            "  site     {} -> {}",
            site["url"].as_str().unwrap_or("-"),
            to.join(", then ")
        ));
    }
    for port in status["ports"].as_array().into_iter().flatten() {
        let word = |name: &str| port[name].as_str().unwrap_or("-");
        lines.push(format!(
            "  {}      {}:{} -> {}",
            word("transport"),
            word("name"),
            port["port"],
            word("to")
        ));
    }
    lines.push(format!(
        "  served   {} exchanges, {} internal errors",
        status["exchanges"], status["errors"]
    ));
    for line in status["refused"]["pages"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  refused  {} x{}",
            line["host"].as_str().unwrap_or("-"),
            line["count"]
        ));
    }
    lines
}

fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn ask(args: &Talk, method: &str, path: &str) -> Result<(u16, Value), Report> {
    let start = match args.place.config {
        Some(_) => absolute(settings::found(&args.place)?.folder),
        None => settings::working_dir(&args.place)?,
    };
    let nobody = || {
        Report::new(
            Kind::Failed,
            format!("no instance is running for `{}`", start.display()),
        )
        .hint("start one with `shimmercat devlove`")
    };
    let failed =
        |error: &dyn std::error::Error| Report::new(Kind::Failed, "cannot talk to the instance").caused_by(error);
    let instance = Instance::find(&start, &args.place.scratch_dir_name).map_err(|error| failed(&error))?;
    let instance = instance.filter(Instance::is_alive).ok_or_else(nobody)?;
    let answer = exchange(&instance, method, path).map_err(|error| failed(&error))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let value = serde_json::from_str(body).map_err(|error| failed(&error))?;
    Ok((code, value))
}

/// Without `..`, so that its parents are the folder's parents.
fn absolute(folder: PathBuf) -> PathBuf {
    folder.canonicalize().unwrap_or(folder)
}

fn exchange(instance: &Instance, method: &str, path: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(&instance.control)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES).read_to_string(&mut answer)?;
    Ok(answer)
}
