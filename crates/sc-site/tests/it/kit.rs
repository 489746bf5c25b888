//! Asking a site and reading what it answers.

use std::cell::RefCell;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use sc_http::{Authority, Body, Exchange, Form, Interim, Meter, Payload, Protocol, Scheme};
use sc_net::{ClientAddr, LocalAddr, Tasks};
use sc_site::{
    Around, Disclosure, Environment, FilesSpec, NamePattern, Notes, SiteSpec, Sites, UpstreamEvent, UpstreamSpec,
};
use tempfile::TempDir;

/// The name that test sites have.
pub(crate) const NAME: &str = "www.shop.example";

/// Longest time that anything in a test may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test on the kind of runtime that the product has.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::time::timeout(PATIENCE, test)
            .await
            .expect("the test takes too long")
    })
}

/// Compiled sites, and what they started.
pub(crate) struct Served {
    pub(crate) sites: Sites,
    pub(crate) tasks: Rc<Tasks>,
    /// What was told of applications.
    pub(crate) told: Rc<RefCell<Vec<UpstreamEvent>>>,
}

/// Compiles sites.
pub(crate) fn serve(specs: Vec<SiteSpec>, disclosure: Disclosure) -> Served {
    let tasks = Rc::new(Tasks::new(|panicked| panic!("a task panicked: {panicked:?}")));
    let starter = tasks.clone();
    let told = Rc::new(RefCell::default());
    let teller: Rc<RefCell<Vec<UpstreamEvent>>> = Rc::clone(&told);
    let environment = Environment {
        disclosure,
        marker: "test-instance".into(),
        spawn: Rc::new(move |name, task| starter.spawn(name, task)),
        told: Rc::new(move |event| teller.borrow_mut().push(event)),
    };
    Served {
        sites: Sites::compile(specs, environment).unwrap(),
        tasks,
        told,
    }
}

/// A site of files, as developers get it.
pub(crate) fn files(folder: &Path) -> Served {
    serve(vec![spec(Some(folder), None)], Disclosure::Developer)
}

/// A site of an application, as developers get it.
pub(crate) fn proxy(upstream: UpstreamSpec) -> Served {
    serve(vec![spec(None, Some(upstream))], Disclosure::Developer)
}

pub(crate) fn spec(folder: Option<&Path>, upstream: Option<UpstreamSpec>) -> SiteSpec {
    let mut spec = SiteSpec::new(NamePattern::parse(NAME).unwrap());
    spec.root = folder.map(FilesSpec::new);
    spec.upstream = upstream;
    spec
}

/// A folder with files; paths that end in a slash become folders.
pub(crate) fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        write(folder.path(), path, content);
    }
    folder
}

pub(crate) fn write(folder: &Path, path: &str, content: &[u8]) {
    let place = folder.join(path);
    if path.ends_with('/') {
        std::fs::create_dir_all(&place).unwrap();
        return;
    }
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(&place, content).unwrap();
}

/// Lets a file look as if it had rested for an hour.
pub(crate) fn settle(folder: &Path, path: &str) {
    let past = std::time::SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::options()
        .write(true)
        .open(folder.join(path))
        .unwrap()
        .set_modified(past)
        .unwrap();
}

/// A request.
pub(crate) struct Ask {
    pub(crate) exchange: Exchange,
    client: ClientAddr,
}

impl Ask {
    pub(crate) fn new(method: Method, target: &str) -> Self {
        let exchange = Exchange {
            protocol: Protocol::Http11,
            scheme: Scheme::Https,
            authority: Authority::parse(NAME).unwrap(),
            form: Form::Origin,
            method,
            target: target.into(),
            headers: HeaderMap::new(),
            upgrade: None,
            body: Body::empty(),
            interim: Interim::default(),
            meter: Rc::new(Meter::default()),
        };
        Ask {
            exchange,
            client: ClientAddr::inet("192.0.2.7:4711".parse().unwrap()),
        }
    }

    pub(crate) fn get(target: &str) -> Self {
        Ask::new(Method::GET, target)
    }

    pub(crate) fn head(target: &str) -> Self {
        Ask::new(Method::HEAD, target)
    }

    pub(crate) fn post(target: &str, body: impl Into<Bytes>) -> Self {
        Ask::new(Method::POST, target).body(Body::full(body))
    }

    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().unwrap();
        self.exchange
            .headers
            .append(name, HeaderValue::from_str(value).unwrap());
        self
    }

    pub(crate) fn body(mut self, body: Body) -> Self {
        self.exchange.body = body;
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        self.exchange.authority = Authority::parse(host).unwrap();
        self
    }

    pub(crate) fn client(mut self, client: ClientAddr) -> Self {
        self.client = client;
        self
    }

    pub(crate) fn protocol(mut self, protocol: Protocol) -> Self {
        self.exchange.protocol = protocol;
        self
    }

    pub(crate) fn upgrade(mut self, protocol: &str) -> Self {
        self.exchange.upgrade = Some(protocol.into());
        self
    }

    /// Asks, and gives the answer as it is.
    pub(crate) async fn raw(self, served: &Served) -> (sc_http::Answer, Rc<Notes>) {
        let notes = Rc::new(Notes::default());
        let local = LocalAddr::inet("192.0.2.1:443".parse().unwrap());
        let around = Around {
            connection: 7,
            client: self.client,
            local,
        };
        let host = self.exchange.authority.host().to_owned();
        let site = served.sites.find(&host).expect("the site").clone();
        (site.answer(Box::new(self.exchange), &around, &notes).await, notes)
    }

    /// Asks, and reads the whole answer.
    pub(crate) async fn of(self, served: &Served) -> Told {
        let (answer, notes) = self.raw(served).await;
        let Payload::Body(body) = answer.payload else {
            panic!("a tunnel for {}", answer.head.status)
        };
        let (bytes, trailers, fault) = read(body).await;
        Told {
            status: answer.head.status,
            headers: answer.head.headers,
            body: bytes,
            trailers,
            fault,
            notes,
        }
    }
}

/// Reads a body to its end, and as the engines do not beyond.
pub(crate) async fn read(mut body: Body) -> (Vec<u8>, Option<HeaderMap>, Option<String>) {
    let (mut bytes, mut trailers) = (Vec::new(), None);
    while !http_body::Body::is_end_stream(&body)
        && let Some(frame) = body.frame().await
    {
        match frame {
            Ok(frame) => match frame.into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
            Err(fault) => return (bytes, trailers, Some(fault.chain())),
        }
    }
    (bytes, trailers, None)
}

/// An answer, read.
pub(crate) struct Told {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) fault: Option<String>,
    pub(crate) notes: Rc<Notes>,
}

impl Told {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }
}
