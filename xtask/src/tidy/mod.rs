//! The architecture's rules, as far as a program can check them.
//!
//! Each rule reads the tree and says where it is broken; the command fails when any says anything. A warning
//! asks for attention and fails nothing.

mod architecture;
mod purity;
mod size;
mod source;
mod storeys;

pub(crate) use size::gzip_bytes;

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
    if findings.broken.is_empty() {
        println!("the tree keeps its rules ({} files)", files.len());
        return Ok(());
    }
    for broken in &findings.broken {
        println!("broken: {broken}");
    }
    bail!("{} rules of the tree are broken", findings.broken.len())
}
