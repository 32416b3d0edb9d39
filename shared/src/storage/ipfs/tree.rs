//! A tree of directories, filled by paths in any order.

use std::collections::BTreeMap;

use super::import::{ImportError, Imported, NewBlock, directory};

/// Directories within each other. Every file system that we know ends earlier.
pub const MAX_TREE_DEPTH: usize = 256;

/// Names and what they are.
#[derive(Debug, Default)]
pub struct Tree {
    entries: BTreeMap<Vec<u8>, Branch>,
}

#[derive(Debug)]
enum Branch {
    Leaf(Imported),
    Inner(Tree),
}

impl Tree {
    /// Puts what was imported at a path of names; the directories above come into being.
    ///
    /// # Errors
    /// [`ImportError`]; the tree is as before then, but for empty directories.
    pub fn insert(&mut self, path: &[&[u8]], imported: Imported) -> Result<(), ImportError> {
        let Some((name, above)) = path.split_last() else { return Err(ImportError::Name(String::new())) };
        let tree = self.descend(above)?;
        lawful(name)?;
        if tree.entries.contains_key(*name) {
            return Err(ImportError::Twice(shown(name)));
        }
        tree.entries.insert(name.to_vec(), Branch::Leaf(imported));
        Ok(())
    }

    /// Makes sure that there is a directory, empty or not.
    ///
    /// # Errors
    /// [`ImportError`].
    pub fn directory(&mut self, path: &[&[u8]]) -> Result<(), ImportError> {
        self.descend(path).map(|_| ())
    }

    fn descend(&mut self, path: &[&[u8]]) -> Result<&mut Self, ImportError> {
        if path.len() > MAX_TREE_DEPTH {
            return Err(ImportError::TooDeep);
        }
        let mut tree = self;
        for name in path {
            lawful(name)?;
            let branch = tree.entries.entry(name.to_vec()).or_insert_with(|| Branch::Inner(Self::default()));
            tree = match branch {
                Branch::Inner(inner) => inner,
                Branch::Leaf(_) => return Err(ImportError::Twice(shown(name))),
            };
        }
        Ok(tree)
    }

    /// The directories' blocks, from the bottom up; the last is the root's.
    ///
    /// # Errors
    /// [`ImportError::Collision`].
    pub fn finish(self, emit: &mut impl FnMut(NewBlock)) -> Result<Imported, ImportError> {
        let mut entries = BTreeMap::new();
        for (name, branch) in self.entries {
            let imported = match branch {
                Branch::Leaf(imported) => imported,
                Branch::Inner(tree) => tree.finish(emit)?,
            };
            entries.insert(name, imported);
        }
        directory(&entries, emit)
    }
}

fn lawful(name: &[u8]) -> Result<(), ImportError> {
    let refused = name.is_empty()
        || name == b"."
        || name == b".."
        || name.contains(&b'/')
        || name.contains(&0)
        // The specification's names are text; other implementations cannot read others.
        || core::str::from_utf8(name).is_err();
    if refused { Err(ImportError::Name(shown(name))) } else { Ok(()) }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
