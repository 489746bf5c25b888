//! Sockets of lanes: evenly shared, losing nothing, and held by one instance.

use std::cell::Cell;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;
use std::rc::Rc;

use sc_net::{BindError, Gate, Listener, Place, Stream, Tasks, accept, lanes};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::help::soon;
use crate::roles;

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn group(lanes: usize) -> (SocketAddr, Vec<OwnedFd>) {
    let sockets = lanes::bind(any(), lanes, false).unwrap();
    let addr = lanes::local(&sockets[0]).unwrap();
    (addr, sockets)
}

/// A socket of somebody else.
fn foreign(addr: SocketAddr, kind: Type, shares: bool) -> (SocketAddr, Socket) {
    let socket = Socket::new(Domain::for_address(addr), kind, None).unwrap();
    socket.set_reuse_port(shares).unwrap();
    socket.bind(&addr.into()).unwrap();
    if kind == Type::STREAM {
        socket.listen(16).unwrap();
    }
    (socket.local_addr().unwrap().as_socket().unwrap(), socket)
}

#[track_caller]
fn names_us<T: std::fmt::Debug>(result: Result<T, BindError>) {
    let Err(BindError::InUse {
        holder: Some(holder), ..
    }) = result
    else {
        panic!("{result:?}")
    };
    assert_eq!(holder.pid, std::process::id());
    assert!(!holder.command.is_empty());
}

#[test]
fn connections_are_spread_evenly() {
    let (addr, sockets) = group(4);
    let clients: Vec<_> = (0..800).map(|_| std::net::TcpStream::connect(addr).unwrap()).collect();
    let counts: Vec<usize> = sockets
        .into_iter()
        .map(|socket| {
            let listener = StdListener::from(socket);
            std::iter::from_fn(|| listener.accept().ok()).count()
        })
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), clients.len());
    // 200 each; eight standard deviations of a fair choice.
    assert!(counts.iter().all(|count| count.abs_diff(200) < 100), "{counts:?}");
}

#[test]
fn lanes_have_one_address_and_their_sockets_end_at_exec() {
    for (text, lanes) in [("127.0.0.1:0", 64), ("[::1]:0", 2), ("0.0.0.0:0", 1)] {
        let Ok(sockets) = lanes::bind(text.parse().unwrap(), lanes, false) else {
            assert!(text.starts_with('['), "a machine without IPv6");
            continue;
        };
        assert_eq!(sockets.len(), lanes);
        let addr = lanes::local(&sockets[0]).unwrap();
        assert_ne!(addr.port(), 0);
        let pairs = lanes::bind_udp(addr, lanes, false).unwrap();
        assert_eq!(pairs.len(), lanes);
        for socket in sockets.iter().chain(pairs.iter().flatten()) {
            assert_eq!(lanes::local(socket).unwrap(), addr);
            let flags = rustix::io::fcntl_getfd(socket).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
    }
    assert!(lanes::bind(any(), 0, false).unwrap().is_empty());
}

/// Answers one byte on each connection of `socket` until told to stop.
fn accept_on(tasks: &Tasks, socket: &OwnedFd, stop: CancellationToken, served: Rc<Cell<u32>>) {
    let listener = Listener::from_owned(socket.try_clone().unwrap()).unwrap();
    let spawner = tasks.spawner();
    tasks.spawner().spawn("acceptor", async move {
        let ended = accept::run(
            listener,
            Gate::new(1000),
            stop,
            |event| panic!("{event:?}"),
            |connection| {
                served.set(served.get() + 1);
                spawner.spawn("answer", async move {
                    let Stream::Tcp(mut stream) = connection.stream else {
                        panic!("not TCP")
                    };
                    let byte = stream.read_u8().await.unwrap();
                    stream.write_all(&[byte]).await.unwrap();
                });
            },
        );
        ended.await.unwrap();
    });
}

#[tokio::test]
async fn nothing_is_lost_when_acceptors_change() {
    let (addr, sockets) = group(3);
    let local = tokio::task::LocalSet::new();
    let story = async {
        let tasks = Tasks::new(|panicked| panic!("{panicked:?}"));
        let mut stops = Vec::new();
        let served: Vec<Rc<Cell<u32>>> = sockets.iter().map(|_| Rc::default()).collect();
        for (socket, served) in sockets.iter().zip(&served) {
            let stop = CancellationToken::new();
            accept_on(&tasks, socket, stop.clone(), Rc::clone(served));
            stops.push(stop);
        }
        let answered = Rc::new(Cell::new(0_u32));
        let clients = (0..8_u8).map(|client| {
            let answered = Rc::clone(&answered);
            async move {
                for _ in 0..150 {
                    let mut stream = TcpStream::connect(addr).await.unwrap();
                    stream.write_all(&[client]).await.unwrap();
                    assert_eq!(stream.read_u8().await.unwrap(), client);
                    answered.set(answered.get() + 1);
                }
            }
        });
        let changes = async {
            let mut changed = 0_usize;
            while answered.get() < 1200 {
                // On one lane nobody accepts for a while, then somebody else does.
                let lane = changed % sockets.len();
                stops[lane].cancel();
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                let stop = CancellationToken::new();
                accept_on(&tasks, &sockets[lane], stop.clone(), Rc::clone(&served[lane]));
                stops[lane] = stop;
                changed += 1;
                tokio::task::yield_now().await;
            }
            changed
        };
        let (_, changed) = tokio::join!(futures_util::future::join_all(clients), changes);
        assert!(changed > 20, "{changed}");
        let counts: Vec<u32> = served.iter().map(|served| served.get()).collect();
        assert_eq!(counts.iter().sum::<u32>(), 1200);
        assert!(counts.iter().all(|count| *count > 200), "{counts:?}");
        stops.iter().for_each(CancellationToken::cancel);
    };
    soon("all answers", local.run_until(story)).await;
}

#[test]
fn a_foreign_listener_is_named() {
    for shares in [false, true] {
        let (addr, _socket) = foreign(any(), Type::STREAM, shares);
        names_us(lanes::bind(addr, 2, false));
        // A wildcard address has the port of this one too.
        names_us(lanes::bind(SocketAddr::from(([0, 0, 0, 0], addr.port())), 2, false));
        let (addr, _socket) = foreign(any(), Type::DGRAM, shares);
        names_us(lanes::bind_udp(addr, 2, false));
    }
}

#[test]
fn sockets_of_this_user_are_joined_only_when_asked() {
    let (addr, first) = group(2);
    names_us(lanes::bind(addr, 2, false));
    let second = lanes::bind(addr, 2, true).unwrap();
    let clients: Vec<_> = (0..400).map(|_| std::net::TcpStream::connect(addr).unwrap()).collect();
    let count = |sockets: Vec<OwnedFd>| {
        let accepted = sockets.into_iter().map(|socket| {
            let listener = StdListener::from(socket);
            std::iter::from_fn(|| listener.accept().ok()).count()
        });
        accepted.sum::<usize>()
    };
    let (first, second) = (count(first), count(second));
    assert_eq!(first + second, clients.len());
    assert!(first > 50 && second > 50, "{first} and {second}");
    // What does not share is not joined.
    let (addr, _socket) = foreign(any(), Type::STREAM, false);
    names_us(lanes::bind(addr, 2, true));
}

#[test]
fn looking_whether_an_address_is_free_takes_no_connections() {
    // The look does not listen, so old connections of the address are in nobody's way and no new one gets lost in it.
    let (addr, sockets) = group(1);
    let client = std::net::TcpStream::connect(addr).unwrap();
    let listener = StdListener::from(sockets.into_iter().next().unwrap());
    let (accepted, _) = listener.accept().unwrap();
    drop((listener, accepted));
    lanes::bind(addr, 2, false).unwrap();
    drop(client);
}

#[tokio::test]
async fn an_address_lock_names_its_holder() {
    let (addr, _socket) = foreign(any(), Type::STREAM, false);
    let lock = lanes::hold(addr).unwrap();
    // More than fit into its queue.
    for _ in 0..100 {
        names_us(lanes::hold(addr));
    }
    drop(lock);
    let _again = lanes::hold(addr).unwrap();
    let (other, _socket) = foreign(any(), Type::STREAM, false);
    let _other = lanes::hold(other).unwrap();
}

#[tokio::test]
async fn an_address_lock_of_another_process_names_it() {
    let (addr, _socket) = foreign(any(), Type::STREAM, false);
    let mut child = roles::command("holds")
        .env("ADDRESS", addr.to_string())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(soon("the lock", roles::says(&mut child)).await, "held");
    let Err(BindError::InUse {
        holder: Some(holder), ..
    }) = lanes::hold(addr)
    else {
        panic!("the lock was not taken")
    };
    assert_eq!(Some(holder.pid), child.id());
    child.kill().await.unwrap();
    lanes::hold(addr).unwrap();
}

#[tokio::test]
async fn addresses_that_overlap_are_one_to_other_processes() {
    let (near, _socket) = foreign(any(), Type::STREAM, false);
    let everywhere = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), near.port());
    let both = (lanes::hold(near).unwrap(), lanes::hold(everywhere).unwrap());
    drop(both);
    for (theirs, ours) in [(near, everywhere), (everywhere, near)] {
        let mut child = roles::command("holds")
            .env("ADDRESS", theirs.to_string())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        assert_eq!(soon("the lock", roles::says(&mut child)).await, "held");
        let Err(BindError::InUse {
            holder: Some(holder), ..
        }) = lanes::hold(ours)
        else {
            panic!("{ours} was not taken by {theirs}")
        };
        assert_eq!(Some(holder.pid), child.id());
        let elsewhere = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), near.port());
        lanes::hold(elsewhere).unwrap();
        child.kill().await.unwrap();
        lanes::hold(ours).unwrap();
    }
}

/// Only root can play another user.
#[tokio::test]
async fn a_name_that_another_user_took_stops_nobody() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::Builder::new().permissions(open_to_all()).tempdir().unwrap();
    let program = folder.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let (addr, _socket) = foreign(any(), Type::STREAM, false);
    let mut child = roles::command_of(&program, "holds")
        .env("ADDRESS", addr.to_string())
        .uid(65_534)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(soon("the lock", roles::says(&mut child)).await, "held");
    lanes::hold(addr).unwrap();
}

/// Only root can make a process that does not see us, as a container that shares our network would have.
#[tokio::test]
async fn a_holder_outside_of_the_namespace_is_a_holder_too() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (addr, _socket) = foreign(any(), Type::STREAM, false);
    let _lock = lanes::hold(addr).unwrap();
    let mut child = roles::alone("asks")
        .env("ADDRESS", addr.to_string())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let said = soon("an answer", roles::says(&mut child)).await;
    assert_eq!(said, format!("{addr} is taken"));
    assert!(soon("its end", child.wait()).await.unwrap().success());
}

fn open_to_all() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}

#[tokio::test]
async fn what_does_not_listen_is_no_listener() {
    let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
    let refused = Listener::from_owned(near.into()).unwrap_err();
    assert!(
        refused.to_string().ends_with("it does not listen for streams"),
        "{refused}"
    );
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(matches!(
        Listener::from_owned(udp.into()),
        Err(BindError::NotInherited { .. })
    ));
    let file = tempfile::tempfile().unwrap();
    assert!(Listener::from_owned(file.into()).is_err());
}

#[test]
fn unix_sockets_are_private_and_replaced_only_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.sock");
    let first = lanes::bind_unix(&path, false).unwrap();
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let refused = lanes::bind_unix(&path, false).unwrap_err();
    assert!(
        matches!(
            refused,
            BindError::InUse {
                place: Place::Unix(_),
                ..
            }
        ),
        "{refused}"
    );
    let mut second = lanes::bind_unix(&path, true).unwrap();
    drop(first);
    assert!(path.exists(), "the file is that of the second");
    UnixStream::connect(&path).unwrap();

    let kept = second.as_fd().try_clone_to_owned().unwrap();
    second.stay();
    drop(second);
    UnixStream::connect(&path).unwrap();
    let adopted = lanes::adopt_unix(kept, &path).unwrap();
    drop(adopted);
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_is_taken_over_only_where_it_listens() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("site.sock"), folder.path().join("other.sock"));
    let socket = || OwnedFd::from(UnixListener::bind(&path).unwrap());
    let first = socket();
    assert!(lanes::adopt_unix(first.try_clone().unwrap(), &other).is_none());
    std::fs::remove_file(&path).unwrap();
    assert!(lanes::adopt_unix(first.try_clone().unwrap(), &path).is_none());
    std::fs::write(&path, "no socket").unwrap();
    assert!(lanes::adopt_unix(first, &path).is_none());
    assert!(path.exists());
    let tcp = StdListener::bind(any()).unwrap();
    assert!(lanes::adopt_unix(tcp.into(), &path).is_none());
}
