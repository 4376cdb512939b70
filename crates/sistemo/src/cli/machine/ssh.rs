//! `sistemo machine ssh NAME [-- ARGS…]`: the system's ssh with our key.
//!
//! Invariant: the user's own ssh files are never touched: host keys are kept in the data directory,
//! under the machine's id, so that a new machine at an old address is no surprise.

use crate::api::SshAccess;
use crate::cli::context::Context;
use crate::cli::{Ended, input};
use clap::Args;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use types::{Code, Problem};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);
/// How long one try may take.
const TRY: Duration = Duration::from_secs(3);

/// Which.
#[derive(Args)]
pub struct Ssh {
    /// Name or id
    machine: String,
    /// Arguments for ssh, such as a command
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

impl Ssh {
    /// Becomes ssh once sshd answers.
    pub async fn run(self, context: &Context) -> Ended {
        let limit = context.config(false)?.ssh_timeout;
        let until = context.until()?;
        let path = ["machines", input::reference(&self.machine)?, "ssh"];
        let access: SshAccess = context.client()?.get(&path).await?;
        if std::fs::File::open(&access.key_path).is_err() {
            return Err(Problem::new(
                Code::NoPermission,
                format!("you may not read the key {}", access.key_path),
            )
            .hint("run the command as the user that runs the daemon, on its host; `sistemo machine exec` needs no key")
            .into());
        }
        answers(&access, limit, until).await?;
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let error = command(&access, left.unwrap_or(limit).min(limit), &self.args).exec();
        Err(Problem::new(Code::ToolMissing, format!("cannot run ssh: {error}"))
            .hint("install openssh-client")
            .into())
    }
}

/// Waits until sshd greets: a listening port alone may be a guest that is still booting.
async fn answers(access: &SshAccess, limit: Duration, until: Option<Instant>) -> Result<(), Problem> {
    let end = Instant::now() + limit;
    // Whichever of the setting and `--timeout` is over first.
    let (end, within) = match until {
        Some(until) if until < end => (until, "in time".to_owned()),
        _ => (end, format!("within {}s", limit.as_secs())),
    };
    loop {
        let greeted = async {
            let mut stream = TcpStream::connect((access.address.as_str(), access.port)).await?;
            let mut greeting = [0; 4];
            stream.read_exact(&mut greeting).await?;
            Ok::<_, std::io::Error>(&greeting == b"SSH-")
        };
        if matches!(timeout_at(end, timeout(TRY, greeted)).await, Ok(Ok(Ok(true)))) {
            return Ok(());
        }
        if Instant::now() + PAUSE >= end {
            return Err(Problem::new(
                Code::TimedOut,
                format!(
                    "sshd of machine \"{}\" did not answer at {} {within}",
                    access.name, access.address
                ),
            )
            .hint("`sistemo machine logs` shows how it boots, `sistemo machine exec` needs no sshd; ssh_timeout is a setting"));
        }
        sleep(PAUSE).await;
    }
}

fn command(access: &SshAccess, limit: Duration, args: &[OsString]) -> Command {
    let mut ssh = Command::new("ssh");
    ssh.arg("-i").arg(&access.key_path);
    for option in [
        "IdentitiesOnly=yes".to_owned(),
        format!("UserKnownHostsFile=\"{}\"", access.known_hosts_path),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        format!("HostKeyAlias={}", access.id),
        "StrictHostKeyChecking=accept-new".to_owned(),
        "LogLevel=ERROR".to_owned(),
        format!("ConnectTimeout={}", limit.as_secs().max(1)),
    ] {
        ssh.arg("-o").arg(option);
    }
    ssh.arg("-p").arg(access.port.to_string());
    ssh.arg(format!("{}@{}", access.user, access.address));
    ssh.args(args);
    ssh
}
