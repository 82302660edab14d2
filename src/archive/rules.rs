//! The ignore files on the way from a directory to what lies below it: which of their rules
//! decides about a path.

use crate::error::{Error, Result};
use crate::ignore::{Rule, Rules};
use crate::packed::packed;
use crate::sys::files;
use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;

/// What is never sent, whatever rules say: a repository is none of the app's files, nor is
/// the file that stands for it in a submodule or a further worktree.
const NEVER: &[u8] = b".git";

/// The names of ignore files, the one that counts where there are both first.
pub const NAMES: [&str; 2] = [".rigignore", ".gitignore"];

/// The rules that apply in a directory: those of its ignore file and of those above it.
#[derive(Clone)]
pub struct Stack(Rc<Level>);

struct Level {
    /// How much of a path stands for the directory, with its slash.
    skip: usize,
    /// The ignore file, below the root.
    file: String,
    rules: Rules,
    /// What applies in the directory above.
    above: Option<Stack>,
}

/// The rule that decides, and the file it stands in: no name for what is never sent.
pub type Decision<'a> = (&'a str, &'a Rule);

impl Stack {
    /// What applies everywhere.
    pub fn new() -> Stack {
        Stack(Rc::new(Level { skip: 0, file: String::new(), rules: Rules::parse(NEVER), above: None }))
    }

    /// With the ignore file of the directory `below` the root: `.rigignore`, or `.gitignore`
    /// where there is none. Nobody looks for one where it is known that there `may_be` none.
    pub fn enter(&self, root: &Path, below: &Path, may_be: bool) -> Result<Stack> {
        let prefix = below.as_os_str().len();
        for name in NAMES.iter().filter(|_| may_be) {
            let file = below.join(name);
            let path = root.join(&file);
            match read(&path) {
                Ok(text) => {
                    let file = file.to_string_lossy().into_owned();
                    let (skip, rules) = (prefix + usize::from(prefix > 0), Rules::parse(&text));
                    return Ok(Stack(Rc::new(Level { skip, file, rules, above: Some(self.clone()) })));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Error::io("read", &path.to_string_lossy(), &error)
                        .hint(packed!("its rules must be known: make it a file that can be read")));
                }
            }
        }
        Ok(self.clone())
    }

    /// What decides about `path`, below the root: of the deepest file with a rule that
    /// matches, the last one; but before all of them what is never sent.
    pub fn decide(&self, path: &Path, directory: bool) -> Option<Decision<'_>> {
        let (bytes, mut stack, mut found) = (files::bytes(path), self, None);
        loop {
            let level = &stack.0;
            if found.is_none() || level.above.is_none() {
                let rule = level.rules.decide(bytes.as_ref().get(level.skip..)?, directory);
                found = rule.map(|rule| (level.file.as_str(), rule)).or(found);
            }
            match &level.above {
                Some(above) => stack = above,
                None => return found,
            }
        }
    }
}

/// Links are not followed, as in git, but not passed over in silence either: then more would
/// be sent than somebody thinks.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if files::about(path)?.is_file() {
        return fs::read(path);
    }
    Err(io::Error::other("it is no regular file"))
}
