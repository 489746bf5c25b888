//! The control socket: how a person's commands talk to the master. Also the address where Prometheus reads.
//!
//! Plain HTTP/1.1. On the unix socket, which only its owner can open: `GET /status`, `POST /reload`,
//! `POST /recycle[?lane=N]`, `GET /logs[?follow]`, `GET /metrics`. On the metrics address: `GET /metrics` alone.

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use sc_http::{Answer, Body, Exchange, Head, Limits};
use sc_net::listen::Listener;
use sc_net::tasks::{Spawner, Tasks};
use sc_server::control;
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::live::Master;
use super::log::Log;
use super::notes;
use super::reload::{Verdict, Wish};
use crate::supervisor::Outcome;

/// Pieces of a log that may wait for who follows it.
const PIECES: usize = 16;

/// What the master is asked.
pub(super) enum Ask {
    /// How it stands.
    Status(oneshot::Sender<Value>),
    /// What was counted, as Prometheus reads it.
    Metrics(oneshot::Sender<String>),
    /// Read everything again.
    Reload(oneshot::Sender<Verdict>),
    /// Renew the workers of these lanes; of all when there are none.
    Recycle(Vec<usize>, oneshot::Sender<Outcome>),
}

impl Master {
    pub(super) fn asked(&mut self, ask: Ask) {
        // Whoever asked may have gone.
        match ask {
            Ask::Status(asker) => drop(asker.send(self.status())),
            Ask::Metrics(asker) => drop(asker.send(self.metrics())),
            Ask::Reload(asker) => self.reload(Wish::command(asker)),
            Ask::Recycle(lanes, asker) => self.recycle(lanes, asker),
        }
    }
}

/// Serves both for as long as the master lives.
pub(super) fn serve(tasks: &Tasks, socket: Listener, metrics: Option<Listener>, asks: mpsc::Sender<Ask>, log: Rc<Log>) {
    let desk = Rc::new(Desk {
        asks,
        log: log.clone(),
        tasks: tasks.spawner(),
    });
    let at_desk = desk.clone();
    let handler: control::Handler = Rc::new(move |exchange| {
        let desk = at_desk.clone();
        Box::pin(async move { desk.answer(&exchange).await })
    });
    spawn(tasks, "control", socket, handler, &log);
    if let Some(listener) = metrics {
        let handler: control::Handler = Rc::new(move |exchange| {
            let desk = desk.clone();
            Box::pin(async move {
                match (&exchange.method, exchange.path()) {
                    (&Method::GET, "/metrics") => desk.metrics().await,
                    _ => json_answer(StatusCode::NOT_FOUND, &json!({ "error": "unknown; try GET /metrics" })),
                }
            })
        });
        spawn(tasks, "metrics", listener, handler, &log);
    }
}

fn spawn(tasks: &Tasks, name: &'static str, listener: Listener, handler: control::Handler, log: &Rc<Log>) {
    let (spawner, log) = (tasks.spawner(), log.clone());
    tasks.spawn(name, async move {
        let served = control::serve(spawner, listener, Limits::default(), CancellationToken::new(), handler).await;
        if let Err(error) = served {
            log.event(&sc_server::Event::ListenerFailed {
                listener: name,
                error: sc_server::chain(&error),
            });
        }
    });
}

/// Where questions are put.
struct Desk {
    asks: mpsc::Sender<Ask>,
    log: Rc<Log>,
    tasks: Spawner,
}

impl Desk {
    async fn answer(&self, exchange: &Exchange) -> Answer {
        match (&exchange.method, exchange.path()) {
            (&Method::GET, "/status") => match self.ask(Ask::Status).await {
                Some(status) => json_answer(StatusCode::OK, &status),
                None => stopping(),
            },
            (&Method::GET, "/metrics") => self.metrics().await,
            (&Method::POST, "/reload") => match self.ask(Ask::Reload).await {
                Some(Ok(changes)) => json_answer(StatusCode::OK, &json!({ "changes": changes })),
                Some(Err(mistakes)) => json_answer(StatusCode::CONFLICT, &json!({ "mistakes": mistakes })),
                None => stopping(),
            },
            (&Method::POST, "/recycle") => self.recycle(exchange.query()).await,
            (&Method::GET, "/logs") => self.logs(exchange.query().is_some_and(|query| query == "follow")),
            _ => {
                let known = "unknown; try GET /status, /metrics or /logs, POST /reload or /recycle";
                json_answer(StatusCode::NOT_FOUND, &json!({ "error": known }))
            }
        }
    }

    /// Asks the master; nothing when it is stopping.
    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (asker, answer) = oneshot::channel();
        self.asks.send(ask(asker)).await.ok()?;
        answer.await.ok()
    }

    async fn metrics(&self) -> Answer {
        let Some(text) = self.ask(Ask::Metrics).await else {
            return stopping();
        };
        let kind = HeaderValue::from_static(crate::metrics::CONTENT_TYPE);
        answer(StatusCode::OK, kind, Body::full(text))
    }

    async fn recycle(&self, query: Option<&str>) -> Answer {
        let lanes = match query.map(|query| query.strip_prefix("lane=").and_then(|lane| lane.parse().ok())) {
            None => Vec::new(),
            Some(Some(lane)) => vec![lane],
            Some(None) => return json_answer(StatusCode::BAD_REQUEST, &json!({ "error": "the query must be lane=N" })),
        };
        match self.ask(|asker| Ask::Recycle(lanes, asker)).await {
            Some(Outcome::Renewed) => json_answer(StatusCode::OK, &json!({ "renewed": true })),
            Some(Outcome::NoSuchLane { lane }) => {
                let error = format!("there is no lane {lane}");
                json_answer(StatusCode::BAD_REQUEST, &json!({ "error": error }))
            }
            Some(Outcome::Failed { lane, fault }) => {
                let fault = notes::fault_word(fault);
                let error =
                    format!("the successor of lane {lane} did not come to serve ({fault}); the lane goes on as it was");
                json_answer(StatusCode::CONFLICT, &json!({ "error": error }))
            }
            Some(Outcome::Postponed { lane, because }) => {
                let because = notes::hindrance_word(because);
                let error = format!("lane {lane} could not be renewed in time: {because}");
                json_answer(StatusCode::CONFLICT, &json!({ "error": error }))
            }
            Some(Outcome::Stopping) | None => stopping(),
        }
    }

    /// The latest lines, and with `follow` all that come until the asker goes.
    fn logs(&self, follow: bool) -> Answer {
        let mut text: String = self.log.kept().iter().map(|line| format!("{line}\n")).collect();
        let kind = HeaderValue::from_static("application/x-ndjson");
        if !follow {
            return answer(StatusCode::OK, kind, Body::full(text));
        }
        let mut followed = self.log.follow();
        let (pieces, body) = mpsc::channel(PIECES);
        self.tasks.spawn("log follower", async move {
            loop {
                if !text.is_empty() && pieces.send(Bytes::from(std::mem::take(&mut text))).await.is_err() {
                    return;
                }
                let line = tokio::select! {
                    line = followed.recv() => line,
                    () = pieces.closed() => return,
                };
                match line {
                    Ok(line) => text = format!("{line}\n"),
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        text = format!(
                            "{{\"event\":\"log_lines_missed\",\"severity\":\"attention\",\"count\":{missed}}}\n"
                        );
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        });
        answer(StatusCode::OK, kind, control::lines(body))
    }
}

fn stopping() -> Answer {
    json_answer(
        StatusCode::SERVICE_UNAVAILABLE,
        &json!({ "error": "the server is stopping" }),
    )
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    answer(
        status,
        HeaderValue::from_static("application/json"),
        Body::full(value.to_string()),
    )
}

fn answer(status: StatusCode, kind: HeaderValue, body: Body) -> Answer {
    let mut head = Head::new(status);
    head.headers.insert(header::CONTENT_TYPE, kind);
    Answer::new(head, body)
}
