//! The architecture's rules, as far as a program can check them.
//!
//! Each rule reads the tree and says where it is broken; the command fails when any says anything. A warning
//! asks for attention and fails nothing.

mod architecture;
mod purity;
mod size;
mod source;
mod storeys;

pub(crate) use size::{gzip_bytes, tab_is_within_budget};

use anyhow::{Result, bail};

/// What the rules found.
#[derive(Default)]
pub(crate) struct Findings {
    broken: Vec<String>,
    warnings: Vec<String>,
}

impl Findings {
    fn broken(&mut self, what: String) {
        self.broken.push(what);
    }

    fn warn(&mut self, what: String) {
        self.warnings.push(what);
    }

    /// Says what is broken, and fails where anything is.
    fn judge(&self) -> Result<()> {
        for broken in &self.broken {
            println!("broken: {broken}");
        }
        match self.broken.len() {
            0 => Ok(()),
            count => bail!("{count} rules of the tree are broken"),
        }
    }
}

/// Checks all rules.
pub(crate) fn run() -> Result<()> {
    let files = crate::workspace::files()?;
    let mut findings = Findings::default();
    storeys::check(&files, &mut findings)?;
    purity::check(&files, &mut findings)?;
    size::check(&files, &mut findings)?;
    architecture::check(&files, &mut findings)?;
    for warning in &findings.warnings {
        println!("warning: {warning}");
    }
    findings.judge()?;
    println!("the tree keeps its rules ({} files)", files.len());
    Ok(())
}
