//! Where a request comes from and where it believes to go.
//!
//! Invariant: `X-Forwarded-For` is believed only from a proxy that the operator named, and only back
//! to the last address that is not one; a `Host` that is a name must be one the operator knows,
//! since a page of a stranger can make its own name resolve to us (DNS rebinding).

use axum::http::{HeaderMap, Uri, header};
use std::net::IpAddr;
use std::str::FromStr;
use types::{Code, Problem};

/// A network: an address and the length of its prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Net {
    address: IpAddr,
    prefix: u8,
}

impl FromStr for Net {
    type Err = ();

    /// `10.0.0.0/8`, `fd00::/8`, or an address for itself alone.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| ())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(most);
        if prefix > most { Err(()) } else { Ok(Self { address, prefix }) }
    }
}

impl Net {
    /// Whether `address` is in it.
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(a)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                u32::from(net) & mask == u32::from(a) & mask
            }
            (IpAddr::V6(net), IpAddr::V6(a)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                u128::from(net) & mask == u128::from(a) & mask
            }
            _ => false,
        }
    }
}

/// The address that a request comes from, by way of the proxies that are trusted.
pub fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Net]) -> IpAddr {
    let mut nearest = peer.to_canonical();
    let told = headers.get_all("x-forwarded-for");
    // Each proxy appends whom it heard from, so the last is the nearest.
    let hops: Vec<&str> = told.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).collect();
    for hop in hops.iter().rev() {
        if !trusted.iter().any(|net| net.holds(nearest)) {
            break;
        }
        match hop.trim().parse::<IpAddr>() {
            Ok(address) => nearest = address.to_canonical(),
            Err(_) => break,
        }
    }
    nearest
}

/// Refuses a request that was meant for a name that is not ours.
pub fn known_host(uri: &Uri, headers: &HeaderMap, allowed: &[String]) -> Result<(), Problem> {
    let refuse = |host: &str| {
        Err(Problem::new(
            Code::InvalidRequest,
            format!(
                "this daemon is not known as \"{}\"",
                host.chars().take(100).collect::<String>().escape_debug()
            ),
        )
        .hint("use its address, or add the name to allowed_hosts"))
    };
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return refuse("");
    };
    let host = host.to_str().unwrap_or_default();
    let also = uri.authority().map(|a| a.as_str());
    for host in std::iter::once(host).chain(also) {
        let name = name_of(host);
        let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        let known = is_address
            || name.eq_ignore_ascii_case("localhost")
            || allowed.iter().any(|a| a.eq_ignore_ascii_case(name));
        if !known {
            return refuse(host);
        }
    }
    Ok(())
}

/// Without the port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// Refuses what a page of another site made a browser send. Where `origin_required`, it has to say where it
/// comes from; wherever it says so, that has to be here.
pub fn same_site(headers: &HeaderMap, origin_required: bool) -> Result<(), Problem> {
    let foreign = || {
        Problem::new(Code::NoPermission, "the request comes from another site")
            .hint("use the daemon's own pages")
    };
    let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap_or_default());
    if text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return Err(foreign());
    }
    match (text("origin"), text("host")) {
        (None, _) if !origin_required => Ok(()),
        (Some(origin), Some(host)) => {
            let (scheme, from) = origin.split_once("://").unwrap_or_default();
            let here = matches!(scheme, "http" | "https") && from.eq_ignore_ascii_case(host);
            if here { Ok(()) } else { Err(foreign()) }
        }
        _ => Err(foreign()),
    }
}

/// Whether the body, if there is one, is said to be JSON: a form of another site cannot say so.
pub fn says_json(headers: &HeaderMap) -> bool {
    let empty = !headers.contains_key(header::TRANSFER_ENCODING)
        && headers.get(header::CONTENT_LENGTH).is_none_or(|v| v.as_bytes() == b"0");
    let kind = said(headers).to_ascii_lowercase();
    empty || kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// Whether the body is said to be of this kind.
pub fn says(headers: &HeaderMap, kind: &str) -> bool {
    said(headers).eq_ignore_ascii_case(kind)
}

/// What kind the body is said to be of; empty if nothing is said.
fn said(headers: &HeaderMap) -> &str {
    let said = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    said.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in all {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn networks() {
        let holds = |net: &str, address: &str| net.parse::<Net>().unwrap().holds(address.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1") && holds("::/0", "::1"));
        assert!(holds("127.0.0.1", "127.0.0.1") && !holds("127.0.0.1", "127.0.0.2"));
        assert!(holds("10.0.0.0/8", "::ffff:10.0.0.1"));
        for bad in ["", "x", "10.0.0.0/33", "10.0.0.0/", "::/129", "10.0.0.0/-1"] {
            assert!(bad.parse::<Net>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let from = |peer: &str, told: &'static str| {
            client(peer.parse().unwrap(), &headers(&[("x-forwarded-for", told)]), &trusted).to_string()
        };
        assert_eq!(from("192.0.2.1", "198.51.100.1"), "192.0.2.1");
        assert_eq!(from("10.0.0.1", "198.51.100.1"), "198.51.100.1");
        // What the client itself wrote stands before what the proxy appended.
        assert_eq!(from("10.0.0.1", "203.0.113.9, 198.51.100.1"), "198.51.100.1");
        assert_eq!(from("10.0.0.1", "198.51.100.1, 10.0.0.2"), "198.51.100.1");
        assert_eq!(from("10.0.0.1", "198.51.100.1, nonsense"), "10.0.0.1");
        assert_eq!(from("10.0.0.1", ""), "10.0.0.1");
    }

    #[test]
    fn strangers_names_are_refused() {
        let known = |host: &'static str| {
            known_host(&Uri::from_static("/"), &headers(&[("host", host)]), &["vm.example".into()]).is_ok()
        };
        for good in ["127.0.0.1", "127.0.0.1:7777", "[::1]:7777", "[::1]", "localhost:7777", "VM.example:1"] {
            assert!(known(good), "{good}");
        }
        for bad in
            ["evil.example", "evil.example:7777", "", ":80", "127.0.0.1.evil.example", "localhost.evil"]
        {
            assert!(!known(bad), "{bad}");
        }
        let two = headers(&[("host", "localhost"), ("host", "evil.example")]);
        assert!(known_host(&Uri::from_static("/"), &two, &[]).is_err());
        assert!(known_host(&Uri::from_static("/"), &headers(&[]), &[]).is_err());
        let here = headers(&[("host", "localhost")]);
        assert!(known_host(&Uri::from_static("http://evil.example/"), &here, &[]).is_err());
    }

    #[test]
    fn other_sites_are_refused() {
        let site = |all: &[(&'static str, &'static str)]| same_site(&headers(all), true).is_ok();
        let host = ("host", "127.0.0.1:7777");
        assert!(site(&[host, ("origin", "http://127.0.0.1:7777"), ("sec-fetch-site", "same-origin")]));
        assert!(!site(&[host]));
        assert!(!site(&[host, ("origin", "null")]));
        assert!(!site(&[host, ("origin", "http://evil.example")]));
        assert!(!site(&[host, ("origin", "http://127.0.0.1:8888")]));
        assert!(!site(&[host, ("origin", "http://127.0.0.1:7777"), ("sec-fetch-site", "cross-site")]));
        assert!(same_site(&headers(&[host]), false).is_ok());
        assert!(same_site(&headers(&[host, ("origin", "http://evil.example")]), false).is_err());
        assert!(same_site(&headers(&[host, ("sec-fetch-site", "cross-site")]), false).is_err());
        assert!(says_json(&headers(&[("content-type", "application/json; charset=utf-8")])));
        assert!(says_json(&headers(&[
            ("content-length", "2"),
            ("content-type", "Application/Merge-Patch+JSON; a=b")
        ])));
        assert!(!says_json(&headers(&[("content-length", "2"), ("content-type", "text/x+json")])));
        assert!(!says_json(&headers(&[("content-length", "2")])));
        assert!(says_json(&headers(&[("content-length", "0")])));
        assert!(!says_json(&headers(&[("content-length", "2"), ("content-type", "text/plain")])));
        assert!(!says_json(&headers(&[("transfer-encoding", "chunked")])));
    }
}
