//! Who may do what, and how often.
//!
//! Invariant: every request passes [`guard::guard`], which finds out who asks before a handler sees
//! it: over the Unix socket the kernel says it, over TCP a token or a session does, loopback too.

mod address;
pub(crate) mod guard;
mod limit;
mod lockout;
mod password;
mod roles;
pub(crate) mod secret;
mod sessions;
mod verify;

pub use address::Net;
pub use limit::{Limiter, one};
pub(crate) use roles::{Needs, needed};
pub(crate) use verify::{COOKIE, no_longer, unknown};

use limit::Seen;
use lockout::Lockout;
use password::Passwords;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use types::{Actor, Problem, Role, Timestamp};
use verify::Cache;

/// Logins of one address within [`LOGIN_PERIOD`].
const LOGINS: u32 = 30;
/// See [`LOGINS`].
const LOGIN_PERIOD: Duration = Duration::from_secs(60);
/// Logins of one address at once.
const LOGIN_BURST: u32 = 10;
/// How often a token's use from one address is a line of the history.
const USE_EVERY: Duration = Duration::from_secs(3600);
/// How often refused credentials of one address are a line of the history.
const REFUSED_EVERY: Duration = Duration::from_secs(60);

/// What can be set, also while the daemon runs.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Requests per second of one address.
    pub rps: u32,
    /// Requests of one address at once.
    pub burst: u32,
    /// Names by which the daemon is known, besides its addresses.
    pub allowed_hosts: Vec<String>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Net>,
    /// How long a session lasts.
    pub session_timeout: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            rps: 100,
            burst: 200,
            allowed_hosts: vec![],
            trusted_proxies: vec![],
            session_timeout: Duration::from_secs(12 * 3600),
        }
    }
}

struct Live {
    rules: Rules,
    limiter: Limiter,
}

/// What the API needs to tell who asks.
pub struct Gate {
    live: RwLock<Arc<Live>>,
    /// The hash of the code that makes the first admin, if one was printed.
    setup: Mutex<Option<String>>,
    logins: Limiter,
    lockout: Lockout,
    passwords: Passwords,
    used: Seen,
    refused: Seen,
    cache: Cache,
}

impl Gate {
    /// A gate with these rules.
    pub fn new(rules: Rules) -> Self {
        Self {
            live: RwLock::new(Arc::new(Live::new(rules))),
            setup: Mutex::default(),
            logins: Limiter::new(LOGINS, LOGIN_PERIOD, LOGIN_BURST),
            lockout: Lockout::default(),
            passwords: Passwords::default(),
            used: Seen::new(USE_EVERY),
            refused: Seen::new(REFUSED_EVERY),
            cache: Cache::default(),
        }
    }

    /// Makes other rules hold from now on.
    pub fn set(&self, rules: Rules) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Live::new(rules));
    }

    /// Makes the code of the set-up link. It is good until there is an admin or the daemon ends.
    ///
    /// # Errors
    /// `internal` if the host gives no random numbers.
    pub fn setup_code(&self) -> Result<String, Problem> {
        let code = secret::random(16)?;
        *self.setup.lock().unwrap_or_else(PoisonError::into_inner) = Some(secret::hash(&code));
        Ok(code)
    }

    fn is_setup_code(&self, code: &str) -> bool {
        let kept = self.setup.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_deref().is_some_and(|kept| secret::matches(code, kept))
    }

    fn live(&self) -> Arc<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Live {
    fn new(rules: Rules) -> Self {
        Self { limiter: Limiter::new(rules.rps, Duration::from_secs(1), rules.burst), rules }
    }
}

/// The other end of a TCP connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remote {
    /// Its address.
    pub address: IpAddr,
    /// Whether nobody in between can read along.
    pub tls: bool,
}

/// How somebody was recognised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum How {
    /// The kernel named the user of the socket's other end.
    Local,
    /// By the token with this prefix and hash.
    Token(String, String),
    /// By the session of this user with this hash.
    Session(String, String),
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// As history names them.
    pub actor: Actor,
    /// What they may do.
    pub role: Role,
    /// How they were recognised.
    pub how: How,
    /// Until when.
    pub expires_at: Option<Timestamp>,
}

/// Where a request comes from: `None` is this host's socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From(pub Option<Remote>);

impl From {
    /// For names in the history.
    pub(crate) fn place(self) -> String {
        self.0.map_or_else(|| "local".to_owned(), |r| r.address.to_string())
    }

    /// For counting: whoever has one address of a network may have them all.
    pub(crate) fn crowd(self) -> String {
        self.0.map_or_else(|| "local".to_owned(), |r| one(r.address).to_string())
    }
}
