//! Settings: what they are, where each value came from, and what they mean.
//!
//! Invariant: a value comes from exactly one place, the last of default, `config.toml`, `SISTEMO_*`
//! and flag that names it; an unknown key or a value that makes no sense is refused with its place.

mod file;
mod keys;
mod limits;
mod network;
mod parse;

pub use keys::{KEYS, Key};
pub use parse::duration;

use crate::api::access::{Net, Rules};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use types::{ByteSize, Problem};

/// A place in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Nobody said otherwise.
    Default,
    /// A place in `config.toml`.
    File(PathBuf, Place),
    /// An environment variable.
    Env(&'static str),
    /// A flag of the command.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, Place { line, column }) => write!(f, "{}:{line}:{column}", path.display()),
            Self::Env(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One setting with its value as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Which.
    pub key: &'static Key,
    /// What it is set to.
    pub value: String,
    /// Who said so.
    pub origin: Origin,
}

/// Whether TCP is encrypted, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tls {
    /// It is not.
    Off,
    /// With a certificate that the daemon makes.
    SelfSigned,
    /// With the operator's.
    Files {
        /// The chain, in PEM.
        cert: PathBuf,
        /// The private key, in PEM.
        key: PathBuf,
    },
}

/// Where the daemon of this host has its data.
const OF_HOST: &str = "/var/lib/sistemo";

/// Values that came as flags, by key.
pub type Flags = Vec<(&'static str, String)>;

/// Everything that can be set, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything of one daemon lives.
    pub data_dir: PathBuf,
    /// Where the API is.
    pub url: String,
    /// Where TCP listens, if it does.
    pub listen: Option<SocketAddr>,
    /// Whether somebody set `listen`.
    pub listen_set: bool,
    /// What is logged.
    pub log: String,
    /// The name of this host in the store.
    pub node: String,
    /// How long a guest may take to shut down.
    pub stop_timeout: Duration,
    /// Machines that ran when the host went down run again once it is back.
    pub restart_after_boot: bool,
    /// How long a guest may take to boot.
    pub boot_timeout: Duration,
    /// How long `ssh` waits for sshd.
    pub ssh_timeout: Duration,
    /// How often everything is looked at without a reason.
    pub reconciler_interval: Duration,
    /// How long a stopping daemon waits for operations under way.
    pub shutdown_timeout: Duration,
    /// How long a deleted volume is kept.
    pub trash_keep: Duration,
    /// From how many percent on a pool counts as nearly full.
    pub pool_warn: u8,
    /// What has to stay free in the pool.
    pub pool_reserve: engine::Reserve,
    /// What the volumes may add up to, in percent of the pool.
    pub pool_overcommit: Option<u32>,
    /// The most virtual processors of a machine.
    pub max_vcpus: u32,
    /// The most memory of a machine.
    pub max_memory: ByteSize,
    /// The largest volume.
    pub max_storage: ByteSize,
    /// How many steps run at once.
    pub workers: usize,
    /// `auto`, `kvm` or `tcg`.
    pub accel: String,
    /// A kernel to boot instead of the distribution's.
    pub kernel: Option<String>,
    /// The default network's bridge.
    pub bridge: String,
    /// The host's address on it.
    pub gateway: Ipv4Addr,
    /// The length of its prefix.
    pub prefix: u8,
    /// The name servers that guests are told, if not the host's.
    pub dns: Vec<IpAddr>,
    /// TCP may listen beyond this host without TLS.
    pub listen_insecure: bool,
    /// Whether TCP is encrypted, and how.
    pub tls: Tls,
    /// The certificate that the command line expects.
    pub fingerprint: Option<String>,
    /// Names by which the daemon is known over TCP.
    pub allowed_hosts: Vec<String>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Net>,
    /// Requests per second of one address.
    pub rps: u32,
    /// Requests of one address at once.
    pub burst: u32,
    /// How long a login lasts.
    pub session_timeout: Duration,
    /// How long history and ended operations are kept.
    pub history_keep: Duration,
    /// How large each of them may be.
    pub history_size: ByteSize,
    /// How the log is written.
    pub log_json: bool,
    /// What came as flags.
    pub flags: Flags,
    /// Each setting with its origin, in the order of [`KEYS`].
    pub settings: Vec<Setting>,
}

/// What the process was given besides flags; a value of its own so that tests need no environment.
pub struct Surroundings<'a> {
    /// Reads an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Whether the user is root.
    pub root: bool,
    /// The working directory.
    pub cwd: PathBuf,
    /// Whether a `config.toml` that may not be read is an error (a client does without).
    pub file_required: bool,
    /// Whether there is something at a path, by which a command finds the daemon of this host; `None` for a
    /// daemon, whose API is in its own data directory.
    pub there: Option<&'a dyn Fn(&Path) -> bool>,
}

impl Config {
    /// Reads the process's own environment, for a command.
    ///
    /// # Errors
    /// `invalid-config`, naming the key and where it was set.
    pub fn load(flags: &Flags, file_required: bool) -> Result<Self, Problem> {
        Self::of_process(flags, file_required, Some(&|path: &Path| path.exists()))
    }

    /// Reads the process's own environment, for a daemon.
    ///
    /// # Errors
    /// `invalid-config`, naming the key and where it was set.
    pub fn of_daemon(flags: &Flags) -> Result<Self, Problem> {
        Self::of_process(flags, true, None)
    }

    fn of_process(
        flags: &Flags,
        file_required: bool,
        there: Option<&dyn Fn(&Path) -> bool>,
    ) -> Result<Self, Problem> {
        let env = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        Self::resolve(
            flags,
            &Surroundings {
                env: &env,
                root: rustix::process::geteuid().is_root(),
                cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
                file_required,
                there,
            },
        )
    }

    /// The same flags, the environment and the file as it is now, for the daemon that runs.
    ///
    /// # Errors
    /// `invalid-config`, naming the key and where it was set.
    pub fn again(&self) -> Result<Self, Problem> {
        Self::of_daemon(&self.flags)
    }

    /// Puts flags, environment and file together.
    ///
    /// # Errors
    /// `invalid-config`, naming the key and where it was set.
    pub fn resolve(flags: &Flags, around: &Surroundings<'_>) -> Result<Self, Problem> {
        let pick = |key: &'static Key| -> Option<(String, Origin)> {
            if let Some((_, value)) = flags.iter().find(|(name, _)| *name == key.name) {
                return Some((value.clone(), Origin::Flag(key.flag)));
            }
            (around.env)(key.env).map(|value| (value, Origin::Env(key.env)))
        };
        // The data directory is settled first: the file is in it.
        let data_dir_key = keys::find("data_dir");
        let (data_dir, data_dir_origin) =
            pick(data_dir_key).unwrap_or_else(|| (default_data_dir(around), Origin::Default));
        let data_dir = around.cwd.join(data_dir);
        let in_file = file::read(&data_dir.join("config.toml"), around.file_required)?;
        let socket = default_socket(&data_dir, data_dir_origin == Origin::Default, around);

        let mut settings = Vec::with_capacity(KEYS.len());
        for key in KEYS {
            let (value, origin) = if key.name == "data_dir" {
                (data_dir.display().to_string(), data_dir_origin.clone())
            } else if let Some(found) = pick(key) {
                found
            } else if let Some(line) = in_file.iter().find(|l| l.key.name == key.name) {
                (line.value.clone(), line.origin.clone())
            } else {
                (default_value(key, &socket), Origin::Default)
            };
            settings.push(Setting { key, value, origin });
        }
        let config = parse::typed(data_dir, settings)?;
        Ok(Self { flags: flags.clone(), ..config })
    }

    /// Who may ask how often, under which names.
    pub fn rules(&self) -> Rules {
        Rules {
            rps: self.rps,
            burst: self.burst,
            allowed_hosts: self.allowed_hosts.clone(),
            trusted_proxies: self.trusted_proxies.clone(),
            session_timeout: self.session_timeout,
        }
    }

    /// The daemon's socket in this data directory.
    pub fn socket(&self) -> PathBuf {
        socket_in(&self.data_dir)
    }
}

/// The daemon's socket in `data_dir`.
pub fn socket_in(data_dir: &Path) -> PathBuf {
    data_dir.join("sistemo.sock")
}

/// The settings of a file with this text and nothing else. For the fuzz targets.
///
/// # Errors
/// `invalid-config`.
#[doc(hidden)]
pub fn of_text(text: &str) -> Result<Config, Problem> {
    let data_dir = PathBuf::from(OF_HOST);
    let lines = file::parse(text, &data_dir.join("config.toml"))?;
    let setting = |key: &'static Key| match lines.iter().find(|l| l.key == key) {
        Some(line) => Setting { key, value: line.value.clone(), origin: line.origin.clone() },
        None => Setting { key, value: default_value(key, &socket_in(&data_dir)), origin: Origin::Default },
    };
    let settings = KEYS.iter().map(setting).collect();
    parse::typed(data_dir, settings)
}

fn default_value(key: &Key, socket: &Path) -> String {
    match key.name {
        "url" => format!("unix://{}", socket.display()),
        _ => key.default.to_owned(),
    }
}

/// Where the API is unless somebody says: in the data directory. Who is not root, and has no daemon in the
/// directory that is nobody's choice, asks the host's: members of its group may.
fn default_socket(data_dir: &Path, nobodys_choice: bool, around: &Surroundings<'_>) -> PathBuf {
    let (own, of_host) = (socket_in(data_dir), socket_in(Path::new(OF_HOST)));
    match around.there {
        Some(there) if nobodys_choice && !around.root && !there(&own) && there(&of_host) => of_host,
        _ => own,
    }
}

fn default_data_dir(around: &Surroundings<'_>) -> String {
    if around.root {
        return OF_HOST.into();
    }
    match (around.env)("XDG_DATA_HOME") {
        Some(dir) => format!("{dir}/sistemo"),
        None => format!("{}/.local/share/sistemo", (around.env)("HOME").unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
