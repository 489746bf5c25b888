//! A server for outside programs (`curl`, `nghttp`, conformance scripts), run by hand:
//! `cargo test -p sc-http --test it -- --ignored --exact peer::serve --nocapture`. It prints its two ports (HTTP/1, HTTP/2 by
//! prior knowledge) and ends with its standard input.

use std::rc::Rc;

use bytes::BytesMut;
use sc_http::{Limits, Scheme};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::App;

#[expect(clippy::print_stdout, reason = "whoever runs it by hand wants the ports")]
#[test]
#[ignore = "serves until its standard input ends"]
fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let h1 = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let h2 = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("h1 {} h2 {}", h1.local_addr().unwrap().port(), h2.local_addr().unwrap().port());
        let app = Rc::new(App::default());
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        std::thread::spawn(move || {
            let _ = std::io::stdin().lines().count();
            stopping.cancel();
        });
        loop {
            tokio::select! {
                accepted = h1.accept() => {
                    let (stream, app) = (accepted.unwrap().0, app.clone());
                    stream.set_nodelay(true).unwrap();
                    tokio::task::spawn_local(async move {
                        let limits = Limits::default();
                        sc_http::h1::serve(stream, BytesMut::new(), Scheme::Http, app, &limits, CancellationToken::new()).await
                    });
                }
                accepted = h2.accept() => {
                    let (stream, app) = (accepted.unwrap().0, app.clone());
                    stream.set_nodelay(true).unwrap();
                    tokio::task::spawn_local(async move {
                        let limits = Limits::default();
                        sc_http::h2::serve(stream, app, &limits, CancellationToken::new()).await
                    });
                }
                () = stop.cancelled() => return,
            }
        }
    });
}
