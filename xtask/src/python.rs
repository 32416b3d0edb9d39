//! Tools that PyPI has: each set in an environment of its own below `target/tools`, of the versions that are written
//! down beside what they test.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::process::{answer, command, run};
use crate::steps::{Outcome, step};
use crate::tools::how_to_get;
use crate::workspace::root;

/// A directory with the programs of an environment, `python` among them. `requirements` names versions, exactly.
pub(crate) fn environment(name: &str, requirements: &str) -> Result<PathBuf> {
    let directory = root().join("target/tools").join(name);
    let programs = directory.join("bin");
    step(&format!("Python packages of {requirements}"), || {
        let wanted =
            std::fs::read_to_string(root().join(requirements)).context("reading the requirements")?;
        // Written last, so that an interrupted installation does not look finished.
        let installed = directory.join("installed.txt");
        if std::fs::read_to_string(&installed).is_ok_and(|found| found == wanted) {
            return Ok(Outcome::Already("installed".into()));
        }
        if answer("python3", &["-c", "import venv, ensurepip"]).is_none() {
            python_venv()?;
        }
        install_into(&directory, requirements)?;
        std::fs::write(&installed, &wanted)?;
        Ok(Outcome::Done(format!("installed into target/tools/{name}")))
    })?;
    Ok(programs)
}

fn install_into(directory: &Path, requirements: &str) -> Result<()> {
    run(&mut command("python3", &["-m", "venv", "--clear", &directory.to_string_lossy()]))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements];
    run(&mut command(&directory.join("bin/python").to_string_lossy(), &pip))
}

/// Python's own way of making environments, which Debian packs apart from Python.
fn python_venv() -> Result<()> {
    anyhow::ensure!(may_install(), "python3 with venv is missing: {}", how_to_get("python3"));
    install(&["python3", "python3-venv"])
}

/// Whether the distribution's packages can be installed without asking anybody.
pub(crate) fn may_install() -> bool {
    answer("id", &["-u"]).as_deref() == Some("0") && answer("apt-get", &["--version"]).is_some()
}

/// Installs the distribution's packages.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    run(&mut command("apt-get", &["update", "-q"]))?;
    let mut install = command("apt-get", &["install", "-qy", "--no-install-recommends"]);
    run(install.args(packages).env("DEBIAN_FRONTEND", "noninteractive"))
}
