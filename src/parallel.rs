//! Work on all cores whose results come back in order, so that nobody can tell how many cores there
//! were. Knows nothing of what is done.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// How many cores there are.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// What `work` makes of each item, in the order of the items.
pub fn map<'a, T: Sync, R: Send>(items: &'a [T], work: impl Fn(&'a T) -> R + Sync) -> Vec<R> {
    let cores = cores();
    if cores == 1 || items.len() < 2 {
        return items.iter().map(work).collect();
    }
    // Items differ in size: whoever is free takes the next.
    let next = AtomicUsize::new(0);
    let share = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return done;
            };
            done.push((index, work(item)));
        }
    };
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..cores.min(items.len()))
            .map(|_| scope.spawn(share))
            .collect();
        let mut done = share();
        for other in others {
            done.extend(joined(other));
        }
        done
    });
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
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
    work: impl Fn(T) -> R + Send,
) -> (A, Vec<R>) {
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        let worker = scope.spawn(|| receiver.into_iter().map(work).collect());
        // Nobody listens any more only after a panic, which comes up where the worker is joined.
        let out = make(&mut |item| drop(sender.send(item)));
        drop(sender);
        (out, joined(worker))
    })
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
