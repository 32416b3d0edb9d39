//! How many tests passed and failed, by what the test runners themselves print.

/// Tests that ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Count {
    pub(crate) fn one(passed: bool) -> Self {
        Self { passed: u64::from(passed), failed: u64::from(!passed) }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// A runner that ended badly without naming a failed test (it did not compile, it crashed), or that
    /// ran nothing at all, is one failure: silence is not success.
    pub(crate) fn judged(mut self, ended_well: bool) -> Self {
        if self.failed == 0 && (self.passed == 0 || !ended_well) {
            self.failed += 1;
        }
        self
    }

    /// A line of `cargo test`: `test result: ok. 12 passed; 0 failed; 1 ignored; …`.
    pub(crate) fn read_cargo_line(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        for part in result.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let number = words.next().and_then(|word| word.parse::<u64>().ok());
            match (number, words.next()) {
                (Some(number), Some("passed")) => self.passed += number,
                (Some(number), Some("failed")) => self.failed += number,
                _ => {}
            }
        }
    }

    /// A line of a script that says how each check went: `ok   name …`, `FAIL name …`.
    pub(crate) fn read_check_line(&mut self, line: &str) {
        match line.split_whitespace().next() {
            Some("ok") => self.passed += 1,
            Some("FAIL") => self.failed += 1,
            _ => {}
        }
    }

    /// A line of the summary that ends node's TAP output: `# pass 3`, `# fail 1`, `# cancelled 1`.
    pub(crate) fn read_tap_line(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        if words.next() != Some("#") {
            return;
        }
        let (name, number) = (words.next(), words.next().and_then(|word| word.parse::<u64>().ok()));
        match (name, number, words.next()) {
            (Some("pass"), Some(number), None) => self.passed += number,
            (Some("fail" | "cancelled"), Some(number), None) => self.failed += number,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_lines_add_up() {
        let mut count = Count::default();
        count
            .read_cargo_line("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; finished in 0.1s");
        count.read_cargo_line("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured");
        count.read_cargo_line("test it_says::test_result_3_passed ... ok");
        assert_eq!(count, Count { passed: 15, failed: 2 });
    }

    #[test]
    fn node_lines_add_up() {
        let mut count = Count::default();
        for line in ["# tests 5", "# suites 1", "# pass 3", "# fail 1", "# cancelled 1", "# skipped 0"] {
            count.read_tap_line(line);
        }
        count.read_tap_line("# pass 7 of these by hand");
        assert_eq!(count, Count { passed: 3, failed: 2 });
    }

    #[test]
    fn check_lines_add_up() {
        let mut count = Count::default();
        for line in ["ok   dial (12 ms)", "FAIL echo: no answer", "    at ok (run.mjs:1)", "okay"] {
            count.read_check_line(line);
        }
        assert_eq!(count, Count { passed: 1, failed: 1 });
    }

    #[test]
    fn a_suite_that_did_not_run_has_failed() {
        assert_eq!(Count::default().judged(true).failed, 1);
        assert_eq!(Count::default().judged(false).failed, 1);
        assert_eq!(Count { passed: 3, failed: 0 }.judged(false).failed, 1);
        assert_eq!(Count { passed: 3, failed: 2 }.judged(false).failed, 2);
        assert_eq!(Count { passed: 3, failed: 0 }.judged(true).failed, 0);
    }
}
