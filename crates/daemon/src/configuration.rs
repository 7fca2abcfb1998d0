//! The configuration in force, and reading it again.
//!
//! Each part of the daemon holds a [watch](Configuration::watch) on all of it and goes over to what
//! concerns it. What has been published when a reload is answered is seen by every part before
//! anything that is asked of it afterwards: each looks at its watch before its requests.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::daemon::{Problem, ProblemKind};
use tokio::sync::watch;

use crate::config::{Config, ConfigError, DEFAULT_FILE, LogLevel};
use crate::log;
use crate::problems::{Problems, Subject};

const CONFIGURATION: Subject = Subject::Part("configuration");

/// What there is of it now, and when it changes.
pub(crate) type Watch = watch::Receiver<Arc<Config>>;

/// The configuration, for any number of holders. Clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The file that the caller named, which has to exist.
    named: Option<PathBuf>,
    /// The level that the caller asked for, above the file's.
    log: Option<LogLevel>,
    current: watch::Sender<Arc<Config>>,
    problems: Mutex<Problems>,
    /// Held until the file is read, whether or not anybody waits for that: what is read last is in force
    /// last, and a file that does not answer keeps one thread.
    reading: Arc<tokio::sync::Mutex<()>>,
}

impl Configuration {
    /// Reads the file named, or else the default one, which need not exist.
    pub(crate) fn load(named: Option<&Path>, log: Option<LogLevel>) -> Result<Self, ConfigError> {
        let config = Arc::new(Config::load(named)?);
        let inner = Inner {
            named: named.map(Path::to_owned),
            log,
            current: watch::Sender::new(config),
            problems: Mutex::default(),
            reading: Arc::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The file that is read.
    pub(crate) fn file(&self) -> &Path {
        self.inner.named.as_deref().unwrap_or(Path::new(DEFAULT_FILE))
    }

    /// The least important messages to log.
    pub(crate) fn log_level(&self) -> LogLevel {
        self.inner.log.unwrap_or(self.inner.current.borrow().daemon.log)
    }

    /// The configuration in force.
    pub(crate) fn watch(&self) -> Watch {
        self.inner.current.subscribe()
    }

    /// Reads the file again, and goes over to it. On an error nothing changes, and a problem stands
    /// until the file can be used again.
    pub(crate) async fn reload(&self) -> Result<(), ConfigError> {
        let reading = self.inner.reading.clone().lock_owned().await;
        let reader = self.clone();
        // Opening a file may wait for as long as somebody wants: a FIFO, a file system of a network.
        let read = tokio::task::spawn_blocking(move || {
            let _reading = reading;
            reader.read()
        });
        // Cancelled only where the daemon ends: there is nothing to go over to.
        read.await.unwrap_or(Ok(()))
    }

    fn read(&self) -> Result<(), ConfigError> {
        let file = self.file().display();
        let config = match Config::load(self.inner.named.as_deref()) {
            Ok(config) => config,
            Err(error) => {
                let text = format!("{error}; the configuration from before stays in force");
                self.problems_mut().raise(CONFIGURATION, ProblemKind::ConfigurationInvalid, text);
                return Err(error);
            }
        };
        self.problems_mut().clear(CONFIGURATION, ProblemKind::ConfigurationInvalid);
        tracing::info!("{file}: read again");
        self.inner.current.send_replace(Arc::new(config));
        log::set_level(self.log_level());
        Ok(())
    }

    /// What an administrator should know of.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.problems_mut().list()
    }

    /// What is inside is whole between any two statements.
    fn problems_mut(&self) -> MutexGuard<'_, Problems> {
        self.inner.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[tokio::test]
    async fn what_cannot_be_used_changes_nothing_and_is_a_problem() {
        let folder = Folder::new("configuration");
        let file = folder.path().join("iphelper.toml");
        std::fs::write(&file, "[daemon]\ngroup = 'a'\n").unwrap();
        let configuration = Configuration::load(Some(&file), None).unwrap();
        let mut watch = configuration.watch();

        std::fs::write(&file, "[daemon]\ngruop = 'b'\n").unwrap();
        let error = configuration.reload().await.unwrap_err();
        assert_eq!(error.line, Some(2));
        assert!(!watch.has_changed().unwrap());
        assert_eq!(configuration.problems()[0].subject, "configuration");

        std::fs::write(&file, "[daemon]\ngroup = 'b'\n").unwrap();
        configuration.reload().await.unwrap();
        assert_eq!(watch.borrow_and_update().daemon.group, "b");
        assert_eq!(configuration.problems(), []);
    }

    #[tokio::test]
    async fn a_file_that_does_not_answer_is_read_by_one() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let folder = Folder::new("configuration");
        let file = folder.path().join("iphelper.toml");
        std::fs::write(&file, "").unwrap();
        let configuration = Configuration::load(Some(&file), None).unwrap();
        std::fs::remove_file(&file).unwrap();
        mknodat(CWD, &file, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        // Callers that leave before there is a writer.
        for _ in 0..3 {
            let soon = std::time::Duration::from_millis(50);
            tokio::time::timeout(soon, configuration.reload()).await.unwrap_err();
        }
        assert!(configuration.inner.reading.try_lock().is_err(), "the first goes on");
        let write =
            tokio::task::spawn_blocking(move || std::fs::write(&file, "[daemon]\nlog = 'warn'\n"));
        write.await.unwrap().unwrap();
        let turn = configuration.inner.reading.clone().lock_owned();
        let _turn = tokio::time::timeout(std::time::Duration::from_secs(20), turn).await.unwrap();
        assert_eq!(configuration.watch().borrow().daemon.log, LogLevel::Warn);
    }
}
