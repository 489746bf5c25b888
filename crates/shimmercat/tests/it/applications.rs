//! The real applications of `tests/apps`, started on loopback for one test each.
//!
//! What they are and have is told in `tests/apps/README.md`; `cargo xtask outside` installs what they need.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sc_testkit::{Launch, Program, TempProject, eventually, find_program, free_port, node_modules, python};

/// Interpreters start slowly on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(60);

/// A running application; it is killed when dropped.
pub(crate) struct Application {
    _program: Program,
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
}

/// Django's `runserver`.
pub(crate) fn django() -> Application {
    let port = free_port();
    let program = Launch::new(python())
        .args(["manage.py", "runserver", "--noreload"])
        .arg(format!("127.0.0.1:{port}"))
        .current_dir(apps().join("django"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUNBUFFERED", "1")
        .expect_errors()
        .start();
    accepting(program, port)
}

/// FastAPI on uvicorn.
pub(crate) fn fastapi() -> Application {
    let mut program = Launch::new(python())
        .args(["-m", "uvicorn", "main:app", "--app-dir", "fastapi", "--port", "0"])
        .current_dir(apps())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .start();
    let line = program
        .wait_for_text("Uvicorn running on http://127.0.0.1:", START)
        .text;
    let digits = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next());
    let port = digits.and_then(|digits| digits.parse().ok());
    Application {
        _program: program,
        port: port.unwrap_or_else(|| panic!("no port in {line:?}")),
    }
}

/// Node with a websocket echo and an event stream.
pub(crate) fn node() -> Application {
    let script = apps().join("node/echo.mjs");
    let mut program = node_running(&script).arg("0").start();
    let line = program.wait_for_text("ready ", START).text;
    let port = line.split(' ').nth(1).and_then(|digits| digits.parse().ok());
    Application {
        _program: program,
        port: port.unwrap_or_else(|| panic!("no port in {line:?}")),
    }
}

/// Vite's dev server, and the copy of its page that it serves and a test may edit.
pub(crate) fn vite() -> (Application, TempProject) {
    let sources = TempProject::new();
    for name in ["index.html", "main.js", "words.js"] {
        let text = fs::read(apps().join("vite").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        sources.file(name, text);
    }
    let port = free_port();
    let mut program = node_running(&apps().join("vite/serve.mjs"))
        .arg(sources.path())
        .arg(port.to_string())
        .start();
    program.wait_for_text("ready ", START);
    (
        Application {
            _program: program,
            port,
        },
        sources,
    )
}

fn node_running(script: &Path) -> Launch {
    Launch::new(find_program("node"))
        .arg(script)
        .env("NODE_MODULES", node_modules())
}

fn accepting(mut program: Program, port: u16) -> Application {
    eventually("the application accepts connections", START, || {
        assert!(
            !program.has_ended(),
            "it ended: {}{}",
            program.stdout(),
            program.stderr()
        );
        std::net::TcpStream::connect(("127.0.0.1", port)).map_err(|error| format!("{error}: {}", program.stderr()))
    });
    Application {
        _program: program,
        port,
    }
}

fn apps() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/apps");
    folder.canonicalize().expect("the folder of the applications")
}
