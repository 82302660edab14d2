//! What builds leave for the next: installed packages are used again as long as nothing has changed
//! of what they depend on, and releases share nothing.

use crate::harness::{Max, Rig, project, wait_for};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// "Installs" what the lock says: a package with the lock as its content, a program with
/// the path of the release in it, and as many files as the file `many` says.
const NPM: &str = r##"case "$1" in
--version) cat "${0%/*}/version" ;;
ci)
    rm -rf node_modules && mkdir -p node_modules/.bin node_modules/a/many && cp package-lock.json node_modules/a/lock.txt
    printf '#!/bin/sh\necho %s\n' "$PWD" >node_modules/.bin/where && chmod 755 node_modules/.bin/where
    ln -s ../a/lock.txt node_modules/.bin/link
    [ ! -f many ] || (cd node_modules/a/many && seq "$(cat ../../../many)" | split -l 1 -a 4)
    echo "added 1 package" ;;
esac
"##;

const NODE: &str = "echo v20\n";

/// Makes an environment whose `python` installs a program that names it.
const PYTHON: &str = r##"case "$2" in
venv)
    mkdir -p "$3/bin" && cat >"$3/bin/python" <<'END'
#!/bin/sh
shift 3
echo "installing $*"
printf '#!/bin/sh\necho %s\n' "$PWD/.venv" >.venv/bin/where && chmod 755 .venv/bin/where
END
    chmod 755 "$3/bin/python" ;;
*) echo 3.11 ;;
esac
"##;

fn max(flags: &[&str]) -> (Max, Rig) {
    let max = Max::with_tools(flags, &[("npm", NPM), ("node", NODE), ("python3", PYTHON)]);
    fs::write(max.tools().join("version"), "10\n").unwrap();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    (max, rig)
}

/// A page with packages beside it, into which its build writes as well.
fn app(lock: &str) -> TempDir {
    let build = r#"{"build":["npm ci","echo $RANDOM$$ >>node_modules/a/lock.txt; where >where.txt; cat node_modules/.bin/link >page.txt"]}"#;
    project(&[("package.json", "{}"), ("package-lock.json", lock), ("index.html", "x"), ("rig.json", build)])
}

/// Deploys it; the build's log.
#[track_caller]
fn deploy(rig: &Rig, dir: &TempDir, more: &[&str]) -> String {
    let path = dir.path().to_str().unwrap();
    let words = [&["deploy", path, "-a", "web", "-n", "blue", "--create", "-o", "json"], more].concat();
    let release = rig.json(&words)["release"].as_u64().unwrap();
    rig.ok(&["logs", "build", "web.blue", "--release", &release.to_string(), "--tail", "1000"])
}

fn file(max: &Max, path: &str) -> String {
    fs::read_to_string(max.data().join("apps/1").join(path)).unwrap()
}

fn installed(max: &Max) -> Vec<PathBuf> {
    let items = fs::read_dir(max.data().join("apps/1/installed")).into_iter().flatten();
    items.map(|item| item.unwrap().path()).collect()
}

const REUSED: &str = "dependencies unchanged: reusing node_modules of release ";

#[test]
fn unchanged_packages_are_not_installed_again_and_releases_share_nothing() {
    let (max, rig) = max(&[]);
    let dir = app("one");
    let log = deploy(&rig, &dir, &[]);
    assert!(log.contains("$ npm ci\nadded 1 package\nkept node_modules for the next release ("), "{log}");
    // Other sources, the same packages.
    fs::write(dir.path().join("index.html"), "y").unwrap();
    let before = file(&max, "1/node_modules/a/lock.txt");
    let log = deploy(&rig, &dir, &[]);
    assert!(log.contains(&format!("{REUSED}1\n")) && !log.contains("npm ci"), "{log}");
    // As it was installed, without what the first build has written; with the second's own path.
    let second = file(&max, "2/page.txt");
    assert!(second.starts_with("one") && second.lines().count() == 1, "{second}");
    assert_eq!(file(&max, "1/node_modules/a/lock.txt"), before);
    for number in ["1", "2"] {
        let place = max.data().join("apps/1").join(number).canonicalize().unwrap();
        assert_eq!(file(&max, &format!("{number}/where.txt")), format!("{}\n", place.display()));
    }
    // The first one's files are still its own when it serves again.
    let page = |text: &str| assert_eq!(max.get("web.blue.localhost", "/page.txt"), (200, text.to_owned()));
    page(&second);
    rig.ok(&["rollback", "app", "web.blue", "--to", "1"]);
    page(&file(&max, "1/page.txt"));
    assert_eq!(max.get("web.blue.localhost", "/"), (200, "x".to_owned()));
}

#[test]
fn another_lock_version_or_variable_installs_anew_and_so_does_no_cache() {
    let (max, rig) = max(&[]);
    let dir = app("one");
    deploy(&rig, &dir, &[]);
    let anew = |log: String| assert!(log.contains("$ npm ci\nadded") && !log.contains(REUSED), "{log}");
    let reused = |log: String, from: u64| assert!(log.contains(&format!("{REUSED}{from}\n")), "{log}");
    fs::write(dir.path().join("package-lock.json"), "two").unwrap();
    anew(deploy(&rig, &dir, &[]));
    assert!(file(&max, "2/page.txt").starts_with("two"));
    fs::write(max.tools().join("version"), "11\n").unwrap();
    anew(deploy(&rig, &dir, &[]));
    rig.ok(&["create", "var", "A=1", "-a", "web.blue"]);
    anew(deploy(&rig, &dir, &[]));
    reused(deploy(&rig, &dir, &[]), 4);
    // What is kept stays good for those who go back.
    fs::write(max.tools().join("version"), "10\n").unwrap();
    rig.ok(&["delete", "var", "A", "-a", "web.blue"]);
    fs::write(dir.path().join("package-lock.json"), "one").unwrap();
    reused(deploy(&rig, &dir, &[]), 1);
    let download = max.data().join("apps/1/cache/old");
    fs::write(&download, "x").unwrap();
    anew(deploy(&rig, &dir, &["--no-cache"]));
    assert!(!download.exists() && installed(&max).len() == 1);
    reused(deploy(&rig, &dir, &[]), 7);
}

#[test]
fn a_virtual_environment_moves_with_its_paths() {
    let (max, rig) = max(&[]);
    let run = r#"{"run":"exec sleep 600","health":{"timeout":"1s"}}"#;
    let dir = project(&[("requirements.txt", "a==1\n"), ("index.html", "x"), ("rig.json", run)]);
    // Nothing listens: only the build counts.
    let words = |dir: &TempDir, app: &str| {
        let path = dir.path().to_str().unwrap();
        let ran = rig.run(&["deploy", path, "-a", app, "-n", "blue", "--create"]);
        assert_eq!(ran.code, 7, "{}", ran.stderr);
        rig.ok(&["logs", "build", &format!("{app}.blue"), "--tail", "1000"])
    };
    let log = words(&dir, "web");
    assert!(log.contains("installing -r requirements.txt\nkept .venv for the next release ("), "{log}");
    let release = r#"{"release":"where","run":"exec sleep 600","health":{"timeout":"1s"}}"#;
    fs::write(dir.path().join("rig.json"), release).unwrap();
    let log = words(&dir, "web");
    let place = max.data().join("apps/1").canonicalize().unwrap();
    let said =
        format!("dependencies unchanged: reusing .venv of release 1\n$ where\n{}/2/.venv\n", place.display());
    assert!(log.contains(&said), "{log}");
    // A project is installed itself: only the environment with what it requires is there already.
    let dir = project(&[("pyproject.toml", "[project]"), ("rig.json", run)]);
    words(&dir, "package");
    fs::write(dir.path().join("a.py"), "").unwrap();
    let log = words(&dir, "package");
    let said = "reusing .venv of release 1\n$ .venv/bin/python -m pip install .\ninstalling .\n";
    assert!(log.contains(said), "{log}");
    // What is local may change without its name.
    let dir = project(&[("requirements.txt", "./lib\n"), ("rig.json", run)]);
    let log = words(&dir, "local");
    let said = "\n.venv is not kept for the next release: 'requirements.txt' has the line './lib'\n";
    assert!(log.contains(said), "{log}");
}

#[test]
fn an_app_keeps_no_more_than_the_limit_and_nothing_of_another_and_goes_with_it() {
    let (max, rig) = max(&["--cache-bytes", "100KiB", "--trash", "0"]);
    // Ten files, of a block each, and some more.
    let with = |lock: &str, many: &str| {
        let dir = app(lock);
        fs::write(dir.path().join("many"), many).unwrap();
        dir
    };
    let (one, two) = (with("one", "10"), with("two", "10"));
    deploy(&rig, &one, &[]);
    deploy(&rig, &two, &[]);
    assert_eq!(installed(&max).len(), 1);
    assert!(deploy(&rig, &two, &[]).contains(&format!("{REUSED}2\n")));
    let log = deploy(&rig, &one, &[]);
    assert!(log.contains("\nadded 1 package\n"), "{log}");
    let log = deploy(&rig, &with("three", "100"), &[]);
    assert!(
        log.contains("\nnode_modules is not kept for the next release: it takes more than 102400 bytes\n"),
        "{log}"
    );
    assert_eq!(installed(&max).len(), 1);
    let path = one.path().to_str().unwrap();
    rig.ok(&["deploy", path, "-a", "other", "-n", "blue", "--create"]);
    let log = rig.ok(&["logs", "build", "other.blue", "--tail", "1000"]);
    assert!(log.contains("\nadded 1 package\n"), "{log}");
    rig.ok(&["delete", "app", "web.blue", "--yes"]);
    wait_for("the app's files to go", || (!max.data().join("apps/1").exists()).then_some(()));
    let rest = fs::read_dir(max.data().join("apps")).unwrap().map(|item| item.unwrap().path());
    assert!(rest.into_iter().all(|app| app.join("installed").exists()));
}

#[test]
fn what_was_being_kept_when_maxd_was_killed_is_whole_or_nothing() {
    let (mut max, rig) = max(&[]);
    let dir = app("one");
    fs::write(dir.path().join("many"), "300").unwrap();
    for round in 1..4_u64 {
        let path = dir.path().to_str().unwrap();
        rig.ok(&["deploy", path, "-a", "web", "-n", "blue", "--create", "--detach", "--no-cache"]);
        wait_for("something to be kept", || (!installed(&max).is_empty()).then_some(()));
        max.kill();
        max.serve();
        let whole = installed(&max).iter().any(|path| path.extension().is_none());
        let log = deploy(&rig, &dir, &[]);
        assert!(log.contains(if whole { REUSED } else { "\nadded 1 package\n" }), "{log}");
        assert!(installed(&max).iter().all(|path| path.extension().is_none()));
        let many = max.data().join(format!("apps/1/{}/node_modules/a/many", 2 * round));
        assert_eq!(fs::read_dir(many).unwrap().count(), 300);
    }
}
