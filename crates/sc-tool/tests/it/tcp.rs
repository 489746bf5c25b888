//! `sc-tool tcp`: a local port that leads to a name.
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Stdio};

use crate::world::World;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start(world: &World, args: &[&str]) -> (Running, String) {
    let mut command = world.command();
    command
        .arg("tcp")
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("the program starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    (Running(child), line.trim().to_owned())
}

#[test]
fn bytes_go_through_and_each_direction_ends_by_itself() {
    let (world, proxy) = World::running();
    let (_running, address) = start(&world, &["mysql:3306"]);
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    for text in ["first", "second"] {
        let mut stream = TcpStream::connect(&address).expect("it listens");
        stream.write_all(text.as_bytes()).expect("it reads");
        stream.shutdown(Shutdown::Write).expect("half is closed");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert_eq!(answer, text.to_uppercase());
    }
    assert_eq!(proxy.asked(), ["www.example.com:443", "mysql:3306", "mysql:3306"]);
}

#[test]
fn a_refused_name_closes_the_connection() {
    let (world, proxy) = World::running();
    let (_running, address) = start(&world, &["other.example:443"]);
    let mut stream = TcpStream::connect(&address).expect("it listens");
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    assert!(answer.is_empty());
    assert_eq!(proxy.asked(), ["www.example.com:443", "other.example:443"]);
}

#[test]
fn the_port_of_the_file_is_used() {
    let (world, proxy) = World::running();
    let yaml = "shimmercat-devlove:\n  domains:\n    mysql:\n      tcp: { 3307: 127.0.0.1:33060 }\n    \
                two:\n      tcp: { 1: 127.0.0.1:1, 2: 127.0.0.1:2 }\n";
    fs::write(world.project.join("devlove.yaml"), yaml).expect("the project's file");
    let (_running, address) = start(&world, &["mysql"]);
    let mut stream = TcpStream::connect(&address).expect("it listens");
    stream.shutdown(Shutdown::Write).expect("half is closed");
    drop(stream.read_to_end(&mut Vec::new()));
    assert_eq!(proxy.asked(), ["www.example.com:443", "mysql:3307"]);
    for (name, expected) in [
        ("two", "error: `two` has the ports 1, 2\nhint: say which: `two:1`\n"),
        (
            "www.example.com",
            "error: `www.example.com` has no port of its own\nhint: say which: `www.example.com:443`\n",
        ),
        ("two:x", "error: `two:x` does not end in a port\n"),
        ("*.example.com:1", "error: `*.example.com` is not a name\n"),
    ] {
        let shown = world.run(["tcp", name]);
        assert_eq!((shown.code, shown.stderr.as_str()), (2, expected));
    }
    fs::write(
        world.project.join("devlove.yaml"),
        "shimmercat-devlove:\n  dmains: {}\n",
    )
    .expect("the project's file");
    assert_eq!(world.run(["tcp", "mysql"]).code, 3);
}

#[test]
fn a_taken_address_ends_with_5() {
    let (world, _proxy) = World::running();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address").to_string();
    let shown = world.run(["tcp", "mysql:1", "--listen", &address]);
    assert_eq!(shown.code, 5, "{}", shown.stderr);
    assert!(
        shown.stderr.contains(&format!("error: cannot listen on {address}: ")),
        "{}",
        shown.stderr
    );
    assert_eq!(world.run(["tcp", "mysql:1", "--listen", "unix:///x"]).code, 2);
}
