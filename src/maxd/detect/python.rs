//! Python: `requirements.txt` or `pyproject.toml`, in a virtual environment.

use super::{Found, read};
use crate::error::Result;
use std::path::Path;

/// Where people put the application, the likeliest first.
const FILES: &[&str] = &["app", "main", "wsgi", "server", "application"];

/// What the files say, if it is a Python project.
pub fn find(dir: &Path) -> Result<Option<Found>> {
    let (install, needs) = match (read(dir, "requirements.txt")?, read(dir, "pyproject.toml")?) {
        (Some(text), _) => ("-r requirements.txt", text),
        (None, Some(text)) => (".", text),
        (None, None) => return Ok(None),
    };
    let build =
        vec!["python3 -m venv .venv".to_owned(), format!(".venv/bin/python -m pip install {install}")];
    Ok(Some(Found { kind: "python", build, run: run(dir, &Needs::read(&needs))? }))
}

fn run(dir: &Path, needs: &Needs) -> Result<Option<String>> {
    if dir.join("manage.py").is_file() {
        return Ok(Some(match django(dir).filter(|_| needs.has("gunicorn")) {
            Some(package) => format!(".venv/bin/gunicorn --bind 127.0.0.1:$PORT {package}.wsgi"),
            None => ".venv/bin/python manage.py runserver --noreload 127.0.0.1:$PORT".to_owned(),
        }));
    }
    let Some(App { module, object, flask, asgi }) = app(dir, needs)? else { return Ok(None) };
    let object = object.unwrap_or("app");
    Ok(Some(if asgi && needs.has("uvicorn") {
        format!(".venv/bin/uvicorn --host 127.0.0.1 --port $PORT {module}:{object}")
    } else if asgi && needs.has("fastapi") {
        format!(".venv/bin/fastapi run --host 127.0.0.1 --port $PORT {module}.py")
    } else if needs.has("gunicorn") {
        format!(".venv/bin/gunicorn --bind 127.0.0.1:$PORT {module}:{object}")
    } else if flask {
        format!(".venv/bin/flask --app {module} run --host 127.0.0.1 --port $PORT")
    } else {
        format!(".venv/bin/python {module}.py")
    }))
}

struct App {
    module: &'static str,
    /// `app`, `application` or a factory's call.
    object: Option<&'static str>,
    flask: bool,
    asgi: bool,
}

/// The file that makes the application; else the first that is there at all.
fn app(dir: &Path, needs: &Needs) -> Result<Option<App>> {
    let mut first = None;
    for module in FILES.iter().copied() {
        let text = match read(dir, &format!("{module}.py"))? {
            Some(text) => text,
            None => match read(dir, &format!("{module}/__init__.py"))?.filter(|text| text.contains("Flask("))
            {
                Some(text) => text,
                None => continue,
            },
        };
        let object = [("app", "app"), ("application", "application"), ("def create_app", "create_app()")];
        let starts = |name: &str| {
            text.lines()
                .filter_map(|line| line.strip_prefix(name))
                .any(|rest| rest.trim_start().starts_with(['=', ':', '(']))
        };
        let object = object.into_iter().find(|(name, _)| starts(name)).map(|(_, object)| object);
        let flask = needs.has("flask") || text.contains("import Flask");
        let asgi = text.contains("FastAPI(") || text.contains("Starlette(");
        let app = App { module, object, flask, asgi };
        if object.is_some() {
            return Ok(Some(app));
        }
        first = first.or(Some(app));
    }
    Ok(first)
}

/// The package with the project's `wsgi.py`.
fn django(dir: &Path) -> Option<String> {
    let mut packages = std::fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter(|entry| entry.path().join("wsgi.py").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
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
