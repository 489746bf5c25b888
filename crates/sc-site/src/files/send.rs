//! Sending a file that was found: as it is, precompressed, or compressed on the way.
//!
//! A small file is brought into memory first; one that shrinks in that moment (an editor empties it before it writes) is
//! looked up again, so that a developer does not see a fault for it. Large files stay where they are until the body is
//! asked for. What most requests want, the whole of a file that is kept, goes out with a head that was made before.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, RANGE};
use http::{HeaderMap, StatusCode};
use sc_http::encoding::Coding;
use sc_http::{Answer, Body, Exchange, Fault, Head};

use super::cache::Entry;
use super::respond::{Bits, Representation, Verdict};
use super::root::Window;
use super::{Files, Hit, Place, Source, cache, coding, compress, kinds, read};
use crate::Disclosure;

/// Smaller files gain nothing from compression on the way: they fit into one packet anyway.
const COMPRESSED_BYTES: u64 = 1 << 10;
/// How often a file that shrinks under our hands is looked up again.
const LOOKS: usize = 3;
/// Fields of a request because of which less than the whole file may be the answer.
const LESS: [&str; 5] = [
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

impl Files {
    /// Sends a file whose form for the request, and all that decides about that form, is kept and was seen in this window.
    pub(super) fn send_now(&self, relative: &[u8], window: Window, exchange: &Exchange) -> Option<Answer> {
        let seen = |relative: &[u8]| self.cache.get(relative).filter(|entry| entry.seen.get() == window);
        let (entry, headers) = (seen(relative)?, &exchange.headers);
        if !entry.kind.is_compressible || !headers.contains_key(ACCEPT_ENCODING) {
            return known(Coding::Identity, &entry, &entry.content, headers);
        }
        let wanted = coding::wanted(headers);
        for coding in &wanted {
            if entry.alone.get(*coding as usize)?.get() != window {
                let sibling = seen(&[relative, coding::suffix(*coding)].concat())?;
                return if sibling.meta.is_as_new_as(&entry.meta) {
                    known(*coding, &sibling, &sibling.content, headers)
                } else {
                    None
                };
            }
        }
        match wanted.first().filter(|_| entry.meta.size >= COMPRESSED_BYTES) {
            Some(coding) => known(*coding, &entry, &entry.encoded(*coding)?, headers),
            None => known(Coding::Identity, &entry, &entry.content, headers),
        }
    }

    /// Sends a file in the form that suits the request.
    pub(super) async fn send(&self, hit: Hit, exchange: &Exchange) -> Result<Answer, Fault> {
        let kind = match &hit.source {
            Source::Kept(entry) => entry.kind.clone(),
            Source::Read(_) | Source::Open(_) => kinds::of(&hit.relative),
        };
        let wanted = if kind.is_compressible {
            coding::wanted(&exchange.headers)
        } else {
            coding::Wanted::default()
        };
        let mut form = Representation {
            meta: hit.meta,
            content_type: kind.content_type,
            coding: Coding::Identity,
            varies: kind.is_compressible,
            is_revalidated: self.disclosure == Disclosure::Developer,
        };
        if let Some((coding, sibling)) = self.sibling(&hit, &wanted) {
            form.coding = coding;
            return self.send_plain(form, sibling, exchange).await;
        }
        let is_worth_it = hit.meta.size >= COMPRESSED_BYTES && !exchange.headers.contains_key(RANGE);
        match wanted.first().filter(|_| is_worth_it) {
            Some(coding) => {
                form.coding = *coding;
                self.send_encoded(form, hit, exchange).await
            }
            None => self.send_plain(form, hit, exchange).await,
        }
    }

    /// A precompressed file beside the file, when it is no older.
    fn sibling(&self, hit: &Hit, wanted: &[Coding]) -> Option<(Coding, Hit)> {
        let root = if wanted.is_empty() {
            return None;
        } else {
            self.root.descriptor().ok()?
        };
        wanted.iter().find_map(|coding| {
            let alone = match &hit.source {
                Source::Kept(entry) => entry.alone.get(*coding as usize),
                Source::Read(_) | Source::Open(_) => None,
            };
            if alone.is_some_and(|alone| alone.get() == root.1) {
                return None;
            }
            let relative = [&hit.relative, coding::suffix(*coding)].concat();
            match self.look_up(&root, &relative) {
                Ok(Place::File(sibling)) if sibling.meta.is_as_new_as(&hit.meta) => Some((*coding, sibling)),
                _ => {
                    if let Some(alone) = alone {
                        alone.set(root.1);
                    }
                    None
                }
            }
        })
    }

    async fn send_plain(&self, mut form: Representation, hit: Hit, exchange: &Exchange) -> Result<Answer, Fault> {
        let hit = self.bring(hit).await?;
        form.meta = hit.meta;
        if let Source::Kept(entry) = &hit.source
            && let Some(answer) = known(form.coding, entry, &entry.content, &exchange.headers)
        {
            return Ok(answer);
        }
        Ok(match form.judge(&exchange.method, &exchange.headers, true) {
            Verdict::Short(answer) => answer,
            Verdict::Whole(head) => remembered(form.coding, &hit.source, form.whole(head, hit.source.bits())),
            Verdict::Ranges(head, ranges) => form.partial(head, &ranges, hit.source.bits()),
        })
    }

    async fn send_encoded(&self, mut form: Representation, hit: Hit, exchange: &Exchange) -> Result<Answer, Fault> {
        let hit = self.bring(hit).await?;
        form.meta = hit.meta;
        let kept = match &hit.source {
            Source::Kept(entry) => Some(entry),
            Source::Read(_) | Source::Open(_) => None,
        };
        let encoded = kept.and_then(|entry| entry.encoded(form.coding));
        if let (Some(entry), Some(encoded)) = (kept, &encoded)
            && let Some(answer) = known(form.coding, entry, encoded, &exchange.headers)
        {
            return Ok(answer);
        }
        let head = match form.judge(&exchange.method, &exchange.headers, false) {
            Verdict::Short(answer) => return Ok(answer),
            Verdict::Whole(head) | Verdict::Ranges(head, _) => head,
        };
        let failed = |error| read::fault("it could not be compressed").caused_by(error);
        if let Some(encoded) = encoded {
            return Ok(remembered(
                form.coding,
                &hit.source,
                form.whole(head, Bits::Memory(encoded)),
            ));
        }
        match hit.source.bits() {
            Bits::Memory(content) => {
                let encoded = compress::whole(content, form.coding).await.map_err(failed)?;
                if let Some(entry) = kept {
                    self.cache.put_encoded(entry, form.coding, encoded.clone());
                }
                Ok(form.whole(head, Bits::Memory(encoded)))
            }
            Bits::File(file) => {
                let body = compress::EncodedBody::new(file, hit.meta.size, form.coding).map_err(failed)?;
                Ok(Answer::new(head, Body::stream(body)))
            }
        }
    }

    /// Brings a small file into memory, and into the cache if it rests; others stay where they are.
    ///
    /// Errors: the file cannot be read, or is gone by now.
    async fn bring(&self, mut hit: Hit) -> Result<Hit, Fault> {
        for _ in 0..LOOKS {
            let file = match &hit.source {
                Source::Open(file) if hit.meta.size <= cache::ENTRY_BYTES => file.clone(),
                _ => return Ok(hit),
            };
            if let Some(content) = read::small(&file, hit.meta.size).await? {
                hit.source = if hit.meta.is_settled() {
                    Source::Kept(self.cache.put(&hit.relative, hit.meta, content, hit.seen))
                } else {
                    Source::Read(content)
                };
                return Ok(hit);
            }
            let gone = |error| read::fault("it changed while it was read").caused_by(error);
            let root = self.root.descriptor().map_err(gone)?;
            match self.look_up(&root, &hit.relative).map_err(gone)? {
                Place::File(again) => hit = again,
                Place::Folder => break,
            }
        }
        Err(read::fault("it does not stop changing"))
    }
}

/// The whole of a kept file, when its head was made before and nothing in the request could want less than that.
fn known(coding: Coding, entry: &Entry, content: &Bytes, request: &HeaderMap) -> Option<Answer> {
    if request.keys().any(|name| LESS.contains(&name.as_str())) {
        return None;
    }
    let headers = (*entry.head(coding)?).clone();
    let status = StatusCode::OK;
    Some(Answer::new(Head { status, headers }, Body::full(content.clone())))
}

/// Keeps the head of an answer that is the whole of a kept file.
fn remembered(coding: Coding, source: &Source, answer: Answer) -> Answer {
    if let Source::Kept(entry) = source {
        entry.put_head(coding, &answer.head.headers);
    }
    answer
}

impl Source {
    fn bits(&self) -> Bits {
        match self {
            Source::Kept(entry) => Bits::Memory(entry.content.clone()),
            Source::Read(content) => Bits::Memory(content.clone()),
            Source::Open(file) => Bits::File(file.clone()),
        }
    }
}
