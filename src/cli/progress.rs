//! A word on a terminal while something takes longer than a second. Nothing waits for it, and nothing
//! else depends on a clock.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// From when on a person wonders whether anything happens.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says what is going on until it is dropped.
pub struct Progress {
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts to wait. Where standard error is no terminal, or `quiet`, nothing is ever said.
    pub fn of(what: &'static str, quiet: bool) -> Progress {
        if quiet || !io::stderr().is_terminal() {
            return Progress {
                done: None,
                thread: None,
            };
        }
        let (done, wait) = channel::<()>();
        let thread = thread::spawn(move || {
            if wait
                .recv_timeout(PATIENCE)
                .is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                let mut out = io::stderr();
                let _ = write!(out, "{what} …").and_then(|()| out.flush());
                let _ = wait.recv();
                let _ = write!(out, "\r\u{1b}[K").and_then(|()| out.flush());
            }
        });
        Progress {
            done: Some(done),
            thread: Some(thread),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
