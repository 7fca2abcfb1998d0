//! Counting passed, failed and skipped.

use std::time::{Duration, Instant};

use crate::run::say;

/// What has been counted so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
    times: Vec<(String, Duration)>,
}

impl Tally {
    /// Runs a named step and counts it as one test. Returns whether it passed.
    pub(crate) fn step(&mut self, name: &str, run: impl FnOnce() -> bool) -> bool {
        let passed = self.timed(name, |_| run());
        if passed {
            self.passed += 1;
        } else {
            self.failed.push(name.to_owned());
        }
        passed
    }

    /// Runs a named step that counts for itself.
    pub(crate) fn timed<R>(&mut self, name: &str, run: impl FnOnce(&mut Self) -> R) -> R {
        say(&format!("== {name}"));
        let start = Instant::now();
        let result = run(self);
        self.times.push((name.to_owned(), start.elapsed()));
        result
    }

    pub(crate) fn skip(&mut self, line: impl Into<String>) {
        self.skipped.push(line.into());
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
    /// count as skipped.
    pub(crate) fn add_libtest(&mut self, output: &str) {
        let skipped = skipped_lines(output);
        let mut passed = 0;
        for line in output.lines() {
            let line = line.trim();
            if let Some(counts) = line.strip_prefix("test result: ") {
                passed += count_before(counts, " passed");
                let failed = count_before(counts, " failed");
                self.failed.extend((0..failed).map(|_| "a test, see above".to_owned()));
            } else if line.starts_with("test ") && line.contains(" ... ignored") {
                self.skipped.push(line.to_owned());
            }
        }
        self.passed += passed - skipped.len().min(passed);
        self.skipped.extend(skipped);
    }

    /// A step failed without a test that says so (the build, a crash).
    pub(crate) fn fail(&mut self, what: &str) {
        self.failed.push(what.to_owned());
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
        let (failed, skipped) = (self.failed.len(), self.skipped.len());
        say(&format!("{} passed, {failed} failed, {skipped} skipped", self.passed));
        self.failed.is_empty()
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
    fn libtest_output_counts_every_binary() {
        let mut tally = Tally::default();
        tally.add_libtest(
            "SKIPPED: x: no root\ntest x ... ok\ntest docs (line 3) ... ignored\n\
             test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured\n\
             test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured\n",
        );
        assert_eq!(tally.passed, 5);
        assert_eq!(tally.failures(), 1);
        assert_eq!(tally.skipped.len(), 2);
    }
}
