//! Binding: who holds an address, private and stale unix sockets, inherited descriptors.

use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use sc_net::listen::{bind, bind_first_free};
use sc_net::{BindError, Place};
use tokio::net::UnixStream;

#[tokio::test]
async fn a_taken_address_names_its_holder() {
    let held = bind(&Place::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
    let addr = held.local().socket().unwrap();
    let error = bind(&Place::Tcp(addr)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("{addr} is taken by pid {} (", std::process::id())),
        "{text}"
    );
    let BindError::InUse {
        holder: Some(holder), ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(holder.pid, std::process::id());
}

#[tokio::test]
async fn the_next_free_port_is_found() {
    let held = bind(&Place::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
    let addr = held.local().socket().unwrap();
    assert!(matches!(bind_first_free(addr, 1), Err(BindError::InUse { .. })));
    let next = bind_first_free(addr, 50).unwrap();
    let port = next.local().port().unwrap();
    assert!(port > addr.port() && port < addr.port().saturating_add(50));
}

#[tokio::test]
async fn ipv6_wildcards_leave_ipv4_alone() {
    let Ok(six) = bind(&Place::Tcp("[::]:0".parse().unwrap())) else {
        return;
    };
    let port = six.local().port().unwrap();
    bind(&Place::Tcp(([0, 0, 0, 0], port).into())).unwrap();
}

#[tokio::test]
async fn foreign_addresses_and_missing_folders_are_said() {
    let foreign = bind(&Place::Tcp("192.0.2.1:0".parse().unwrap()));
    assert!(matches!(foreign, Err(BindError::NotHere { .. })), "{foreign:?}");
    let missing = bind(&Place::Unix("/nonexistent-folder/x.sock".into()));
    assert!(matches!(missing, Err(BindError::Other { .. })), "{missing:?}");
}

#[tokio::test]
async fn unix_sockets_are_private_and_removed_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let listener = bind(&Place::Unix(path.clone())).unwrap();
    let file = std::fs::symlink_metadata(&path).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.mode() & 0o777, 0o600);
    assert_eq!(listener.local().path(), Some(&*path));
    UnixStream::connect(&path).await.unwrap();
    let taken = bind(&Place::Unix(path.clone())).unwrap_err();
    let text = taken.to_string();
    assert!(
        text.contains(&format!("is taken by pid {}", std::process::id())),
        "{text}"
    );
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn stale_sockets_are_replaced_and_other_files_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a crash leaves the file");
    let listener = bind(&Place::Unix(path.clone())).unwrap();
    UnixStream::connect(&path).await.unwrap();
    // Somebody replaced the file: it is not ours to remove.
    std::fs::remove_file(&path).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(listener);
    assert!(path.exists());

    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(
        bind(&Place::Unix(file.clone())),
        Err(BindError::NotASocket { .. })
    ));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[tokio::test]
async fn inherited_sockets_are_adopted_once_and_nothing_else_is() {
    let bound = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = bound.local_addr().unwrap();
    let why = |number| match bind(&Place::Fd(number)) {
        Err(BindError::NotInherited { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(bound.as_raw_fd()), "it was opened by this program");
    assert_eq!(why(1), "0, 1 and 2 are the standard streams");
    assert_eq!(why(9999), "it is not open");
    // As a parent would leave it: open across exec, and owned by nobody here.
    rustix::io::fcntl_setfd(&bound, rustix::io::FdFlags::empty()).unwrap();
    let number = std::os::fd::IntoRawFd::into_raw_fd(bound);
    let listener = bind(&Place::Fd(number)).unwrap();
    assert_eq!(listener.local().socket(), Some(addr));
    tokio::net::TcpStream::connect(addr).await.unwrap();
    drop(listener);
    assert_eq!(why(number), "it was taken before");
}
