//! The pinned Python and Node packages that `cargo xtask outside` installs for the tests (`tests/apps/README.md`).
//!
//! A test that needs them fails without them and says how to get them: nothing is skipped silently.

use std::path::PathBuf;

/// The Python interpreter that has the packages of `tests/apps/requirements.txt`.
///
/// Shape: `SHIMMERCAT_TEST_PYTHON`, or the one in the cache folder; panics when there is none.
pub fn python() -> PathBuf {
    installed("SHIMMERCAT_TEST_PYTHON", "python/bin/python3")
}

/// The `node_modules` folder with the packages of `tests/apps/package.json`.
///
/// Shape: as `python`, with `SHIMMERCAT_TEST_NODE_MODULES`.
pub fn node_modules() -> PathBuf {
    installed("SHIMMERCAT_TEST_NODE_MODULES", "node/node_modules")
}

fn installed(variable: &str, in_cache: &str) -> PathBuf {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let path = set(variable).or_else(|| {
        let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
        Some(cache.join("shimmercat").join(in_cache))
    });
    path.filter(|path| path.exists())
        .unwrap_or_else(|| panic!("`{in_cache}` is not installed: run `cargo xtask outside`"))
}
