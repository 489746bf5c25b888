//! One connection to Redis, driven by whoever asks through it: no task, no thread, and gone when it is dropped.
//!
//! Every step has a time limit. A name of a host is resolved by the system, on a thread of tokio's blocking pool; an
//! address or a unix socket needs none.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, RedisError, Value};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::Target;
use super::place::Reach;

/// Longest time to connect, secure the connection and say who we are.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// What of it the handshake of TLS may take, so that its failure is told as such.
const SECURE_TIME: Duration = Duration::from_millis(1500);

/// Why Redis did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// It cannot be reached.
    #[error("it cannot be reached")]
    Connect(#[source] io::Error),
    /// The connection could not be secured.
    #[error("the connection to it cannot be secured")]
    Secure(#[source] sc_tls::ConnectError),
    /// It did not answer in time.
    #[error("it did not answer in {} ms", .0.as_millis())]
    Slow(Duration),
    /// It answered with an error, or the connection broke.
    #[error("{}", words(.0))]
    Redis(RedisError),
    /// It closed the connection.
    #[error("it closed the connection")]
    Closed,
    /// It takes lines more slowly than they are made.
    #[error("it is too slow: {0} lines wait")]
    Behind(usize),
}

/// An error without the arguments of the command, which may hold secrets.
fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("it answered {code} {detail}"),
        (Some(code), None) => format!("it answered {code}"),
        _ => error.to_string(),
    }
}

/// A connection that is ready for commands.
pub(crate) struct Link {
    connection: MultiplexedConnection,
    /// Reads and writes; `None` once the connection has ended.
    driver: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Link {
    /// Connects and says who we are.
    ///
    /// Errors: `LinkError`, after two seconds at the latest.
    /// Cancel: closes the connection.
    pub(crate) async fn open(target: &Target) -> Result<Self, LinkError> {
        timeout(CONNECT_TIME, Self::connect(target))
            .await
            .unwrap_or(Err(LinkError::Slow(CONNECT_TIME)))
    }

    async fn connect(target: &Target) -> Result<Self, LinkError> {
        match &target.address {
            Reach::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(LinkError::Connect)?;
                Self::greet(target, stream).await
            }
            Reach::Tcp { host, port, tls } => {
                let stream = TcpStream::connect((host.as_str(), *port))
                    .await
                    .map_err(LinkError::Connect)?;
                stream.set_nodelay(true).map_err(LinkError::Connect)?;
                match tls {
                    None => Self::greet(target, stream).await,
                    Some(config) => {
                        let secured = sc_tls::connect(stream, host, config.clone(), SECURE_TIME)
                            .await
                            .map_err(LinkError::Secure)?;
                        Self::greet(target, secured.stream).await
                    }
                }
            }
        }
    }

    async fn greet<S>(target: &Target, stream: S) -> Result<Self, LinkError>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        // The time limits are ours, and differ from command to command.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&target.hello, stream, config)
            .await
            .map_err(LinkError::Redis)?;
        Ok(Link {
            connection,
            driver: Some(Box::pin(driver)),
        })
    }

    /// Asks one thing.
    ///
    /// Errors: as `LinkError` says; the link should be dropped then, since an answer may still be under way.
    /// Cancel: as an error.
    pub(crate) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd, within: Duration) -> Result<T, LinkError> {
        let mut connection = self.connection.clone();
        self.drive(command.query_async(&mut connection), within).await
    }

    /// Asks many things at once, and gives the answers in their order, those that are errors included.
    ///
    /// Errors, Cancel: as [`Link::ask`].
    pub(crate) async fn ask_all(&mut self, commands: &Pipeline, within: Duration) -> Result<Vec<Value>, LinkError> {
        let mut connection = self.connection.clone();
        let asked = async move {
            use redis::aio::ConnectionLike as _;
            connection.req_packed_commands(commands, 0, commands.len()).await
        };
        self.drive(asked, within).await
    }

    /// Asks many things at once; the first error is the error of all.
    ///
    /// Errors, Cancel: as [`Link::ask`].
    pub(crate) async fn do_all(&mut self, commands: &Pipeline, within: Duration) -> Result<(), LinkError> {
        for answer in self.ask_all(commands, within).await? {
            answer.extract_error().map_err(LinkError::Redis)?;
        }
        Ok(())
    }

    /// Returns when the connection has ended.
    pub(crate) async fn closed(&mut self) {
        if let Some(driver) = &mut self.driver {
            driver.as_mut().await;
            self.driver = None;
        }
    }

    async fn drive<T>(
        &mut self,
        asked: impl Future<Output = Result<T, RedisError>>,
        within: Duration,
    ) -> Result<T, LinkError> {
        let both = async {
            tokio::select! {
                biased;
                answer = asked => answer.map_err(LinkError::Redis),
                () = self.closed() => Err(LinkError::Closed),
            }
        };
        timeout(within, both).await.unwrap_or(Err(LinkError::Slow(within)))
    }
}
