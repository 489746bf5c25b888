//! Commands that talk to the running instance of a project: one HTTP request over its control socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use sc_config::{Instance, LogFormat};
use serde_json::Value;

use crate::args::{Logs, Recycle, Talk};
use crate::output;
use crate::report::{Kind, Report};
use crate::settings;
use crate::teller::Teller;

/// How long an instance may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it may take to renew its workers; it answers before that in any case.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(3600);

/// An answer is never larger than this.
const ANSWER_BYTES: u64 = 64 << 20;

/// `shimmercat status`.
pub(crate) fn status(args: &Talk) -> Result<(), Report> {
    let (code, status) = ask(args, "GET", "/status", PATIENCE)?;
    if code != 200 {
        return Err(Report::new(Kind::Failed, refusal(code, &status)));
    }
    if args.json {
        return output::data(&status.to_string());
    }
    output::data(&summary(&status).join("\n"))
}

/// `shimmercat reload`: prints what changed; the instance's mistakes are this command's failure.
pub(crate) fn reload(args: &Talk) -> Result<(), Report> {
    let (code, verdict) = ask(args, "POST", "/reload", PATIENCE)?;
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

/// `shimmercat recycle`: returns when the workers are renewed.
pub(crate) fn recycle(args: &Recycle) -> Result<(), Report> {
    let path = args
        .lane
        .map_or_else(|| "/recycle".to_owned(), |lane| format!("/recycle?lane={lane}"));
    let (code, answer) = ask(&args.talk, "POST", &path, RENEWAL_PATIENCE)?;
    if args.talk.json {
        output::data(&answer.to_string())?;
    }
    match code {
        200 if args.talk.json => Ok(()),
        200 => output::data("renewed"),
        404 => Err(
            Report::new(Kind::Failed, "the running instance has no workers to renew")
                .hint("`shimmercat internet` has; `shimmercat devlove` is one process"),
        ),
        _ => Err(Report::new(Kind::Failed, refusal(code, &answer))),
    }
}

/// `shimmercat logs`: prints the latest lines, and with `--follow` all that come.
pub(crate) fn logs(args: &Logs) -> Result<(), Report> {
    let path = if args.follow { "/logs?follow" } else { "/logs" };
    let (instance, failed) = (instance(&args.talk)?, cannot_talk);
    let patience = if args.follow { None } else { Some(PATIENCE) };
    let stream = request(&instance, "GET", path, patience).map_err(|error| failed(&error))?;
    let mut lines = BufReader::new(stream);
    let code = head(&mut lines).map_err(|error| failed(&error))?;
    if code == 404 {
        return Err(Report::new(Kind::Failed, "the running instance keeps no log lines")
            .hint("`shimmercat devlove` prints them where it was started"));
    }
    if code != 200 {
        return Err(Report::new(
            Kind::Failed,
            format!("the instance answered with status {code}"),
        ));
    }
    let teller = Teller::new(if args.talk.json {
        LogFormat::Json
    } else {
        LogFormat::Auto
    });
    for line in lines.lines() {
        let line = line.map_err(|error| failed(&error))?;
        output::data(&teller.told(&line))?;
    }
    Ok(())
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
        format!("  network  {}", status["proxy"].as_str().unwrap_or("off")),
    ];
    lines.extend(internet(status));
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
        for outcast in site["left_out"].as_array().into_iter().flatten() {
            let who = match outcast["workers"].as_array() {
                Some(workers) => format!(" by {} of the workers", workers.len()),
                None => String::new(),
            };
            lines.push(format!(
                "  note     {} is left out{who}: it failed",
                outcast["address"].as_str().unwrap_or("-")
            ));
        }
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
    let faults = status.get("errors").unwrap_or(&status["panics"]);
    lines.push(format!(
        "  served   {} exchanges, {faults} internal errors",
        status["exchanges"]
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

/// What only `internet` has: certificate, redirect, Redis, workers.
fn internet(status: &Value) -> Vec<String> {
    let Some(lanes) = status["lanes"].as_array() else {
        return Vec::new();
    };
    let certificate = &status["certificate"];
    let until = certificate["not_after"].as_str().unwrap_or("-");
    let redis = &status["redis"];
    let mut lines = vec![
        format!("  redirect {}", some(&texts(&status["redirect"]).join(", "))),
        format!(
            "  cert     {}, until {}",
            certificate["file"].as_str().unwrap_or("-"),
            until.split('T').next().unwrap_or("-")
        ),
        format!(
            "  redis    {}: {}",
            redis["state"].as_str().unwrap_or("-"),
            redis["what"].as_str().unwrap_or("-")
        ),
    ];
    let mut workers = lanes
        .iter()
        .flat_map(|lane| lane["workers"].as_array().into_iter().flatten());
    if let Some(confined) = workers.find_map(|worker| worker["confined"].as_array()) {
        let layers: Vec<_> = confined.iter().filter_map(Value::as_str).collect();
        lines.push(format!("  confined {}", some(&layers.join(", "))));
    }
    for lane in lanes {
        let renewal = match (lane["next_renewal_s"].as_u64(), lane["backs_off_s"].as_u64()) {
            (_, Some(wait)) => format!("waits {wait} s before the next worker"),
            (Some(left), None) => format!("renewed in {} min", left.div_ceil(60)),
            (None, None) => "not renewed yet".to_owned(),
        };
        lines.push(format!("  lane {:<3} {renewal}", lane["lane"]));
        for worker in lane["workers"].as_array().into_iter().flatten() {
            let stuck = if worker["stuck"] == Value::Bool(true) {
                ", stuck"
            } else {
                ""
            };
            lines.push(format!(
                "    {:<9} worker {}, pid {}, {} old, {} connections{stuck}",
                worker["state"].as_str().unwrap_or("-"),
                worker["worker"],
                worker["pid"],
                age(worker["age_s"].as_u64().unwrap_or(0)),
                worker["connections"]
            ));
        }
    }
    if let Some(waits_for) = status["waits_for"].as_str() {
        lines.push(format!("  note     renewals wait: {}", waits_for.replace('_', " ")));
    }
    lines.push(format!(
        "  open     {} connections; {} forced closes; {} log lines lost",
        status["connections"], status["forced_closes"], status["log"]["lost"]
    ));
    lines
}

fn some(text: &str) -> &str {
    if text.is_empty() { "off" } else { text }
}

/// `40 s`, `12 min`, `3 h`.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
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

/// The running instance that a command is about.
fn instance(args: &Talk) -> Result<Instance, Report> {
    let start = match args.place.config {
        Some(_) => absolute(settings::found(&args.place)?.folder),
        None => settings::working_dir(&args.place)?,
    };
    let nobody = || {
        Report::new(
            Kind::Failed,
            format!("no instance is running for `{}`", start.display()),
        )
        .hint("start one with `shimmercat devlove` or `shimmercat internet`")
    };
    let instance = Instance::find(&start, &args.place.scratch_dir_name).map_err(|error| cannot_talk(&error))?;
    instance.filter(Instance::is_alive).ok_or_else(nobody)
}

fn cannot_talk(error: &dyn std::error::Error) -> Report {
    Report::new(Kind::Failed, "cannot talk to the instance").caused_by(error)
}

fn ask(args: &Talk, method: &str, path: &str, patience: Duration) -> Result<(u16, Value), Report> {
    let instance = instance(args)?;
    let stream = request(&instance, method, path, Some(patience)).map_err(|error| cannot_talk(&error))?;
    let mut answer = BufReader::new(stream.take(ANSWER_BYTES));
    let code = head(&mut answer).map_err(|error| cannot_talk(&error))?;
    let mut body = String::new();
    answer.read_to_string(&mut body).map_err(|error| cannot_talk(&error))?;
    let value = serde_json::from_str(&body).map_err(|error| cannot_talk(&error))?;
    Ok((code, value))
}

/// Without `..`, so that its parents are the folder's parents.
fn absolute(folder: PathBuf) -> PathBuf {
    folder.canonicalize().unwrap_or(folder)
}

/// Asks as an HTTP/1.0 client does, so that the answer has no framing of its own and ends with the connection.
fn request(instance: &Instance, method: &str, path: &str, patience: Option<Duration>) -> std::io::Result<UnixStream> {
    let mut stream = UnixStream::connect(&instance.control)?;
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    )?;
    Ok(stream)
}

/// Reads the head of an answer and gives its status; 0 when there is none.
fn head(answer: &mut impl BufRead) -> std::io::Result<u16> {
    let mut lines = answer.lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    Ok(first.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0))
}
