//! What a FastCGI application is told of a request beside the request itself: which program answers, who asks.
//!
//! Programs are found by [`crate::files`]; an application without a folder of ours has one program, or is one.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use http::Method;
use sc_http::fastcgi::{Call, Script};
use sc_http::{Body, Exchange, Fault, Kind, Side};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Around;
use crate::files::{Program, path_info};
use crate::spec::FastCgiSpec;

/// Most bytes of a request body whose length nobody told: it is taken whole before the application hears of it.
const WHOLE_BYTES: usize = 1 << 20;

/// Most bytes of all such bodies for one application.
const ALL_BYTES: usize = 16 << 20;

/// What all calls of an application have in common.
#[derive(Debug)]
pub(crate) struct Responder {
    /// The site's folder, as the application sees it.
    root: Option<Vec<u8>>,
    /// The program for everything, where there is no folder of ours to look into.
    front: Option<Vec<u8>>,
    is_kept: bool,
    variables: Rc<[(String, String)]>,
    /// Bytes that bodies of unknown length may still take.
    room: Arc<Semaphore>,
}

/// The room of a body that was taken whole.
pub(crate) type Room = OwnedSemaphorePermit;

impl Responder {
    /// Prepares the calls of an application behind a folder, or behind none.
    pub(crate) fn new(spec: &FastCgiSpec, folder: Option<&Path>) -> Self {
        let root = spec.document_root.as_deref().or(folder);
        let bytes = |path: &Path| {
            let bytes = path.as_os_str().as_bytes();
            bytes.strip_suffix(b"/").unwrap_or(bytes).to_vec()
        };
        Responder {
            root: root.map(bytes),
            front: spec.front_controller.as_ref().map(|front| front.clone().into_bytes()),
            is_kept: spec.is_kept,
            variables: spec.variables.clone().into(),
            room: Arc::new(Semaphore::new(ALL_BYTES)),
        }
    }

    /// Makes the call for a request; what cannot go through FastCGI is taken out of it.
    ///
    /// Shape: `program` was found in the folder of the site. An upgrade is not passed on, as RFC 9110 §7.8 allows.
    /// Errors: extended CONNECT, and paths that would lead a program astray.
    pub(crate) fn call(
        &self,
        exchange: &mut Exchange,
        program: Option<Program>,
        around: &Around,
    ) -> Result<Call, Fault> {
        if exchange.method == Method::CONNECT {
            let detail = "websockets and other tunnels cannot go through FastCGI";
            return Err(Fault::new(Side::Downstream, Kind::NotImplemented, detail));
        }
        exchange.upgrade = None;
        Ok(Call {
            script: self.script(exchange.path(), program)?,
            client: around.client.socket(),
            local: around.local.socket(),
            variables: self.variables.clone(),
            is_kept: self.is_kept,
        })
    }

    /// Makes the call of a check: a program at this path below the folder, or something that the application answers by
    /// itself, as php-fpm does with its `ping.path`.
    pub(crate) fn check(&self, path: &str) -> Call {
        let name = path.split('?').next().unwrap_or(path).as_bytes().to_vec();
        let script = Script {
            filename: Some([self.root.as_deref().unwrap_or_default(), &name[..]].concat()),
            document_root: self.root.clone(),
            name,
            path_info: Vec::new(),
        };
        Call {
            script,
            client: None,
            local: None,
            variables: self.variables.clone(),
            is_kept: false,
        }
    }

    fn script(&self, path: &str, program: Option<Program>) -> Result<Script, Fault> {
        let (name, path_info) = match (program, &self.root, &self.front) {
            (Some(program), ..) => (program.name, program.path_info),
            (None, Some(_), Some(front)) => (front.clone(), Vec::new()),
            // The application is the program, and all of the path is its own (RFC 3875 §4.1.5).
            (None, ..) => {
                let detail = "the path holds a NUL, or parts that mean another folder";
                let info = path_info(path).ok_or_else(|| Fault::new(Side::Downstream, Kind::BadRequest, detail))?;
                (Vec::new(), info)
            }
        };
        let filename = self.root.as_ref().filter(|_| !name.is_empty());
        Ok(Script {
            filename: filename.map(|root| [&root[..], &name[..]].concat()),
            document_root: self.root.clone(),
            name,
            path_info,
        })
    }

    /// Takes a body of unknown length whole, because an application has to know the length; others stay as they are.
    ///
    /// Shape: the room is kept until the application has answered.
    /// Errors: [`Kind::LengthRequired`] for a body that is too long for that, [`Kind::UpstreamBusy`] when there are too
    /// many, and the fault of the body.
    pub(crate) async fn take_whole(&self, exchange: &mut Exchange) -> Result<Option<Room>, Fault> {
        if exchange.body.exact_bytes().is_some() || exchange.headers.contains_key(http::header::CONTENT_LENGTH) {
            return Ok(None);
        }
        let mut body = std::mem::take(&mut exchange.body);
        let (mut whole, mut room) = (BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if whole.len() + data.len() > WHOLE_BYTES {
                let detail = "an upload of this size needs a Content-Length: the application has to know it beforehand";
                return Err(Fault::new(Side::Downstream, Kind::LengthRequired, detail));
            }
            self.reserve(&mut room, data.len())?;
            whole.extend_from_slice(&data);
        }
        exchange.body = Body::full(whole.freeze());
        Ok(room)
    }

    fn reserve(&self, room: &mut Option<Room>, bytes: usize) -> Result<(), Fault> {
        let more = u32::try_from(bytes).ok();
        let more = more.and_then(|bytes| self.room.clone().try_acquire_many_owned(bytes).ok());
        let Some(more) = more else {
            let detail = "too many uploads without a Content-Length at a time";
            return Err(Fault::new(Side::Local, Kind::UpstreamBusy, detail));
        };
        match room {
            Some(room) => room.merge(more),
            None => *room = Some(more),
        }
        Ok(())
    }
}
