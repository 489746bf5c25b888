//! Carries the plan out: asks for new workers and settings, kills workers, kills and stops Redis.
//!
//! A worker that is to be killed is stopped first, for the moment that it takes to read which connections it has. So it is
//! known, and not guessed, which requests were in flight on it. Only children of the instance's master get a signal.

use std::cell::RefCell;
use std::fs;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use super::control::Desk;
use super::load::World;
use super::plan::{Deed, Plan};
use super::report::Deeds;

/// How long the instance may take for what it is asked.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it may take until a lane has a warm worker again, or Redis runs again, before it is disturbed once more.
const RIPE_WITHIN: Duration = Duration::from_secs(5);

/// How long the first warm workers may take.
const SETTLED_WITHIN: Duration = Duration::from_secs(15);

/// Between two looks at the status.
const LOOK: Duration = Duration::from_millis(50);

/// How often it is looked whether a process has stopped, a millisecond apart.
const STOP_LOOKS: u32 = 200;

/// Who disturbs.
pub(super) struct Disturber {
    pub(super) desk: Desk,
    /// Process id of the instance's master.
    pub(super) master: u32,
    pub(super) https: SocketAddr,
    /// Whether lanes keep a warm worker.
    pub(super) has_standby: bool,
    pub(super) world: Rc<World>,
    pub(super) done: Rc<RefCell<Deeds>>,
}

/// How the instance stands before it is disturbed.
pub(super) struct Standing {
    pub(super) lanes: usize,
    pub(super) has_redis: bool,
    pub(super) has_standby: bool,
}

/// Waits until each lane has a warm worker beside the active one; not for ever, since the settings may want none.
pub(super) async fn settled(desk: &Desk, may_have_standby: bool) -> Result<Standing, String> {
    let until = Instant::now() + SETTLED_WITHIN;
    loop {
        let status = desk.status().await?;
        let lanes = status["lanes"].as_array().map_or(0, Vec::len);
        let ripe = (0..lanes).filter(|lane| active(&status, *lane, true).is_some()).count();
        let has_redis = redis(&status).is_some();
        if ripe == lanes || !may_have_standby || Instant::now() > until {
            return Ok(Standing {
                lanes,
                has_redis,
                has_standby: ripe == lanes && may_have_standby,
            });
        }
        sleep(LOOK).await;
    }
}

impl Disturber {
    /// Takes one step after the other, each at its time or when the one before is done.
    pub(super) async fn carry_out(&self, plan: &Plan) {
        for step in &plan.steps {
            sleep_until(self.world.began() + step.at).await;
            if self.world.elapsed() >= plan.lasts {
                return;
            }
            self.world.disturbed(step.deed);
            if let Err(why) = self.carry_out_one(step.deed).await {
                let skipped = format!("{:.1} s: {}: {why}", self.world.elapsed().as_secs_f32(), step.deed);
                self.done.borrow_mut().skipped.push(skipped);
            }
        }
    }

    async fn carry_out_one(&self, deed: Deed) -> Result<(), String> {
        let lanes = u64::try_from(self.lanes().await?).unwrap_or(0);
        match deed {
            Deed::Recycle { lane } => {
                self.desk.post(&format!("/recycle?lane={lane}"), PATIENCE).await?;
                self.done.borrow_mut().recycles += 1;
            }
            Deed::RecycleAll => {
                self.desk.post("/recycle", PATIENCE).await?;
                self.done.borrow_mut().recycles += lanes;
            }
            Deed::Reload => {
                self.desk.post("/reload", PATIENCE).await?;
                self.done.borrow_mut().reloads += 1;
            }
            Deed::KillWorker { lane } => {
                self.kill_worker(lane).await?;
                self.done.borrow_mut().kills += 1;
            }
            Deed::KillRedis => {
                self.redis().await?.signal(Signal::KILL)?;
                self.done.borrow_mut().redis_kills += 1;
            }
            Deed::FreezeRedis { during } => {
                let frozen = Frozen::stop(self.redis().await?)?;
                sleep(during).await;
                drop(frozen);
                self.done.borrow_mut().redis_freezes += 1;
            }
        }
        Ok(())
    }

    async fn lanes(&self) -> Result<usize, String> {
        Ok(self.desk.status().await?["lanes"].as_array().map_or(0, Vec::len))
    }

    async fn kill_worker(&self, lane: usize) -> Result<(), String> {
        let worker = self.ripe(lane).await?;
        let frozen = Frozen::stop(worker)?;
        frozen.wait_stopped().await;
        // From here to the kill no client runs, and the worker accepts nothing more.
        self.world.dialler.lines.killed(ports(worker.pid(), self.https));
        frozen.kill()
    }

    /// The active worker of a lane, once another one stands ready behind it.
    async fn ripe(&self, lane: usize) -> Result<Doomed, String> {
        let pid = |status: &Value| active(status, lane, self.has_standby);
        self.child(pid, "its lane had no worker to follow").await
    }

    /// Redis, once it runs again after the last time.
    async fn redis(&self) -> Result<Doomed, String> {
        self.child(redis, "it was not running").await
    }

    /// A process that may get a signal, waited for.
    async fn child(&self, pid: impl Fn(&Value) -> Option<u64>, absent: &str) -> Result<Doomed, String> {
        let until = Instant::now() + RIPE_WITHIN;
        loop {
            let found = pid(&self.desk.status().await?).and_then(|pid| u32::try_from(pid).ok());
            match found {
                Some(pid) if parent(pid) == Some(self.master) => return Doomed::of(pid),
                // It has just ended, or is about to be followed.
                _ if Instant::now() > until => return Err(absent.to_owned()),
                _ => sleep(LOOK).await,
            }
        }
    }
}

/// The process id of the active worker of a lane, with a warm one beside it if that is wanted.
fn active(status: &Value, lane: usize, with_warm: bool) -> Option<u64> {
    let workers = status["lanes"][lane]["workers"].as_array()?;
    let of = |state: &str| workers.iter().find(|worker| worker["state"] == state);
    let active = of("active").filter(|worker| worker["stuck"] != true)?;
    (!with_warm || of("warm").is_some()).then(|| active["pid"].as_u64())?
}

fn redis(status: &Value) -> Option<u64> {
    status["redis"]["pid"].as_u64()
}

/// A process that gets a signal.
#[derive(Clone, Copy)]
struct Doomed(Pid);

impl Doomed {
    fn of(pid: u32) -> Result<Self, String> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        pid.map(Doomed).ok_or_else(|| "it has no process id".to_owned())
    }

    fn pid(self) -> u32 {
        self.0.as_raw_nonzero().get().unsigned_abs()
    }

    fn signal(self, signal: Signal) -> Result<(), String> {
        kill_process(self.0, signal).map_err(|error| error.to_string())
    }
}

/// A process that stands still for as long as this lives.
struct Frozen(Option<Doomed>);

impl Frozen {
    fn stop(process: Doomed) -> Result<Self, String> {
        process.signal(Signal::STOP)?;
        Ok(Frozen(Some(process)))
    }

    async fn wait_stopped(&self) {
        for _ in 0..STOP_LOOKS {
            if self.0.is_none_or(|process| is_stopped(process.pid())) {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn kill(mut self) -> Result<(), String> {
        self.0.take().map_or(Ok(()), |process| process.signal(Signal::KILL))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Some(process) = self.0 {
            // It may have been killed meanwhile by its master.
            let _ = process.signal(Signal::CONT);
        }
    }
}

/// Fields of `/proc/PID/stat` after the name, from the state on (proc_pid_stat(5)).
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_ascii_whitespace().map(str::to_owned).collect())
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

fn is_stopped(pid: u32) -> bool {
    stat(pid).is_none_or(|fields| fields.first().is_some_and(|state| state == "T" || state == "Z"))
}

/// The clients' ports of all connections to `https` that a process has open.
///
/// Shape: `None` when the system does not show it, as for a program with file capabilities.
/// Source: proc_pid_fd(5), proc_pid_net(5): sockets are matched by inode.
fn ports(pid: u32, https: SocketAddr) -> Option<Vec<u16>> {
    let mut inodes = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).ok()? {
        let target = fs::read_link(entry.ok()?.path()).ok();
        let target = target.as_ref().and_then(|target| target.to_str());
        let inode = target.and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok());
        inodes.extend(inode);
    }
    let table = fs::read_to_string("/proc/self/net/tcp").ok()?;
    Some(
        table
            .lines()
            .filter_map(|line| connection(line, https.port()))
            .filter(|(_, inode)| inodes.contains(inode))
            .map(|(port, _)| port)
            .collect(),
    )
}

/// The other port and the inode of a line of the table, if our port is `ours`.
fn connection(line: &str, ours: u16) -> Option<(u16, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let port = |field: &str| u16::from_str_radix(field.rsplit_once(':')?.1, 16).ok();
    let local = port(fields.nth(1)?)?;
    let remote = port(fields.next()?)?;
    let inode = fields.nth(6)?.parse().ok()?;
    // The listening socket itself has no other end.
    (local == ours && remote != 0).then_some((remote, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table_are_read() {
        let line = "  12: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 424242 1 0000000000000000 20 4 30 10 -1";
        assert_eq!(connection(line, 8080), Some((50_000, 424_242)));
        assert_eq!(connection(line, 8081), None);
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        assert_eq!(connection(head, 8080), None);
    }

    #[test]
    fn only_a_worker_with_a_follower_is_killed() {
        let status = serde_json::json!({ "lanes": [
            { "workers": [{ "state": "active", "pid": 7, "stuck": false }] },
            { "workers": [{ "state": "warm", "pid": 8 }, { "state": "active", "pid": 9, "stuck": false }] },
        ] });
        assert_eq!(active(&status, 0, true), None);
        assert_eq!(active(&status, 0, false), Some(7));
        assert_eq!(active(&status, 1, true), Some(9));
        assert_eq!(active(&status, 2, false), None);
    }

    #[test]
    fn a_connection_of_this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let at = listener.local_addr().expect("an address");
        let client = std::net::TcpStream::connect(at).expect("it listens");
        let accepted = listener.accept().expect("a connection waits");
        let ours = client.local_addr().expect("an address").port();
        assert_eq!(ports(std::process::id(), at), Some(vec![ours]));
        drop(accepted);
        assert_eq!(parent(std::process::id()), Some(std::os::unix::process::parent_id()));
    }
}
