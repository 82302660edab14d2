//! What a build begins with when it installs packages, and what that depends on. Where it depends
//! on more than can be told (the project's own scripts, packages within the project) its
//! result is used by no other build.

use crate::error::{Error, Result};
use crate::manifest::{Hasher, hex};
use crate::maxd::secrets::Environment;
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};

/// Makes the virtual environment of a Python project.
pub const VENV: &str = "python3 -m venv .venv";
/// Installs what a file requires, or the project itself with all it requires.
pub const PIP_FILE: &str = ".venv/bin/python -m pip install -r requirements.txt";
pub const PIP_PROJECT: &str = ".venv/bin/python -m pip install .";
/// Install what is locked, or what `package.json` asks for.
pub const NPM_LOCKED: &str = "npm ci";
pub const NPM: &str = "npm install";

/// In the key: another one when what is kept changes its form.
const FORM: &str = "1";
/// The largest file that is read.
const FILE_MAX: u64 = 16 << 20;
/// How many files requirements may consist of.
const FILES_MAX: usize = 100;

/// The scripts that npm runs when it installs a project (npm's documentation of scripts, "npm ci").
const SCRIPTS: &[&str] = &[
    "preinstall",
    "install",
    "postinstall",
    "prepublish",
    "preprepare",
    "prepare",
    "postprepare",
    "dependencies",
];

/// Commands with which builds begin, and what is known of them.
struct Known {
    commands: &'static [&'static str],
    directory: &'static str,
    /// How many of them need not run where the result is there.
    spared: usize,
    versions: &'static str,
    read: fn(&mut Inputs<'_>) -> Result<()>,
}

const NODE: &str = "node --version && npm --version && uname -m";
const PYTHON: &str = "python3 -c 'import sys; print(sys.version, sys.base_prefix)' && uname -m";

const KNOWN: &[Known] = &[
    Known { commands: &[NPM_LOCKED], directory: "node_modules", spared: 1, versions: NODE, read: npm },
    Known { commands: &[NPM], directory: "node_modules", spared: 1, versions: NODE, read: npm },
    Known {
        commands: &[VENV, PIP_FILE],
        directory: ".venv",
        spared: 2,
        versions: PYTHON,
        read: requirements,
    },
    // The project itself is installed anew: over its former version, and beside what it requires.
    Known {
        commands: &[VENV, PIP_PROJECT],
        directory: ".venv",
        spared: 1,
        versions: PYTHON,
        read: pyproject,
    },
];

/// The beginning of a build that installs packages.
pub struct Install {
    /// What it makes.
    pub directory: &'static str,
    /// How many of the build's commands it is.
    pub commands: usize,
    /// How many of them need not run where the result is there.
    pub spared: usize,
    /// A command that tells the versions of what installs.
    pub versions: &'static str,
    /// Why no other build can use the result, if it can't.
    pub unfit: Option<String>,
    hasher: Hasher,
}

impl Install {
    /// That of the project in `dir` with these build commands.
    pub fn find(dir: &Path, build: &[String]) -> Result<Option<Install>> {
        let begins = |known: &&Known| {
            build.len() >= known.commands.len()
                && build.iter().zip(known.commands).all(|(one, other)| one == other)
        };
        let Some(known) = KNOWN.iter().find(begins) else { return Ok(None) };
        let Known { commands, directory, spared, versions, read } = *known;
        let mut inputs = Inputs { dir, hasher: Hasher::new(), files: 0, unfit: None };
        inputs.part(FORM.as_bytes());
        commands.iter().for_each(|command| inputs.part(command.as_bytes()));
        if dir.join(directory).symlink_metadata().is_ok() {
            inputs.unfit(format!("'{directory}' was sent"));
        } else {
            read(&mut inputs)?;
        }
        let Inputs { hasher, unfit, .. } = inputs;
        Ok(Some(Install { directory, commands: commands.len(), spared, versions, unfit, hasher }))
    }

    /// The key of its result, with what `versions` has said and what the build finds in its
    /// environment, which scripts of packages may go by.
    pub fn key(self, versions: &[u8], environment: &Environment) -> String {
        let mut hasher = self.hasher;
        part(&mut hasher, versions);
        environment.parts().for_each(|one| part(&mut hasher, one));
        hex(&hasher.finish())
    }
}

/// With its length, so that no two lists of parts have the same bytes.
fn part(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// What an installation depends on, as it is read.
struct Inputs<'a> {
    dir: &'a Path,
    hasher: Hasher,
    files: usize,
    unfit: Option<String>,
}

impl Inputs<'_> {
    fn part(&mut self, bytes: &[u8]) {
        part(&mut self.hasher, bytes);
    }

    fn unfit(&mut self, why: String) {
        self.unfit.get_or_insert(why);
    }

    /// Takes a file in, if it is there.
    fn file(&mut self, name: &str) -> Result<Option<String>> {
        let path = self.dir.join(name);
        if !path.is_file() {
            return Ok(None);
        }
        let (mut text, failed) = (Vec::new(), |error| Error::io("read", name, &error));
        File::open(&path).map_err(failed)?.take(FILE_MAX + 1).read_to_end(&mut text).map_err(failed)?;
        if text.len() as u64 > FILE_MAX {
            self.unfit(format!("'{name}' is large"));
        }
        self.part(name.as_bytes());
        self.part(&text);
        Ok(Some(String::from_utf8_lossy(&text).into_owned()))
    }
}

fn npm(inputs: &mut Inputs<'_>) -> Result<()> {
    for name in [".npmrc", "yarn.lock"] {
        inputs.file(name)?;
    }
    for name in ["package.json", "package-lock.json", "npm-shrinkwrap.json"] {
        let Some(text) = inputs.file(name)? else { continue };
        // npm says what is wrong with one that is not JSON.
        let Ok(value) = serde_json::from_str::<Value>(&text) else { continue };
        if is_local(&value) {
            inputs.unfit(format!("'{name}' names packages within the project"));
        }
        if name == "package.json" {
            let scripts = value.get("scripts");
            if let Some(script) =
                SCRIPTS.iter().find(|name| scripts.is_some_and(|all| all.get(name).is_some()))
            {
                inputs.unfit(format!("'package.json' has the script '{script}'"));
            }
            if value.get("workspaces").is_some() {
                inputs.unfit("'package.json' has workspaces".to_owned());
            }
        }
    }
    // npm builds it when it installs.
    if inputs.dir.join("binding.gyp").exists() {
        inputs.unfit("the project has a 'binding.gyp'".to_owned());
    }
    Ok(())
}

/// Whether a dependency is a directory or an archive of the project. In a lock directories are links.
fn is_local(value: &Value) -> bool {
    let local = |version: &Value| {
        let version = version.as_str().unwrap_or_default();
        ["file:", "link:", "./", "../", "/", "~/"].iter().any(|start| version.starts_with(start))
    };
    match value {
        Value::Object(object) => object.iter().any(|(name, value)| match (name.as_str(), value) {
            ("link", Value::Bool(link)) => *link,
            ("version" | "resolved", value) => local(value),
            (_, Value::Object(packages)) if name.to_ascii_lowercase().ends_with("dependencies") => {
                packages.values().any(|package| local(package) || is_local(package))
            }
            (_, value) => is_local(value),
        }),
        _ => false,
    }
}

fn pyproject(inputs: &mut Inputs<'_>) -> Result<()> {
    ["pyproject.toml", "setup.py", "setup.cfg"].iter().try_for_each(|name| inputs.file(name).map(drop))
}

/// `requirements.txt` and the files it names (pip's documentation of the format).
fn requirements(inputs: &mut Inputs<'_>) -> Result<()> {
    let mut rest = vec!["requirements.txt".to_owned()];
    while let Some(name) = rest.pop() {
        inputs.files += 1;
        if inputs.files > FILES_MAX {
            inputs.unfit(format!("there are more than {FILES_MAX} files of requirements"));
            return Ok(());
        }
        let Some(text) = inputs.file(&name)? else {
            inputs.unfit(format!("'{name}' is not there"));
            continue;
        };
        for line in text.replace("\\\r\n", "").replace("\\\n", "").lines() {
            let line = line.trim();
            match Line::read(line) {
                Line::Plain => {}
                Line::File(file) if inner(file) => {
                    let beside = Path::new(&name).with_file_name(file);
                    rest.extend(beside.to_str().map(str::to_owned));
                }
                Line::File(_) | Line::Local => inputs.unfit(format!("'{name}' has the line '{line}'")),
            }
        }
    }
    Ok(())
}

/// A path that does not leave the project.
fn inner(path: &str) -> bool {
    let path = Path::new(path);
    !path.to_string_lossy().contains("://")
        && path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

enum Line<'a> {
    /// All that counts stands in the line.
    Plain,
    /// A file of further lines.
    File(&'a str),
    /// Something that may change while its name stays.
    Local,
}

impl Line<'_> {
    fn read(line: &str) -> Line<'_> {
        if line.is_empty() || line.starts_with('#') {
            return Line::Plain;
        }
        let line = line.split(" #").next().unwrap_or_default().trim();
        let option = |names: &[&str]| {
            let found = names.iter().find_map(|name| line.strip_prefix(name));
            found.map(|value| value.trim_start_matches(['=', ' ', '\t']).trim_matches(['"', '\'']))
        };
        if let Some(file) = option(&["--requirement", "--constraint", "-r", "-c"]) {
            return Line::File(file);
        }
        if option(&["--editable", "-e", "--find-links", "-f"]).is_some() {
            return Line::Local;
        }
        if line.starts_with('-') {
            return Line::Plain;
        }
        let wanted = line.split([';', ' ']).next().unwrap_or_default();
        let archive = [".whl", ".zip", ".gz", ".bz2", ".xz"].iter().any(|end| wanted.ends_with(end));
        let scheme = line.split_once("://").map(|(before, _)| before);
        match scheme {
            // A branch moves.
            Some(scheme) if scheme.contains('+') || scheme.ends_with("file") => Line::Local,
            Some(_) => Line::Plain,
            None if line.contains("file:") || wanted.contains('/') || wanted.starts_with('.') || archive => {
                Line::Local
            }
            None if line.contains('@') && line.contains('/') => Line::Local,
            None => Line::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The key for these files, or why there is none.
    fn key(build: &[&str], files: &[(&str, &str)]) -> String {
        let temp = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = temp.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let build: Vec<_> = build.iter().map(|one| (*one).to_owned()).collect();
        let Some(install) = Install::find(temp.path(), &build).unwrap() else { return "none".to_owned() };
        match install.unfit.clone() {
            Some(why) => why,
            None => install.key(b"1", &Environment::default()),
        }
    }

    #[test]
    fn a_key_is_that_of_all_that_counts_and_of_nothing_else() {
        let npm = &[NPM_LOCKED, "npm run build"];
        let package = ("package.json", r#"{"dependencies":{"a":"^1"}}"#);
        let lock = ("package-lock.json", "{}");
        let first = key(npm, &[package, lock]);
        assert_eq!(first.len(), 64);
        assert_eq!(first, key(npm, &[package, lock, ("server.js", "x")]));
        assert_eq!(first, key(&[NPM_LOCKED], &[package, lock]));
        for (build, files) in [
            (NPM, [package, lock, ("x", "")]),
            (NPM_LOCKED, [package, ("package-lock.json", "{ }"), ("x", "")]),
            (NPM_LOCKED, [("package.json", "{}"), lock, ("x", "")]),
            (NPM_LOCKED, [package, lock, (".npmrc", "omit=dev")]),
        ] {
            assert_ne!(first, key(&[build], &files));
        }
        assert_eq!(key(&["make", NPM_LOCKED], &[package, lock]), "none");
        assert_eq!(key(&["npm ci --omit=dev"], &[package, lock]), "none");
        let install = || Install::find(Path::new("/nowhere"), &[NPM.to_owned()]).unwrap().unwrap();
        let with = |name: &str| Environment::without_secrets(vec![(name.to_owned(), "1".to_owned())]);
        assert_ne!(install().key(b"1", &with("A")), install().key(b"2", &with("A")));
        assert_ne!(install().key(b"1", &with("A")), install().key(b"1", &with("B")));
    }

    #[test]
    fn what_depends_on_the_project_itself_has_no_key() {
        for (files, why) in [
            (
                &[("package.json", r#"{"scripts":{"postinstall":"x"}}"#)][..],
                "'package.json' has the script 'postinstall'",
            ),
            (&[("package.json", r#"{"workspaces":["a"]}"#)], "'package.json' has workspaces"),
            (
                &[("package.json", r#"{"devDependencies":{"a":"file:a"}}"#)],
                "'package.json' names packages within the project",
            ),
            (
                &[("package-lock.json", r#"{"packages":{"node_modules/a":{"resolved":"a","link":true}}}"#)],
                "'package-lock.json' names packages within the project",
            ),
            (
                &[("package-lock.json", r#"{"dependencies":{"a":{"version":"file:a.tgz"}}}"#)],
                "'package-lock.json' names packages within the project",
            ),
            (&[("binding.gyp", "")], "the project has a 'binding.gyp'"),
            (&[("node_modules/a/index.js", "")], "'node_modules' was sent"),
        ] {
            assert_eq!(key(&[NPM_LOCKED], files), why);
        }
    }

    #[test]
    fn requirements_are_followed_through_their_files() {
        let pip = &[VENV, PIP_FILE];
        let plain = "flask==3.1 ; python_version > '3'\n# -e .\n--index-url https://x/simple\n\
                     a[b] @ https://x/a.whl # c\nd \\\n --hash=sha256:0\n";
        assert_eq!(key(pip, &[("requirements.txt", plain)]).len(), 64);
        let top = ("requirements.txt", "-r more/base.txt\n-c=limits.txt");
        let limits = ("limits.txt", "a<2");
        let first = key(pip, &[top, ("more/base.txt", "a"), limits]);
        assert_eq!(first.len(), 64);
        assert_ne!(first, key(pip, &[top, ("more/base.txt", "b"), limits]));
        assert_eq!(key(pip, &[top]), "'limits.txt' is not there");
        for line in [
            "-e .",
            "--editable=git+https://x/y",
            ".",
            "./a",
            "a/b",
            "a.whl",
            "a.tar.gz",
            "a @ file:///x",
            "git+https://x/y@main",
            "-f wheels",
            "-r ../x.txt",
            "-c https://x/y",
            "a @ b/c",
        ] {
            assert_eq!(
                key(pip, &[("requirements.txt", line)]),
                format!("'requirements.txt' has the line '{line}'")
            );
        }
        let project = ("pyproject.toml", "[project]");
        let first = key(&[VENV, PIP_PROJECT], &[project]);
        assert_eq!(first, key(&[VENV, PIP_PROJECT], &[project, ("a.py", "")]));
        assert_ne!(first, key(&[VENV, PIP_PROJECT], &[project, ("setup.py", "")]));
    }
}
