//! Folders of a project: where its file is found, where it keeps things, what an instance leaves, what `init` writes.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use sc_config::{Found, Homes, Instance, Kind, Places, PlacesError, discover, init_template, load, places};

const SCRATCH: &str = places::DEFAULT_SCRATCH_NAME;

fn scene(files: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let scene = tempfile::tempdir().unwrap();
    let root = scene.path().canonicalize().unwrap();
    for file in files {
        let path = root.join(file);
        if file.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }
    (scene, root)
}

#[test]
fn the_file_is_found_up_to_the_root_of_the_repository() {
    let (_scene, root) = scene(&[
        "devlove.yaml",
        "repo/.git/",
        "repo/devlove.yml",
        "repo/a/b/",
        "bare/.git/",
        "bare/x/",
    ]);
    let found = discover(&root.join("repo/a/b"), None);
    assert_eq!(found.path, Some(root.join("repo/devlove.yml")));
    assert_eq!(
        (found.folder, found.shown),
        (root.join("repo"), PathBuf::from("../../devlove.yml"))
    );
    assert_eq!(
        discover(&root.join("bare/x"), None).path,
        None,
        "never beyond the repository"
    );
    assert_eq!(discover(&root.join("repo"), None).shown, Path::new("devlove.yml"));
}

#[test]
fn an_explicit_path_wins() {
    let (_scene, root) = scene(&["devlove.yaml", "other/devlove", "other/special.yaml", "empty/", ".git/"]);
    let found = discover(&root, Some(Path::new("other/special.yaml")));
    assert_eq!(
        (found.path, found.folder),
        (Some(root.join("other/special.yaml")), root.join("other"))
    );
    assert_eq!(
        discover(&root, Some(Path::new("other"))).path,
        Some(root.join("other/devlove"))
    );
    assert_eq!(discover(&root, Some(Path::new("empty"))).path, None);
    let missing = discover(&root, Some(Path::new("no.yaml")));
    let errors = load(&missing).unwrap_err();
    assert_eq!(
        sc_config::render_all(&errors, false),
        "error: cannot read `no.yaml`\nwhy:  there is no such file\n"
    );
}

#[test]
fn what_is_watched() {
    let found = Found::file(Path::new("/p/devlove.yaml"));
    let names = [
        "devlove.yaml",
        "devlove.yml",
        "devlove",
        "devlove.local.yaml",
        "devlove.local.yml",
    ];
    let all = |folder: &Path| names.map(|name| folder.join(name)).to_vec();
    assert_eq!(found.watched(), all(Path::new("/p")));
    let other = Found::file(Path::new("/p/other.yaml")).watched();
    assert_eq!(other[0], Path::new("/p/other.yaml"));
    assert_eq!(other[1..], all(Path::new("/p")));
    let (_scene, root) = scene(&[]);
    assert_eq!(discover(&root, None).watched(), all(&root), "also without a file");
}

fn guessed(files: &[&str]) -> (String, PathBuf) {
    let (_scene, root) = scene(files);
    let project = root.join("My Shop");
    fs::create_dir_all(&project).unwrap();
    let loaded = load(&discover(&project, None)).unwrap();
    assert!(loaded.sources.is_empty());
    let domain = loaded.settings.domains.first().unwrap();
    let Kind::Electric {
        root_dir: Some(dir), ..
    } = &domain.kind
    else {
        panic!("{domain:?}")
    };
    (domain.name.to_string(), dir.strip_prefix(&project).unwrap().to_owned())
}

#[test]
fn without_a_file_the_folder_is_served_under_a_guessed_name() {
    assert_eq!(guessed(&[]), ("www.my-shop.test".to_owned(), PathBuf::new()));
    assert_eq!(
        guessed(&["My Shop/dist/"]),
        ("www.my-shop.test".to_owned(), "dist".into())
    );
    assert_eq!(
        guessed(&["My Shop/dist/", "My Shop/public/"]).1,
        PathBuf::from("public")
    );
}

#[test]
fn names_are_taken_from_where_the_site_is_published() {
    let (_scene, root) = scene(&["public/"]);
    fs::write(root.join("public/CNAME"), "www.Cats.example\n").unwrap();
    assert_eq!(sc_config::guess(&root).name.to_string(), "www.cats.example");
    fs::remove_file(root.join("public/CNAME")).unwrap();
    fs::write(
        root.join("package.json"),
        r#"{"homepage": "https://dogs.example/x", "devDependencies": {"vite": "8"}}"#,
    )
    .unwrap();
    let guess = sc_config::guess(&root);
    assert_eq!(
        (guess.name.to_string(), guess.application.unwrap().port),
        ("dogs.example".to_owned(), 5173)
    );
    fs::write(
        root.join("package.json"),
        r#"{"homepage": "https://github.com/x/y#readme"}"#,
    )
    .unwrap();
    assert!(sc_config::guess(&root).name.to_string().ends_with(".test"));
}

#[test]
fn first_files_pass_the_check() {
    let package = |name: &str| format!(r#"{{"dependencies": {{"{name}": "1"}}}}"#);
    let mut scenes: Vec<(&str, String, &str)> = vec![
        ("manage.py", String::new(), "localhost:8000"),
        ("public/index.html", String::new(), "root-dir: public"),
        ("index.html", String::new(), "root-dir: ."),
        ("requirements.txt", "Flask==3\n".to_owned(), "localhost:5000"),
        ("CNAME", "www.cats.example\n".to_owned(), "www.cats.example:"),
        ("package.json", "not json".to_owned(), "root-dir: ."),
    ];
    for (name, port) in [
        ("vite", "5173"),
        ("next", "3000"),
        ("astro", "4321"),
        ("@angular/core", "4200"),
    ] {
        scenes.push(("package.json", package(name), port));
    }
    for (file, content, expected) in scenes {
        let (_scene, root) = scene(&["x/"]);
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        let text = init_template(&root);
        assert!(text.contains(expected), "{file}: {text}");
        fs::write(root.join("devlove.yaml"), &text).unwrap();
        let loaded = load(&discover(&root, None));
        let loaded = loaded.unwrap_or_else(|errors| panic!("{}\n{text}", sc_config::render_all(&errors, false)));
        assert!(loaded.warnings.is_empty(), "{text}");
        // What is commented out must be right too once somebody removes the marks.
        let lines = text.lines().map(|line| match line.trim_start().strip_prefix("# ") {
            Some(rest) if is_key(rest) => line.replacen("# ", "", 1),
            _ => line.to_owned(),
        });
        fs::create_dir_all(root.join("public")).unwrap();
        fs::write(root.join("devlove.yaml"), lines.collect::<Vec<_>>().join("\n")).unwrap();
        let opened = load(&discover(&root, None));
        if let Err(errors) = opened {
            let text = fs::read_to_string(root.join("devlove.yaml")).unwrap();
            panic!("{}\n{text}", sc_config::render_all(&errors, false));
        }
    }
}

fn is_key(text: &str) -> bool {
    text.trim_start()
        .split_once(':')
        .is_some_and(|(key, rest)| !key.contains(' ') && (rest.is_empty() || rest.starts_with(' ')))
}

fn homes(root: &Path) -> Homes {
    Homes {
        home: root.join("home"),
        xdg_state_home: None,
        xdg_runtime_dir: None,
    }
}

#[test]
fn places_follow_the_folder() {
    let (_scene, root) = scene(&["work/shop/"]);
    let folder = root.join("work/shop");
    let found = Places::of(&folder, SCRATCH, &homes(&root)).unwrap();
    let state = found
        .state
        .strip_prefix(root.join("home/.local/state/shimmercat/projects"))
        .unwrap();
    let name = state.to_str().unwrap();
    assert!(name.starts_with("shop-") && name.len() == "shop-".len() + 8, "{name}");
    assert_eq!(found.scratch, folder.join(SCRATCH));
    assert_eq!(
        (&found.ca_dir, &found.profiles),
        (&found.state.join("ca"), &found.state.join("profiles"))
    );

    symlink(&folder, root.join("alias")).unwrap();
    assert_eq!(Places::of(&root.join("alias"), SCRATCH, &homes(&root)).unwrap(), found);

    let universe = Places::of(&folder, "other", &homes(&root)).unwrap();
    assert_ne!(universe.state, found.state);
    assert_ne!(universe.control, found.control);
    assert_eq!(universe.ca_dir, found.ca_dir);
}

#[test]
fn xdg_homes_are_used_when_they_are_absolute() {
    let (_scene, root) = scene(&["p/"]);
    let xdg = Homes {
        xdg_state_home: Some("/s".into()),
        xdg_runtime_dir: Some("/run/user/7".into()),
        ..homes(&root)
    };
    let found = Places::of(&root.join("p"), SCRATCH, &xdg).unwrap();
    assert!(found.state.starts_with("/s/shimmercat/projects"));
    assert!(found.runtime.starts_with("/run/user/7/shimmercat"));
    let relative = Homes {
        xdg_state_home: Some("s".into()),
        xdg_runtime_dir: Some("r".into()),
        ..homes(&root)
    };
    let found = Places::of(&root.join("p"), SCRATCH, &relative).unwrap();
    assert!(found.state.starts_with(root.join("home")) && found.runtime.is_absolute());
}

#[test]
fn the_control_socket_fits_a_unix_address() {
    let (_scene, root) = scene(&["p/"]);
    let deep = Homes {
        xdg_runtime_dir: Some(Path::new("/run").join("x".repeat(120))),
        ..homes(&root)
    };
    let found = Places::of(&root.join("p"), SCRATCH, &deep).unwrap();
    assert!(found.control.as_os_str().len() < 100, "{found:?}");
    assert!(found.control.starts_with(&found.runtime));
}

#[test]
fn folders_are_private() {
    let (_scene, root) = scene(&["p/"]);
    let found = Places::of(&root.join("p"), SCRATCH, &homes(&root)).unwrap();
    found.create().unwrap();
    found.create().unwrap();
    for folder in [
        &found.scratch,
        &found.state,
        &found.ca_dir,
        &found.profiles,
        &found.runtime,
    ] {
        assert_eq!(
            folder.metadata().unwrap().permissions().mode() & 0o777,
            0o700,
            "{folder:?}"
        );
    }
    assert_eq!(fs::read_to_string(found.scratch.join(".gitignore")).unwrap(), "*\n");
}

#[test]
fn folders_of_others_and_symlinks_are_refused() {
    let (_scene, root) = scene(&["p/", "elsewhere/", "q/file"]);
    symlink(root.join("elsewhere"), root.join("p").join(SCRATCH)).unwrap();
    let found = Places::of(&root.join("p"), SCRATCH, &homes(&root)).unwrap();
    assert!(matches!(found.create(), Err(PlacesError::NotAFolder(path)) if path == found.scratch));
    assert!(matches!(
        places::private_folder(&root.join("q/file")),
        Err(PlacesError::NotAFolder(_))
    ));
    if root
        .metadata()
        .is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == 0)
    {
        let others = root.join("others");
        fs::create_dir(&others).unwrap();
        std::os::unix::fs::chown(&others, Some(12345), None).unwrap();
        assert!(matches!(
            places::private_folder(&others),
            Err(PlacesError::Owner { owner: 12345, .. })
        ));
    }
}

#[test]
fn scratch_names_are_names() {
    let (_scene, root) = scene(&["p/"]);
    for name in ["", ".", "..", "a/b", "a\0b"] {
        assert!(
            matches!(
                Places::of(&root.join("p"), name, &homes(&root)),
                Err(PlacesError::ScratchName(_))
            ),
            "{name}"
        );
    }
}

fn instance(folder: &Path) -> Instance {
    let (pid, pid_started) = Instance::this_process();
    Instance {
        pid,
        pid_started,
        mode: "devlove".to_owned(),
        version: "0.1.0".to_owned(),
        folder: folder.to_owned(),
        config: None,
        https: vec!["127.0.0.1:4043".to_owned()],
        socks: Some("127.0.0.1:2006".to_owned()),
        ca_pem: folder.join("ca.pem"),
        ca_spki: "x".to_owned(),
        control: folder.join("control.sock"),
        names: vec!["www.x.test".to_owned()],
        started_unix: 1,
    }
}

#[test]
fn an_instance_is_found_from_below_its_folder() {
    let (_scene, root) = scene(&[".git/", "a/b/", &format!("{SCRATCH}/"), &format!("a/{SCRATCH}/")]);
    assert_eq!(Instance::find(&root.join("a/b"), SCRATCH).unwrap(), None);
    let running = instance(&root);
    running.write(&root.join(SCRATCH)).unwrap();
    assert_eq!(
        Instance::find(&root.join("a/b"), SCRATCH).unwrap(),
        Some(running.clone())
    );
    let mode = root
        .join(SCRATCH)
        .join("instance.json")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        fs::read_dir(root.join(SCRATCH)).unwrap().count(),
        1,
        "nothing is left beside the file"
    );

    // A nearer one that is dead does not hide a farther one that runs.
    let dead = Instance {
        pid_started: Some(1),
        ..instance(&root.join("a"))
    };
    dead.write(&root.join("a").join(SCRATCH)).unwrap();
    assert_eq!(
        Instance::find(&root.join("a/b"), SCRATCH).unwrap(),
        Some(running.clone())
    );
    running.remove(&root.join(SCRATCH)).unwrap();
    assert_eq!(Instance::find(&root.join("a/b"), SCRATCH).unwrap(), Some(dead));
}

#[test]
fn an_instance_of_somebody_else_is_refused() {
    let (_scene, root) = scene(&["s/"]);
    instance(&root).write(&root.join("s")).unwrap();
    let file = root.join("s/instance.json");
    if std::os::unix::fs::MetadataExt::uid(&file.metadata().unwrap()) == 0 {
        std::os::unix::fs::chown(&file, Some(12345), None).unwrap();
        assert!(matches!(
            Instance::read(&root.join("s")),
            Err(sc_config::InstanceError::Owner { owner: 12345, .. })
        ));
    }
}

#[test]
fn a_recycled_pid_is_not_taken_for_the_instance() {
    let (_scene, root) = scene(&[]);
    let running = instance(&root);
    assert!(running.is_alive());
    let recycled = Instance {
        pid_started: running.pid_started.map(|ticks| ticks + 1),
        ..running.clone()
    };
    assert!(!recycled.is_alive());
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let ended = Instance {
        pid: child.id(),
        pid_started: None,
        ..running
    };
    child.wait().unwrap();
    assert!(!ended.is_alive());
}

#[test]
fn only_the_own_file_is_removed() {
    let (_scene, root) = scene(&["s/"]);
    let mine = instance(&root);
    let other = Instance {
        pid_started: Some(7),
        ..mine.clone()
    };
    other.write(&root.join("s")).unwrap();
    mine.remove(&root.join("s")).unwrap();
    assert_eq!(Instance::read(&root.join("s")).unwrap(), Some(other));
    fs::write(root.join("s/instance.json"), "{").unwrap();
    assert!(Instance::read(&root.join("s")).is_err());
}
