//! Long-running tools: on a leash, listened to, and bounded.
//!
//! Invariant: a tool does not outlive the daemon; one that says nothing for too long is killed with
//! everything it started; of its output only a bounded tail is held.

use crate::tool;
use engine::port::Fault;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use types::Code;

/// Lines that are held for the log, should the tool fail.
const TAIL: usize = 40;
/// Of a longer line the rest is dropped.
const LINE: usize = 4096;
/// How often it is looked whether the tool is still there, while it says nothing.
const TICK: Duration = Duration::from_millis(500);
/// How long a tool may take to tell its version.
const ANSWER: Duration = Duration::from_secs(60);

/// Makes `command` die with the thread that starts it, lead a process group of its own, speak
/// English, and be found where administrators' tools are, which a user's `PATH` may lack.
fn leash(command: &mut Command) -> &mut Command {
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:{}", tool::SBIN)).env("LC_ALL", "C.UTF-8");
    command.process_group(0);
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec, prctl and getppid are plain system calls that allocate nothing.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The daemon may have died before the signal was arranged.
            match rustix::process::getppid() {
                Some(p) if p == parent => Ok(()),
                _ => Err(io::ErrorKind::BrokenPipe.into()),
            }
        })
    }
}

/// How a tool ended that did not succeed.
#[derive(Debug)]
pub struct Failed {
    /// The fault, with the code that was asked for.
    pub fault: Fault,
    /// The end of what it said, for telling causes apart; never for a user.
    pub tail: String,
}

/// Runs `command` to its end, telling `heard` each line that it prints on either output. It is
/// killed once it has said nothing for `quiet`. `package` is what to install if it is missing.
///
/// # Errors
/// `tool-missing`, or `code` when it cannot be run, ends with another status than 0, or hangs.
pub fn run(
    command: &mut Command,
    package: &str,
    code: Code,
    quiet: Duration,
    heard: &mut dyn FnMut(&str),
) -> Result<(), Failed> {
    let name = command.get_program().to_string_lossy().into_owned();
    let unable = |e: &io::Error| Failed { fault: tool::unable(&name, e, package, code), tail: String::new() };
    let (mut child, output) = start(command).map_err(|e| unable(&e))?;
    let mut tail = VecDeque::new();
    let mut listen = |line: &str| {
        tracing::debug!(tool = %name, "{line}");
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line.to_owned());
        heard(line);
    };
    let ended = follow(&mut child, output, quiet, &mut listen);
    let tail = Vec::from(tail).join("\n");
    let text = match ended {
        Ok(Some(status)) if status.success() => return Ok(()),
        Ok(Some(status)) => format!("{name} failed ({status})"),
        Ok(None) => format!("{name} said nothing for {} minutes", quiet.as_secs() / 60),
        Err(e) => format!("{name} was lost: {e}"),
    };
    tracing::error!(tool = %name, "{text}; it said last:\n{tail}");
    Err(Failed { fault: Fault::lasting(code, text).hint("the daemon's log says more"), tail })
}

/// Starts the tool with both outputs in one pipe.
fn start(command: &mut Command) -> io::Result<(Child, File)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    command.stdin(Stdio::null()).stdout(Stdio::from(write.try_clone()?)).stderr(Stdio::from(write));
    let child = leash(command).spawn();
    // The command holds the pipe's other end, and would keep it open.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Ok((child?, File::from(read)))
}

/// Follows the tool to its end; `None` if it had to be killed.
fn follow(
    child: &mut Child,
    mut output: File,
    quiet: Duration,
    heard: &mut dyn FnMut(&str),
) -> io::Result<Option<ExitStatus>> {
    let mut lines = Lines::default();
    let mut since = Instant::now();
    let mut buffer = [0; 8192];
    loop {
        let tick = Timespec { tv_sec: 0, tv_nsec: i64::from(TICK.subsec_nanos()) };
        match poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&tick)) {
            Ok(0) => {
                // What the tool left running in the background may hold the pipe open for ever.
                if let Some(status) = child.try_wait()? {
                    lines.end(heard);
                    return Ok(Some(status));
                }
                if since.elapsed() > quiet {
                    end(child);
                    return Ok(None);
                }
            }
            Ok(_) => {
                let n = output.read(&mut buffer)?;
                if n == 0 {
                    lines.end(heard);
                    return child.wait().map(Some);
                }
                since = Instant::now();
                lines.take(&buffer[..n], heard);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => {
                end(child);
                return Err(e.into());
            }
        }
    }
}

/// Kills the tool and its process group, and waits for it.
fn end(child: &mut Child) {
    if let Some(pid) = Pid::from_raw(child.id() as i32) {
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Cuts a stream into lines; a carriage return ends one too, as progress bars use it.
#[derive(Default)]
struct Lines {
    held: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], heard: &mut dyn FnMut(&str)) {
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' => self.end(heard),
                _ if self.held.len() < LINE => self.held.push(byte),
                _ => {}
            }
        }
    }

    fn end(&mut self, heard: &mut dyn FnMut(&str)) {
        if !self.held.is_empty() {
            heard(&String::from_utf8_lossy(&self.held));
            self.held.clear();
        }
    }
}

/// A version, as far as it matters; (0, 0) is older than all that is known.
pub type Version = (u32, u32);

/// The version that a tool (its name, and the package that has it) tells of itself after these words; asked
/// once.
///
/// # Errors
/// `tool-missing`, `code`.
pub fn version(
    (name, package): (&str, &str),
    question: &str,
    words: &str,
    code: Code,
    known: &OnceLock<Version>,
) -> Result<Version, Fault> {
    if let Some(known) = known.get() {
        return Ok(*known);
    }
    let mut found = (0, 0);
    let mut heard = |line: &str| found = parse_version(line, words).unwrap_or(found);
    run(Command::new(name).arg(question), package, code, ANSWER, &mut heard).map_err(|f| f.fault)?;
    Ok(*known.get_or_init(|| found))
}

/// `mke2fs 1.47.0 (5-Feb-2023)`, `mke2fs 1.47.0-rc1 (…)`, `mke2fs 1.46.5 (…)`.
fn parse_version(line: &str, words: &str) -> Option<Version> {
    let mut numbers = line.strip_prefix(words)?.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, quiet: Duration) -> (Result<(), Failed>, Vec<String>) {
        let mut lines = Vec::new();
        let mut heard = |l: &str| lines.push(l.to_owned());
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let ended = run(&mut command, "dash", Code::ImageFailed, quiet, &mut heard);
        (ended, lines)
    }

    #[test]
    fn versions_are_read() {
        let mke2fs = |line| parse_version(line, "mke2fs ");
        assert_eq!(mke2fs("mke2fs 1.47.0 (5-Feb-2023)"), Some((1, 47)));
        assert_eq!(mke2fs("mke2fs 1.46-WIP (20-Mar-2020)"), Some((1, 46)));
        assert_eq!(mke2fs("\tUsing EXT2FS Library version 1.47.0"), None);
    }

    #[test]
    fn lines_of_both_outputs_are_heard() {
        let (ended, lines) = shell("echo one; echo two >&2; printf 'a\\rb'", Duration::from_secs(60));
        assert!(ended.is_ok());
        assert_eq!(lines, ["one", "two", "a", "b"]);
    }

    #[test]
    fn a_failure_keeps_its_words_for_the_log() {
        let (ended, _) = shell("echo secret; exit 3", Duration::from_secs(60));
        let failed = ended.unwrap_err();
        assert_eq!(failed.fault.problem.code, Code::ImageFailed);
        assert!(!failed.fault.problem.message.contains("secret"));
        assert_eq!(failed.tail, "secret");
    }

    #[test]
    fn a_silent_tool_is_killed_with_its_children() {
        let begun = Instant::now();
        let (ended, _) = shell("sleep 600 & sleep 600", Duration::from_millis(100));
        assert!(ended.is_err());
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn what_it_left_behind_does_not_hold_us() {
        let begun = Instant::now();
        let (ended, _) = shell("sleep 20 & echo done", Duration::from_secs(60));
        assert!(ended.is_ok());
        assert!(begun.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn an_endless_line_is_cut() {
        let (ended, lines) = shell("head -c 100000 /dev/zero | tr '\\0' x", Duration::from_secs(60));
        assert!(ended.is_ok());
        assert_eq!(lines[0].len(), LINE);
    }

    #[test]
    fn a_missing_tool_names_its_package() {
        let mut command = Command::new("/nonexistent/tool");
        let failed = run(&mut command, "some-package", Code::ImageFailed, TICK, &mut |_| ()).unwrap_err();
        assert_eq!(failed.fault.problem.code, Code::ToolMissing);
    }
}
