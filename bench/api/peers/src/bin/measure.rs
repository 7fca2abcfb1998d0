//! Calls a method again and again, one call at a time, on one connection, and prints how long each
//! took: nanoseconds, one a line. `failed` stands for a call that was refused or had no answer
//! within the time that a person would wait; it goes on with a new connection.

use std::error::Error;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// After this a call counts as failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two connections, where they are refused.
const PAUSE: Duration = Duration::from_millis(10);

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: measure SOCKET METHOD SECONDS CALLS";
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().ok_or(usage);
    let (socket, method) = (argument()?, argument()?);
    let time = Duration::from_secs_f64(argument()?.parse()?);
    let most: usize = argument()?.parse()?;

    let call = [format!(r#"{{"method":"{method}"}}"#).as_bytes(), b"\0"].concat();
    let mut times = Vec::with_capacity(most);
    let mut connection = None;
    let end = Instant::now() + time;
    while times.len() < most && Instant::now() < end {
        let before = Instant::now();
        match exchange(&mut connection, &socket, &call) {
            Ok(()) => times.push(Some(before.elapsed())),
            Err(_) => {
                times.push(None);
                connection = None;
                std::thread::sleep(PAUSE);
            }
        }
    }
    let mut output = BufWriter::new(io::stdout().lock());
    for time in times {
        match time {
            Some(time) => writeln!(output, "{}", time.as_nanos())?,
            None => writeln!(output, "failed")?,
        }
    }
    Ok(output.flush()?)
}

/// One call and its answer, on the connection there is, or on a new one.
fn exchange(connection: &mut Option<UnixStream>, socket: &str, call: &[u8]) -> io::Result<()> {
    let mut stream = match connection.take() {
        Some(stream) => stream,
        None => connect(socket)?,
    };
    stream.write_all(call)?;
    let mut answer = [0; 4096];
    let mut length = 0;
    let mut failed = false;
    loop {
        match stream.read(&mut answer[length..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                failed |= length == 0 && answer.starts_with(b"{\"error\"");
                length += read;
            }
        }
        if answer[length - 1] == 0 {
            break;
        }
        // The answers that are asked for here are far smaller.
        if length == answer.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    *connection = Some(stream);
    if failed { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
}

fn connect(socket: &str) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}
