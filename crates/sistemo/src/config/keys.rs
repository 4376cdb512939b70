//! The list of settings: the one place where a key gets its name, default and meaning.
//!
//! Invariant: a key's environment variable is `SISTEMO_` and its name in capitals, dots as `_`.

/// A setting that exists.
#[derive(PartialEq, Eq, Debug)]
pub struct Key {
    /// Its name in `config.toml`; a dot separates a table from its key.
    pub name: &'static str,
    /// Its environment variable.
    pub env: &'static str,
    /// Its flag, or an empty text if it has none.
    pub flag: &'static str,
    /// Its value unless set.
    pub default: &'static str,
    /// What it is for.
    pub help: &'static str,
}

macro_rules! keys {
    ($($name:literal, $env:literal, $flag:literal, $default:literal, $help:literal;)*) => {
        /// Every setting.
        pub const KEYS: &[Key] = &[$(Key {
            name: $name, env: $env, flag: $flag, default: $default, help: $help,
        }),*];
    };
}

keys! {
    "data_dir", "SISTEMO_DATA_DIR", "--data-dir", "/var/lib/sistemo",
        "where everything of one daemon lives; not in the file, which lives there";
    "url", "SISTEMO_URL", "--url", "unix://<data_dir>/sistemo.sock",
        "where the command line finds the API";
    "listen", "SISTEMO_LISTEN", "--listen", "127.0.0.1:7777",
        "where TCP will listen; it stays closed until it can ask who is there";
    "log", "SISTEMO_LOG", "--log", "info",
        "what the daemon logs: error, warn, info, debug, trace, or a list such as info,engine=debug";
    "node", "SISTEMO_NODE", "", "localhost",
        "the name of this host in the store; never change it while there are machines or volumes";
    "stop_timeout", "SISTEMO_STOP_TIMEOUT", "", "90s",
        "how long a guest may take to shut down before the plug is pulled";
    "restart_after_boot", "SISTEMO_RESTART_AFTER_BOOT", "", "true",
        "whether machines that ran when the host went down run again once it is back";
    "boot_timeout", "SISTEMO_BOOT_TIMEOUT", "", "5m",
        "how long a guest may take to boot until its agent answers";
    "ssh_timeout", "SISTEMO_SSH_TIMEOUT", "", "60s",
        "how long `machine ssh` waits for the guest's sshd";
    "reconciler_interval", "SISTEMO_RECONCILER_INTERVAL", "", "30s",
        "how often everything is looked at without a reason";
    "shutdown_timeout", "SISTEMO_SHUTDOWN_TIMEOUT", "", "60s",
        "how long a stopping daemon waits for the operations under way; what is left, the next one finishes";
    "trash_keep", "SISTEMO_TRASH_KEEP", "", "24h",
        "how long a deleted volume can be taken back";
    "pool.warn", "SISTEMO_POOL_WARN", "", "90%",
        "how full the pool's file system may be before that is warned of";
    "workers", "SISTEMO_WORKERS", "", "8",
        "how many steps run at the same time";
    "hypervisor.accel", "SISTEMO_HYPERVISOR_ACCEL", "", "auto",
        "auto, kvm or tcg";
    "hypervisor.kernel", "SISTEMO_HYPERVISOR_KERNEL", "", "",
        "a kernel to boot instead of the distribution's";
    "network.bridge", "SISTEMO_NETWORK_BRIDGE", "", "sistemo0",
        "the bridge of the default network";
    "network.address", "SISTEMO_NETWORK_ADDRESS", "", "10.200.0.1/16",
        "the host's address on it, and its prefix";
}

/// The key of this name, which is in [`KEYS`].
pub(super) fn find(name: &str) -> &'static Key {
    lookup(name).unwrap_or(&KEYS[0])
}

/// The key of this name, if there is one.
pub(super) fn lookup(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name == name)
}
