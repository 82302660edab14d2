//! Node: `package.json`.

use super::{Found, quoted, read, read_object};
use crate::error::Result;
use crate::maxd::cache::install::{NPM, NPM_LOCKED};
use serde_json::{Map, Value};
use std::path::Path;

/// What `package.json` says, if there is one.
pub fn find(dir: &Path) -> Result<Option<Found>> {
    let Some(package) = read_object(dir, "package.json")? else { return Ok(None) };
    let script = |name: &str| package.get("scripts").and_then(|scripts| scripts.get(name)?.as_str());
    let run = match script("start") {
        Some(_) => Some("npm start".to_owned()),
        None => program(dir, &package)?.map(|file| format!("node {}", quoted(&file))),
    };
    // A page with nothing but development tools, or a library, around it needs none of
    // them to be served.
    let page = run.is_none() && dir.join("index.html").is_file() && script("build").is_none();
    let mut build = Vec::new();
    if !page {
        let locked = ["package-lock.json", "npm-shrinkwrap.json"].iter().any(|name| dir.join(name).is_file());
        build.push(if locked { NPM_LOCKED } else { NPM }.to_owned());
        if script("build").is_some() {
            build.push("npm run build".to_owned());
        }
    }
    let kind = if page { "static" } else { "node" };
    Ok(Some(Found { kind, build, run }))
}

/// The file to run. Where a package has both, `bin` is the program and `main` the
/// library.
fn program(dir: &Path, package: &Map<String, Value>) -> Result<Option<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let name = package.get("name").and_then(Value::as_str).unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    let bin = match package.get("bin") {
        Some(Value::Object(bins)) => bins.get(name).or_else(|| bins.values().next()).and_then(text),
        Some(bin) => text(bin),
        None => None,
    };
    let main = package.get("main").and_then(text);
    let there = |file: String| {
        let with_suffix = format!("{file}.js");
        [file, with_suffix].into_iter().find(|file| !file.starts_with('-') && dir.join(file).is_file())
    };
    let program = [Some("server.js".to_owned()), bin].into_iter().flatten().find_map(there);
    if program.is_some() {
        return Ok(program);
    }
    let library = [main.clone(), Some("index.js".into()), Some("app.js".into())];
    if let Some(file) = library.into_iter().flatten().find_map(there) {
        // Beside a page it is a program only if it is a server.
        let page = dir.join("index.html").is_file();
        let serves = !page || read(dir, &file)?.is_some_and(|text| text.contains("listen"));
        return Ok(serves.then_some(file));
    }
    // What is not there may be made by the build.
    let built = package.get("scripts").and_then(|scripts| scripts.get("build")).is_some();
    Ok(main.filter(|file| built && !file.starts_with('-')))
}
