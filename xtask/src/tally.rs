//! Counting tests: passed, failed and skipped; and steps that failed or could not be taken, which are
//! no tests.

use std::time::{Duration, Instant};

use crate::run::say;

/// What has been counted so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
    failed_steps: Vec<String>,
    left_out: Vec<String>,
    times: Vec<(String, Duration)>,
}

impl Tally {
    /// Runs a named step. Returns whether it passed.
    pub(crate) fn step(&mut self, name: &str, run: impl FnOnce() -> bool) -> bool {
        let passed = self.timed(name, |_| run());
        if !passed {
            self.fail(name);
        }
        passed
    }

    /// Runs a named step that counts its tests.
    pub(crate) fn timed<R>(&mut self, name: &str, run: impl FnOnce(&mut Self) -> R) -> R {
        say(&format!("== {name}"));
        let start = Instant::now();
        let result = run(self);
        self.times.push((name.to_owned(), start.elapsed()));
        result
    }

    /// A step that cannot be taken, and why.
    pub(crate) fn leave_out(&mut self, line: impl Into<String>) {
        self.left_out.push(line.into());
    }

    /// Adds what nextest wrote to its JUnit report.
    ///
    /// A test that found something missing has passed as far as nextest knows; its `SKIPPED:` line
    /// tells.
    pub(crate) fn add_junit(&mut self, report: &str) {
        let skipped = skipped_lines(&unescape(report));
        let mut tests = 0;
        for case in report.split("<testcase ").skip(1) {
            let case = case.split("</testcase>").next().unwrap_or_default();
            tests += 1;
            if case.contains("<failure") || case.contains("<error") {
                let class = attribute(case, "classname").unwrap_or_default();
                let name = attribute(case, "name").unwrap_or_default();
                self.failed.push(format!("{class} {name}"));
                tests -= 1;
            }
        }
        self.passed += tests - skipped.len().min(tests);
        self.skipped.extend(skipped);
    }

    /// Adds what `cargo test` printed. Tests marked `#[ignore]` and documentation that is not run
    /// count as skipped, but for those that are run by others.
    pub(crate) fn add_libtest(&mut self, output: &str) {
        let skipped = skipped_lines(output);
        let mut passed = 0;
        for line in output.lines() {
            let line = line.trim();
            if let Some(counts) = line.strip_prefix("test result: ") {
                passed += count_before(counts, " passed");
                let failed = count_before(counts, " failed");
                self.failed.extend((0..failed).map(|_| "a test, see above".to_owned()));
            } else if line.starts_with("test ")
                && line.contains(" ... ignored")
                && !line.contains("run by other tests")
            {
                self.skipped.push(line.to_owned());
            }
        }
        self.passed += passed - skipped.len().min(passed);
        self.skipped.extend(skipped);
    }

    /// A step failed, or tests without one that says so (a crash).
    pub(crate) fn fail(&mut self, step: &str) {
        self.failed_steps.push(step.to_owned());
    }

    pub(crate) fn failures(&self) -> usize {
        self.failed.len()
    }

    /// Prints times, skips, failures and the closing line. Returns whether nothing failed.
    pub(crate) fn close(self) -> bool {
        say("== summary");
        for (name, time) in &self.times {
            say(&format!("{:8.1} s  {name}", time.as_secs_f64()));
        }
        for line in &self.skipped {
            say(&format!("SKIPPED: {line}"));
        }
        for name in &self.failed {
            say(&format!("FAILED: {name}"));
        }
        for line in &self.left_out {
            say(&format!("STEP LEFT OUT: {line}"));
        }
        for name in &self.failed_steps {
            say(&format!("STEP FAILED: {name}"));
        }
        say(&self.closing_line());
        self.failed.is_empty() && self.failed_steps.is_empty()
    }

    /// Tests alone are counted; a step is only spoken of where something is wrong with it.
    fn closing_line(&self) -> String {
        let (failed, skipped) = (self.failed.len(), self.skipped.len());
        let mut line = format!("{} passed, {failed} failed, {skipped} skipped", self.passed);
        for (steps, what) in [(&self.failed_steps, "failed"), (&self.left_out, "left out")] {
            if !steps.is_empty() {
                let word = if steps.len() == 1 { "step" } else { "steps" };
                line.push_str(&format!("; {} {word} {what}", steps.len()));
            }
        }
        line
    }
}

/// What follows `SKIPPED: ` on the lines that begin so.
fn skipped_lines(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.trim_start().split_once("SKIPPED: "))
        // A report puts the first line of an output right behind the tag that opens it.
        .filter(|(before, _)| before.is_empty() || before.ends_with('>'))
        .map(|(_, rest)| rest.trim_end().trim_end_matches("</system-err>").to_owned())
        .collect()
}

fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = element.split_once(&format!("{name}=\""))?;
    rest.split('"').next()
}

fn count_before(text: &str, unit: &str) -> usize {
    let number = text.split(unit).next().and_then(|before| before.rsplit(' ').next());
    number.and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

fn unescape(text: &str) -> String {
    let quotes = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    quotes.replace("&apos;", "'").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junit_counts_failures_and_visible_skips() {
        let mut tally = Tally::default();
        tally.add_junit(
            r#"<testsuites name="nextest-run" tests="3">
            <testcase name="a" classname="lab" time="0.1"><system-err>SKIPPED: a: needs &quot;kea&quot;
</system-err></testcase>
            <testcase name="b" classname="lab" time="0.1"/>
            <testcase name="c" classname="lab" time="0.1"><failure message="x">SKIP</failure></testcase>
            </testsuites>"#,
        );
        assert_eq!(tally.passed, 1);
        assert_eq!(tally.failed, ["lab c"]);
        assert_eq!(tally.skipped, ["a: needs \"kea\""]);
    }

    #[test]
    fn steps_are_no_tests() {
        let mut tally = Tally::default();
        assert!(tally.step("format", || true));
        assert_eq!(tally.closing_line(), "0 passed, 0 failed, 0 skipped");
        assert!(!tally.step("build", || false));
        tally.leave_out("dependencies: cargo-deny is not installed");
        let line = "0 passed, 0 failed, 0 skipped; 1 step failed; 1 step left out";
        assert_eq!(tally.closing_line(), line);
        assert!(!tally.close());
    }

    #[test]
    fn libtest_output_counts_every_binary() {
        let mut tally = Tally::default();
        tally.add_libtest(
            "SKIPPED: x: no root\ntest x ... ok\ntest docs (line 3) ... ignored\n\
             test child ... ignored, run by other tests as a process of its own\n\
             test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured\n\
             test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured\n",
        );
        assert_eq!(tally.passed, 5);
        assert_eq!(tally.failures(), 1);
        assert_eq!(tally.skipped.len(), 2);
    }
}
