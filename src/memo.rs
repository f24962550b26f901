//! Remembering what was made of a text. Nearly every file is the same in all states of a rotation, and
//! many are the same on all nodes, so that what is asked of a text is asked again and again.
//!
//! Knows texts and values. Whoever remembers here must make the same value of the same parts every
//! time; then nobody can tell whether it was remembered. What fails is not remembered.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

/// What texts may have in bytes of which a memory holds what was made, before it begins anew. A
/// cluster of hundreds of nodes stays below, and what was made of the texts of thousands of nodes does not
/// pile up: it takes several times the room of its text.
const REMEMBERED: usize = 4 << 20;

/// The same for memories that hold next to nothing of a text.
const MUCH: usize = 1 << 30;

/// What was made of which parts. All threads share it.
pub struct Memo<T> {
    known: Mutex<Known<T>>,
    limit: usize,
}

struct Known<T> {
    made: HashMap<[u8; 32], T, BuildHasherDefault<DefaultHasher>>,
    bytes: usize,
}

impl<T: Clone> Memo<T> {
    /// Nothing remembered yet.
    pub const fn new() -> Memo<T> {
        Memo::up_to(REMEMBERED)
    }

    const fn up_to(limit: usize) -> Memo<T> {
        let known = Known {
            made: HashMap::with_hasher(BuildHasherDefault::new()),
            bytes: 0,
        };
        Memo {
            known: Mutex::new(known),
            limit,
        }
    }

    /// The value of these parts: remembered, or made now.
    pub fn recall<E>(&self, parts: &[&[u8]], make: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let key = key(parts);
        if let Some(known) = self.known().made.get(&key) {
            return Ok(known.clone());
        }
        let value = make()?;
        let mut known = self.known();
        let bytes = parts.iter().map(|part| part.len()).sum();
        known.bytes += bytes;
        if known.bytes > self.limit {
            known.made.clear();
            known.bytes = bytes;
        }
        known.made.insert(key, value.clone());
        Ok(value)
    }

    /// Values are whole or not there, whatever happened to another thread.
    fn known(&self) -> MutexGuard<'_, Known<T>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Memo<T> {
    /// Nothing remembered yet, and room for what takes next to none: a yes or a no, or what others keep anyhow.
    pub const fn of_little() -> Memo<T> {
        Memo::up_to(MUCH)
    }
}

/// The parts one after another, each behind its length, so that no two lists of parts look alike; their
/// SHA-256, so that the memory does not hold the texts.
fn key(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(memo: &Memo<usize>, parts: &[&[u8]], made: &mut usize) -> Result<usize, ()> {
        memo.recall(parts, || {
            *made += 1;
            let length: usize = parts.iter().map(|p| p.len()).sum();
            if length == 0 { Err(()) } else { Ok(length) }
        })
    }

    #[test]
    fn a_value_is_made_once_for_the_same_parts_and_never_shared_between_others() {
        let (memo, mut made) = (Memo::new(), 0);
        for parts in [&[b"ab" as &[u8], b"c"][..], &[b"a", b"bc"], &[b"abc"]] {
            assert_eq!(length(&memo, parts, &mut made), Ok(3));
            assert_eq!(length(&memo, parts, &mut made), Ok(3));
        }
        assert_eq!(made, 3);
    }

    #[test]
    fn what_fails_is_asked_again() {
        let (memo, mut made) = (Memo::new(), 0);
        assert_eq!(length(&memo, &[], &mut made), Err(()));
        assert_eq!(length(&memo, &[], &mut made), Err(()));
        assert_eq!(made, 2);
    }

    #[test]
    fn memory_is_bounded() {
        let large = vec![0; REMEMBERED / 2 + 1];
        let (memo, mut made) = (Memo::new(), 0);
        for first in 0..4u8 {
            assert!(length(&memo, &[&[first], &large], &mut made).is_ok());
            let known = memo.known();
            assert!(known.bytes <= REMEMBERED && known.made.len() == 1);
        }
        assert_eq!(made, 4);
    }
}
