//! Second look, one domain: which kind it is, and what its keys mean together.
use crate::address::Address;
use crate::diagnostic::Diagnostic;
use crate::fastcgi::{self, FastCgi};
use crate::names::{NamePattern, Prefix};
use crate::settings::{self, ApplicationProtocol, Audience, Consultant, Domain, Kind, Redirect, Settings, Verify};
use crate::tree::{Entry, Value, is_bool};
use crate::units;

use super::Standing;
use super::build::{Builder, meets};
use super::fields::{Fields, many, text};

/// Keys that only an HTTP site has.
const SITE_KEYS: [&str; 7] = ["root-dir", "consultant", "port", "spa", "index", "headers", "redirects"];

/// Keys of an application that speaks FastCGI.
const FASTCGI_KEYS: [&str; 5] = [
    "script-extensions",
    "front-controller",
    "document-root",
    "keep-connection",
    "variables",
];

/// What a domain's keys make it.
enum Sort {
    Electric,
    Api,
    Network,
}

impl Builder<'_> {
    /// Makes a domain of one entry; nothing when its kind cannot be told.
    pub(super) fn domain(&mut self, entry: &Entry, prefix: Option<Prefix>, name: NamePattern) -> Option<Domain> {
        let fields = Fields::of(&entry.node);
        self.local_name(entry, &name);
        let kind = match self.sort(entry, prefix, &name, fields)? {
            Sort::Electric => self.electric(fields),
            Sort::Api => Kind::Api {
                consultant: Consultant::at(vec![self.connecting(fields.node("port")?)?]),
            },
            Sort::Network => Kind::Network {
                tcp: self.ports(fields, "tcp"),
                udp: self.ports(fields, "udp"),
            },
        };
        if matches!(kind, Kind::Api { .. }) {
            self.files_only(fields);
        }
        let network = fields.text("audience") == Some("network") || matches!(kind, Kind::Network { .. });
        Some(Domain {
            name,
            kind,
            audience: if network { Audience::Network } else { Audience::Public },
            headers: self.headers(fields),
            redirects: self.redirects(fields),
            line: entry.place.line,
        })
    }

    /// Browsers go straight to `localhost`, whatever proxy they have.
    fn local_name(&mut self, entry: &Entry, name: &NamePattern) {
        if name.name() == "localhost" || name.name().ends_with(".localhost") {
            let warning = Diagnostic::warning(format!("browsers never ask a proxy for `{name}`"));
            let warning = warning
                .at(entry.place.clone())
                .why("names in `localhost` always mean this machine");
            self.found
                .push(warning.hint("use the production name, or one that ends in `.test`"));
        }
    }

    fn sort(&mut self, entry: &Entry, prefix: Option<Prefix>, name: &NamePattern, fields: Fields<'_>) -> Option<Sort> {
        if let Some(ports) = fields.first_of(&["tcp", "udp"]) {
            return self.network_only(entry, ports, prefix, name, fields);
        }
        let (port, files) = (fields.get("port"), fields.first_of(&["root-dir", "consultant"]));
        match (prefix, port, files) {
            (Some(Prefix::Elec), Some(port), _) => {
                let error = Diagnostic::error(format!("the electric domain `{name}` has a `port`"));
                let error = error
                    .at(port.place.clone())
                    .also(entry.place.clone(), "electric by its prefix");
                self.found
                    .push(error.hint("write `consultant: { connect-to: … }` instead"));
                None
            }
            (Some(Prefix::Api), _, Some(files)) => {
                let error = Diagnostic::error(format!("the API domain `{name}` has a `{}`", files.key));
                let error = error
                    .at(files.place.clone())
                    .also(entry.place.clone(), "API by its prefix");
                self.found.push(error.hint("remove it, or the prefix `api`"));
                None
            }
            (_, Some(port), Some(files)) => {
                let message = format!("`{name}` has both `port` and `{}`", files.key);
                let error = Diagnostic::error(message)
                    .at(port.place.clone())
                    .label("makes it an API domain");
                let error = error.also(files.place.clone(), "makes it an electric domain");
                self.found
                    .push(error.hint("keep `port` alone, or write `consultant: { connect-to: … }`"));
                None
            }
            (Some(Prefix::Api), None, None) => {
                let error = Diagnostic::error(format!("the API domain `{name}` has no `port`"));
                self.found.push(
                    error
                        .at(entry.place.clone())
                        .hint("say where the application listens, as in `port: 8000`"),
                );
                None
            }
            (_, None, None) => {
                self.nothing_answers(entry, prefix, name, fields);
                None
            }
            (_, Some(_), None) => Some(Sort::Api),
            (_, None, Some(_)) => Some(Sort::Electric),
        }
    }

    fn nothing_answers(&mut self, entry: &Entry, prefix: Option<Prefix>, name: &NamePattern, fields: Fields<'_>) {
        // A misspelt or unsupported key was reported and is likely the one that is missed here.
        let known = |entry: &Entry| crate::keys::DOMAIN.usable().any(|name| name == entry.key);
        if fields.all().iter().all(known) && (entry.node.is_null() || matches!(entry.node.value, Value::Map(_))) {
            let error = Diagnostic::error(format!("nothing answers for `{name}`")).at(entry.place.clone());
            self.found.push(error.hint(match prefix {
                Some(_) => "add `root-dir` for files or `consultant` for an application",
                None => "add `root-dir` for files, `port` for an application, or `tcp` for other protocols",
            }));
        }
    }

    fn network_only(
        &mut self,
        entry: &Entry,
        ports: &Entry,
        prefix: Option<Prefix>,
        name: &NamePattern,
        fields: Fields<'_>,
    ) -> Option<Sort> {
        let before = self.found.len();
        let public = fields
            .get("audience")
            .filter(|audience| text(&audience.node) == Some("public"));
        if let Some(site) = fields.first_of(&SITE_KEYS).or(public) {
            let message = format!("`{name}` has both `{}` and `{}`", ports.key, site.key);
            let error = Diagnostic::error(message)
                .at(site.place.clone())
                .label("belongs to a site");
            let error = error.also(ports.place.clone(), "inside the little network only");
            self.found.push(error.hint("give the other protocol a name of its own"));
        }
        if prefix.is_some() {
            let error = Diagnostic::error(format!("a name with `{}` takes no prefix", ports.key));
            self.found
                .push(error.at(entry.place.clone()).hint(format!("write only `{name}`")));
        }
        if name.is_wildcard() {
            let error = Diagnostic::error(format!("a name with `{}` cannot be a wildcard", ports.key));
            self.found
                .push(error.at(entry.place.clone()).hint("write each name that is needed"));
        }
        (self.found.len() == before).then_some(Sort::Network)
    }

    fn electric(&mut self, fields: Fields<'_>) -> Kind {
        let root_dir = fields
            .get("root-dir")
            .and_then(|entry| Some((entry, self.absolute(text(&entry.node)?))));
        if let Some((entry, path)) = root_dir
            .as_ref()
            .filter(|(entry, _)| !self.is_blamed(&entry.node.place))
        {
            let message = match (self.look)(path) {
                Standing::Folder => None,
                Standing::File => Some("`root-dir` is a file, not a folder"),
                Standing::Nothing => Some("the folder of `root-dir` does not exist"),
            };
            if let Some(message) = message {
                let error = Diagnostic::error(message).at(entry.node.place.clone());
                let error = error.why(format!("looked at `{}`", path.display()));
                self.found
                    .push(error.hint("paths start at the folder of the devlove file"));
            }
        }
        if fields.get("root-dir").is_none() {
            self.files_only(fields);
        }
        let index = fields.each("index", |text| Some(text.to_owned()));
        let consultant = fields
            .get("consultant")
            .and_then(|entry| self.consultant(Fields::of(&entry.node)));
        let fastcgi = consultant.as_ref().and_then(Consultant::fastcgi);
        Kind::Electric {
            root_dir: root_dir.map(|(_, path)| path),
            index: match fastcgi {
                _ if !index.is_empty() => index,
                Some(_) => fastcgi::default_index(),
                None => settings::default_index(),
            },
            spa: fields.flag("spa").unwrap_or(false),
            consultant,
        }
    }

    /// Reports keys that mean something for files only.
    fn files_only(&mut self, fields: Fields<'_>) {
        for entry in ["spa", "index"].into_iter().filter_map(|key| fields.get(key)) {
            let error = Diagnostic::error(format!("`{}` needs a `root-dir`", entry.key)).at(entry.place.clone());
            self.found
                .push(error.why("without files there is nothing that it could mean"));
        }
    }

    fn consultant(&mut self, fields: Fields<'_>) -> Option<Consultant> {
        let connect_to: Vec<_> = fields
            .many("connect-to")
            .iter()
            .filter_map(|node| self.connecting(node))
            .collect();
        if connect_to.is_empty() {
            return None;
        }
        let time = |name| fields.text(name).and_then(|text| units::time_limit(text).ok());
        let mut consultant = Consultant::at(connect_to);
        consultant.protocol = match fields.text("application-protocol") {
            Some("https") => ApplicationProtocol::Https,
            Some("h2c") => ApplicationProtocol::H2c,
            Some("fastcgi") => ApplicationProtocol::FastCgi(fastcgi(fields)),
            _ => ApplicationProtocol::Http,
        };
        self.fastcgi_only(fields, &consultant.protocol);
        consultant.verify = self.verify(fields, &consultant.protocol);
        consultant.connect_timeout = time("connect-timeout").unwrap_or(consultant.connect_timeout);
        consultant.first_byte_timeout = time("first-byte-timeout").unwrap_or(consultant.first_byte_timeout);
        consultant.idle_timeout = time("idle-timeout").unwrap_or(consultant.idle_timeout);
        self.server_name(fields, &mut consultant);
        self.balancing(fields, &mut consultant);
        Some(consultant)
    }

    /// Reports keys that mean something for FastCGI only.
    fn fastcgi_only(&mut self, fields: Fields<'_>, protocol: &ApplicationProtocol) {
        let protocol_blamed = fields
            .node("application-protocol")
            .is_some_and(|node| self.is_blamed(&node.place));
        if matches!(protocol, ApplicationProtocol::FastCgi(_)) || protocol_blamed {
            return;
        }
        for entry in FASTCGI_KEYS.into_iter().filter_map(|key| fields.get(key)) {
            let message = format!("`{}` means nothing for an application without FastCGI", entry.key);
            let why = format!("its `application-protocol` is `{}`", protocol.word());
            self.found
                .push(Diagnostic::warning(message).at(entry.place.clone()).why(why));
        }
    }

    fn verify(&mut self, fields: Fields<'_>, protocol: &ApplicationProtocol) -> Verify {
        let Some(entry) = fields.get("verify") else {
            return Verify::Platform;
        };
        let protocol_blamed = fields
            .node("application-protocol")
            .is_some_and(|node| self.is_blamed(&node.place));
        if *protocol != ApplicationProtocol::Https && !protocol_blamed {
            let warning = Diagnostic::warning("`verify` means nothing for an application without TLS");
            let word = protocol.word();
            self.found.push(
                warning
                    .at(entry.place.clone())
                    .why(format!("its `application-protocol` is `{word}`")),
            );
        }
        match text(&entry.node) {
            Some(text) if is_bool(text) == Some(false) => Verify::Nothing,
            Some(text) if is_bool(text) == Some(true) => Verify::Platform,
            Some(text) => {
                let path = self.absolute(text);
                if !self.is_blamed(&entry.node.place) && (self.look)(&path) != Standing::File {
                    let error = Diagnostic::error("the file of `verify` does not exist").at(entry.node.place.clone());
                    self.found.push(error.why(format!("looked at `{}`", path.display())));
                }
                Verify::Pem(path)
            }
            None => Verify::Platform,
        }
    }

    fn ports(&mut self, fields: Fields<'_>, key: &str) -> Vec<(u16, Address)> {
        let Some(node) = fields.node(key) else {
            return Vec::new();
        };
        let mut ports: Vec<(u16, Address)> = Vec::new();
        if let (Some(entry), Value::Map(entries)) = (fields.get(key), &node.value)
            && entries.is_empty()
        {
            let error = Diagnostic::error(format!("`{key}` is empty")).at(entry.place.clone());
            self.found
                .push(error.hint("say which port leads where, as in `{ 3306: 127.0.0.1:33060 }`"));
        }
        for entry in Fields::of(node).all() {
            let (Ok(port), Some(address)) = (entry.key.parse::<u16>(), self.connecting(&entry.node)) else {
                continue;
            };
            if ports.iter().any(|(known, _)| *known == port) {
                self.found
                    .push(Diagnostic::error(format!("the port {port} is there twice")).at(entry.place.clone()));
            }
            if key == "udp" && matches!(address, Address::Unix(_)) {
                let error = Diagnostic::error("datagrams cannot be sent to a unix stream socket");
                self.found
                    .push(error.at(entry.node.place.clone()).hint("give a port or `host:port`"));
            }
            ports.push((port, address));
        }
        ports
    }

    fn headers(&mut self, fields: Fields<'_>) -> Vec<(String, String)> {
        let Some(node) = fields.node("headers") else {
            return Vec::new();
        };
        let mut headers = Vec::new();
        let mut seen = std::collections::HashMap::new();
        for entry in Fields::of(node).all() {
            if let Some(first) = seen.insert(entry.key.to_ascii_lowercase(), entry) {
                let error = Diagnostic::error(format!("the field `{}` is there twice", entry.key));
                let error = error
                    .at(entry.place.clone())
                    .label("second time")
                    .also(first.place.clone(), "first time");
                self.found
                    .push(error.hint("case makes no difference; a list gives a field several values"));
            }
            let values = many(&entry.node).iter().filter_map(text);
            headers.extend(values.map(|value| (entry.key.clone(), value.to_owned())));
        }
        headers
    }

    fn redirects(&mut self, fields: Fields<'_>) -> Vec<Redirect> {
        let Some(node) = fields.node("redirects") else {
            return Vec::new();
        };
        let listed: Vec<(&Entry, &str, Fields<'_>)> = match &node.value {
            Value::List(items) => items.iter().map(Fields::of).filter_map(from_list).collect(),
            _ => Fields::of(node)
                .all()
                .iter()
                .map(|e| (e, e.key.as_str(), Fields::of(&e.node)))
                .collect(),
        };
        let mut redirects: Vec<Redirect> = Vec::new();
        for (entry, from, options) in listed {
            let Some(to) = options
                .text("to")
                .or_else(|| text(&entry.node).filter(|_| entry.key == from))
            else {
                continue;
            };
            let status = options.text("status").and_then(|text| text.parse().ok());
            let redirect = Redirect {
                from: from.to_owned(),
                to: to.to_owned(),
                status: status.unwrap_or(settings::DEFAULT_REDIRECT_STATUS),
            };
            self.redirect(entry, &redirect, &redirects);
            redirects.push(redirect);
        }
        redirects
    }

    fn redirect(&mut self, entry: &Entry, redirect: &Redirect, before: &[Redirect]) {
        let Redirect { from, to, .. } = redirect;
        let place = entry.place.clone();
        if to.ends_with('*') && !from.ends_with("/*") {
            let error = Diagnostic::error(format!("the `*` of `{to}` stands for nothing")).at(place.clone());
            self.found.push(error.why(format!("`{from}` has no `/*` at its end")));
        }
        if covers(from, to.trim_end_matches('*')) {
            let error = Diagnostic::error(format!("the redirect of `{from}` leads to itself")).at(place.clone());
            self.found.push(error.why(format!("`{to}` is redirected again")));
        }
        if let Some(first) = before.iter().find(|first| covers(&first.from, from)) {
            let warning = Diagnostic::warning(format!("the redirect of `{from}` is never used")).at(place);
            self.found
                .push(warning.why(format!("`{}` stands before it and matches the same paths", first.from)));
        }
    }

    /// Reports applications that are this program itself.
    pub(super) fn own_listeners(&mut self, entry: &Entry, settings: &Settings) {
        let fields = Fields::of(&entry.node);
        let applications = fields.node("consultant").map(Fields::of);
        let nodes = applications
            .iter()
            .flat_map(|fields| fields.many("connect-to"))
            .chain(fields.node("port"));
        for node in nodes {
            let Some(target) = self.connecting(node) else { continue };
            if settings
                .listen
                .iter()
                .chain(&settings.socks5)
                .any(|listener| meets(&target, listener))
            {
                let warning = Diagnostic::warning(format!("`{target}` is where this program itself listens"));
                self.found
                    .push(warning.at(node.place.clone()).hint("give the port of the application"));
            }
        }
    }
}

/// What the keys of a FastCGI application say, with defaults.
fn fastcgi(fields: Fields<'_>) -> FastCgi {
    let defaults = FastCgi::default();
    let extensions = fields.each("script-extensions", |text| Some(text.to_ascii_lowercase()));
    let variables = fields.node("variables").map_or(&[][..], |node| Fields::of(node).all());
    let variable = |entry: &Entry| Some((entry.key.clone(), text(&entry.node)?.to_owned()));
    FastCgi {
        script_extensions: if extensions.is_empty() {
            defaults.script_extensions
        } else {
            extensions
        },
        front_controller: match fields.text("front-controller") {
            Some(text) if is_bool(text) == Some(false) => None,
            Some(path) => Some(path.to_owned()),
            None => defaults.front_controller,
        },
        document_root: fields.text("document-root").map(Into::into),
        keep_connection: fields.flag("keep-connection").unwrap_or(defaults.keep_connection),
        variables: variables.iter().filter_map(variable).collect(),
    }
}

fn from_list(fields: Fields<'_>) -> Option<(&Entry, &str, Fields<'_>)> {
    let entry = fields.get("from")?;
    Some((entry, text(&entry.node)?, fields))
}

/// Says whether a redirect from `from` answers for the path (or pattern) `path`.
fn covers(from: &str, path: &str) -> bool {
    match from.strip_suffix("/*") {
        None => from == path,
        Some(start) => {
            let path = path.strip_suffix("/*").unwrap_or(path);
            path.strip_prefix(start)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    }
}
