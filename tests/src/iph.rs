use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lab::Namespace;
use serde_json::Value;

/// How a run of `iph` ended.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The exit code.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Answer {
    /// The output as JSON, one value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The output as JSON, one value a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line);
        let values: Result<_, _> = self.out.lines().map(parse).collect();
        values.unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The answer itself, if it was a success.
    #[track_caller]
    pub fn success(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }
}

/// Runs `iph` in a namespace to its end.
#[track_caller]
pub fn iph(namespace: &Namespace, socket: &Path, arguments: &[&str]) -> Answer {
    let mut command = Command::new(program());
    command.arg("--socket").arg(socket).args(arguments);
    run(namespace, command)
}

/// The `iph` that was built with the tests.
#[track_caller]
pub(crate) fn program() -> std::path::PathBuf {
    lab::built("iph").unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a command in a namespace to its end.
#[track_caller]
pub fn run(namespace: &Namespace, mut command: Command) -> Answer {
    use std::process::Stdio;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Wide enough that no line is broken, plain so that it can be compared.
    command.env("COLUMNS", "200").env("NO_COLOR", "1").env_remove("IPHELPER_SOCKET");
    let child = namespace.spawn(command).expect("iph starts");
    let pid = child.id();
    let watchdog = std::thread::spawn(move || {
        let process = sys::process::PidFd::open(pid)?;
        if !process.wait_ended(Some(Duration::from_secs(60)))? {
            process.signal(sys::process::SIGKILL)?;
        }
        Ok::<_, std::io::Error>(())
    });
    let output = child.wait_with_output().expect("iph ends");
    let _ = watchdog.join();
    Answer {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
