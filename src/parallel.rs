//! Work on all cores whose results come back in order, so that nobody can tell how many cores there
//! were. Knows nothing of what is done.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError, mpsc};
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

/// Both results; the two are made at the same time.
pub fn both<A: Send, B>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        (joined(first), second)
    })
}

/// What `make` gives, and what `work` makes of each item that `make` hands over meanwhile, in their
/// order.
pub fn pipeline<T: Send, A, R: Send>(
    make: impl FnOnce(&mut dyn FnMut(T)) -> A,
    work: impl Fn(T) -> R + Sync,
) -> (A, Vec<R>) {
    let (sender, receiver) = mpsc::channel();
    let receiver = Mutex::new(receiver);
    let next = || {
        let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
        receiver.recv().ok()
    };
    let worker = || {
        let items = std::iter::from_fn(next);
        items
            .map(|(number, item)| (number, work(item)))
            .collect::<Vec<(usize, R)>>()
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores()).map(|_| scope.spawn(worker)).collect();
        let mut count = 0;
        // Nobody listens any more only after a panic, which comes up where the worker is joined.
        let out = make(&mut |item| {
            drop(sender.send((count, item)));
            count += 1;
        });
        drop(sender);
        let mut done: Vec<(usize, R)> = workers.into_iter().flat_map(joined).collect();
        done.sort_unstable_by_key(|(number, _)| *number);
        (out, done.into_iter().map(|(_, result)| result).collect())
    })
}

/// Frees on another core what takes long to free. Nobody waits for it.
pub fn let_go<T: Send + 'static>(value: T) {
    rayon::spawn(move || drop(value));
}

/// A panic goes on where the thread is waited for.
fn joined<R>(thread: thread::ScopedJoinHandle<'_, R>) -> R {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
