//! A CA in a temporary folder, and a handshake between our two sides over a pipe in memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sc_tls::{
    Accepted, Ca, ClientConfig, ClientTrust, ConnectError, Connected, H2_AND_HTTP11, HandshakeError, Minter,
    ServerConfig, Uncovered, accept, client_config, connect, server_config,
};
use tempfile::TempDir;
use tokio::io::DuplexStream;

/// Longer than any handshake in memory.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Fixture {
    pub(crate) ca: Arc<Ca>,
    pub(crate) folder: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let folder = TempDir::new().expect("a temporary folder");
        let (ca, _) = Ca::open_or_create(&folder.path().join("ca"), "shop", SystemTime::now()).expect("a new CA");
        Fixture {
            ca: Arc::new(ca),
            folder,
        }
    }

    /// Covers `*.example`; other names are refused.
    pub(crate) fn minter(&self) -> Arc<Minter> {
        let covers = |name: &str| name.ends_with(".example");
        Arc::new(Minter::new(self.ca.clone(), covers, Uncovered::Refuse).expect("a minter"))
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        server_config(self.minter(), H2_AND_HTTP11).expect("a configuration")
    }

    pub(crate) fn trust(&self) -> ClientTrust {
        ClientTrust::Pem(self.ca.pem_path().to_owned())
    }

    pub(crate) fn client(&self, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        client_config(&self.trust(), alpn).expect("a configuration")
    }

    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

pub(crate) type Ends = (
    Result<Accepted<DuplexStream>, HandshakeError>,
    Result<Connected<DuplexStream>, ConnectError>,
);

/// Runs both sides of a handshake.
pub(crate) async fn shake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, name: &str) -> Ends {
    let (here, there) = tokio::io::duplex(64 * 1024);
    tokio::join!(
        accept(here, server.clone(), SOON),
        connect(there, name, client.clone(), SOON)
    )
}
