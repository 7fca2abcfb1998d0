use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::socket::check;

/// A close that waits is interrupted after that long, and again as often.
const INTERRUPT_AFTER: Duration = Duration::from_millis(10);
/// What waits for that long has a thread that is stuck before it, and gets another one.
const PATIENCE: Duration = Duration::from_millis(2);
/// A thread that has had nothing to do for that long ends.
const IDLE: Duration = Duration::from_secs(5);
/// Of a thread that closes descriptors and calls nothing else.
const STACK: usize = 64 << 10;

/// Closes descriptors that strangers sent, on threads of its own.
///
/// close(2) may wait for as long as whoever made the descriptor wants: a socket that lingers
/// (socket(7)), a file of a FUSE file system whose server does not answer. A wait that a signal ends
/// is ended after 10 ms; the socket's data is sent in the background as without lingering. For one
/// that nothing ends there is another thread, up to a bound: whoever hands descriptors over has to
/// bound how many there are at a time.
///
/// Threads are started when there is something to close, and end after a while without.
#[derive(Clone)]
pub struct Closer {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    most_threads: usize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    /// Threads that wait, the spare one not counted.
    idle: usize,
    /// One thread takes only what the others are too slow for.
    has_spare: bool,
}

/// Owns descriptors, and is dropped.
type What = Box<dyn Any + Send>;

struct Job {
    what: What,
    since: Instant,
}

impl Closer {
    /// One that uses at most that many threads at a time, at least 2.
    #[must_use]
    pub fn new(most_threads: usize) -> Self {
        let shared = Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            most_threads: most_threads.max(2),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Drops a value that owns descriptors, soon, without making the caller wait.
    pub fn close(&self, what: impl Send + 'static) {
        let mut state = self.shared.lock();
        state.queue.push_back(Job { what: Box::new(what), since: Instant::now() });
        if state.idle == 0 && !state.has_spare {
            // All that there are may be stuck.
            let is_spare = state.threads > 0;
            self.shared.start(&mut state, is_spare);
        }
        // The spare one is to see how old this gets.
        self.shared.wake.notify_all();
    }

    /// How many wait to be closed, those under way not counted.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.shared.lock().queue.len()
    }
}

impl fmt::Debug for Closer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        formatter
            .debug_struct("Closer")
            .field("backlog", &state.queue.len())
            .field("threads", &state.threads)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// What is inside is whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread. Without one what waits goes on waiting, until the next is handed over.
    fn start(self: &Arc<Self>, state: &mut State, is_spare: bool) {
        if state.threads >= self.most_threads {
            return;
        }
        let shared = self.clone();
        let started = thread::Builder::new()
            .name("closer".into())
            .stack_size(STACK)
            .spawn(move || shared.work(is_spare));
        if started.is_ok() {
            state.threads += 1;
            state.has_spare |= is_spare;
        }
    }

    fn work(self: Arc<Self>, mut is_spare: bool) {
        // Without a timer a close that waits keeps this thread, and others take over.
        let interrupter = Interrupter::new().ok();
        let mut state = self.lock();
        loop {
            let job;
            (state, job) = self.next(state, &mut is_spare);
            let Some(job) = job else { break };
            if !state.has_spare {
                self.start(&mut state, true);
            }
            drop(state);
            let armed = interrupter.as_ref().map(Interrupter::arm);
            drop(job);
            drop(armed);
            state = self.lock();
        }
        state.threads -= 1;
        if is_spare {
            state.has_spare = false;
        }
    }

    /// What to close next; `None` ends the thread.
    fn next<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        is_spare: &mut bool,
    ) -> (MutexGuard<'a, State>, Option<What>) {
        let idle_at = Instant::now() + IDLE;
        loop {
            let now = Instant::now();
            let ripe_at = state.queue.front().map(|job| job.since + PATIENCE);
            let until = match ripe_at {
                Some(ripe_at) if *is_spare && ripe_at > now => ripe_at,
                Some(_) => {
                    if mem::take(is_spare) {
                        state.has_spare = false;
                    }
                    let job = state.queue.pop_front();
                    return (state, job.map(|job| job.what));
                }
                // One that waits is enough, beside the spare one.
                None if now >= idle_at || !*is_spare && state.idle > 0 => return (state, None),
                None => idle_at,
            };
            state.idle += usize::from(!*is_spare);
            let time = until.saturating_duration_since(now);
            let waited = self.wake.wait_timeout(state, time);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= usize::from(!*is_spare);
        }
    }
}

/// Interrupts the calling thread when a system call takes long: a timer that signals it
/// (timer_create(2), `SIGEV_THREAD_ID`).
struct Interrupter(libc::timer_t);

/// Interrupts until it is dropped.
struct Armed<'a>(&'a Interrupter);

impl Interrupter {
    /// For the calling thread.
    fn new() -> io::Result<Self> {
        install_handler()?;
        // SAFETY: a sigevent is plain data, of which zero is a value.
        let mut event: libc::sigevent = unsafe { mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = interrupting_signal();
        // SAFETY: gettid(2) asks for nothing.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer = MaybeUninit::<libc::timer_t>::uninit();
        // SAFETY: timer_create(2) reads the event and fills the timer in.
        check(unsafe {
            libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, timer.as_mut_ptr())
        })?;
        // SAFETY: the call succeeded.
        Ok(Self(unsafe { timer.assume_init() }))
    }

    fn arm(&self) -> Armed<'_> {
        self.set(INTERRUPT_AFTER);
        Armed(self)
    }

    fn set(&self, every: Duration) {
        let time = libc::timespec {
            tv_sec: every.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: every.subsec_nanos().into(),
        };
        let times = libc::itimerspec { it_interval: time, it_value: time };
        // SAFETY: the timer lives as long as this; timer_settime(2) reads the times. It fails only
        // for times that are none.
        let _ = unsafe { libc::timer_settime(self.0, 0, &raw const times, ptr::null_mut()) };
    }
}

impl Drop for Interrupter {
    fn drop(&mut self) {
        // SAFETY: the timer was made by timer_create(2) and is deleted once.
        let _ = unsafe { libc::timer_delete(self.0) };
    }
}

impl Drop for Armed<'_> {
    fn drop(&mut self) {
        self.0.set(Duration::ZERO);
    }
}

/// One that nothing else here uses. A real-time signal has no meaning of its own.
fn interrupting_signal() -> libc::c_int {
    libc::SIGRTMIN() + 1
}

/// Has the signal interrupt a system call and do nothing else. Once a process.
fn install_handler() -> io::Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    static INSTALLED: Once = Once::new();
    let mut result = Ok(());
    INSTALLED.call_once(|| {
        // SAFETY: a sigaction is plain data, of which zero is a value: no flags (above all not
        // `SA_RESTART`), and no signal blocked meanwhile.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: sigaction(2) reads the action; the handler does nothing, which is safe at any time.
        result = check(unsafe {
            libc::sigaction(interrupting_signal(), &raw const action, ptr::null_mut())
        })
        .map(drop);
    });
    result
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
        let until = Instant::now() + DEADLINE;
        while !condition() {
            assert!(Instant::now() < until, "waited in vain until {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// A socket that would wait on close for as long as its other end lives, which comes with it.
    fn lingering(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (other, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        while socket.write(&[0; 1 << 16]).is_ok() {}
        socket2::SockRef::from(&socket).set_linger(Some(Duration::from_secs(1_000))).unwrap();
        (socket, other)
    }

    #[test]
    fn what_is_handed_over_gets_closed() {
        let closer = Closer::new(4);
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        closer.close(theirs);
        // End of file only comes when the other end is closed.
        assert_eq!(ours.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn sockets_that_linger_hold_nothing_up() {
        struct Counted(#[expect(dead_code, reason = "dropped")] TcpStream, Arc<AtomicUsize>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.1.fetch_add(1, Ordering::Relaxed);
            }
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let closer = Closer::new(4);
        let began = Arc::new(AtomicUsize::new(0));
        let others: Vec<TcpStream> = (0..64)
            .map(|_| {
                let (socket, other) = lingering(&listener);
                closer.close(Counted(socket, began.clone()));
                other
            })
            .collect();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        closer.close(theirs);
        ours.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_eq!(ours.read(&mut [0; 8]).unwrap(), 0, "closed after all of them");
        wait_until("all are closed", || began.load(Ordering::Relaxed) == 64);
        wait_until("no close waits", || {
            let state = closer.shared.lock();
            state.threads == state.idle + usize::from(state.has_spare)
        });
        drop(others);
    }

    #[test]
    fn what_nothing_interrupts_has_its_thread_to_itself() {
        struct Stuck(std::sync::mpsc::Receiver<()>);
        impl Drop for Stuck {
            fn drop(&mut self) {
                let _ = self.0.recv();
            }
        }
        let closer = Closer::new(4);
        let (let_go, stuck): (Vec<_>, Vec<_>) =
            (0..3).map(|_| std::sync::mpsc::channel::<()>()).unzip();
        for stuck in stuck {
            closer.close(Stuck(stuck));
        }
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        closer.close(theirs);
        ours.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_eq!(ours.read(&mut [0; 8]).unwrap(), 0);
        assert!(closer.shared.lock().threads <= 4);
        drop(let_go);
    }

    #[test]
    fn many_quick_ones_take_few_threads() {
        let closer = Closer::new(64);
        let done = Arc::new(());
        let mut most = 0;
        for _ in 0..10_000 {
            closer.close((UnixStream::pair().unwrap().0, done.clone()));
            wait_until("there is room", || closer.backlog() < 64);
            most = most.max(closer.shared.lock().threads);
        }
        wait_until("all are closed", || Arc::strong_count(&done) == 1);
        assert!(most < 32, "{most} threads");
    }
}
