//! Opening, sharing and taking over, with real sockets; other processes are this program with a part to play.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may fail loudly")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::*;

fn wanted(role: Role, address: &str) -> Wanted {
    let address = address.parse().unwrap();
    Wanted { role, address }
}

fn https(address: &str) -> Vec<Wanted> {
    vec![wanted(Role::Https, address)]
}

fn open(wanted: &[Wanted], lanes: usize, inherited: Vec<Inherited>) -> Sockets {
    let sockets = Sockets::open(wanted, lanes, inherited, false).unwrap();
    assert_eq!(sockets.lanes, lanes);
    sockets
}

/// What a service manager would pass to the next process.
fn keep(sockets: &Sockets) -> Vec<Inherited> {
    let keep = |(name, fd): (String, BorrowedFd<'_>)| Inherited {
        name,
        fd: fd.try_clone_to_owned().unwrap(),
    };
    sockets.stored().into_iter().map(keep).collect()
}

fn passed(name: &str, fd: impl Into<OwnedFd>) -> Inherited {
    Inherited {
        name: name.to_owned(),
        fd: fd.into(),
    }
}

fn inode(fd: impl AsFd) -> u64 {
    rustix::fs::fstat(fd).unwrap().st_ino
}

fn inodes(sockets: &Sockets, lane: usize) -> Vec<u64> {
    sockets.of_lane(lane).iter().map(|(_, fd)| inode(fd)).collect()
}

/// How many connections wait on a lane's TCP sockets.
fn waiting(sockets: &Sockets, lane: usize) -> usize {
    let count = |(_, fd): &(Role, BorrowedFd<'_>)| {
        let listener = TcpListener::from(fd.try_clone_to_owned().unwrap());
        std::iter::from_fn(move || listener.accept().ok()).count()
    };
    sockets.of_lane(lane).iter().map(count).sum()
}

fn connect(sockets: &Sockets, how_many: usize) -> Vec<TcpStream> {
    let addr = sockets.inet(Role::Https)[0];
    (0..how_many).map(|_| TcpStream::connect(addr).unwrap()).collect()
}

#[test]
fn every_lane_has_one_socket_of_each_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = format!("unix://{}/site.sock", folder.path().display());
    let all = [
        wanted(Role::Https, "127.0.0.1:0"),
        wanted(Role::Https, &path),
        wanted(Role::Redirect, "127.0.0.1:0"),
        wanted(Role::Socks, "127.0.0.1:0"),
    ];
    let sockets = open(&all, 3, Vec::new());
    assert!(sockets.notes().is_empty() && sockets.forgotten().is_empty());
    let roles: Vec<Role> = sockets.of_lane(1).iter().map(|(role, _)| *role).collect();
    let mut sorted = roles.clone();
    sorted.sort_by_key(|role| role.to_string());
    assert_eq!(sorted, [Role::Https, Role::Https, Role::Redirect, Role::Socks]);
    let listed: Vec<u64> = (0..3).flat_map(|lane| inodes(&sockets, lane)).collect();
    let different: HashSet<u64> = listed.iter().copied().collect();
    assert_eq!((listed.len(), different.len()), (12, 10), "only the path is shared");
    assert!(sockets.of_lane(3).len() == 1, "no other lane has more than the path");

    let shown = sockets.addresses(Role::Https);
    assert_eq!(shown, [sockets.inet(Role::Https)[0].to_string(), path]);
    // Two of UDP for each lane of HTTPS are held and given to nobody.
    let names: Vec<String> = sockets.stored().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 10 + 2 * 3);
    assert_eq!(names.iter().filter(|name| name.contains("/udp/")).count(), 6);
    assert!(
        names.contains(&"shimmercat/redirect/2/tcp/127.0.0.1%3A0".to_owned()),
        "{names:?}"
    );
    for (_, fd) in sockets.stored() {
        let flags = rustix::io::fcntl_getfd(fd).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
}

#[test]
fn a_restart_takes_over_everything_and_loses_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.sock");
    let all = [
        wanted(Role::Https, "127.0.0.1:0"),
        wanted(Role::Https, &format!("unix://{}", path.display())),
    ];
    let mut first = open(&all, 4, Vec::new());
    let before: Vec<_> = (0..4).map(|lane| inodes(&first, lane)).collect();
    let places = first.addresses(Role::Https);
    let kept = keep(&first);
    first.stay();
    drop(first);
    // Nobody is there now, but nobody is refused.
    let clients: Vec<_> = (0..40).map(|_| TcpStream::connect(&places[0]).unwrap()).collect();
    UnixStream::connect(&path).unwrap();

    let second = open(&all, 4, kept);
    assert!(second.notes().is_empty(), "{:?}", second.notes());
    assert!(second.forgotten().is_empty());
    assert_eq!(second.addresses(Role::Https), places);
    let after: Vec<_> = (0..4).map(|lane| inodes(&second, lane)).collect();
    assert_eq!(after, before);
    assert_eq!(second.stored().len(), 4 + 8 + 1, "nothing was made anew");
    let waiting: usize = (0..4).map(|lane| waiting_tcp(&second, lane)).sum();
    assert_eq!(waiting, clients.len());
    drop(second);
    assert!(!path.exists());
}

/// As `waiting`, without sockets of a path.
fn waiting_tcp(sockets: &Sockets, lane: usize) -> usize {
    let is_tcp = |fd: &BorrowedFd<'_>| lanes::local(fd).is_ok();
    let accepted = sockets
        .of_lane(lane)
        .into_iter()
        .filter(|(_, fd)| is_tcp(fd))
        .map(|(_, fd)| {
            let listener = TcpListener::from(fd.try_clone_to_owned().unwrap());
            std::iter::from_fn(move || listener.accept().ok()).count()
        });
    accepted.sum()
}

#[test]
fn with_fewer_lanes_no_queue_is_orphaned() {
    let all = https("127.0.0.1:0");
    let first = open(&all, 5, Vec::new());
    let _clients = connect(&first, 200);
    let second = {
        let kept = keep(&first);
        drop(first);
        open(&all, 2, kept)
    };
    assert!(second.notes().is_empty());
    assert_eq!([second.of_lane(0).len(), second.of_lane(1).len()], [3, 2]);
    let later = connect(&second, 200);
    assert_eq!(waiting(&second, 0) + waiting(&second, 1), 200 + later.len());
    // And once more, to a number in between: names and sockets are still those of the first time.
    let kept = keep(&second);
    drop(second);
    let third = open(&all, 3, kept);
    assert_eq!([0, 1, 2].map(|lane| third.of_lane(lane).len()), [2, 2, 1]);
    assert_eq!(third.stored().len(), 5 + 10);
}

#[test]
fn with_more_lanes_the_new_ones_join() {
    let all = https("127.0.0.1:0");
    let first = open(&all, 1, Vec::new());
    let (kept, addr) = (keep(&first), first.inet(Role::Https));
    drop(first);
    let second = open(&all, 4, kept);
    assert!(second.notes().is_empty(), "{:?}", second.notes());
    assert_eq!(second.inet(Role::Https), addr);
    let clients = connect(&second, 200);
    let counts: Vec<usize> = (0..4).map(|lane| waiting(&second, lane)).collect();
    assert_eq!(counts.iter().sum::<usize>(), clients.len());
    assert!(counts.iter().all(|count| *count > 10), "{counts:?}");
    assert_eq!(second.stored().len(), 4 + 8);
}

#[test]
fn what_is_wanted_no_more_is_closed_and_forgotten() {
    let first = open(&https("127.0.0.1:0"), 2, Vec::new());
    let (kept, addr) = (keep(&first), first.inet(Role::Https)[0]);
    drop(first);
    let second = open(&[wanted(Role::Socks, "127.0.0.1:0")], 2, kept);
    assert!(TcpStream::connect(addr).is_err());
    assert_eq!(
        second.forgotten().len(),
        4,
        "two of TCP, and two names of UDP: {:?}",
        second.forgotten()
    );
    assert_eq!(second.notes().len(), 6);
    let note = second.notes()[0].to_string();
    assert!(
        note.ends_with("and is not used: nothing listens there any more"),
        "{note}"
    );
}

#[test]
fn what_is_not_what_its_name_says_is_not_taken_over() {
    let name = |kind, at: &str| {
        let address: Address = at.parse().unwrap();
        StoredName::new(Role::Https, 0, kind, &address).encode()
    };
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = elsewhere.local_addr().unwrap();
    let alone = TcpListener::bind("127.0.0.1:0").unwrap();
    let not_listening = lanes::bind_udp("127.0.0.1:0".parse().unwrap(), 1, false).unwrap();
    let [udp, _] = not_listening.into_iter().next().unwrap();
    let free = alone.local_addr().unwrap();
    let at = free.to_string();
    let kept = vec![
        passed(&name(Kind::Tcp, &at), elsewhere),
        passed(&name(Kind::Tcp, &at), alone),
        passed(&name(Kind::Tcp, "127.0.0.1:0"), udp),
        passed(&name(Kind::Udp, &at), tempfile::tempfile().unwrap()),
    ];
    let all = [wanted(Role::Https, &at), wanted(Role::Https, "127.0.0.1:0")];
    let sockets = open(&all, 2, kept);
    let whys: Vec<String> = sockets.notes().iter().map(ToString::to_string).collect();
    let expected = [
        "it is bound to another address",
        "it does not share its address",
        "it is no socket of the Internet protocols",
        "it is no socket of this kind",
    ];
    assert_eq!(whys.len(), expected.len(), "{whys:?}");
    for (why, expected) in whys.iter().zip(expected) {
        assert!(why.ends_with(expected), "{why}");
    }
    assert!(TcpStream::connect(closed).is_err());
    assert_eq!(sockets.inet(Role::Https)[0], free);
    assert_eq!([sockets.of_lane(0).len(), sockets.of_lane(1).len()], [2, 2]);
    // Names are forgotten before the new sockets are kept under them.
    assert_eq!(sockets.forgotten().len(), 3);
}

#[test]
fn a_replaced_unix_socket_is_not_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.sock");
    let all = https(&format!("unix://{}", path.display()));
    let first = open(&all, 2, Vec::new());
    let kept = keep(&first);
    drop(first);
    let second = open(&all, 2, kept);
    assert_eq!(second.notes().len(), 1);
    assert_eq!(second.forgotten().len(), 1);
    UnixStream::connect(&path).unwrap();
}

#[test]
fn one_socket_that_was_passed_in_is_everybody_s() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let sockets = open(&https("socket-name://web"), 3, vec![passed("web", listener)]);
    assert_eq!(sockets.addresses(Role::Https), [addr.to_string()]);
    assert_eq!(inodes(&sockets, 0), inodes(&sockets, 2));
    assert_eq!(sockets.of_lane(0).len(), 1);
    assert!(sockets.stored().is_empty(), "the unit that passed it has it anyway");
}

#[test]
fn several_sockets_of_a_name_are_spread() {
    for (lanes, count, expected) in [(2, 5, vec![3, 2]), (5, 2, vec![1; 5]), (3, 3, vec![1; 3])] {
        let listeners = (0..count).map(|_| passed("web", TcpListener::bind("127.0.0.1:0").unwrap()));
        let sockets = open(&https("socket-name://web"), lanes, listeners.collect());
        let counts: Vec<usize> = (0..lanes).map(|lane| sockets.of_lane(lane).len()).collect();
        assert_eq!(counts, expected, "{count} for {lanes}");
        let used: HashSet<u64> = (0..lanes).flat_map(|lane| inodes(&sockets, lane)).collect();
        assert_eq!(used.len(), count, "none is left alone");
    }
}

#[test]
fn a_number_finds_what_was_passed_in_under_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("site.sock")).unwrap();
    let number = listener.as_raw_fd();
    let address = format!("socket-fd://{number}");
    let sockets = open(&https(&address), 2, vec![passed("unknown", listener)]);
    assert_eq!(sockets.addresses(Role::Https), [address]);
    assert!(sockets.inet(Role::Https).is_empty());
    assert_eq!(sockets.of_lane(1).len(), 1);
    assert!(sockets.notes().is_empty());
}

#[test]
fn what_cannot_be_had_is_said() {
    let refused = |address: &str, inherited| {
        let fault = Sockets::open(&https(address), 1, inherited, false).unwrap_err();
        fault.to_string()
    };
    assert_eq!(
        refused("socket-name://web", Vec::new()),
        "no socket named `web` was passed in"
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(
        refused("socket-name://web", vec![passed("other", listener)]),
        "no socket named `web` was passed in, only `other`"
    );
    let (one, _two) = UnixStream::pair().unwrap();
    let fault = refused("socket-name://web", vec![passed("web", one)]);
    assert!(fault.ends_with("it does not listen for streams"), "{fault}");
    let fault = refused("socket-fd://2", Vec::new());
    assert!(fault.ends_with("0, 1 and 2 are the standard streams"), "{fault}");
    assert_eq!(
        refused("example.com:443", Vec::new()),
        "`example.com:443` cannot be listened on"
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let fault = refused(&listener.local_addr().unwrap().to_string(), Vec::new());
    assert!(
        fault.contains(&format!("is taken by pid {}", std::process::id())),
        "{fault}"
    );
}

#[test]
fn what_nobody_asked_for_is_noted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let sockets = open(&https("127.0.0.1:0"), 1, vec![passed("web", listener)]);
    let notes: Vec<String> = sockets.notes().iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        ["the socket `web` was passed in and is not used: no address asks for it"]
    );
    assert!(sockets.forgotten().is_empty(), "it was not ours to keep");
    assert!(TcpStream::connect(addr).is_err());
}

#[tokio::test]
async fn two_instances_cannot_have_one_address() {
    let first = open(&https("127.0.0.1:0"), 2, Vec::new());
    let addr = first.inet(Role::Https)[0].to_string();
    for orphans in [false, true] {
        let fault = Sockets::open(&https(&addr), 2, Vec::new(), orphans).unwrap_err();
        let fault = fault.to_string();
        assert!(
            fault.contains(&format!("is taken by pid {}", std::process::id())),
            "{fault}"
        );
    }
    drop(first);
    open(&https(&addr), 2, Vec::new());
}

#[test]
fn a_taken_udp_port_hinders_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let _udp = UdpSocket::bind(addr).unwrap();
    drop(listener);
    let sockets = open(&https(&addr.to_string()), 2, Vec::new());
    assert_eq!(sockets.of_lane(1).len(), 1);
    let [note @ Note::NoUdp { source, .. }] = sockets.notes() else {
        panic!("{:?}", sockets.notes())
    };
    assert_eq!(
        note.to_string(),
        format!("nothing can be prepared for HTTP/3 at {addr}")
    );
    assert!(
        source.to_string().contains(&format!("pid {}", std::process::id())),
        "{source}"
    );
}

/// A process that has a sharing socket at an address of its own, under this title.
fn sharer(title: &str) -> (Sharer, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg0(title)
        .args(["--exact", "sockets::tests::plays_its_role", "--nocapture"])
        .env_clear()
        .env(ROLE, "shares")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines.find_map(|line| line.unwrap().split_once(SAYS).map(|(_, said)| said.to_owned()));
    (Sharer(child), said.unwrap())
}

struct Sharer(Child);

impl Drop for Sharer {
    fn drop(&mut self) {
        // Its standard input ends with this, and so does it.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

const ROLE: &str = "SC_INTERNET_ROLE";
const SAYS: &str = "role says ";

/// No test of its own: without the variable there is nothing to do.
#[test]
fn plays_its_role() {
    use std::io::{Read, Write};
    if std::env::var_os(ROLE).is_some() {
        let sockets = lanes::bind("127.0.0.1:0".parse().unwrap(), 1, false).unwrap();
        writeln!(std::io::stdout(), "{SAYS}{}", lanes::local(&sockets[0]).unwrap()).unwrap();
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    }
}

#[test]
fn orphaned_workers_are_joined_and_strangers_are_not() {
    let (_worker, addr) = sharer("shimmercat: worker 7 of lane 0");
    assert!(Sockets::open(&https(&addr), 2, Vec::new(), false).is_err());
    let sockets = Sockets::open(&https(&addr), 2, Vec::new(), true).unwrap();
    assert_eq!(sockets.addresses(Role::Https), [addr]);

    let (stranger, addr) = sharer("another program");
    for orphans in [false, true] {
        let fault = Sockets::open(&https(&addr), 2, Vec::new(), orphans).unwrap_err();
        let fault = fault.to_string();
        assert!(
            fault.contains(&format!("is taken by pid {}", stranger.0.id())),
            "{fault}"
        );
    }
}
