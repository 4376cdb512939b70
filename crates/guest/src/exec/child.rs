//! Beginning a command.
//!
//! Invariant: whether it could be begun is known before the host is answered; the command is the
//! leader of its own session and process group, with none of the agent's privileges against the
//! kernel's out-of-memory killer.

use super::fds::End;
use crate::inside::Inside;
use crate::setup::root_home;
use proto::{ExecRequest, Refusal, Tty};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The highest number of a signal (signal(7): SIGRTMAX).
const SIGNALS: libc::c_int = 64;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command that runs.
pub struct Running {
    /// The process; not reaped yet.
    pub child: Child,
    /// Readable once it has ended.
    pub ended: AsyncFd<OwnedFd>,
    /// Its process group.
    pub group: Pid,
    /// Where its input goes; who takes it closes it.
    pub stdin: Option<Arc<End>>,
    /// Where its output comes from.
    pub stdout: Arc<End>,
    /// Where its error output comes from, unless it has a terminal.
    pub stderr: Option<Arc<End>>,
    /// It has a terminal.
    pub tty: bool,
}

/// Begins the command in the machine's root.
///
/// # Errors
/// As a status of HTTP and a refusal: what the host asked for that cannot be.
pub fn begin(inside: &Inside, request: &ExecRequest) -> Result<Running, (u16, Refusal)> {
    let [program, arguments @ ..] = &request.argv[..] else {
        return Err(refusal(400, "there is no command to run", None));
    };
    let home = root_home(inside);
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    command.envs([("PATH", PATH), ("HOME", &home), ("USER", "root"), ("LANG", "C.UTF-8")]);
    if request.tty.is_some() {
        command.env("TERM", "xterm-256color");
    }
    for variable in &request.env {
        match variable.split_once('=') {
            Some((name, value)) if !name.is_empty() => command.env(name, value),
            _ => return Err(refusal(400, &format!("{variable:?} is not of the form NAME=value"), None)),
        };
    }
    let failed = |e: io::Error| refusal(500, &format!("the machine cannot run commands now: {e}"), None);
    become_ordinary(&mut command);
    let cwd = if request.cwd.is_empty() { home.as_str() } else { &request.cwd };
    let entered = match inside.enter(&mut command, cwd) {
        // A machine whose root has no home still runs commands.
        Err(_) if request.cwd.is_empty() => inside.enter(&mut command, "/"),
        other => other,
    };
    entered.map_err(|e| refusal(400, &format!("cannot enter the directory {cwd:?}: {e}"), None))?;
    let ends = match request.tty {
        Some(size) => terminal(inside, &mut command, size),
        None => pipes(&mut command),
    };
    let (stdin, stdout, stderr) = ends.map_err(failed)?;
    let mut child = command.spawn().map_err(|e| unable(program, &e))?;
    let group = Pid::from_child(&child);
    let ended = rustix::process::pidfd_open(group, PidfdFlags::empty())
        .map_err(io::Error::from)
        .and_then(|fd| crate::watched(fd, Interest::READABLE));
    match ended {
        Ok(ended) => {
            let (stdin, tty) = (Some(stdin), request.tty.is_some());
            Ok(Running { child, ended, group, stdin, stdout, stderr, tty })
        }
        Err(e) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(failed(e))
        }
    }
}

/// What the host is answered instead of a command.
pub fn refusal(status: u16, message: &str, exit: Option<u8>) -> (u16, Refusal) {
    (status, Refusal { message: message.to_owned(), exit })
}

/// The refusal of a program that could not be executed, with the exit code of a shell (POSIX,
/// Shell Command Language, 2.8.2).
fn unable(program: &str, e: &io::Error) -> (u16, Refusal) {
    match e.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR) => {
            refusal(404, &format!("the command {program:?} was not found in the machine"), Some(127))
        }
        Some(Errno::ACCESS | Errno::NOEXEC | Errno::ISDIR | Errno::PERM | Errno::LOOP) => {
            refusal(400, &format!("{program:?} is not a program that the machine can execute"), Some(126))
        }
        Some(Errno::TOOBIG) => refusal(400, "the arguments are too long", Some(126)),
        _ if e.kind() == io::ErrorKind::InvalidInput => {
            refusal(400, "arguments and variables cannot hold a NUL character", None)
        }
        _ => refusal(500, &format!("the machine cannot run {program:?}: {e}"), Some(126)),
    }
}

/// Takes back what only the agent shall have, and ties the command to it.
fn become_ordinary(command: &mut Command) {
    let ordinary = || {
        rustix::process::setsid()?;
        rustix::process::set_parent_process_death_signal(Some(Signal::HUP))?;
        for number in 1..=SIGNALS {
            // What is ignored stays so across exec, and a shell cannot trap what it found ignored.
            // SAFETY: it is async-signal-safe, and no handler is installed; it refuses what cannot be set.
            unsafe { libc::signal(number, libc::SIG_DFL) };
        }
        // Where it cannot be told the command is merely harder to kill.
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        if let Ok(fd) = rustix::fs::open(c"/proc/self/oom_score_adj", flags, Mode::empty()) {
            let _ = rustix::io::write(fd, b"0");
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(ordinary) };
}

type Ends = (Arc<End>, Arc<End>, Option<Arc<End>>);

fn pipes(command: &mut Command) -> io::Result<Ends> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let (stdin, to) = pipe()?;
    let (from, stdout) = pipe()?;
    let (from_err, stderr) = pipe()?;
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    Ok((
        Arc::new(End::new(to, Interest::WRITABLE)?),
        Arc::new(End::new(from, Interest::READABLE)?),
        Some(Arc::new(End::new(from_err, Interest::READABLE)?)),
    ))
}

fn terminal(inside: &Inside, command: &mut Command, size: Tty) -> io::Result<Ends> {
    // The machine's own /dev/ptmx, so that the terminal has a name there.
    let master = inside.open("/dev/ptmx", OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
    unlockpt(&master)?;
    resize(&master, size.rows, size.cols)?;
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    command.stdin(Stdio::from(slave.try_clone()?)).stdout(Stdio::from(slave.try_clone()?)).stderr(slave);
    let control = || Ok(rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?);
    // SAFETY: between fork and exec it makes one system call; `become_ordinary` has made the session.
    unsafe { command.pre_exec(control) };
    let end = Arc::new(End::new(master, Interest::READABLE | Interest::WRITABLE)?);
    Ok((end.clone(), end, None))
}

/// Tells a terminal its size.
pub fn resize(master: impl std::os::fd::AsFd, rows: u16, cols: u16) -> io::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(master, size)?)
}
