//! What a person waiting sees: named steps, each with the time it took.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How a step ended well.
pub(crate) enum Outcome {
    /// Work was done.
    Done(String),
    /// Nothing had to be done.
    Already(String),
}

/// Runs one named step, and says when it begins, how it ended and how long it took.
pub(crate) fn step(name: &str, work: impl FnOnce() -> Result<Outcome>) -> Result<()> {
    let started = Instant::now();
    println!("· {name}");
    let outcome = work().with_context(|| name.to_owned())?;
    let (mark, detail) = match outcome {
        Outcome::Done(detail) => ("✓", detail),
        Outcome::Already(detail) => ("=", detail),
    };
    println!("{mark} {name}: {detail} ({})", Elapsed(started.elapsed()));
    Ok(())
}

/// A duration as people say it.
pub(crate) struct Elapsed(pub(crate) Duration);

impl Display for Elapsed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.as_secs();
        if seconds >= 60 {
            write!(formatter, "{} min {} s", seconds / 60, seconds % 60)
        } else {
            write!(formatter, "{:.1} s", self.0.as_secs_f64())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_are_said_in_minutes() {
        assert_eq!(Elapsed(Duration::from_millis(1250)).to_string(), "1.2 s");
        assert_eq!(Elapsed(Duration::from_secs(125)).to_string(), "2 min 5 s");
    }
}
