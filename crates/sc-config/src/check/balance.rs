//! Second look, one application: how its addresses are balanced, what waits, what is sent again.

use crate::balance::{Ejection, HealthChecks, Statuses};
use crate::diagnostic::Diagnostic;
use crate::settings::{ApplicationProtocol, Consultant};
use crate::units;

use super::build::Builder;
use super::fields::Fields;

/// Keys that need another address to mean something.
const OF_SEVERAL: [&str; 3] = ["ejection", "slow-start", "panic-threshold"];

impl Builder<'_> {
    /// Reads the name that the application's certificate must have.
    pub(super) fn server_name(&mut self, fields: Fields<'_>, consultant: &mut Consultant) {
        let Some(entry) = fields.get("server-name") else { return };
        consultant.server_name = fields.text("server-name").map(str::to_owned);
        let protocol_blamed = fields
            .node("application-protocol")
            .is_some_and(|node| self.is_blamed(&node.place));
        if consultant.protocol != ApplicationProtocol::Https && !protocol_blamed {
            let warning = Diagnostic::warning("`server-name` means nothing for an application without TLS");
            let word = consultant.protocol.word();
            self.found.push(
                warning
                    .at(entry.place.clone())
                    .why(format!("its `application-protocol` is `{word}`")),
            );
        }
    }

    /// Reads everything about several addresses, waiting and sending again.
    pub(super) fn balancing(&mut self, fields: Fields<'_>, consultant: &mut Consultant) {
        number(fields, "connections", &mut consultant.connections);
        number(fields, "idle-connections", &mut consultant.idle_connections);
        time(
            fields,
            "idle-connection-timeout",
            &mut consultant.idle_connection_timeout,
        );
        number(fields, "queue", &mut consultant.queue);
        time(fields, "queue-timeout", &mut consultant.queue_timeout);
        number(fields, "retries", &mut consultant.retries);
        number(fields, "retry-budget", &mut consultant.retry_budget);
        number(fields, "panic-threshold", &mut consultant.panic_threshold);
        if let Some(slow_start) = &mut consultant.slow_start {
            time(fields, "slow-start", slow_start);
        }
        if fields.flag("slow-start") == Some(false) {
            consultant.slow_start = None;
        }
        if fields.flag("ejection") == Some(false) {
            consultant.ejection = None;
        } else if let Some(node) = fields.node("ejection") {
            consultant.ejection = Some(self.ejection(Fields::of(node)));
        }
        if let Some(node) = fields.node("health") {
            consultant.health = health(Fields::of(node));
        }
        if consultant.connect_to.len() == 1 {
            self.alone(fields);
        }
    }

    fn ejection(&mut self, fields: Fields<'_>) -> Ejection {
        let mut ejection = Ejection::default();
        number(fields, "failures", &mut ejection.failures);
        time(fields, "pause", &mut ejection.pause);
        if fields.get("longest-pause").is_none() {
            ejection.longest_pause = ejection.longest_pause.max(ejection.pause);
        }
        time(fields, "longest-pause", &mut ejection.longest_pause);
        ejection.status = statuses(fields);
        if let Some(entry) = fields.get("longest-pause")
            && ejection.longest_pause < ejection.pause
        {
            let error = Diagnostic::error("`longest-pause` is shorter than `pause`").at(entry.place.clone());
            let pause = units::show_time(ejection.pause);
            self.found.push(error.why(format!("`pause` is {pause}")));
        }
        ejection
    }

    /// Reports keys that mean nothing for a single address.
    fn alone(&mut self, fields: Fields<'_>) {
        for entry in OF_SEVERAL.into_iter().filter_map(|key| fields.get(key)) {
            let warning = Diagnostic::warning(format!("`{}` means nothing for a single address", entry.key));
            self.found.push(
                warning
                    .at(entry.place.clone())
                    .why("there is no other that could be asked instead"),
            );
        }
    }
}

fn health(fields: Fields<'_>) -> Option<HealthChecks> {
    let mut health = HealthChecks::at(fields.text("path")?);
    time(fields, "interval", &mut health.interval);
    time(fields, "timeout", &mut health.timeout);
    number(fields, "healthy-after", &mut health.healthy_after);
    number(fields, "unhealthy-after", &mut health.unhealthy_after);
    let status = statuses(fields);
    if !status.is_empty() {
        health.status = status;
    }
    Some(health)
}

fn statuses(fields: Fields<'_>) -> Vec<Statuses> {
    fields.each("status", |text| text.parse().ok())
}

fn time(fields: Fields<'_>, key: &str, to: &mut std::time::Duration) {
    if let Some(time) = fields.text(key).and_then(|text| units::time_limit(text).ok()) {
        *to = time;
    }
}

fn number<T: std::str::FromStr>(fields: Fields<'_>, key: &str, to: &mut T) {
    if let Some(number) = fields.text(key).and_then(|text| text.parse().ok()) {
        *to = number;
    }
}
