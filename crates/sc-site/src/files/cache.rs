//! Small files in memory, with their heads and their compressed forms: bounded by bytes, and stale for one [`Window`] at most.
//!
//! An entry is used only when a `stat` within the window has shown the very same file, size and times. Without a window
//! that is one system call for each request instead of open, read and close, and an edit is seen by the next. A file enters
//! only when its last change lies back further than the clock of file times is coarse, because a second change within one
//! tick would not show.
//!
//! [`Window`]: super::root::Window

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use http::HeaderMap;
use sc_http::encoding::Coding;

use super::kinds::{self, Kind};
use super::root::{Meta, Window};

/// Largest file that is kept.
pub(crate) const ENTRY_BYTES: u64 = 64 << 10;
/// Bytes that all entries of all sites may take.
const TOTAL_BYTES: usize = 16 << 20;
/// What an entry takes besides its contents, roughly: two heads are most of it.
const OVERHEAD: usize = 2 << 10;
/// Room in a kept head for what is added to it each time: `Date`, and what a site's settings say.
const MORE_FIELDS: usize = 4;

/// The small files of all sites.
#[derive(Debug, Default)]
pub(crate) struct Cache(RefCell<Inner>);

#[derive(Debug, Default)]
struct Inner {
    shelves: Vec<HashMap<Rc<[u8]>, Rc<Entry>>>,
    /// Names, with their shelf, in the order in which they are looked at when room is needed.
    order: VecDeque<(usize, Rc<[u8]>)>,
    bytes: usize,
}

/// One site's part of the cache.
#[derive(Debug)]
pub(crate) struct Shelf {
    cache: Rc<Cache>,
    number: usize,
}

/// One file.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) relative: Rc<[u8]>,
    pub(crate) meta: Meta,
    pub(crate) content: Bytes,
    pub(crate) kind: Kind,
    encoded: RefCell<Vec<(Coding, Bytes)>>,
    heads: RefCell<Vec<(Coding, Rc<HeaderMap>)>>,
    /// When the file was last seen to be this one.
    pub(crate) seen: Cell<Window>,
    /// When it was last seen that no precompressed file stands beside it, for each coding.
    pub(crate) alone: [Cell<Window>; Coding::COUNT],
    was_used: Cell<bool>,
}

impl Entry {
    /// The compressed form, when it was made before.
    pub(crate) fn encoded(&self, coding: Coding) -> Option<Bytes> {
        self.encoded
            .borrow()
            .iter()
            .find(|(known, _)| *known == coding)
            .map(|(_, bytes)| bytes.clone())
    }

    /// The head of the whole file in a coding, when it was made before.
    pub(crate) fn head(&self, coding: Coding) -> Option<Rc<HeaderMap>> {
        let heads = self.heads.borrow();
        heads
            .iter()
            .find(|(known, _)| *known == coding)
            .map(|(_, head)| head.clone())
    }

    /// Keeps the head of the whole file in a coding.
    pub(crate) fn put_head(&self, coding: Coding, head: &HeaderMap) {
        if self.head(coding).is_none() {
            let mut head = head.clone();
            head.reserve(MORE_FIELDS);
            self.heads.borrow_mut().push((coding, Rc::new(head)));
        }
    }

    fn bytes(&self) -> usize {
        let encoded: usize = self.encoded.borrow().iter().map(|(_, bytes)| bytes.len()).sum();
        OVERHEAD + self.content.len() + encoded
    }
}

impl Cache {
    /// A new part for one site.
    pub(crate) fn shelf(self: &Rc<Self>) -> Shelf {
        let mut inner = self.0.borrow_mut();
        inner.shelves.push(HashMap::new());
        Shelf {
            cache: self.clone(),
            number: inner.shelves.len() - 1,
        }
    }
}

impl Shelf {
    /// The entry of a name, whatever has become of the file since.
    pub(crate) fn get(&self, relative: &[u8]) -> Option<Rc<Entry>> {
        let inner = self.cache.0.borrow();
        let entry = inner.shelves.get(self.number)?.get(relative).cloned()?;
        entry.was_used.set(true);
        Some(entry)
    }

    /// Keeps a file that was seen in a window; gives its entry.
    pub(crate) fn put(&self, relative: &Rc<[u8]>, meta: Meta, content: Bytes, seen: Window) -> Rc<Entry> {
        let entry = Rc::new(Entry {
            relative: relative.clone(),
            meta,
            content,
            kind: kinds::of(relative),
            encoded: RefCell::default(),
            heads: RefCell::default(),
            seen: seen.into(),
            alone: Default::default(),
            was_used: false.into(),
        });
        let mut inner = self.cache.0.borrow_mut();
        inner.bytes += entry.bytes();
        match inner
            .shelf(self.number)
            .and_then(|shelf| shelf.insert(relative.clone(), entry.clone()))
        {
            Some(old) => inner.bytes -= old.bytes(),
            None => inner.order.push_back((self.number, relative.clone())),
        }
        inner.make_room();
        entry
    }

    /// Keeps a compressed form with its file, if that is still kept.
    pub(crate) fn put_encoded(&self, entry: &Rc<Entry>, coding: Coding, bytes: Bytes) {
        let mut inner = self.cache.0.borrow_mut();
        let kept = inner.shelf(self.number).and_then(|shelf| shelf.get(&entry.relative));
        if kept.is_some_and(|kept| Rc::ptr_eq(kept, entry)) && entry.encoded(coding).is_none() {
            inner.bytes += bytes.len();
            entry.encoded.borrow_mut().push((coding, bytes));
            inner.make_room();
        }
    }

    /// Forgets a file that is not what it was.
    pub(crate) fn forget(&self, relative: &[u8]) {
        let mut inner = self.cache.0.borrow_mut();
        if let Some(old) = inner.shelf(self.number).and_then(|shelf| shelf.remove(relative)) {
            inner.bytes -= old.bytes();
            inner
                .order
                .retain(|(number, name)| *number != self.number || &**name != relative);
        }
    }
}

impl Inner {
    fn shelf(&mut self, number: usize) -> Option<&mut HashMap<Rc<[u8]>, Rc<Entry>>> {
        self.shelves.get_mut(number)
    }

    /// Drops entries that were not used since they were looked at last ("second chance") until the rest fits.
    fn make_room(&mut self) {
        while self.bytes > TOTAL_BYTES {
            let Some((number, name)) = self.order.pop_front() else {
                return;
            };
            let Some(shelf) = self.shelves.get_mut(number) else {
                continue;
            };
            if shelf.get(&name).is_some_and(|entry| entry.was_used.replace(false)) {
                self.order.push_back((number, name));
            } else if let Some(old) = shelf.remove(&name) {
                self.bytes -= old.bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::super::root;
    use super::*;

    #[test]
    fn the_total_is_bounded_and_used_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        let fd = rustix::fs::open(folder.path(), rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
        let (_, meta) = root::open(&fd, b"").unwrap();
        let whole = Rc::new(Cache::default());
        let (cache, other) = (whole.shelf(), whole.shelf());
        let put = |shelf: &Shelf, name: &[u8], bytes: usize| {
            let content = Bytes::from(vec![1; bytes]);
            shelf.put(&name.into(), meta, content, Window::default())
        };
        put(&other, b"hot", 1000);
        put(&cache, b"hot", 1000);
        for name in 0..2000u32 {
            cache.get(b"hot").unwrap();
            let entry = put(&cache, &name.to_be_bytes(), 60_000);
            cache.put_encoded(&entry, Coding::Gzip, Bytes::from(vec![0; 6_000]));
        }
        assert!(cache.get(b"hot").is_some() && other.get(b"hot").is_none());
        let inner = whole.0.borrow();
        assert!(inner.bytes <= TOTAL_BYTES && inner.bytes > TOTAL_BYTES / 2);
        let entries = || inner.shelves.iter().flat_map(HashMap::values);
        assert_eq!(inner.bytes, entries().map(|entry| entry.bytes()).sum::<usize>());
        assert_eq!(entries().count(), inner.order.len());
    }
}
