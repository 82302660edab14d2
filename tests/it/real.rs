//! Published projects, deployed as they are, inside the sandbox and outside of it.
//! `make test-real` runs these: they need Node, Python and their package registries.

use crate::harness::{Max, Rig, project, text, wait_for};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Runs a tool, which must succeed.
pub fn tool(dir: &Path, words: &[&str]) -> String {
    let (program, args) = words.split_first().unwrap();
    let out = Command::new(program).args(args).current_dir(dir).output();
    let out = out.unwrap_or_else(|error| panic!("cannot run '{program}': {error}"));
    assert!(out.status.success(), "{words:?}: {}{}", text(&out.stdout), text(&out.stderr));
    text(&out.stdout)
}

/// The files of an archive, unpacked: what the only entry at its top holds.
fn unpacked(dir: &TempDir) -> PathBuf {
    let only = |suffix: &str| {
        let mut names = fs::read_dir(dir.path()).unwrap().map(|item| item.unwrap().path());
        let found = names.find(|path| path.to_str().unwrap().ends_with(suffix));
        found.unwrap_or_else(|| panic!("no '{suffix}' came"))
    };
    let archive = only("gz");
    tool(dir.path(), &["tar", "-xzf", archive.to_str().unwrap()]);
    fs::remove_file(archive).unwrap();
    only("")
}

/// A package of npm's, as it was published.
fn from_npm(package: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let archive = tool(dir.path(), &["npm", "pack", "--silent", package]);
    fs::rename(dir.path().join(archive.trim()), dir.path().join("package.tar.gz")).unwrap();
    let root = unpacked(&dir);
    (dir, root)
}

/// A source distribution of PyPI's, as it was published.
fn from_pypi(package: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let download =
        ["python3", "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", package];
    tool(dir.path(), &download);
    let root = unpacked(&dir);
    (dir, root)
}

/// Deploys a directory to a server of its own, once inside the sandbox and once outside;
/// the last argument is the build's log.
fn everywhere(project: &Path, kind: &str, check: impl Fn(&Max, &Rig, &str)) {
    for isolation in ["auto", "none"] {
        let max = Max::with(&["--isolation", isolation]);
        eprintln!("{} with --isolation {isolation}", project.display());
        let rig = max.rig("ada");
        rig.ok(&["create", "network", "blue"]);
        let path = project.to_str().unwrap();
        let ran = rig.run(&[
            "deploy",
            path,
            "-a",
            "web",
            "-n",
            "blue",
            "--create",
            "--timeout",
            "15m",
            "-o",
            "json",
        ]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let deploy: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!((deploy["state"].as_str(), deploy["kind"].as_str()), (Some("live"), Some(kind)));
        let build = rig.ok(&["logs", "build", "web.blue", "--tail", "10000"]);
        assert!(build.contains(&format!("recognised: {kind}\n")), "{build}");
        check(&max, &rig, &build);
        assert_eq!(rig.json(&["status", "app", "web.blue"])["app"]["state"], "running");
    }
}

const HOST: &str = "web.blue.localhost";

/// Waits until the app's log holds these words.
fn says(rig: &Rig, words: &str) {
    wait_for(words, || rig.ok(&["logs", "app", "web.blue", "--tail", "10000"]).contains(words).then_some(()));
}

/// The head of the answer to `GET path`, in lower case.
fn head(max: &Max, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    let answer = max.request(HOST, &request);
    answer.split("\r\n\r\n").next().unwrap().to_ascii_lowercase()
}

/// A file of the project comes as it is.
#[track_caller]
fn serves(max: &Max, project: &Path, path: &str, file: &str) {
    let (status, body) = max.get(HOST, path);
    assert_eq!(status, 200, "{path}: {body}");
    assert!(body == fs::read_to_string(project.join(file)).unwrap(), "'{path}' is not '{file}'");
}

#[test]
#[ignore = "needs npm and its registry: make test-real"]
fn a_node_server_with_dependencies_from_npm() {
    let (_dir, project) = from_npm("http-server@14.1.1");
    everywhere(&project, "node", |max, rig, build| {
        assert!(build.contains("$ npm install\n") && build.contains("\nadded "), "{build}");
        let installed = max.data().join("apps/1/1/node_modules/union/package.json");
        assert!(installed.exists(), "the dependency 'union' is not installed");
        serves(max, &project, "/package.json", "package.json");
        serves(max, &project, "/lib/http-server.js", "lib/http-server.js");
        let (status, body) = max.get(HOST, "/");
        assert!(status == 200 && body.contains("<title>Index of /</title>"), "{status} {body}");
        assert!(body.contains("http-server</a> server running"), "{body}");
        assert!(
            head(max, "/LICENSE").contains("\r\ncache-control: max-age=3600"),
            "{}",
            head(max, "/LICENSE")
        );
        assert_eq!(max.get(HOST, "/no/such/thing").0, 404);
        says(rig, "> http-server@14.1.1 start\n");
        says(rig, "Starting up http-server, serving ");
        says(rig, "\"GET /package.json\"");
    });
}

#[test]
#[ignore = "needs pip and its registry: make test-real"]
fn a_flask_app_with_requirements_from_pypi() {
    let (_dir, source) = from_pypi("flask==3.1.3");
    let project = source.join("examples/celery");
    everywhere(&project, "python", |max, rig, build| {
        assert!(build.contains("$ .venv/bin/python -m pip install -r requirements.txt\n"), "{build}");
        let installed = build.lines().find(|line| line.starts_with("Successfully installed ")).unwrap();
        for requirement in ["flask-2.3.2", "celery-5.2.7", "redis-4.5.4", "werkzeug-2.3.3"] {
            assert!(installed.contains(requirement), "{requirement}: {installed}");
        }
        let (status, body) = max.get(HOST, "/");
        assert!(status == 200 && body.contains("<title>Celery Example</title>"), "{status} {body}");
        // A link the app made itself, and it answers in Flask's words.
        assert!(body.contains("action=\"/tasks/add\""), "{body}");
        let (status, body) = max.get(HOST, "/tasks/add");
        assert!(status == 405 && body.contains("<h1>Method Not Allowed</h1>"), "{status} {body}");
        assert!(head(max, "/").contains("\r\nserver: werkzeug/2.3.3 "), "{}", head(max, "/"));
        says(rig, "Serving Flask app 'src/task_app'");
        says(rig, "GET /tasks/add HTTP/1.1");
    });
}

#[test]
#[ignore = "needs pip and its registry: make test-real"]
fn a_flask_app_that_is_a_package_with_a_pyproject() {
    let (_dir, source) = from_pypi("flask==3.1.3");
    let project = source.join("examples/javascript");
    everywhere(&project, "python", |max, rig, build| {
        assert!(build.contains("$ .venv/bin/python -m pip install .\n"), "{build}");
        assert!(build.contains("Successfully built js_example\n"), "{build}");
        let (status, body) = max.get(HOST, "/xhr");
        assert!(status == 200 && body.contains("<title>JavaScript Example</title>"), "{status} {body}");
        let form = "a=40&b=2.5";
        let answer = max.request(
            HOST,
            &format!(
                "POST /add HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: {}\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
                form.len()
            ),
        );
        assert!(answer.ends_with("{\"result\":42.5}\n"), "{answer}");
        says(rig, "Serving Flask app 'js_example'");
        says(rig, "\"POST /add HTTP/1.1\" 200 -");
    });
}

#[test]
#[ignore = "needs npm and its registry: make test-real"]
fn a_static_site_with_a_page_for_what_is_missing() {
    let (_dir, package) = from_npm("html5-boilerplate@7.3.0");
    let project = package.join("dist");
    everywhere(&project, "static", |max, rig, build| {
        assert!(!build.contains("\n$ "), "{build}");
        for (path, file, kind) in [
            ("/", "index.html", "text/html; charset=utf-8"),
            ("/css/main.css?v=7", "css/main.css", "text/css; charset=utf-8"),
            (
                "/js/vendor/jquery-3.4.1.min.js",
                "js/vendor/jquery-3.4.1.min.js",
                "text/javascript; charset=utf-8",
            ),
            ("/doc/usage.md", "doc/usage.md", "text/markdown; charset=utf-8"),
        ] {
            serves(max, &project, path, file);
            let head = head(max, path);
            assert!(head.contains(&format!("\r\ncontent-type: {kind}\r\n")), "{path}: {head}");
        }
        let missing = fs::read_to_string(project.join("404.html")).unwrap();
        for path in ["/nothing.html", "/.htaccess", "/.editorconfig", "/img/.gitignore"] {
            assert_eq!(max.get(HOST, path), (404, missing.clone()), "{path}");
        }
        says(rig, "release 1 serves");
        let network = rig.ok(&["logs", "network", "blue", "--tail", "10000"]);
        assert!(network.contains("web GET /css/main.css?v=7 200 "), "{network}");
    });
}

#[test]
#[ignore = "needs npm and its registry: make test-real"]
fn a_page_that_is_published_as_a_library() {
    let (_dir, project) = from_npm("swagger-ui-dist@5.35.0");
    everywhere(&project, "static", |max, _rig, _build| {
        serves(max, &project, "/", "index.html");
        serves(max, &project, "/swagger-ui.css", "swagger-ui.css");
        serves(max, &project, "/swagger-ui-bundle.js", "swagger-ui-bundle.js");
        assert!(head(max, "/favicon-32x32.png").contains("\r\ncontent-type: image/png\r\n"));
    });
}

/// Deploys it again and again; tells the build's log, and says how long it took.
fn again(rig: &Rig, project: &Path, what: &str) -> String {
    let started = std::time::Instant::now();
    let path = project.to_str().unwrap();
    let deploy = ["deploy", path, "-a", "web", "-n", "blue", "--create", "--timeout", "15m"];
    let release = rig.json(&deploy)["release"].as_u64().unwrap();
    let log = rig.ok(&["logs", "build", "web.blue", "--release", &release.to_string(), "--tail", "10000"]);
    eprintln!("release {release}, {what}: {:.1} s", started.elapsed().as_secs_f64());
    log
}

#[test]
#[ignore = "needs npm and its registry: make test-real"]
fn the_second_deploy_of_a_node_project_installs_nothing_and_downloads_nothing() {
    let manifest = r#"{"name":"shop","version":"1.0.0","scripts":{"start":"node server.js","build":"node build.js"},
        "dependencies":{"express":"4.21.2"},"devDependencies":{"webpack":"5.99.9"}}"#;
    let server = "const app = require('express')(), text = require('./text.json');\n\
                  app.get('/', (_, answer) => answer.send(text));\napp.listen(process.env.PORT, '127.0.0.1');\n";
    let build = |text: &str| {
        let write = format!("require('fs').writeFileSync('text.json', JSON.stringify('{text}'));\n");
        // The build writes into what was installed.
        write + "require('fs').appendFileSync('node_modules/express/index.js', '// built\\n');\n"
    };
    let files = [("package.json", manifest), ("server.js", server), ("build.js", &build("one"))];
    let dir = project(&files);
    tool(dir.path(), &["npm", "install", "--package-lock-only", "--no-audit", "--no-fund"]);
    for isolation in ["auto", "none"] {
        fs::write(dir.path().join("build.js"), build("one")).unwrap();
        let max = Max::with(&["--isolation", isolation]);
        let rig = max.rig("ada");
        rig.ok(&["create", "network", "blue"]);
        let log = again(&rig, dir.path(), "npm, the first");
        assert!(
            log.contains("$ npm ci\n") && log.contains("\nkept node_modules for the next release"),
            "{log}"
        );
        fs::write(dir.path().join("build.js"), build("two")).unwrap();
        let log = again(&rig, dir.path(), "npm, other sources");
        assert!(log.contains("reusing node_modules of release 1\n") && !log.contains("npm ci"), "{log}");
        assert_eq!(max.get(HOST, "/"), (200, "two".to_owned()));
        for release in [1, 2] {
            let path = max.data().join(format!("apps/1/{release}/node_modules/express/index.js"));
            assert_eq!(fs::read_to_string(path).unwrap().matches("// built").count(), 1);
        }
        rig.ok(&["rollback", "app", "web.blue", "--to", "1"]);
        assert_eq!(max.get(HOST, "/"), (200, "one".to_owned()));
        // What is installed anew comes from what was downloaded.
        rig.ok(&["create", "var", "npm_config_offline=true", "-a", "web.blue"]);
        let log = again(&rig, dir.path(), "npm, installed anew without the network");
        assert!(log.contains("$ npm ci\n\nadded "), "{log}");
        assert_eq!(max.get(HOST, "/"), (200, "two".to_owned()));
    }
}

#[test]
#[ignore = "needs pip and its registry: make test-real"]
fn the_second_deploy_of_a_python_project_installs_nothing() {
    let app = |text: &str| {
        format!(
            "from flask import Flask\napp = Flask(__name__)\n\n@app.route('/')\ndef page():\n    return '{text}'\n"
        )
    };
    let needs = "flask==3.1.0\ngunicorn==23.0.0\nsqlalchemy==2.0.40\n";
    let dir = project(&[("requirements.txt", needs), ("app.py", &app("one"))]);
    for isolation in ["auto", "none"] {
        fs::write(dir.path().join("app.py"), app("one")).unwrap();
        fs::write(dir.path().join("requirements.txt"), needs).unwrap();
        let max = Max::with(&["--isolation", isolation]);
        let rig = max.rig("ada");
        rig.ok(&["create", "network", "blue"]);
        let log = again(&rig, dir.path(), "pip, the first");
        assert!(log.contains("\nkept .venv for the next release"), "{log}");
        fs::write(dir.path().join("app.py"), app("two")).unwrap();
        let log = again(&rig, dir.path(), "pip, other sources");
        assert!(log.contains("reusing .venv of release 1\n") && !log.contains("pip install"), "{log}");
        assert_eq!(max.get(HOST, "/"), (200, "two".to_owned()));
        // gunicorn is a program with the path of its interpreter.
        sweep_first(&max);
        rig.ok(&["restart", "app", "web.blue"]);
        assert_eq!(max.get(HOST, "/"), (200, "two".to_owned()));
        fs::write(dir.path().join("requirements.txt"), format!("{needs}python-dotenv==1.1.0\n")).unwrap();
        let log = again(&rig, dir.path(), "pip, one package more");
        assert!(
            log.contains("$ .venv/bin/python -m pip install") && log.contains("python-dotenv-1.1.0"),
            "{log}"
        );
        // pip keeps what the registry's answers let it keep.
        let kept = max.data().join("apps/1/cache/pip");
        let http = |item: fs::DirEntry| item.file_name().to_str().unwrap().starts_with("http");
        if fs::read_dir(kept).is_ok_and(|items| items.flatten().any(http)) {
            let mut downloads = log.lines().filter(|line| line.contains("Downloading "));
            assert!(log.contains("Using cached flask-3.1.0"), "{log}");
            assert!(downloads.all(|line| line.contains("python_dotenv")), "{log}");
        } else {
            eprintln!("the registry lets pip keep nothing");
        }
        assert_eq!(max.get(HOST, "/"), (200, "two".to_owned()));
    }
}

/// Removes the first release's files: the second does not need them.
fn sweep_first(max: &Max) {
    fs::remove_dir_all(max.data().join("apps/1/1")).unwrap();
}
