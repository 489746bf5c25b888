//! What an application complains of, on its way to the log: with the exchange it belongs to, and no more of it than can be read.
//!
//! Lines are cut and counted for each exchange in [`sc_http::fastcgi`]; here all exchanges of an application together are
//! bounded, so that a program which warns of everything cannot fill a disk by being asked often.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use sc_http::fastcgi::{Complaint, Listener};
use tokio::time::Instant;

use crate::upstreams::{Told, UpstreamEvent};

/// Lines of an application that are told in a second, for each process that serves.
const LINES: u32 = 50;

const WINDOW: Duration = Duration::from_secs(1);

/// The complaints of one application.
#[derive(Debug, Default)]
pub(crate) struct Hearsay {
    began: Cell<Option<Instant>>,
    told: Cell<u32>,
    omitted: Cell<u64>,
}

/// The exchange that a complaint belongs to.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// Serial number of the client's connection.
    pub(crate) connection: u64,
    /// HTTP/2 stream, 0 elsewhere.
    pub(crate) stream: u32,
    pub(crate) site: Rc<str>,
    pub(crate) address: Rc<str>,
}

impl Hearsay {
    /// Hears the complaints of one exchange.
    pub(crate) fn listener(self: &Rc<Self>, told: &Told, about: About) -> Listener {
        let (hearsay, told) = (self.clone(), told.clone());
        Rc::new(move |complaint| {
            let message = match complaint {
                Complaint::Line(line) => line.to_owned(),
                Complaint::Returned(status) => format!("the program returned {status}"),
                Complaint::Omitted(lines) => {
                    hearsay.omit(lines);
                    return;
                }
            };
            if let Some(omitted) = hearsay.count(Instant::now()) {
                told(UpstreamEvent::Complained {
                    connection: about.connection,
                    stream: about.stream,
                    site: about.site.clone(),
                    address: about.address.clone(),
                    message,
                    omitted,
                });
            }
        })
    }

    fn omit(&self, lines: u64) {
        self.omitted.set(self.omitted.get().saturating_add(lines));
    }

    /// Counts a line; gives the number of those left out before it when it is told.
    fn count(&self, now: Instant) -> Option<u64> {
        if self.began.get().is_none_or(|began| began + WINDOW <= now) {
            self.began.set(Some(now));
            self.told.set(0);
        }
        if self.told.get() >= LINES {
            self.omit(1);
            return None;
        }
        self.told.set(self.told.get() + 1);
        Some(self.omitted.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_over_many_exchanges_is_bounded_and_counted() {
        let (hearsay, start) = (Hearsay::default(), Instant::now());
        let told = |after: u64, lines: u32| {
            let now = start + Duration::from_millis(after);
            (0..lines).filter_map(|_| hearsay.count(now)).collect::<Vec<_>>()
        };
        assert_eq!(told(0, 200), vec![0; 50]);
        assert_eq!(told(999, 10), Vec::<u64>::new());
        assert_eq!(told(1000, 2), [160, 0]);
    }
}
