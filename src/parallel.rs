//! Work on all cores whose results come back in order, so that nobody can tell how many cores there
//! were. Knows nothing of what is done.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

/// How many cores there are.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// What `work` makes of each item, in the order of the items.
pub fn map<'a, T: Sync, R: Send>(
    items: &'a [T],
    work: impl Fn(&'a T) -> R + Sync + Send,
) -> Vec<R> {
    items.par_iter().map(work).collect()
}

/// Both results; the two are made at the same time where a core is free.
pub fn both<A: Send, B: Send>(
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B + Send,
) -> (A, B) {
    rayon::join(first, second)
}

/// What `make` gives, and what `work` makes of each item that `make` hands over meanwhile, in their
/// order.
pub fn pipeline<T: Send, A, R: Send>(
    make: impl FnOnce(&mut dyn FnMut(T)) -> A,
    work: impl Fn(T) -> R + Sync,
) -> (A, Vec<R>) {
    let done = Mutex::new(Vec::new());
    let out = rayon::in_place_scope(|scope| {
        let mut count = 0_usize;
        make(&mut |item| {
            let (number, done, work) = (count, &done, &work);
            count += 1;
            scope.spawn(move |_| {
                let result = work(item);
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                done.push((number, result));
            });
        })
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(number, _)| *number);
    (out, done.into_iter().map(|(_, result)| result).collect())
}

/// Frees on another core what takes long to free. Nobody waits for it.
pub fn let_go<T: Send + 'static>(value: T) {
    rayon::spawn(move || drop(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_their_items_whoever_was_first() {
        let items: Vec<u64> = (0..200).collect();
        let slow_first = |n: &u64| {
            thread::sleep(std::time::Duration::from_micros(200 - n));
            n * n
        };
        let squares: Vec<u64> = items.iter().map(|n| n * n).collect();
        assert_eq!(map(&items, slow_first), squares);
        assert_eq!(map(&items[..1], slow_first), [0]);
        assert_eq!(map(&items[..0], slow_first), [0; 0]);
    }

    #[test]
    fn both_are_done() {
        assert_eq!(both(|| 1, || "two"), (1, "two"));
    }

    #[test]
    fn what_is_handed_over_comes_out_worked_on_in_order() {
        let hand_over = |to: &mut dyn FnMut(u32)| {
            (0..50).for_each(to);
            "made"
        };
        let (made, doubled) = pipeline(hand_over, |n| 2 * n);
        let expected: Vec<u32> = (0..50).map(|n| 2 * n).collect();
        assert_eq!((made, doubled), ("made", expected));
    }

    #[test]
    #[should_panic(expected = "seven")]
    fn a_panic_of_a_pipeline_is_not_lost() {
        pipeline(|to| (0..50).for_each(to), |n| assert!(n != 7, "seven"));
    }

    #[test]
    #[should_panic(expected = "seven")]
    fn a_panic_is_not_lost() {
        map(&[1, 7, 3], |n| assert!(*n != 7, "seven"));
    }
}
