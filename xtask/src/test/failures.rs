//! What failed tests said, kept for the end: there it is found, below all that went well.

/// Lines of one test. What went wrong comes first, and states that are dumped behind it can be long.
const LINES_OF_ONE: usize = 40;
/// Of all. Where more fails, it is mostly for one reason.
const LINES: usize = 400;

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    lines: Vec<String>,
    /// How many more lines of the test that is being read are kept.
    left: usize,
}

impl Failures {
    /// What was kept.
    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// A line of `cargo test`, which says of each failed test `---- its name stdout ----`, and then all names again.
    pub(crate) fn read_cargo_line(&mut self, line: &str) {
        if line.starts_with("---- ") && line.ends_with(" ----") {
            self.left = LINES_OF_ONE;
        } else if line == "failures:" {
            self.left = 0;
        }
        self.keep(line);
    }

    /// A line of TAP: `not ok 3 - its name`, and a block of YAML that `...` ends.
    pub(crate) fn read_tap_line(&mut self, line: &str) {
        if line.trim_start().starts_with("not ok ") {
            self.left = LINES_OF_ONE;
        }
        self.keep(line);
        if line.trim() == "..." {
            self.left = 0;
        }
    }

    /// A line of a script that says how each check went: `FAIL name …`.
    pub(crate) fn read_check_line(&mut self, line: &str) {
        self.left = usize::from(line.starts_with("FAIL "));
        self.keep(line);
    }

    fn keep(&mut self, line: &str) {
        if self.left > 0 && self.lines.len() < LINES {
            self.left -= 1;
            self.lines.push(line.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(read: impl Fn(&mut Failures, &str), text: &str) -> Vec<String> {
        let mut failures = Failures::default();
        text.lines().for_each(|line| read(&mut failures, line));
        failures.lines().to_vec()
    }

    #[test]
    fn cargos_failures_are_kept_without_what_is_around_them() {
        let text = "test a ... FAILED\n\nfailures:\n\n---- a stdout ----\nit broke\n---- b stdout ----\nas did this\n\nfailures:\n    a\n    b\n";
        let expected = ["---- a stdout ----", "it broke", "---- b stdout ----", "as did this", ""];
        assert_eq!(kept(Failures::read_cargo_line, text), expected);
    }

    #[test]
    fn taps_failures_are_kept_with_their_reasons() {
        let text =
            "ok 1 - a\n  ---\n  fine: 1\n  ...\nnot ok 2 - b\n  ---\n  error: 'gone'\n  ...\nok 3 - c\n";
        assert_eq!(
            kept(Failures::read_tap_line, text),
            ["not ok 2 - b", "  ---", "  error: 'gone'", "  ..."]
        );
    }

    #[test]
    fn of_many_lines_the_first_are_kept() {
        let one = format!("---- a stdout ----\n{}", "x\n".repeat(LINES));
        assert_eq!(kept(Failures::read_cargo_line, &one).len(), LINES_OF_ONE);
        assert_eq!(kept(Failures::read_cargo_line, &one.repeat(LINES)).len(), LINES);
    }

    #[test]
    fn a_check_that_failed_is_its_line() {
        let text = "ok   dial\nFAIL echo: no answer\n    at echo\nok   end";
        assert_eq!(kept(Failures::read_check_line, text), ["FAIL echo: no answer"]);
    }
}
