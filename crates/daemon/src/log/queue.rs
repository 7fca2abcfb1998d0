use std::io;
use std::mem;
use std::os::fd::BorrowedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Lines on their way out.
///
/// Whoever has something to say leaves it here and goes on. A thread of its own writes, and waits
/// for as long as nobody reads: for a journal that is stopped, a terminal that is held, a pipe that
/// is full. What has no room meanwhile is lost, and counted.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Whole lines, to be written at once.
    lines: Vec<u8>,
    /// Those that came after them and found no room.
    lost: u64,
    /// The thread has some, and is not done with them.
    is_writing: bool,
    has_thread: bool,
}

/// The most bytes that wait; the thread has as many again under way. Some 2,000 lines: what a start
/// with a thousand interfaces says at once.
const ROOM: usize = 256 * 1024;

impl Queue {
    pub(super) const fn new() -> Self {
        let state = State { lines: Vec::new(), lost: 0, is_writing: false, has_thread: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Takes a line, with its end.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.lost > 0 || state.lines.len() + line.len() > ROOM {
            state.lost += 1;
            return;
        }
        state.lines.extend_from_slice(line);
        self.changed.notify_all();
    }

    /// Starts the thread that writes to `output`, unless there is one.
    pub(super) fn start(&'static self, output: BorrowedFd<'static>) -> io::Result<()> {
        let mut state = self.lock();
        if !state.has_thread {
            thread::Builder::new().name("log".into()).spawn(move || self.write_to(output))?;
            state.has_thread = true;
        }
        Ok(())
    }

    /// Waits until everything is written, or so long. Returns whether it is.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if state.lines.is_empty() && state.lost == 0 && !state.is_writing {
                return true;
            }
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, rest);
            state = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
    }

    fn write_to(&self, output: BorrowedFd<'_>) -> ! {
        loop {
            let lines = self.take();
            write_all(output, &lines);
            self.lock().is_writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for lines. What was lost was lost behind those that were waiting.
    fn take(&self) -> Vec<u8> {
        let mut state = self.lock();
        while state.lines.is_empty() && state.lost == 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.is_writing = true;
        let mut lines = mem::take(&mut state.lines);
        match mem::take(&mut state.lost) {
            0 => {}
            1 => lines.extend_from_slice(b"1 line was lost: nobody read what came before it\n"),
            lost => {
                let text = format!("{lost} lines were lost: nobody read what came before them\n");
                lines.extend_from_slice(text.as_bytes());
            }
        }
        lines
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic happens under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes all of it, however long that takes. Not by way of [`std::io::stderr`], whose lock would be
/// held for as long.
fn write_all(output: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(output, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            // Whoever has the other end of our output made it so.
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&output, PollFlags::OUT)], None);
            }
            // Nobody reads any more, or a disk is full: there is nobody to tell.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, PipeReader};
    use std::os::fd::AsFd as _;

    use super::*;

    /// More than any of this takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A queue that a thread writes to a pipe of the smallest size.
    fn piped() -> (&'static Queue, PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
        let writer: &'static _ = Box::leak(Box::new(writer));
        let queue: &'static Queue = Box::leak(Box::new(Queue::new()));
        queue.start(writer.as_fd()).unwrap();
        (queue, reader)
    }

    #[test]
    fn what_nobody_reads_stops_nobody_and_is_counted() {
        let (queue, reader) = piped();
        let line = |number: usize| format!("{number:>99}\n");
        const LINES: usize = 20_000;
        for number in 0..LINES {
            queue.push(line(number).as_bytes());
            let state = queue.lock();
            assert!(state.lines.len() <= ROOM);
        }
        assert!(!queue.wait(Duration::from_millis(1)));
        let mut reader = BufReader::new(reader);
        let (mut next, mut lost, mut read) = (0, 0, String::new());
        // Each is told, or counted in its place.
        while next < LINES {
            read.clear();
            reader.read_line(&mut read).unwrap();
            match read.split_once(" lines were lost") {
                Some((number, _)) => {
                    let number: usize = number.parse().unwrap();
                    lost += number;
                    next += number;
                }
                None => {
                    assert_eq!(read, line(next));
                    next += 1;
                }
            }
        }
        assert!(next == LINES && lost > 0, "{next} {lost}");
    }

    #[test]
    fn there_is_room_again_once_it_is_read() {
        let (queue, reader) = piped();
        let mut reader = BufReader::new(reader);
        let mut text = String::new();
        for _ in 0..3 {
            while queue.lock().lost == 0 {
                queue.push(&[b'x'; 999]);
                queue.push(b"\n");
            }
            while !text.contains(" lost: ") {
                text.clear();
                reader.read_line(&mut text).unwrap();
            }
            queue.push(b"after it\n");
            text.clear();
            reader.read_line(&mut text).unwrap();
            assert_eq!(text, "after it\n");
        }
    }

    #[test]
    fn nothing_is_lost_at_the_end() {
        let (queue, reader) = piped();
        queue.push(&[b'y'; 60_000]);
        let read = thread::spawn(move || BufReader::new(reader).read_line(&mut String::new()));
        queue.push(b"\n");
        assert!(queue.wait(PATIENCE));
        assert_eq!(read.join().unwrap().unwrap(), 60_001);
        assert!(queue.wait(Duration::ZERO));
    }

    #[test]
    fn an_output_that_does_not_wait_is_waited_for() {
        let (reader, writer) = io::pipe().unwrap();
        rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).unwrap();
        let read = thread::spawn(move || io::Read::read_to_end(&mut &reader, &mut Vec::new()));
        write_all(writer.as_fd(), &[0; 1 << 20]);
        drop(writer);
        assert_eq!(read.join().unwrap().unwrap(), 1 << 20);
    }

    #[test]
    fn an_output_that_is_closed_is_given_up() {
        let (queue, reader) = piped();
        drop(reader);
        queue.push(b"to nobody\n");
        assert!(queue.wait(PATIENCE));
    }
}
