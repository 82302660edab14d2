//! Tells from a project's files how it is built and run.
//!
//! `package.json`, `requirements.txt`, `pyproject.toml` and `index.html` say what kind
//! of project it is; a `Procfile` overrides how it is run; `rig.json` overrides both,
//! setting by setting. Nothing is executed and nothing is written.

mod node;
mod python;

#[cfg(test)]
mod tests;

pub use super::plan::{Health, Limits, Plan, Run};
use crate::error::{Error, Result};
use crate::time::parse_duration;
use serde_json::{Map, Value};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

/// The longest health timeout that can be asked for.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// No program runs in less memory.
const MEMORY_MIN: u64 = 4 << 20;

/// What the kernel can measure out, and more cores than any host has, in thousandths.
const CPU_MIN: u64 = 10;
const CPU_MAX: u64 = 4_096_000;

/// A file that describes a project is smaller than this.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// What may stand in `rig.json`. A misspelt `run` must not turn a program into a site that
/// shows its source.
const MEMBERS: &[&str] = &["app", "network", "build", "release", "run", "health", "limits"];

/// What one source of knowledge has to say.
#[derive(Default)]
struct Found {
    kind: &'static str,
    build: Vec<String>,
    run: Option<String>,
}

/// The plan for the project in `dir`.
pub fn detect(dir: &Path) -> Result<Plan> {
    let settings = Settings::read(dir)?;
    let file = read(dir, "Procfile")?.map(|text| procfile(&text)).transpose()?;
    let (web, release) = file.unzip();
    let found = project(dir)?;
    let index = dir.join("index.html").is_file();

    let known = found.as_ref().map(|found| found.kind);
    let from_file = web.as_ref().map(|_| "procfile").or(settings.run.as_ref().map(|_| "rig.json"));
    let kind = known.or(from_file).or(index.then_some("static"));
    let (build, run) = found.map(|found| (found.build, found.run)).unwrap_or_default();
    let run = match settings.run.or(web).or(run) {
        Some(command) => Run::Command(command),
        None if index => Run::Static,
        None => return Err(unknown(known)),
    };
    let kind = kind.unwrap_or("rig.json").to_owned();
    let Settings { health, limits, .. } = settings;
    let release = settings.release.or(release.flatten());
    Ok(Plan { kind, build: settings.build.unwrap_or(build), release, run, health, limits })
}

/// Where both kinds are there, the one that can be run counts.
fn project(dir: &Path) -> Result<Option<Found>> {
    let node = node::find(dir)?;
    if node.as_ref().is_some_and(|found| found.run.is_some()) {
        return Ok(node);
    }
    Ok(python::find(dir)?.or(node))
}

fn unknown(known: Option<&str>) -> Error {
    let message = match known {
        Some("node") => {
            "cannot tell how to run this project: 'package.json' has no start script, and there is no \
             'server.js', no 'bin', no 'main' and no 'index.js'"
        }
        Some(_) => {
            "cannot tell how to run this project: there is no 'app.py', 'main.py', 'wsgi.py', 'server.py' \
             or 'manage.py', and no package that makes an application"
        }
        None => {
            "cannot tell how to run this project: it has no 'rig.json' with a run command, no 'Procfile', \
             'package.json', 'requirements.txt', 'pyproject.toml' or 'index.html' at its top"
        }
    };
    Error::usage(message).hint(
        "say it in 'rig.json', such as {\"build\": \"cc -o server server.c\", \"run\": \"./server\"}; \
         the program must listen on the port in the variable PORT",
    )
}

/// The command of the `web` line, and that of the `release` line if there is one.
fn procfile(text: &str) -> Result<(String, Option<String>)> {
    let command = |wanted: &str| {
        let mut lines = text.lines().filter_map(|line| line.trim().split_once(':'));
        let found =
            lines.find(|(name, _)| name.trim() == wanted).map(|(_, command)| command.trim().to_owned());
        found.filter(|command| !command.is_empty())
    };
    match command("web") {
        Some(web) => Ok((web, command("release"))),
        None => Err(Error::usage("'Procfile' has no 'web' process").hint(
            "add a line such as 'web: ./server'; only that process is run, and 'release' once before it",
        )),
    }
}

/// What `rig.json` says; all of it optional. Settings of the client are passed over.
#[derive(Default)]
struct Settings {
    build: Option<Vec<String>>,
    release: Option<String>,
    run: Option<String>,
    health: Health,
    limits: Limits,
}

impl Settings {
    fn read(dir: &Path) -> Result<Settings> {
        let Some(object) = read_object(dir, "rig.json")? else { return Ok(Settings::default()) };
        if let Some(unknown) =
            object.keys().find(|key| !MEMBERS.contains(&key.as_str()) && !key.starts_with('$'))
        {
            let known = MEMBERS.join(", ");
            return Err(Error::usage(format!("'rig.json' has an unknown member '{unknown}'"))
                .hint(format!("known are {known}"))
                .field(unknown));
        }
        let mut settings = Settings::default();
        match object.get("build") {
            None | Some(Value::Null) => {}
            Some(Value::Array(list)) => {
                let commands = list.iter().map(|one| command("build", one));
                settings.build = Some(commands.collect::<Result<Vec<_>>>()?);
            }
            Some(one) => settings.build = Some(vec![command("build", one)?]),
        }
        let one =
            |key: &str| object.get(key).filter(|one| !one.is_null()).map(|one| command(key, one)).transpose();
        (settings.release, settings.run) = (one("release")?, one("run")?);
        match object.get("health") {
            None | Some(Value::Null) => {}
            Some(Value::Object(health)) => settings.health = read_health(health)?,
            Some(_) => {
                return Err(wrong("health", "an object such as {\"path\": \"/up\", \"timeout\": \"30s\"}"));
            }
        }
        match object.get("limits") {
            None | Some(Value::Null) => {}
            Some(Value::Object(limits)) => settings.limits = read_limits(limits)?,
            Some(_) => {
                return Err(wrong("limits", "an object such as {\"memory\": \"256MiB\", \"cpu\": \"0.5\"}"));
            }
        }
        Ok(settings)
    }
}

fn read_limits(object: &Map<String, Value>) -> Result<Limits> {
    if let Some(unknown) = object.keys().find(|key| !["memory", "cpu"].contains(&key.as_str())) {
        return Err(Error::usage(format!("'limits' in 'rig.json' has an unknown member '{unknown}'"))
            .hint("known are memory, cpu")
            .field(unknown));
    }
    let text = |name: &str| match object.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let memory = text("memory").map(|text| {
        parse_size(&text)
            .filter(|bytes| *bytes >= MEMORY_MIN)
            .ok_or_else(|| wrong("limits.memory", "a size from \"4MiB\" such as \"256MiB\""))
    });
    let cpu = text("cpu").map(|text| {
        thousandths(&text)
            .filter(|cpu| (CPU_MIN..=CPU_MAX).contains(cpu))
            .ok_or_else(|| wrong("limits.cpu", "a number of cores from \"0.01\" to \"4096\" such as \"0.5\""))
    });
    Ok(Limits { memory: memory.transpose()?, cpu: cpu.transpose()? })
}

/// `256MiB`, `2GiB`, `100KiB`, or bytes.
pub fn parse_size(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len());
    let factor = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// A decimal number such as `0.5`, times a thousand.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let fraction = format!("{fraction:0<3}").get(..3)?.parse::<u64>().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(fraction)
}

fn read_health(object: &Map<String, Value>) -> Result<Health> {
    let mut health = Health::default();
    match object.get("path") {
        None | Some(Value::Null) => {}
        Some(Value::String(path)) if is_path(path) => health.path = Some(path.clone()),
        Some(_) => return Err(wrong("health.path", "a path such as \"/up\"")),
    }
    let timeout = match object.get("timeout") {
        None | Some(Value::Null) => return Ok(health),
        Some(Value::String(text)) => parse_duration(text),
        Some(number) => number.as_u64().map(Duration::from_secs),
    };
    let range = Duration::from_secs(1)..=TIMEOUT_MAX;
    health.timeout = timeout
        .filter(|timeout| range.contains(timeout))
        .ok_or_else(|| wrong("health.timeout", "a duration from \"1s\" to \"1h\""))?;
    Ok(health)
}

/// Whether this can stand in a request line.
fn is_path(path: &str) -> bool {
    path.starts_with('/') && !path.starts_with("//") && path.parse::<hyper::http::uri::PathAndQuery>().is_ok()
}

fn command(key: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() && !text.contains('\0') => Ok(text.clone()),
        _ if key == "build" => Err(wrong(key, "a command, or a list of commands")),
        _ => Err(wrong(key, "a command")),
    }
}

fn wrong(key: &str, wanted: &str) -> Error {
    Error::usage(format!("'{key}' in 'rig.json' must be {wanted}")).field(key)
}

/// A file of the project, if it has one of that name.
fn read(dir: &Path, name: &str) -> Result<Option<String>> {
    let path = dir.join(name);
    let mut bytes = Vec::new();
    // To open a pipe would mean to wait for its writer.
    if path.exists() && !path.is_file() {
        return Ok(None);
    }
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", name, &error)),
    };
    file.take(FILE_MAX).read_to_end(&mut bytes).map_err(|error| Error::io("read", name, &error))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned()))
}

/// A JSON file of the project, which must be an object.
fn read_object(dir: &Path, name: &str) -> Result<Option<Map<String, Value>>> {
    let Some(text) = read(dir, name)? else { return Ok(None) };
    match serde_json::from_str::<Value>(&text) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        Ok(_) => Err(Error::usage(format!("'{name}' must be a JSON object"))),
        Err(error) => Err(Error::usage(format!("'{name}' is not valid JSON: {error}"))),
    }
}

/// A word as the shell reads it back.
fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), std::borrow::Cow::into_owned)
}
