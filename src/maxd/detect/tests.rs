//! Projects as people have them, and what is made of them.
#![allow(clippy::unwrap_used)]

use super::*;

/// The plan for a project of these files.
fn plan(files: &[(&str, &str)]) -> Result<Plan> {
    let temp = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = temp.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    detect(temp.path())
}

/// `kind | build; build | run`.
fn shown(files: &[(&str, &str)]) -> String {
    let plan = plan(files).unwrap();
    let run = match &plan.run {
        Run::Command(command) => command.as_str(),
        Run::Static => "(static)",
    };
    format!("{} | {} | {run}", plan.kind, plan.build.join("; "))
}

const VENV: &str = "python3 -m venv .venv; .venv/bin/python -m pip install -r requirements.txt";

#[test]
fn rig_json_alone_is_enough() {
    let files = [("rig.json", r#"{"app":"a","network":1,"build":"cc -o server server.c","run":"./server"}"#)];
    assert_eq!(shown(&files), "rig.json | cc -o server server.c | ./server");
    let plan = plan(&[(
        "rig.json",
        r#"{"build":["a","b"],"run":"c","health":{"path":"/up?x=1","timeout":"1m30s"}}"#,
    )]);
    let plan = plan.unwrap();
    assert_eq!(plan.build, ["a", "b"]);
    assert_eq!(plan.health, Health { path: Some("/up?x=1".to_owned()), timeout: Duration::from_secs(90) });
}

#[test]
fn rig_json_overrides_setting_by_setting() {
    let node = ("package.json", r#"{"scripts":{"start":"node x"}}"#);
    let lock = ("package-lock.json", "{}");
    let run = ("rig.json", r#"{"run":"node other.js"}"#);
    assert_eq!(shown(&[node, lock, run]), "node | npm ci | node other.js");
    assert_eq!(shown(&[node, ("rig.json", r#"{"build":[]}"#)]), "node |  | npm start");
    assert_eq!(
        shown(&[node, ("Procfile", "worker: x\nweb:  node web.js --flag\n"), ("rig.json", "{}")]),
        "node | npm install | node web.js --flag"
    );
    assert_eq!(shown(&[("Procfile", "web: ./run"), run]), "procfile |  | node other.js");
    assert_eq!(shown(&[("index.html", ""), ("rig.json", r#"{"build":"make"}"#)]), "static | make | (static)");
}

#[test]
fn a_release_command_stands_in_rig_json_or_else_in_the_procfile() {
    let page = ("index.html", "");
    let file = ("Procfile", "release: ./migrate --all\nweb: ./run");
    for (files, expected) in [
        (&[page][..], None),
        (&[page, ("rig.json", r#"{"release":null}"#)], None),
        (&[page, ("rig.json", r#"{"release":"make up"}"#)], Some("make up")),
        (&[file], Some("./migrate --all")),
        (&[("Procfile", "release:\nweb: ./run")], None),
        (&[file, ("rig.json", r#"{"release":"make up"}"#)], Some("make up")),
    ] {
        assert_eq!(plan(files).unwrap().release.as_deref(), expected, "{files:?}");
    }
}

#[test]
fn node_projects_are_recognised() {
    for (package, others, expected) in [
        (
            r#"{"scripts":{"start":"x","build":"y"}}"#,
            &["npm-shrinkwrap.json"][..],
            "npm ci; npm run build | npm start",
        ),
        (
            r#"{"name":"@x/tool","main":"lib/x.js","bin":{"a":"a.js","tool":"./bin/tool"}}"#,
            &["lib/x.js", "a.js", "bin/tool"],
            "npm install | node ./bin/tool",
        ),
        (r#"{"bin":"bin/my tool"}"#, &["bin/my tool"], "npm install | node 'bin/my tool'"),
        (r#"{"main":"lib/x"}"#, &["lib/x.js"], "npm install | node lib/x.js"),
        (
            r#"{"main":"dist/x.js","scripts":{"build":"tsc"}}"#,
            &[],
            "npm install; npm run build | node dist/x.js",
        ),
        ("{}", &["server.js", "index.js"], "npm install | node server.js"),
        ("{}", &["index.js"], "npm install | node index.js"),
    ] {
        let mut files = vec![("package.json", package)];
        files.extend(others.iter().map(|name| (*name, "{}")));
        assert_eq!(shown(&files), format!("node | {expected}"));
    }
    let page = ("index.html", "");
    let package = ("package.json", r#"{"main":"index.js"}"#);
    assert_eq!(shown(&[page, package, ("index.js", "module.exports = 1")]), "static |  | (static)");
    let server = ("index.js", "require('http').createServer(f).listen(process.env.PORT)");
    assert_eq!(shown(&[page, package, server]), "node | npm install | node index.js");
    let page = [("package.json", r#"{"devDependencies":{"prettier":"3"}}"#), ("index.html", "")];
    assert_eq!(shown(&page), "static |  | (static)");
}

#[test]
fn python_projects_are_recognised() {
    let flask = "from flask import Flask\napp = Flask(__name__)\n";
    for (needs, name, text, expected) in [
        ("Flask==3.0\n", "app.py", flask, ".venv/bin/flask --app app run --host 127.0.0.1 --port $PORT"),
        ("flask\ngunicorn>=20\n", "main.py", flask, ".venv/bin/gunicorn --bind 127.0.0.1:$PORT main:app"),
        (
            "flask\ngunicorn",
            "wsgi.py",
            "application = f()",
            ".venv/bin/gunicorn --bind 127.0.0.1:$PORT wsgi:application",
        ),
        (
            "flask",
            "app/__init__.py",
            "def create_app():\n  return Flask(__name__)",
            ".venv/bin/flask --app app run --host 127.0.0.1 --port $PORT",
        ),
        (
            "flask\ngunicorn",
            "app/__init__.py",
            "def create_app():\n  return Flask(__name__)",
            ".venv/bin/gunicorn --bind 127.0.0.1:$PORT 'app:create_app()'",
        ),
        (
            "flask",
            "src/shop/__init__.py",
            "def create_app() -> Flask:\n  app = Flask(__name__)",
            ".venv/bin/flask --app src/shop run --host 127.0.0.1 --port $PORT",
        ),
        (
            "flask\ngunicorn",
            "src/shop/__init__.py",
            flask,
            ".venv/bin/gunicorn --bind 127.0.0.1:$PORT --pythonpath src shop:app",
        ),
        (
            "fastapi\nuvicorn",
            "main.py",
            "def create_app():\n  return FastAPI()",
            ".venv/bin/uvicorn --host 127.0.0.1 --port $PORT --factory main:create_app",
        ),
        (
            "fastapi\nuvicorn",
            "src/api/__init__.py",
            "app = FastAPI()",
            ".venv/bin/uvicorn --host 127.0.0.1 --port $PORT --app-dir src api:app",
        ),
        (
            "fastapi\nuvicorn[standard]",
            "main.py",
            "app = FastAPI()",
            ".venv/bin/uvicorn --host 127.0.0.1 --port $PORT main:app",
        ),
        ("requests", "main.py", "print(1)", ".venv/bin/python main.py"),
        ("django\ngunicorn", "site1/wsgi.py", "", ".venv/bin/gunicorn --bind 127.0.0.1:$PORT site1.wsgi"),
    ] {
        let mut files = vec![("requirements.txt", needs), (name, text)];
        if needs.contains("django") {
            files.push(("manage.py", ""));
        }
        assert_eq!(shown(&files), format!("python | {VENV} | {expected}"));
    }
    // A program beside a package, and a package that is none of the web.
    let tool = [("requirements.txt", ""), ("main.py", "print(1)"), ("tool/__init__.py", "app = Typer()")];
    assert_eq!(shown(&tool), format!("python | {VENV} | .venv/bin/python main.py"));
    let project = "[project]\nname = \"x\"\ndependencies = [\"flask>=3\", \"gunicorn\"]\n";
    assert_eq!(
        shown(&[("pyproject.toml", project), ("app.py", flask)]),
        "python | python3 -m venv .venv; .venv/bin/python -m pip install . | .venv/bin/gunicorn --bind 127.0.0.1:$PORT app:app"
    );
    assert_eq!(
        shown(&[("requirements.txt", ""), ("Procfile", "web: gunicorn x:y")]),
        format!("python | {VENV} | gunicorn x:y")
    );
}

#[test]
fn what_cannot_be_run_says_what_is_looked_for() {
    for (files, message) in [
        (
            &[("readme.md", "")][..],
            "cannot tell how to run this project: it has no 'rig.json' with a run command, no 'Procfile', 'package.json', 'requirements.txt', 'pyproject.toml' or 'index.html' at its top",
        ),
        (
            &[("package.json", "{}")],
            "cannot tell how to run this project: 'package.json' has no start script, and there is no 'server.js', no 'bin', no 'main' and no 'index.js'",
        ),
        (
            &[("requirements.txt", "")],
            "cannot tell how to run this project: there is no 'app.py', 'main.py', 'wsgi.py', 'server.py' or 'manage.py', and no package that makes an application",
        ),
        (&[("Procfile", "worker: x")], "'Procfile' has no 'web' process"),
        (&[("package.json", "[]")], "'package.json' must be a JSON object"),
        (&[("rig.json", "{\"run\": }")], "'rig.json' is not valid JSON: expected value at line 1 column 9"),
    ] {
        assert_eq!(plan(files).unwrap_err().message(), message);
    }
}

#[test]
fn limits_have_units() {
    for (text, memory, cpu) in [
        (r#"{"memory":"256MiB","cpu":"0.5"}"#, Some(256 << 20), Some(500)),
        (r#"{"memory":"1GiB","cpu":2}"#, Some(1 << 30), Some(2000)),
        (r#"{"memory":8388608,"cpu":1.25}"#, Some(8 << 20), Some(1250)),
        (r#"{"memory":null,"cpu":"0.0109"}"#, None, Some(10)),
        ("{}", None, None),
        ("null", None, None),
    ] {
        let file = format!(r#"{{"run":"x","limits":{text}}}"#);
        assert_eq!(plan(&[("rig.json", &file)]).unwrap().limits, Limits { memory, cpu }, "{text}");
    }
    let error = plan(&[("rig.json", r#"{"limits":{"disk":"1GiB"}}"#)]).unwrap_err();
    assert_eq!(error.message(), "'limits' in 'rig.json' has an unknown member 'disk'");
}

#[test]
fn a_setting_of_the_wrong_type_is_named() {
    const MEMORY: &str = r#"a size from "4MiB" such as "256MiB""#;
    const CPU: &str = r#"a number of cores from "0.01" to "4096" such as "0.5""#;
    for (text, key, wanted) in [
        (r#"{"run": 1}"#, "run", "a command"),
        (r#"{"run": " "}"#, "run", "a command"),
        (r#"{"release": ["x"]}"#, "release", "a command"),
        (r#"{"build": {}}"#, "build", "a command, or a list of commands"),
        (r#"{"build": ["a", 1]}"#, "build", "a command, or a list of commands"),
        (r#"{"health": "/up"}"#, "health", r#"an object such as {"path": "/up", "timeout": "30s"}"#),
        (r#"{"health": {"path": "up"}}"#, "health.path", r#"a path such as "/up""#),
        (r#"{"health": {"path": "/a b"}}"#, "health.path", r#"a path such as "/up""#),
        (r#"{"health": {"timeout": "soon"}}"#, "health.timeout", r#"a duration from "1s" to "1h""#),
        (r#"{"health": {"timeout": "0"}}"#, "health.timeout", r#"a duration from "1s" to "1h""#),
        (r#"{"limits": "1GiB"}"#, "limits", r#"an object such as {"memory": "256MiB", "cpu": "0.5"}"#),
        (r#"{"limits": {"memory": "1TB"}}"#, "limits.memory", MEMORY),
        (r#"{"limits": {"memory": "3MiB"}}"#, "limits.memory", MEMORY),
        (r#"{"limits": {"memory": 1.5}}"#, "limits.memory", MEMORY),
        (r#"{"limits": {"cpu": "0"}}"#, "limits.cpu", CPU),
        (r#"{"limits": {"cpu": "1."}}"#, "limits.cpu", CPU),
        (r#"{"limits": {"cpu": "-1"}}"#, "limits.cpu", CPU),
        (r#"{"limits": {"cpu": "5000"}}"#, "limits.cpu", CPU),
        (r#"{"limits": {"cpu": [1]}}"#, "limits.cpu", CPU),
    ] {
        let error = plan(&[("rig.json", text), ("index.html", "")]).unwrap_err();
        assert_eq!(error.message(), format!("'{key}' in 'rig.json' must be {wanted}"));
        assert_eq!(error.field_name(), Some(key));
    }
}
