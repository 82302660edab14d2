//! `rig.json`, which links a directory to an app and a network. Its other members
//! (build, run, health) are Max's to read.

use super::atomic;
use crate::error::{Error, Result};
use crate::json;
use std::io::Write;
use std::path::Path;

/// The file's name.
pub const FILE: &str = "rig.json";

/// What links a directory.
#[derive(Default)]
pub struct Project {
    /// The app's name.
    pub app: Option<String>,
    /// The network's name.
    pub network: Option<String>,
}

/// Reads `rig.json` in `directory`; an empty project when there is none.
pub fn load(directory: &Path) -> Result<Project> {
    let path = directory.join(FILE);
    let Some(text) = atomic::read(&path)? else { return Ok(Project::default()) };
    parse(&text, &path.to_string_lossy())
}

fn parse(text: &str, name: &str) -> Result<Project> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Err(offset) = json::check(text.as_bytes()) {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        return Err(Error::usage(format!("'{name}' is no JSON: line {line}, column {column}")));
    }
    let member = |key: &str| match json::member(text, key) {
        None | Some("null") => Ok(None),
        Some(raw) => match json::string(raw) {
            Some(value) => Ok(Some(value.into_owned())),
            None => Err(Error::usage(format!("in '{name}', \"{key}\" must be a string"))),
        },
    };
    Ok(Project { app: member("app")?, network: member("network")? })
}

/// Writes a new `rig.json` that links `directory`; an error when there is one.
pub fn create(directory: &Path, app: &str, network: &str) -> Result<()> {
    let path = directory.join(FILE);
    let text = format!("{{\n  \"app\": \"{app}\",\n  \"network\": \"{network}\"\n}}\n");
    std::fs::File::create_new(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Error::io("write", &path.to_string_lossy(), &error))
}

/// Gives the last of these members of the `rig.json` in `directory` another value, if that has all
/// of them: whether it has. The rest of the file stays as it is.
pub fn relink(directory: &Path, members: &[(&str, &str)], value: &str) -> Result<bool> {
    let path = directory.join(FILE);
    let Some(text) = atomic::read(&path)? else { return Ok(false) };
    let Some(text) = replaced(&text, members, value) else { return Ok(false) };
    std::fs::write(&path, text).map_err(|error| Error::io("write", &path.to_string_lossy(), &error))?;
    Ok(true)
}

fn replaced(text: &str, members: &[(&str, &str)], value: &str) -> Option<String> {
    let mut raw = "";
    for (key, wanted) in members {
        raw = json::member(text.strip_prefix('\u{feff}').unwrap_or(text), key)?;
        if raw.trim_matches('"') != *wanted {
            return None;
        }
    }
    // It is a part of the text.
    let begin = raw.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let (before, after) = (text.get(..begin)?, text.get(begin + raw.len()..)?);
    Some([before, "\"", value, "\"", after].concat())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_link_is_changed_and_nothing_else_of_the_file() {
        let text = "\u{feff}{ \"run\": {\"app\": \"web\"},\r\n\t\"app\" : \"web\" ,\"network\":\"blue\"}\n";
        let wanted = text.replace("\"app\" : \"web\"", "\"app\" : \"shop\"");
        let names = [("network", "blue"), ("app", "web")];
        assert_eq!(replaced(text, &names, "shop").as_deref(), Some(wanted.as_str()));
        assert_eq!(replaced(text, &[("network", "green"), ("app", "web")], "x"), None);
        assert_eq!(replaced(text, &[("build", "x")], "y"), None);
    }

    #[test]
    fn app_and_network_are_read_and_the_rest_is_left_to_max() {
        let project =
            parse(r#"{"app":"web","network":"blue","run":"x","health":{"path":"/"}}"#, "rig.json").unwrap();
        assert_eq!((project.app.as_deref(), project.network.as_deref()), (Some("web"), Some("blue")));
        let project = parse("{}", "rig.json").unwrap();
        assert!(project.app.is_none() && project.network.is_none());
    }

    #[test]
    fn an_error_says_where() {
        let error = parse("{\n  \"app\": web\n}", "rig.json").err().unwrap();
        assert_eq!(error.message(), "'rig.json' is no JSON: line 2, column 10");
        let error = parse("{\"app\": 5}", "rig.json").err().unwrap();
        assert_eq!(error.message(), "in 'rig.json', \"app\" must be a string");
    }
}
