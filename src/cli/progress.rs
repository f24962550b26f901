//! A bar on a terminal while something takes longer than a second. Nothing waits for it, and nothing
//! else depends on a clock.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::compile::Stage;

/// From when on a person wonders whether anything happens.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows how far something has come, until it is dropped.
pub struct Progress {
    stages: Option<Sender<Stage>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts to wait. Where standard error is no terminal, or `quiet`, nothing is ever said.
    pub fn of(what: &'static str, quiet: bool) -> Progress {
        if quiet || !io::stderr().is_terminal() {
            return Progress {
                stages: None,
                thread: None,
            };
        }
        let (stages, coming) = channel();
        let thread = thread::spawn(move || {
            let begin = Instant::now();
            let (mut now, mut shown) = (None, false);
            loop {
                let wait = PATIENCE.saturating_sub(begin.elapsed());
                let next = if wait.is_zero() {
                    coming.recv().map_err(|_| RecvTimeoutError::Disconnected)
                } else {
                    coming.recv_timeout(wait)
                };
                match next {
                    Ok(stage) => now = Some(stage),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                if begin.elapsed() >= PATIENCE {
                    draw(&line(what, now));
                    shown = true;
                }
            }
            if shown {
                draw("");
            }
        });
        Progress {
            stages: Some(stages),
            thread: Some(thread),
        }
    }

    /// Something has come so far.
    pub fn at(&self, stage: Stage) {
        if let Some(stages) = &self.stages {
            let _ = stages.send(stage);
        }
    }
}

/// In place of the terminal's last line. Who cannot be told need not be.
fn draw(line: &str) {
    let mut out = io::stderr();
    let _ = write!(out, "\r\u{1b}[K{line}").and_then(|()| out.flush());
}

/// In fewer columns than every terminal has: `compiling [####      ] client-certificates`.
fn line(what: &str, stage: Option<Stage>) -> String {
    let Some(stage) = stage else {
        return format!("{what} …");
    };
    let bar: String = (0..stage.of)
        .map(|part| if part < stage.done { '#' } else { ' ' })
        .collect();
    format!("{what} [{bar}] {}", stage.now)
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.stages.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phases::PHASES;

    #[test]
    fn a_bar_fits_on_every_terminal() {
        for phase in &PHASES {
            let stage = Stage {
                done: usize::from(phase.number) + 2,
                of: PHASES.len() + 3,
                now: phase.name,
            };
            let line = line("compiling", Some(stage));
            assert!(line.len() < 80, "{line}");
            assert_eq!(line.matches('#').count(), stage.done);
        }
    }
}
