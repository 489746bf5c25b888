//! What happens with applications, as events and numbers.
//!
//! The room that asks them tells it in its own words ([`UpstreamEvent`]); here it is said in those of the log.

use std::rc::Rc;

use sc_site::upstreams::Cause;
use sc_site::{Told, UpstreamEvent};

use crate::event::Event;
use crate::journal::Journal;
use crate::metrics::{Meters, Metric};

/// A function that logs and counts what sites tell of applications ([`sc_site::Environment::told`]).
pub fn told(journal: Rc<dyn Journal>, meters: Rc<dyn Meters>) -> Told {
    Rc::new(move |event| {
        meters.add(metric(&event), 1);
        if let Some(event) = line(event) {
            journal.event(event);
        }
    })
}

fn metric(event: &UpstreamEvent) -> Metric {
    match event {
        UpstreamEvent::Attempt { fault } => Metric::upstream(*fault),
        UpstreamEvent::Again { is_sent: true } => Metric::UpstreamRetriesSent,
        UpstreamEvent::Again { is_sent: false } => Metric::UpstreamRetriesOverBudget,
        UpstreamEvent::Checked { is_good: true } => Metric::UpstreamChecksGood,
        UpstreamEvent::Checked { is_good: false } => Metric::UpstreamChecksBad,
        UpstreamEvent::Out { cause, .. } => match cause {
            Cause::Requests => Metric::UpstreamOutRequests,
            Cause::Checks => Metric::UpstreamOutChecks,
        },
        UpstreamEvent::Complained { .. } => Metric::UpstreamComplaints,
        UpstreamEvent::Back { .. } => Metric::UpstreamBack,
    }
}

fn line(event: UpstreamEvent) -> Option<Event> {
    match event {
        UpstreamEvent::Attempt { .. } | UpstreamEvent::Again { .. } | UpstreamEvent::Checked { .. } => None,
        UpstreamEvent::Out {
            site,
            address,
            cause,
            why,
            pause,
            fit,
            of,
        } => Some(Event::UpstreamOut {
            site: site.to_string(),
            address: address.to_string(),
            cause: cause.as_str(),
            why,
            pause_ms: pause.map_or(0, |pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)),
            fit: fit as u64,
            of: of as u64,
        }),
        UpstreamEvent::Complained {
            connection,
            stream,
            site,
            address,
            message,
            omitted,
        } => Some(Event::UpstreamComplaint {
            connection,
            stream: stream.into(),
            site: site.to_string(),
            address: address.to_string(),
            message,
            omitted,
        }),
        UpstreamEvent::Back { site, address, fit, of } => Some(Event::UpstreamBack {
            site: site.to_string(),
            address: address.to_string(),
            fit: fit as u64,
            of: of as u64,
        }),
    }
}
