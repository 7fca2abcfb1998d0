//! The smallest tenant that answers a call, keeps a record and raises a problem.

use std::io;
use std::path::PathBuf;

use api::daemon::ProblemKind;
use tokio::sync::oneshot;

use super::{Inbox, Message, Ready, Requests, Subsystem, Tenant as _};
use crate::problems::{Problems, Subject};
use crate::store::file;
use crate::testing::Folder;

const GREETINGS: Subject = Subject::Part("greetings");

/// Counts greetings, across restarts.
struct Greetings {
    record: PathBuf,
    count: u32,
    problems: Problems,
}

/// Greets; answered with the count when that is on disk.
struct Greet {
    answer: oneshot::Sender<u32>,
}

impl Greetings {
    fn start(record: PathBuf) -> Self {
        let count = std::fs::read_to_string(&record).ok().and_then(|text| text.parse().ok());
        Self { record, count: count.unwrap_or(0), problems: Problems::default() }
    }

    fn greet(&mut self, Greet { answer }: Greet) {
        let count = self.count + 1;
        match file::replace(&self.record, count.to_string().as_bytes(), true) {
            Ok(()) => {
                self.problems.clear(GREETINGS, ProblemKind::StoreUnwritable);
                self.count = count;
                let _ = answer.send(count);
            }
            // Not acknowledged: whoever waits hears that it was not done.
            Err(error) => {
                self.problems.raise(GREETINGS, ProblemKind::StoreUnwritable, error.to_string());
            }
        }
    }
}

impl Subsystem for Greetings {
    const NAME: &'static str = "greetings";
    type Request = Greet;

    async fn run(mut self, mut inbox: Inbox<Greet>, ready: Ready) -> io::Result<()> {
        let _ = ready.send(());
        loop {
            match inbox.receive().await {
                Message::Request(greet) => self.greet(greet),
                Message::Left(_) => {}
                Message::Problems(answer) => _ = answer.send(self.problems.list()),
                Message::Counters { answer, .. } => _ = answer.send(Vec::new()),
                Message::Stop => return Ok(()),
            }
        }
    }
}

#[tokio::test]
async fn it_is_asked_and_ends_like_any_other() {
    let folder = Folder::new("greetings");
    let record = folder.path().join("count");
    for expected in 1..=2 {
        let (requests, inbox) = Requests::new();
        let (ready, readied) = oneshot::channel();
        let task = tokio::spawn(Greetings::start(record.clone()).run(inbox, ready));
        readied.await.unwrap();
        assert_eq!(requests.ask(|_, answer| Greet { answer }).await, Some(expected));
        assert_eq!(requests.problems().await.unwrap(), []);
        requests.stop();
        task.await.unwrap().unwrap();
        assert_eq!(requests.ask(|_, answer| Greet { answer }).await, None, "it has ended");
        assert!(requests.problems().await.is_none(), "nobody can say");
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_a_problem_and_no_success() {
    let folder = Folder::new("greetings");
    let (requests, inbox) = Requests::new();
    let record = folder.path().join("missing/count");
    let task = tokio::spawn(Greetings::start(record).run(inbox, oneshot::channel().0));
    assert_eq!(requests.ask(|_, answer| Greet { answer }).await, None);
    assert_eq!(requests.problems().await.unwrap()[0].subject, "greetings");
    requests.stop();
    task.await.unwrap().unwrap();
}
