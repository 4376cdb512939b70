//! Where an API can be.
//!
//! Invariant: what is not `unix://` or `http(s)://` is refused before anything is connected.

use std::fmt;
use std::path::PathBuf;
use types::{Code, Problem};

/// A place to connect to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A Unix socket.
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
    /// `host:port`, encrypted.
    Tls(String),
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// `invalid-url`.
    pub fn parse(url: &str) -> Result<Self, Problem> {
        let bad = |why: &str| {
            Problem::new(Code::InvalidUrl, format!("\"{}\" is not a usable URL: {why}", url.escape_debug()))
                .hint("write unix:///path/to/sistemo.sock, http://host:port or https://host:port")
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("it has no scheme"))?;
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(PathBuf::from(rest))),
            "unix" => Err(bad("the path of a socket begins with /")),
            "http" => Ok(Self::Tcp(authority(rest, 80).map_err(bad)?)),
            "https" => Ok(Self::Tls(authority(rest, 443).map_err(bad)?)),
            _ => Err(bad(&format!("\"{}\" is not unix, http or https", scheme.escape_debug()))),
        }
    }
}

/// `host:port` of what follows the scheme. Names and addresses only: no user, no path, no query, so
/// that what is shown is what is asked.
fn authority(rest: &str, default_port: u16) -> Result<String, &'static str> {
    let host = rest.strip_suffix('/').unwrap_or(rest);
    if host.contains('@') {
        return Err("a user or password does not belong in it");
    }
    if host.contains(['/', '?', '#']) {
        return Err("nothing belongs behind host and port");
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => {
            let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
            let port = port.parse::<u16>().ok().filter(|p| digits && *p > 0);
            (name, port.ok_or("the port is no number from 1 to 65535")?)
        }
        _ => (host, default_port),
    };
    let address = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let usable = match address {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty()
                && name.len() <= 253
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        }
    };
    if usable { Ok(format!("{name}:{port}")) } else { Err("a host and a port are expected") }
}

impl Target {
    /// Whether what is sent there stays on this host, as far as its name says.
    pub fn is_loopback(&self) -> bool {
        let Self::Tcp(host) = self else { return matches!(self, Self::Unix(_)) };
        let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
        let address = name.trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost")
            || address.parse::<std::net::IpAddr>().is_ok_and(|a| a.to_canonical().is_loopback())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "http://{host}"),
            Self::Tls(host) => write!(f, "https://{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_can_use() {
        for (url, shown) in [
            ("unix:///run/s.sock", "unix:///run/s.sock"),
            ("http://localhost", "http://localhost:80"),
            ("http://localhost:7777/", "http://localhost:7777"),
            ("http://[::1]:80", "http://[::1]:80"),
            ("http://[::1]", "http://[::1]:80"),
            ("https://vm.example", "https://vm.example:443"),
            ("https://vm.example:8443/", "https://vm.example:8443"),
        ] {
            assert_eq!(Target::parse(url).unwrap().to_string(), shown, "{url}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for url in [
            "",
            "/run/s.sock",
            "unix://x",
            "unix:/x",
            "ftp://h",
            "file:///x",
            "http://",
            "http://h:x",
            "http://:80",
            "http://u@h",
            "http://h/path",
            "HTTP ://h",
            "ssh://h",
            "https://u:p@h",
            "https://h/../v1",
            "http://h:0",
            "http://h:65536",
            "http://h:+80",
            "http://[::1",
            "http://[x]:80",
            "http://h?x",
            "http://h#x",
            "http://h//",
            "http://a b",
            "http://h\\x",
        ] {
            let problem = Target::parse(url).unwrap_err();
            assert_eq!(problem.code, Code::InvalidUrl, "{url}");
        }
        for url in ["http://h:1/path", "http://h:1?x"] {
            let problem = Target::parse(url).unwrap_err();
            assert!(problem.message.contains("nothing belongs behind"), "{problem}");
        }
    }

    #[test]
    fn knows_what_stays_here() {
        for here in ["unix:///s", "http://localhost:1", "http://127.0.0.9", "http://[::1]:1"] {
            assert!(Target::parse(here).unwrap().is_loopback(), "{here}");
        }
        for there in [
            "http://10.0.0.1",
            "http://localhost.evil",
            "http://127.0.0.1.evil",
            "https://vm",
            "http://[::2]",
        ] {
            assert!(!Target::parse(there).unwrap().is_loopback(), "{there}");
        }
    }
}
