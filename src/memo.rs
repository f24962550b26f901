//! Remembering what was made of a text. Nearly every file is the same in all states of a rotation, and
//! many are the same on all nodes, so that what is asked of a text is asked again and again.
//!
//! Knows texts and values. Whoever remembers here must make the same value of the same parts every
//! time; then nobody can tell whether it was remembered. What fails is not remembered.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many bytes of keys one memory holds before it begins anew. A cluster of a handful of nodes
/// stays far below, and the texts of thousands of nodes do not pile up.
const REMEMBERED: usize = 16 << 20;

/// What was made of which parts. All threads share it.
pub struct Memo<T>(Mutex<Known<T>>);

struct Known<T> {
    made: HashMap<Box<[u8]>, T, BuildHasherDefault<DefaultHasher>>,
    bytes: usize,
}

impl<T: Clone> Memo<T> {
    /// Nothing remembered yet.
    pub const fn new() -> Memo<T> {
        Memo(Mutex::new(Known {
            made: HashMap::with_hasher(BuildHasherDefault::new()),
            bytes: 0,
        }))
    }

    /// The value of these parts: remembered, or made now.
    pub fn recall<E>(&self, parts: &[&[u8]], make: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let key = key(parts);
        if let Some(known) = self.known().made.get(&key[..]) {
            return Ok(known.clone());
        }
        let value = make()?;
        let mut known = self.known();
        known.bytes += key.len();
        if known.bytes > REMEMBERED {
            known.made.clear();
            known.bytes = key.len();
        }
        known.made.insert(key.into(), value.clone());
        Ok(value)
    }

    /// Values are whole or not there, whatever happened to another thread.
    fn known(&self) -> MutexGuard<'_, Known<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The parts one after another, each behind its length, so that no two lists of parts look alike.
fn key(parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len() + 8).sum();
    let mut key = Vec::with_capacity(length);
    for part in parts {
        key.extend((part.len() as u64).to_le_bytes());
        key.extend_from_slice(part);
    }
    key
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
            assert!(memo.known().bytes <= REMEMBERED);
        }
        assert_eq!(made, 4);
    }
}
