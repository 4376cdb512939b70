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
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// `invalid-url`; `not-yet` for `https://`.
    pub fn parse(url: &str) -> Result<Self, Problem> {
        let bad = |why: &str| {
            Problem::new(Code::InvalidUrl, format!("\"{}\" is not a usable URL: {why}", url.escape_debug()))
                .hint("write unix:///path/to/sistemo.sock or http://host:port")
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("it has no scheme"))?;
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(PathBuf::from(rest))),
            "unix" => Err(bad("the path of a socket begins with /")),
            "http" => {
                let host = rest.trim_end_matches('/');
                if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
                    return Err(bad("a host and a port are expected"));
                }
                let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
                match host.rsplit_once(':') {
                    Some((_, port)) if !host.ends_with(']') => {
                        port.parse::<u16>().map_err(|_| bad("the port is no number"))?;
                        if name.is_empty() {
                            return Err(bad("a host is expected"));
                        }
                        Ok(Self::Tcp(host.to_owned()))
                    }
                    _ => Ok(Self::Tcp(format!("{host}:80"))),
                }
            }
            "https" => Err(Problem::new(Code::NotYet, "https:// is not built yet")
                .hint("use the Unix socket, or forward it with ssh -L")),
            _ => Err(bad(&format!("\"{}\" is not unix, http or https", scheme.escape_debug()))),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "http://{host}"),
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
        ] {
            let problem = Target::parse(url).unwrap_err();
            assert_eq!(problem.code, Code::InvalidUrl, "{url}");
        }
        assert_eq!(Target::parse("https://h").unwrap_err().code, Code::NotYet);
    }
}
