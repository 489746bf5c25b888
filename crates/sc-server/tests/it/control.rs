//! Control sockets, without a server and with one.

use std::rc::Rc;

use http::StatusCode;
use sc_http::{Answer, Body, Head, Limits};
use sc_net::Tasks;
use sc_net::listen::{self, Place};
use sc_server::control::{self, Handler};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::rig::{Rig, Wish, run, until};

#[test]
fn a_control_socket_answers_with_streams_and_ends_when_told() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("control");
        let listener = listen::bind(&Place::Unix(path.clone())).unwrap();
        let (tasks, drain) = (Tasks::new(|panicked| panic!("{panicked:?}")), CancellationToken::new());
        let (line, lines) = mpsc::channel(4);
        let lines = std::cell::RefCell::new(Some(lines));
        let handler: Handler = Rc::new(move |_| {
            let body = lines.borrow_mut().take().map_or_else(Body::empty, control::lines);
            Box::pin(async { Answer::new(Head::new(StatusCode::OK), body) })
        });
        let serving = control::serve(tasks.spawner(), listener, Limits::default(), drain.clone(), handler);
        let story = async {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream
                .write_all(b"GET /logs HTTP/1.1\r\nHost: control\r\n\r\n")
                .await
                .unwrap();
            until(&mut stream, "transfer-encoding: chunked\r\n\r\n").await;
            for text in ["one\n", "two\n"] {
                line.send(text.into()).await.unwrap();
                assert_eq!(until(&mut stream, "\n\r\n").await, format!("4\r\n{text}\r\n"));
            }
            drain.cancel();
            line.send("last\n".into()).await.unwrap();
            until(&mut stream, "last\n\r\n").await;
            drop(line);
            assert_eq!(until(&mut stream, "\r\n\r\n").await, "0\r\n\r\n");
            drop(stream);
        };
        let (ended, ()) = tokio::join!(serving, story);
        ended.unwrap();
        tasks.wait().await;
    });
}

#[test]
fn a_reader_that_goes_away_is_noticed_by_the_sender() {
    run(async {
        let rig = Rig::start(Wish::default()).await;
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("control");
        let (line, lines) = mpsc::channel(4);
        let lines = std::cell::RefCell::new(Some(lines));
        rig.server.serve_control(
            listen::bind(&Place::Unix(path.clone())).unwrap(),
            Rc::new(move |_| {
                let body = lines.borrow_mut().take().map_or_else(Body::empty, control::lines);
                Box::pin(async { Answer::new(Head::new(StatusCode::OK), body) })
            }),
        );
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream
            .write_all(b"GET /logs HTTP/1.1\r\nHost: control\r\n\r\n")
            .await
            .unwrap();
        line.send("one\n".into()).await.unwrap();
        until(&mut stream, "one\n\r\n").await;
        assert_eq!(rig.open(), (0, 0, 0), "control connections are not counted");
        drop(stream);
        while line.send("more\n".into()).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(rig.book.records.borrow().is_empty());
    });
}
