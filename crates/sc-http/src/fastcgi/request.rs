//! What an application is told: the variables of CGI, all of them ours but the header fields (RFC 3875 §4.1).
//!
//! Differs from the RFC where PHP and its programs want it so: `REQUEST_URI`, `DOCUMENT_ROOT`, `HTTPS` and the like stand
//! in no standard and are told by every server. `SERVER_PROTOCOL` is `HTTP/1.1` whatever carried the request, as it was in
//! the first ShimmerCat: programs make status lines of it.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::BytesMut;
use http::Method;
use http::header::CONTENT_TYPE;

use super::params::{self, Params, TooLong};
use super::record;
use crate::client::Outgoing;
use crate::{Fault, Kind, Scheme, Side};

/// Which program answers, with paths as the application sees them.
///
/// Shape: all bytes are decoded, none is a NUL.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Script {
    /// `DOCUMENT_ROOT`: the folder of the site.
    pub document_root: Option<Vec<u8>>,
    /// `SCRIPT_FILENAME`: the program's file.
    pub filename: Option<Vec<u8>>,
    /// `SCRIPT_NAME`: the part of the path that names the program; empty when it answers for the whole site.
    pub name: Vec<u8>,
    /// `PATH_INFO`: what follows it; empty or with a slash in front.
    pub path_info: Vec<u8>,
}

/// One call of an application, beyond the request itself.
#[derive(Clone, Debug)]
pub struct Call {
    /// The program.
    pub script: Script,
    /// The client; `None` for a unix socket.
    pub client: Option<SocketAddr>,
    /// Where its connection arrived; `None` for a unix socket.
    pub local: Option<SocketAddr>,
    /// Variables of the configuration; they stand after ours, and win.
    pub variables: Rc<[(String, String)]>,
    /// Whether the application is asked to leave the connection open for another request.
    pub is_kept: bool,
}

/// Writes the beginning of a request and its variables.
///
/// Errors: [`Kind::HeadersTooLarge`] for a variable that no record can hold.
pub(super) fn put_request(
    out: &mut BytesMut,
    request: &Outgoing,
    length: Option<u64>,
    call: &Call,
) -> Result<(), Fault> {
    out.reserve(2048);
    record::put_begin(out, call.is_kept);
    let mut params = Params::new(out);
    put_all(&mut params, request, length, call).map_err(|error| {
        let detail = "a header field or the URL is too long for FastCGI";
        Fault::new(Side::Downstream, Kind::HeadersTooLarge, detail).caused_by(error)
    })?;
    params.finish();
    Ok(())
}

fn put_all(params: &mut Params<'_>, request: &Outgoing, length: Option<u64>, call: &Call) -> Result<(), TooLong> {
    let script = &call.script;
    params.put(b"GATEWAY_INTERFACE", b"CGI/1.1")?;
    params.put(b"SERVER_SOFTWARE", b"ShimmerCat")?;
    params.put(b"SERVER_PROTOCOL", b"HTTP/1.1")?;
    // PHP as a CGI program answers only what a server has routed to it.
    params.put(b"REDIRECT_STATUS", b"200")?;
    params.put(b"REQUEST_METHOD", request.method.as_str().as_bytes())?;
    params.put(b"REQUEST_URI", request.target.as_bytes())?;
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    params.put(b"QUERY_STRING", query.as_bytes())?;
    params.put(b"SCRIPT_NAME", &script.name)?;
    if let Some(filename) = &script.filename {
        params.put(b"SCRIPT_FILENAME", filename)?;
    }
    if let Some(root) = &script.document_root {
        params.put(b"DOCUMENT_ROOT", root)?;
    }
    if !script.path_info.is_empty() {
        params.put(b"PATH_INFO", &script.path_info)?;
    }
    params.put(b"DOCUMENT_URI", &[&script.name[..], &script.path_info[..]].concat())?;
    put_places(params, request, call)?;
    if let Some(length) = length {
        params.put(b"CONTENT_LENGTH", itoa::Buffer::new().format(length).as_bytes())?;
    }
    if let Some(kind) = request.headers.get(CONTENT_TYPE) {
        params.put(b"CONTENT_TYPE", kind.as_bytes())?;
    }
    params.put(b"HTTP_HOST", request.authority.as_bytes())?;
    params::put_fields(params, &request.headers)?;
    for (name, value) in call.variables.iter() {
        params.put(name.as_bytes(), value.as_bytes())?;
    }
    Ok(())
}

/// Who asked whom, and how.
fn put_places(params: &mut Params<'_>, request: &Outgoing, call: &Call) -> Result<(), TooLong> {
    params.put(b"REQUEST_SCHEME", request.scheme.as_str().as_bytes())?;
    params.put(b"SCHEME", request.scheme.as_str().as_bytes())?;
    if request.scheme == Scheme::Https {
        params.put(b"HTTPS", b"on")?;
    }
    // The address that the client was told, which need not be where the connection arrived.
    let (host, port) = match request.authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => (host, port),
        _ if request.scheme == Scheme::Https => (&request.authority[..], "443"),
        _ => (&request.authority[..], "80"),
    };
    params.put(b"SERVER_NAME", host.as_bytes())?;
    params.put(b"SERVER_PORT", port.as_bytes())?;
    if let Some(local) = call.local {
        params.put(b"SERVER_ADDR", local.ip().to_canonical().to_string().as_bytes())?;
    }
    if let Some(client) = call.client {
        let ip = client.ip().to_canonical().to_string();
        params.put(b"REMOTE_ADDR", ip.as_bytes())?;
        params.put(b"REMOTE_HOST", ip.as_bytes())?;
        params.put(b"REMOTE_PORT", itoa::Buffer::new().format(client.port()).as_bytes())?;
    }
    Ok(())
}

/// How many bytes the body has; `None` when there is none and nobody expects one.
///
/// Errors: [`Kind::LengthRequired`] when it is not known: `CONTENT_LENGTH` is all that an application learns of it.
pub(super) fn length(request: &Outgoing) -> Result<Option<u64>, Fault> {
    let declared = crate::h1::framing::content_length(&request.headers).ok().flatten();
    match request.body.exact_bytes().or(declared) {
        Some(0) if !matches!(request.method, Method::POST | Method::PUT | Method::PATCH) => Ok(None),
        Some(length) => Ok(Some(length)),
        None => {
            let detail = "the application has to know the length of a request body beforehand";
            Err(Fault::new(Side::Downstream, Kind::LengthRequired, detail))
        }
    }
}
