//! The first `devlove.yaml` of a project: commented, short, and right for what is in the folder.
//!
//! Written from the guess of [`mod@crate::guess`]; the result always passes the check of the folder it was written for.
use std::path::Path;

use crate::guess::{Application, Guess, guess};

/// The text of a first devlove file for `folder`.
pub fn init_template(folder: &Path) -> String {
    let Guess {
        name,
        name_from,
        root_dir,
        application,
    } = guess(folder);
    let domain = match application {
        Some(application) => for_application(application, root_dir),
        None => for_files(root_dir),
    };
    format!(
        "# How this project is served, in development and in production. Commit it.\n\
         # Private changes for one machine go into devlove.local.yaml, which git should ignore.\n\
         #   shimmercat devlove     serves it here, under its real names\n\
         #   sc-tool chrome         opens a browser inside the little network\n\
         #   shimmercat check       reads this file and reports every mistake\n\
         shimmercat-devlove:\n\
         \x20 domains:\n\
         \x20   # The name comes from {name_from}. Write the one that the site has, or will have,\n\
         \x20   # on the Internet; nothing outside this machine is asked or changed.\n\
         \x20   {name}:\n\
         {domain}\
         \n\
         \x20   # An API, where everything goes to the application.\n\
         \x20   # api.{bare}:\n\
         \x20   #   port: 8000\n\
         \n\
         \x20   # Any other protocol, by name, inside the little network only.\n\
         \x20   # database:\n\
         \x20   #   tcp: {{ 5432: 127.0.0.1:5432 }}\n\
         \n\
         \x20 # Names on the Internet that the pages may reach; all others are refused and listed.\n\
         \x20 # forward: [fonts.googleapis.com, fonts.gstatic.com]\n",
        bare = name.name().strip_prefix("www.").unwrap_or(name.name()),
    )
}

fn for_files(root_dir: &str) -> String {
    format!(
        "\x20     # Folder of the files; a request for / gets its index.html.\n\
         \x20     root-dir: {root_dir}\n\
         \x20     # spa: true              # /index.html answers navigations that match nothing\n\
         \x20     # consultant:            # an application for everything that is not a file\n\
         \x20     #   connect-to: 127.0.0.1:8000\n"
    )
}

fn for_application(application: Application, root_dir: &str) -> String {
    let Application { what, start, port } = application;
    let root = if root_dir == "." { "public" } else { root_dir };
    format!(
        "\x20     # {what}, started with `{start}`.\n\
         \x20     consultant:\n\
         \x20       connect-to: localhost:{port}\n\
         \x20     # root-dir: {root}       # files in here are served first, without asking the application\n"
    )
}
