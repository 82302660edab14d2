//! The ignore files on the way from a directory to what lies below it: which of their rules
//! decides about a path.

use crate::error::{Error, Result};
use crate::ignore::{Rule, Rules};
use crate::packed::packed;
use crate::sys::files;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is never sent, whatever rules say: a repository is none of the app's files, nor is
/// the file that stands for it in a submodule or a further worktree.
const NEVER: &[u8] = b".git";

/// The names of ignore files, the one that counts where there are both first.
pub const NAMES: [&str; 2] = [".rigignore", ".gitignore"];

/// The rules that apply in a directory: those of its ignore file and of those above it.
pub struct Stack(Vec<Level>);

struct Level {
    /// How much of a path stands for the directory, with its slash.
    skip: usize,
    /// The ignore file, below the root.
    file: String,
    rules: Rules,
}

/// The rule that decides, and the file it stands in: no name for what is never sent.
pub type Decision<'a> = (&'a str, &'a Rule);

impl Stack {
    /// What applies everywhere.
    pub fn new() -> Stack {
        Stack(vec![Level { skip: 0, file: String::new(), rules: Rules::parse(NEVER) }])
    }

    /// Adds the ignore file of the directory `below` the root: `.rigignore`, or `.gitignore`
    /// where there is none. Nobody looks for one where it is known that there `may_be` none.
    pub fn enter(&mut self, root: &Path, below: &Path, may_be: bool) -> Result<()> {
        let prefix = below.as_os_str().len();
        let (mut file, mut text) = (PathBuf::new(), Vec::new());
        for name in NAMES.iter().filter(|_| may_be) {
            file = below.join(name);
            let path = root.join(&file);
            match read(&path) {
                Ok(found) => {
                    text = found;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Error::io("read", &path.to_string_lossy(), &error)
                        .hint(packed!("its rules must be known: make it a file that can be read")));
                }
            }
        }
        let file = file.to_string_lossy().into_owned();
        self.0.push(Level { skip: prefix + usize::from(prefix > 0), file, rules: Rules::parse(&text) });
        Ok(())
    }

    /// Takes the rules away that were added last.
    pub fn leave(&mut self) {
        self.0.pop();
    }

    /// What decides about `path`, below the root: of the deepest file with a rule that
    /// matches, the last one.
    pub fn decide(&self, path: &Path, directory: bool) -> Option<Decision<'_>> {
        let path = files::bytes(path);
        let (never, others) = self.0.split_first()?;
        std::iter::once(never).chain(others.iter().rev()).find_map(|level| {
            let rule = level.rules.decide(path.as_ref().get(level.skip..)?, directory)?;
            Some((level.file.as_str(), rule))
        })
    }
}

/// Links are not followed, as in git, but not passed over in silence either: then more would
/// be sent than somebody thinks.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if fs::symlink_metadata(path)?.is_file() {
        return fs::read(path);
    }
    Err(io::Error::other("it is no regular file"))
}
