//! The one place that spawns: every task has a name, an owner and an end.
//!
//! [`Tasks`] owns what it started and ends it when dropped; a [`Spawner`] starts tasks for an owner without keeping it
//! alive. A panic ends its task only; the owner's hook learns of it. Needs the current-thread runtime with a
//! `LocalSet` or a `LocalRuntime`.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::{Rc, Weak};

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// A task that panicked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Panicked {
    /// The name the task was spawned with.
    pub task: &'static str,
    /// What the panic said.
    pub message: String,
}

/// Owns tasks; dropping it aborts them.
pub struct Tasks {
    inner: Rc<Inner>,
}

struct Inner {
    next: Cell<u64>,
    open: RefCell<HashMap<u64, Task>>,
    ended: Notify,
    on_panic: Box<dyn Fn(Panicked)>,
}

struct Task {
    name: &'static str,
    abort: Option<AbortHandle>,
}

impl Tasks {
    /// An owner without tasks; `on_panic` is called in place of a task that panicked.
    pub fn new(on_panic: impl Fn(Panicked) + 'static) -> Self {
        Tasks {
            inner: Rc::new(Inner {
                next: Cell::new(0),
                open: RefCell::new(HashMap::new()),
                ended: Notify::new(),
                on_panic: Box::new(on_panic),
            }),
        }
    }

    /// Starts a task.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + 'static) {
        start(&self.inner, name, future);
    }

    /// A handle that starts tasks for this owner.
    pub fn spawner(&self) -> Spawner {
        Spawner {
            inner: Rc::downgrade(&self.inner),
        }
    }

    /// How many tasks have not ended.
    pub fn count(&self) -> usize {
        self.inner.open.borrow().len()
    }

    /// The tasks that have not ended, by name.
    pub fn names(&self) -> BTreeMap<&'static str, usize> {
        let mut names = BTreeMap::new();
        for task in self.inner.open.borrow().values() {
            *names.entry(task.name).or_default() += 1;
        }
        names
    }

    /// Waits until no task is left, those started meanwhile included.
    ///
    /// Cancel: changes nothing.
    pub async fn wait(&self) {
        loop {
            let ended = self.inner.ended.notified();
            if self.count() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Asks every task to end at its next await point; [`Tasks::wait`] says when they have.
    pub fn abort_all(&self) {
        self.inner.abort_all();
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("open", &self.names()).finish()
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.inner.abort_all();
    }
}

/// Starts tasks on behalf of a [`Tasks`] it does not keep alive.
#[derive(Clone)]
pub struct Spawner {
    inner: Weak<Inner>,
}

impl Spawner {
    /// Starts a task; drops the future unpolled when the owner is gone.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + 'static) {
        if let Some(inner) = self.inner.upgrade() {
            start(&inner, name, future);
        }
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner")
            .field("owner_is_alive", &(self.inner.strong_count() > 0))
            .finish()
    }
}

impl Inner {
    fn abort_all(&self) {
        // The handles are taken out first: an abort may drop the task at once, and its end needs the map.
        let handles: Vec<AbortHandle> = self
            .open
            .borrow_mut()
            .values_mut()
            .filter_map(|task| task.abort.take())
            .collect();
        for handle in handles {
            handle.abort();
        }
    }
}

/// Takes the task off the list however it ends.
struct Leave {
    inner: Weak<Inner>,
    id: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            let is_last = {
                let mut open = inner.open.borrow_mut();
                open.remove(&self.id);
                open.is_empty()
            };
            if is_last {
                inner.ended.notify_waiters();
            }
        }
    }
}

fn start(inner: &Rc<Inner>, name: &'static str, future: impl Future<Output = ()> + 'static) {
    let id = inner.next.get();
    inner.next.set(id + 1);
    inner.open.borrow_mut().insert(id, Task { name, abort: None });
    let leave = Leave {
        inner: Rc::downgrade(inner),
        id,
    };
    // A combinator, not an async block: that would hold the future twice, as captured and as awaited.
    let handle = tokio::task::spawn_local(AssertUnwindSafe(future).catch_unwind().map(move |result| {
        if let (Err(payload), Some(inner)) = (result, leave.inner.upgrade()) {
            (inner.on_panic)(Panicked {
                task: name,
                message: message(&*payload),
            });
        }
        drop(leave);
    }));
    if let Some(task) = inner.open.borrow_mut().get_mut(&id) {
        task.abort = Some(handle.abort_handle());
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests;
