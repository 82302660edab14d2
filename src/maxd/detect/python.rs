//! Python: `requirements.txt` or `pyproject.toml`, in a virtual environment.

use super::{Found, quoted, read};
use crate::error::Result;
use crate::maxd::cache::install::{PIP_FILE, PIP_PROJECT, VENV};
use std::path::Path;

/// Where people put the application, the likeliest first.
const FILES: &[&str] = &["app", "main", "wsgi", "server", "application"];

/// What the files say, if it is a Python project.
pub fn find(dir: &Path) -> Result<Option<Found>> {
    let (install, needs) = match (read(dir, "requirements.txt")?, read(dir, "pyproject.toml")?) {
        (Some(text), _) => (PIP_FILE, text),
        (None, Some(text)) => (PIP_PROJECT, text),
        (None, None) => return Ok(None),
    };
    let build = vec![VENV.to_owned(), install.to_owned()];
    Ok(Some(Found { kind: "python", build, run: run(dir, &Needs::read(&needs))? }))
}

fn run(dir: &Path, needs: &Needs) -> Result<Option<String>> {
    if dir.join("manage.py").is_file() {
        return Ok(Some(match django(dir).filter(|_| needs.has("gunicorn")) {
            Some(package) => format!(".venv/bin/gunicorn --bind 127.0.0.1:$PORT {package}.wsgi"),
            None => ".venv/bin/python manage.py runserver --noreload 127.0.0.1:$PORT".to_owned(),
        }));
    }
    let Some(app) = app(dir, needs)? else { return Ok(None) };
    let App { module, factory, asgi, .. } = &app;
    let target = quoted(&format!("{module}:{}", app.object.unwrap_or("app")));
    let call = if *factory { quoted(&format!("{module}:create_app()")) } else { target.clone() };
    let below = |flag: &str| if app.src { format!(" {flag} src") } else { String::new() };
    Ok(Some(if *asgi && needs.has("uvicorn") {
        let (factory, target) = match factory {
            true => (" --factory", format!("{module}:create_app")),
            false => ("", target),
        };
        format!(".venv/bin/uvicorn --host 127.0.0.1 --port $PORT{}{factory} {target}", below("--app-dir"))
    } else if *asgi && needs.has("fastapi") {
        format!(".venv/bin/fastapi run --host 127.0.0.1 --port $PORT {}", app.file)
    } else if needs.has("gunicorn") {
        format!(".venv/bin/gunicorn --bind 127.0.0.1:$PORT{} {call}", below("--pythonpath"))
    } else if app.flask {
        let place = if app.src { format!("src/{module}") } else { module.clone() };
        format!(".venv/bin/flask --app {place} run --host 127.0.0.1 --port $PORT")
    } else {
        format!(".venv/bin/python {}", app.file)
    }))
}

struct App {
    module: String,
    /// Where it is written.
    file: String,
    /// Whether the module is below `src`.
    src: bool,
    /// The application's name, if it has one.
    object: Option<&'static str>,
    /// Whether `create_app` makes it.
    factory: bool,
    flask: bool,
    makes_flask: bool,
    asgi: bool,
}

impl App {
    fn read(dir: &Path, module: &str, file: String, needs: &Needs) -> Result<Option<App>> {
        let Some(text) = read(dir, &file)? else { return Ok(None) };
        let starts = |name: &str| {
            let rests = text.lines().filter_map(|line| line.strip_prefix(name));
            rests.map(str::trim_start).any(|rest| rest.starts_with(['=', ':', '(']))
        };
        let object = ["app", "application"].into_iter().find(|name| starts(name));
        let factory = object.is_none() && starts("def create_app");
        let flask = needs.has("flask") || text.contains("import Flask");
        let asgi = text.contains("FastAPI(") || text.contains("Starlette(");
        let makes_flask = text.contains("Flask(");
        let src = file.starts_with("src/");
        Ok(Some(App { module: module.to_owned(), file, src, object, factory, flask, makes_flask, asgi }))
    }

    fn is_made(&self) -> bool {
        self.object.is_some() || self.factory
    }
}

/// The file that makes the application; else the first that is there at all.
fn app(dir: &Path, needs: &Needs) -> Result<Option<App>> {
    let mut first = None;
    for module in FILES {
        let Some(app) = App::read(dir, module, format!("{module}.py"), needs)? else { continue };
        if app.is_made() {
            return Ok(Some(app));
        }
        first = first.or(Some(app));
    }
    for (module, file) in packages(dir) {
        let app = App::read(dir, &module, file, needs)?;
        // Many a package has something of that name that is no web application.
        if let Some(app) = app.filter(|app| app.is_made() && (app.makes_flask || app.asgi)) {
            return Ok(Some(app));
        }
    }
    Ok(first)
}

/// The packages at the top and below `src`, with their first files; those of the usual
/// names first.
fn packages(dir: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (below, prefix) in [(dir.to_path_buf(), ""), (dir.join("src"), "src/")] {
        let Ok(entries) = std::fs::read_dir(below) else { continue };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names = names
            .filter(|name| is_module(name) && name != "tests")
            .map(|name| (format!("{prefix}{name}/__init__.py"), name))
            .filter(|(file, _)| dir.join(file).is_file())
            .map(|(file, name)| (name, file))
            .collect::<Vec<_>>();
        names.sort_by_key(|(name, _)| (!FILES.contains(&name.as_str()), name.clone()));
        found.extend(names);
    }
    found
}

fn is_module(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The package with the project's `wsgi.py`.
fn django(dir: &Path) -> Option<String> {
    let mut packages = std::fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter(|entry| entry.path().join("wsgi.py").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_module(name))
        .collect::<Vec<_>>();
    packages.sort();
    packages.into_iter().next()
}

/// What is installed, by normalized name (PEP 503).
struct Needs(Vec<String>);

impl Needs {
    /// Reads `requirements.txt`, and well enough the strings of a `pyproject.toml`.
    fn read(text: &str) -> Needs {
        let words = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .flat_map(|line| line.split(['"', '\'']));
        let name = |word: &str| {
            let word = word.trim();
            let end =
                word.find(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c)).unwrap_or(word.len());
            word.get(..end).unwrap_or_default().to_ascii_lowercase().replace(['_', '.'], "-")
        };
        Needs(words.map(name).filter(|name| !name.is_empty()).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|one| one == name)
    }
}
