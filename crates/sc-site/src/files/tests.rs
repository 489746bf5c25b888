//! What is taken for true without a look at the disk, and for how long.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;

/// What stands at `a.txt` after the second of two versions was written, when both are asked for in windows of this length.
fn second(window: Duration) -> (Window, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    std::fs::write(&path, "old").unwrap();
    let mut files = Files::new(FilesSpec::new(folder.path()), None, &Rc::default(), Disclosure::Public);
    files.root = Root::new(folder.path().into(), window);
    let below = files.root.descriptor().unwrap();
    let Place::File(hit) = files.look_up(&below, b"a.txt").unwrap() else {
        panic!("it is a file")
    };
    files.cache.put(&hit.relative, hit.meta, Bytes::from("old"), hit.seen);
    std::fs::write(&path, "a new one").unwrap();
    let below = files.root.descriptor().unwrap();
    let content = match files.look_up(&below, b"a.txt").unwrap() {
        Place::File(Hit {
            source: Source::Kept(entry),
            ..
        }) => String::from_utf8(entry.content.to_vec()).unwrap(),
        Place::File(hit) => format!("{} bytes to read", hit.meta.size),
        Place::Folder => "a folder".to_owned(),
    };
    (below.1, content)
}

#[test]
fn in_one_window_a_file_is_looked_at_once_and_in_the_next_again() {
    let long = second(Duration::from_secs(3600));
    let none = second(Duration::ZERO);
    assert_eq!(long.1, "old");
    assert_eq!(none.1, "9 bytes to read");
    assert_ne!(long.0, none.0, "each request is a window of its own");
}
