//! Runs the real binary, against a stub of the API where one is needed.
#![allow(dead_code, reason = "each test file uses what it needs")]

pub mod daemon;

use axum::Router;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A stub of the API on a socket of its own, for as long as this lives.
pub struct Stub {
    dir: tempfile::TempDir,
    _stop: tokio::sync::oneshot::Sender<()>,
    seen: std::sync::Mutex<std::sync::mpsc::Receiver<String>>,
}

impl Stub {
    /// Serves `router`.
    pub fn serve(router: Router) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = std::os::unix::net::UnixListener::bind(dir.path().join("sistemo.sock")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (tell, seen) = std::sync::mpsc::channel();
        let note = move |request: axum::extract::Request, next: axum::middleware::Next| {
            let _ = tell.send(request.uri().path().to_owned());
            next.run(request)
        };
        let router = router.layer(axum::middleware::from_fn(note));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::from_std(listener).unwrap();
                tokio::select! {
                    served = axum::serve(listener, router) => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self { dir, _stop: stop, seen: seen.into() }
    }

    /// Returns once a request whose path ends so has come.
    pub fn wait_for_request(&self, end: &str) {
        let seen = self.seen.lock().unwrap();
        while !seen.recv().unwrap().ends_with(end) {}
    }

    /// `sistemo` with these arguments, against the stub.
    pub fn command(&self, args: &[&str]) -> Command {
        command(self.dir.path(), args)
    }

    /// Runs `sistemo` with these arguments against the stub.
    pub fn run(&self, args: &[&str]) -> Ran {
        run(self.dir.path(), args)
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// All of it, for a snapshot.
    pub fn shown(&self) -> String {
        format!("exit {}\n--- stdout\n{}--- stderr\n{}", self.code, self.out, self.err)
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The command with nothing of this environment but its data directory.
pub fn command(data_dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sistemo"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("SISTEMO_DATA_DIR", data_dir)
        .env("SISTEMO_SIM", "1")
        .args(args)
        .stdin(Stdio::null());
    command
}

/// Runs `sistemo` with these arguments.
pub fn run(data_dir: &Path, args: &[&str]) -> Ran {
    command(data_dir, args).output().unwrap().into()
}

/// Copies the binary to `target`. A process of its own does it: were the copy open for writing in this
/// one, a child forked meanwhile by another test would keep it so until its own exec, and the copy
/// could not be run (`ETXTBSY`, execve(2)).
pub fn copy_program(target: &Path) {
    let done = Command::new("cp").arg(env!("CARGO_BIN_EXE_sistemo")).arg(target).status().unwrap();
    assert!(done.success());
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
