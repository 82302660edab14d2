//! The names of an archive: no name twice, nothing below what is no directory, no
//! link that leads out. Pure; the disk is not asked.

use super::{clean, refused, shown};
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// How many links are followed to find where one leads. Linux gives up after 40, so
/// what takes longer leads nowhere.
const HOPS: usize = 64;

enum Node {
    File,
    /// `announced` by an entry of its own, not only by its content.
    Dir {
        announced: bool,
    },
    Link {
        target: Vec<u8>,
    },
}

/// All names so far, by their clean path.
#[derive(Default)]
pub struct Tree {
    nodes: BTreeMap<Vec<u8>, Node>,
}

impl Tree {
    /// How many names there are.
    pub fn len(&self) -> u64 {
        self.nodes.len() as u64
    }

    /// Makes sure that everything above `path` is a directory. Returns those that are
    /// new, the highest first.
    pub fn claim_parents(&mut self, path: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut new = Vec::new();
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let parent = path.get(..at).unwrap_or_default();
            match self.nodes.get(parent) {
                Some(Node::Dir { .. }) => {}
                Some(Node::File) => {
                    return Err(refused(path, &format!("'{}' is a file", shown(parent))));
                }
                Some(Node::Link { .. }) => {
                    return Err(refused(path, &format!("'{}' is a symbolic link", shown(parent))));
                }
                None => {
                    self.nodes.insert(parent.to_vec(), Node::Dir { announced: false });
                    new.push(parent.to_vec());
                }
            }
        }
        Ok(new)
    }

    /// Adds a directory. False when its content came first.
    pub fn add_dir(&mut self, path: &[u8]) -> Result<bool> {
        match self.nodes.get_mut(path) {
            Some(Node::Dir { announced }) if !*announced => {
                *announced = true;
                Ok(false)
            }
            _ => self.add(path, Node::Dir { announced: true }).map(|()| true),
        }
    }

    /// Adds a file.
    pub fn add_file(&mut self, path: &[u8]) -> Result<()> {
        self.add(path, Node::File)
    }

    /// Adds a symbolic link.
    pub fn add_link(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let wrong = match target {
            [] => Some("it is a symbolic link to nothing"),
            [b'/', ..] => Some("it is a symbolic link to an absolute path"),
            _ if target.contains(&0) => Some("its target has a null byte"),
            _ if target.len() > super::PATH_MAX => Some("its target is too long"),
            _ => None,
        };
        match wrong {
            Some(why) => Err(refused(path, why)),
            None => self.add(path, Node::Link { target: target.to_vec() }),
        }
    }

    fn add(&mut self, path: &[u8], node: Node) -> Result<()> {
        match self.nodes.insert(path.to_vec(), node) {
            None => Ok(()),
            Some(_) => Err(refused(path, "its name occurs twice")),
        }
    }

    /// Every link with its target, all of which stay inside.
    pub fn checked_links(&self) -> Result<Vec<(&[u8], &[u8])>> {
        let mut links = Vec::new();
        for (path, node) in &self.nodes {
            let Node::Link { target } = node else { continue };
            self.check(path, target)?;
            links.push((path.as_slice(), target.as_slice()));
        }
        Ok(links)
    }

    /// Follows a link as the kernel would.
    fn check(&self, path: &[u8], target: &[u8]) -> Result<()> {
        let escape = || -> Error {
            refused(
                path,
                &format!("it is a symbolic link that leads out of the tree, to '{}'", shown(target)),
            )
        };
        let parent = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let mut at = clean(path.get(..parent).unwrap_or_default())?;
        // What is still to be walked, the next part last.
        let mut todo = parts(target);
        let mut hops = 0;
        while let Some(part) = todo.pop() {
            if part == b".." {
                if at.is_empty() {
                    return Err(escape());
                }
                let parent = at.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                at.truncate(parent);
                continue;
            }
            let parent = at.len();
            if !at.is_empty() {
                at.push(b'/');
            }
            at.extend_from_slice(part);
            if let Some(Node::Link { target }) = self.nodes.get(&at) {
                hops += 1;
                if hops > HOPS {
                    return Ok(());
                }
                at.truncate(parent);
                todo.extend(parts(target));
            }
        }
        Ok(())
    }
}

fn parts(target: &[u8]) -> Vec<&[u8]> {
    target.rsplit(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect()
}
