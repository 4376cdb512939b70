//! Running a tool that must not take long.

use std::io::{self, ErrorKind, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How much of what a tool prints is read.
const MAX: u64 = 4 << 20;

/// What the tool prints, or why it did not end well within the limit; it is killed then.
pub(super) fn output(command: &mut Command, limit: Duration) -> io::Result<String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut out = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?.take(MAX);
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).map(|_| text)
    });
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() >= deadline => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(ErrorKind::TimedOut.into());
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let text = reader.join().map_err(|_| io::Error::from(ErrorKind::Other))??;
    if status.success() { Ok(text) } else { Err(io::Error::other(format!("it ended with {status}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_does_not_end_is_ended() {
        let limit = Duration::from_millis(100);
        assert_eq!(output(Command::new("echo").arg("x"), Duration::from_secs(10)).unwrap(), "x\n");
        let late = output(Command::new("sleep").arg("60"), limit).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        assert!(output(&mut Command::new("false"), Duration::from_secs(10)).is_err());
    }
}
