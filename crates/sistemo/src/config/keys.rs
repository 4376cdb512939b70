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
    /// What it can be, in words.
    pub range: &'static str,
    /// What it is for.
    pub help: &'static str,
    /// Whether a daemon that runs heeds another value once it gets SIGHUP.
    pub live: bool,
}

macro_rules! keys {
    ($(
        $when:ident $name:literal, $env:literal, $flag:literal, $default:literal, $range:literal, $help:literal;
    )*) => {
        /// Every setting.
        pub const KEYS: &[Key] = &[$(Key {
            name: $name, env: $env, flag: $flag, default: $default, range: $range, help: $help,
            live: when!($when),
        }),*];
    };
}

/// `live` heeds SIGHUP, `fixed` needs a restart of the daemon.
macro_rules! when {
    (live) => {
        true
    };
    (fixed) => {
        false
    };
}

keys! {
    fixed "data_dir", "SISTEMO_DATA_DIR", "--data-dir", "/var/lib/sistemo",
        "a path",
        "where everything of one daemon lives; not in the file, which lives there";
    live "url", "SISTEMO_URL", "--url", "unix://<data_dir>/sistemo.sock",
        "unix://PATH, http://HOST[:PORT] or https://HOST[:PORT]",
        "where the command line finds the API; without root and where there is no such socket, that of /var/lib/sistemo";
    fixed "listen", "SISTEMO_LISTEN", "--listen", "127.0.0.1:7777",
        "an address with a port, or off",
        "where TCP listens, which always asks who is there; off closes it";
    live "log", "SISTEMO_LOG", "--log", "info",
        "error, warn, info, debug, trace, or a list such as info,engine=debug",
        "what the daemon logs";
    fixed "node", "SISTEMO_NODE", "", "localhost",
        "a name of 1 to 63 letters, digits and -",
        "the name of this host in the store; never change it while there are machines or volumes";
    live "stop_timeout", "SISTEMO_STOP_TIMEOUT", "", "90s",
        "0s to 36600d",
        "how long a guest may take to shut down before the plug is pulled";
    live "restart_after_boot", "SISTEMO_RESTART_AFTER_BOOT", "", "true",
        "true or false",
        "whether machines that ran when the host went down run again once it is back";
    live "boot_timeout", "SISTEMO_BOOT_TIMEOUT", "", "5m",
        "0s to 36600d",
        "how long a guest may take to boot until its agent answers";
    live "ssh_timeout", "SISTEMO_SSH_TIMEOUT", "", "60s",
        "0s to 36600d",
        "how long `machine ssh` waits for the guest's sshd";
    fixed "reconciler_interval", "SISTEMO_RECONCILER_INTERVAL", "", "30s",
        "1s to 36600d",
        "how often everything is looked at without a reason";
    live "shutdown_timeout", "SISTEMO_SHUTDOWN_TIMEOUT", "", "60s",
        "0s to 36600d",
        "how long a stopping daemon waits for the operations under way; what is left, the next one finishes";
    live "trash.keep", "SISTEMO_TRASH_KEEP", "", "24h",
        "0s to 36600d",
        "how long what was deleted can be taken back";
    live "pool.warn", "SISTEMO_POOL_WARN", "", "90%",
        "1% to 100%",
        "how full the pool's file system may be before that is warned of";
    live "pool.reserve", "SISTEMO_POOL_RESERVE", "", "0",
        "0, 1M to 16777215M, or 1% to 100%",
        "what has to stay free in the pool, such as 10G or 5%: a new volume that would leave less is refused";
    live "pool.overcommit", "SISTEMO_POOL_OVERCOMMIT", "", "off",
        "0.01 to 1000, 1% to 100000%, or off for no limit",
        "what all volumes may grow to, as a multiple of the pool's file system, such as 1.5 or 150%";
    live "limits.max_vcpus", "SISTEMO_LIMITS_MAX_VCPUS", "", "255",
        "1 to 255",
        "the most virtual processors that a machine can ask for";
    live "limits.max_memory", "SISTEMO_LIMITS_MAX_MEMORY", "", "4TB",
        "1M to 4TB",
        "the most memory that a machine can ask for";
    live "limits.max_storage", "SISTEMO_LIMITS_MAX_STORAGE", "", "16777215M",
        "1M to 16777215M",
        "the most that one volume can ask for";
    fixed "workers", "SISTEMO_WORKERS", "", "8",
        "1 to 64",
        "how many steps run at the same time";
    fixed "hypervisor.accel", "SISTEMO_HYPERVISOR_ACCEL", "", "auto",
        "auto, kvm or tcg",
        "how guests run: by the processor, in software, or as this host can";
    fixed "hypervisor.kernel", "SISTEMO_HYPERVISOR_KERNEL", "", "",
        "a path",
        "a kernel to boot instead of the distribution's";
    fixed "network.bridge", "SISTEMO_NETWORK_BRIDGE", "", "sistemo0",
        "a name of 1 to 15 letters, digits, - and _",
        "the bridge of the default network";
    fixed "network.subnet", "SISTEMO_NETWORK_SUBNET", "", "10.200.0.0/16",
        "an IPv4 address and 8 to 30 bits",
        "the default network; the host has its first address, or the one written here; not to be changed while machines have addresses in it";
    fixed "network.dns", "SISTEMO_NETWORK_DNS", "", "",
        "a list of up to 3 addresses",
        "the name servers that guests are told; the host's own unless set; guests learn of a change when they next boot";
    fixed "listen_insecure", "SISTEMO_LISTEN_INSECURE", "", "false",
        "true or false",
        "true lets TCP listen beyond this host without TLS, for a proxy that does it";
    fixed "tls", "SISTEMO_TLS", "", "off",
        "self-signed or off",
        "self-signed makes a certificate and tells its fingerprint; off, unless tls.cert and tls.key are set";
    fixed "tls.cert", "SISTEMO_TLS_CERT", "", "",
        "a path",
        "a PEM file with the daemon's certificate and its chain";
    fixed "tls.key", "SISTEMO_TLS_KEY", "", "",
        "a path",
        "a PEM file with the certificate's private key";
    live "tls.fingerprint", "SISTEMO_TLS_FINGERPRINT", "", "",
        "sha256: and 64 hexadecimal digits",
        "the certificate that the command line expects at an https:// address, whoever signed it";
    live "allowed_hosts", "SISTEMO_ALLOWED_HOSTS", "", "",
        "a list of names",
        "names by which the daemon is known over TCP, besides its addresses and localhost";
    live "trusted_proxies", "SISTEMO_TRUSTED_PROXIES", "", "",
        "a list of addresses and networks",
        "addresses and networks of proxies whose X-Forwarded-For is believed";
    live "rate_limit.rps", "SISTEMO_RATE_LIMIT_RPS", "", "100",
        "1 to 1000000",
        "requests per second that one address may make over TCP";
    live "rate_limit.burst", "SISTEMO_RATE_LIMIT_BURST", "", "200",
        "1 to 1000000",
        "requests that one address may make at once";
    live "session_timeout", "SISTEMO_SESSION_TIMEOUT", "", "12h",
        "1s to 36600d",
        "how long a login lasts";
    fixed "log_format", "SISTEMO_LOG_FORMAT", "--log-format", "text",
        "text or json",
        "how the daemon's log is written: text for people, json for programs";
    live "history.keep", "SISTEMO_HISTORY_KEEP", "", "365d",
        "1s to 36600d",
        "how long history and ended operations are kept";
    live "history.size", "SISTEMO_HISTORY_SIZE", "", "64M",
        "1M to 16777215M",
        "how large each of them may be; the oldest goes first";
}

/// The key of this name, which is in [`KEYS`].
pub(super) fn find(name: &str) -> &'static Key {
    lookup(name).unwrap_or(&KEYS[0])
}

/// The key of this name, if there is one.
pub(super) fn lookup(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name == name)
}

/// The key whose name is most like this one, if any is.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let likeness = |key: &Key| {
        let last = |text: &str| text.rsplit('.').next().unwrap_or_default().to_owned();
        // Whoever forgets the table, or adds one, still means the key.
        strsim::jaro_winkler(name, key.name).max(strsim::jaro_winkler(&last(name), &last(key.name)) - 0.05)
    };
    let found = KEYS.iter().map(|k| (likeness(k), k.name)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (found.0 >= 0.8).then_some(found.1)
}
