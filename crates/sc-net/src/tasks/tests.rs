//! Owners, names, panics and ends.

use super::*;

use std::time::Duration;

use tokio::task::{LocalSet, yield_now};

fn owner() -> (Tasks, Rc<RefCell<Vec<Panicked>>>) {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let hook = Rc::clone(&seen);
    (Tasks::new(move |panicked| hook.borrow_mut().push(panicked)), seen)
}

#[tokio::test]
async fn a_panic_ends_its_task_only_and_is_told_with_its_name() {
    LocalSet::new()
        .run_until(async {
            let (tasks, seen) = owner();
            let done = Rc::new(Cell::new(false));
            tasks.spawn("careless", async { panic!("out of {}", "luck") });
            let flag = Rc::clone(&done);
            tasks.spawn("careful", async move {
                yield_now().await;
                flag.set(true);
            });
            assert_eq!(tasks.count(), 2);
            tasks.wait().await;
            assert!(done.get());
            assert_eq!(
                *seen.borrow(),
                [Panicked {
                    task: "careless",
                    message: "out of luck".to_owned()
                }]
            );
        })
        .await;
}

#[tokio::test]
async fn waiting_covers_tasks_started_by_tasks() {
    LocalSet::new()
        .run_until(async {
            let (tasks, _) = owner();
            let spawner = tasks.spawner();
            let done = Rc::new(Cell::new(0));
            let count = Rc::clone(&done);
            tasks.spawn("outer", async move {
                let inner = Rc::clone(&count);
                spawner.spawn("inner", async move {
                    yield_now().await;
                    inner.set(inner.get() + 1);
                });
                count.set(count.get() + 1);
            });
            tasks.wait().await;
            assert_eq!(done.get(), 2);
            assert_eq!(tasks.count(), 0);
        })
        .await;
}

#[tokio::test]
async fn aborting_and_dropping_end_what_never_would() {
    LocalSet::new()
        .run_until(async {
            let (tasks, seen) = owner();
            for _ in 0..3 {
                tasks.spawn("endless", std::future::pending());
            }
            yield_now().await;
            assert_eq!(tasks.names(), BTreeMap::from([("endless", 3)]));
            tasks.abort_all();
            tasks.wait().await;
            assert!(seen.borrow().is_empty());

            let alive = Rc::new(());
            let held = Rc::clone(&alive);
            tasks.spawn("holder", async move {
                let _held = held;
                std::future::pending::<()>().await;
            });
            let spawner = tasks.spawner();
            drop(tasks);
            tokio::time::timeout(Duration::from_secs(5), async {
                while Rc::strong_count(&alive) > 1 {
                    yield_now().await;
                }
            })
            .await
            .expect("the task ends with its owner");
            spawner.spawn("late", async { unreachable!("the owner is gone") });
            yield_now().await;
        })
        .await;
}
