//! Remembering what was read of a node: every phase, the proof and the reviewer's views ask the same of nodes
//! that share their files with the state before.
//!
//! Knows nodes by where they lie in memory. A weak reference keeps a place from being taken by another
//! node, and lets whoever changes the node do so in a place of its own, so that nothing outdated is found. What fails is
//! not remembered.

use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use rustc_hash::FxHashMap;

use crate::diagnostic::Result;
use crate::names::NodeName;
use crate::state::Node;

/// How many nodes are remembered before those that are gone are forgotten for the first time.
const FEW: usize = 1 << 12;

/// What was read of nodes. All threads share it.
pub struct Seen<T>(LazyLock<Mutex<Known<T>>>);

struct Known<T> {
    read: FxHashMap<usize, Of<T>>,
    forget_at: usize,
}

struct Of<T> {
    node: Weak<Node>,
    name: NodeName,
    what: T,
}

impl<T: Clone> Seen<T> {
    /// Nothing read yet.
    pub const fn new() -> Seen<T> {
        Seen(LazyLock::new(|| {
            Mutex::new(Known {
                read: FxHashMap::default(),
                forget_at: FEW,
            })
        }))
    }

    /// What is read of this node: remembered, or read now.
    pub fn of(
        &self,
        name: &NodeName,
        node: &Arc<Node>,
        read: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let place = Arc::as_ptr(node) as usize;
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().read.get(&place)
            && known.node.strong_count() > 0
            && known.name == *name
        {
            return Ok(known.what.clone());
        }
        let what = read()?;
        let mut known = lock();
        if known.read.len() >= known.forget_at {
            known.read.retain(|_, of| of.node.strong_count() > 0);
            known.forget_at = FEW.max(2 * known.read.len());
        }
        let of = Of {
            node: Arc::downgrade(node),
            name: name.clone(),
            what: what.clone(),
        };
        known.read.insert(place, of);
        Ok(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Role;
    use crate::state::{Entry, Files};

    fn node() -> Arc<Node> {
        Arc::new(Node {
            role: Role::Worker,
            files: Files::default(),
        })
    }

    fn count(seen: &Seen<usize>, name: &str, node: &Arc<Node>, read: &mut usize) -> usize {
        let name = NodeName::new(name).unwrap();
        let files = node.files.len();
        seen.of(&name, node, || {
            *read += 1;
            Ok(files)
        })
        .unwrap()
    }

    #[test]
    fn a_node_is_read_once_and_again_when_it_was_changed() {
        let (seen, mut read) = (Seen::new(), 0);
        let mut one = node();
        assert_eq!(count(&seen, "a", &one, &mut read), 0);
        assert_eq!(count(&seen, "a", &one, &mut read), 0);
        assert_eq!(count(&seen, "a", &one.clone(), &mut read), 0);
        assert_eq!(read, 1);
        // Nobody else has it: it would be changed where it lies, were it not known here.
        let path = crate::names::NodePath::new("/a").unwrap();
        Arc::make_mut(&mut one).files.insert(path, Entry::Withheld);
        assert_eq!(count(&seen, "a", &one, &mut read), 1);
        assert_eq!(count(&seen, "b", &one, &mut read), 1);
        assert_eq!(read, 3);
    }

    #[test]
    fn what_is_gone_is_forgotten_and_its_place_is_not_mistaken() {
        let (seen, mut read) = (Seen::new(), 0);
        let kept = node();
        count(&seen, "kept", &kept, &mut read);
        for _ in 0..3 * FEW {
            count(&seen, "a", &node(), &mut read);
        }
        assert_eq!(read, 1 + 3 * FEW);
        assert!(seen.0.lock().unwrap().read.len() <= FEW);
        count(&seen, "kept", &kept, &mut read);
        assert_eq!(read, 1 + 3 * FEW);
    }
}
