//! From texts to values that make sense.
//!
//! Invariant: an error names the key, the value and the place it came from.

use super::{Config, Origin, Setting, Tls, limits, network};
use crate::api::access::Net;
use std::path::PathBuf;
use std::time::Duration;
use types::machine::MAX_MEMORY;
use types::{ByteSize, Code, Problem};

/// Checks every setting.
pub(super) fn typed(data_dir: PathBuf, settings: Vec<Setting>) -> Result<Config, Problem> {
    let get = |name: &str| {
        settings
            .iter()
            .find(|s| s.key.name == name)
            .ok_or_else(|| Problem::new(Code::Internal, format!("there is no setting {name}")))
    };
    let span = |name: &str| -> Result<Duration, Problem> {
        let setting = get(name)?;
        duration(&setting.value).ok_or_else(|| {
            bad(setting, "is not a length of time")
                .hint("write a number and a unit, such as 90s, 5m or 24h; a bare number means seconds")
        })
    };
    let text = |name: &str| get(name).map(|s| s.value.clone());
    let listen = get("listen")?;
    let (gateway, prefix) = network::subnet(get("network.subnet")?)?;
    Ok(Config {
        url: text("url")?,
        listen: match listen.value.as_str() {
            "off" => None,
            address => Some(address.parse().map_err(|_| {
                bad(listen, "is not an address with a port").hint("write it like 127.0.0.1:7777, or off")
            })?),
        },
        listen_set: listen.origin != Origin::Default,
        log: text("log")?,
        node: node(get("node")?)?,
        stop_timeout: span("stop_timeout")?,
        restart_after_boot: flag(get("restart_after_boot")?)?,
        boot_timeout: span("boot_timeout")?,
        ssh_timeout: span("ssh_timeout")?,
        reconciler_interval: positive(get("reconciler_interval")?, span("reconciler_interval")?)?,
        shutdown_timeout: span("shutdown_timeout")?,
        trash_keep: span("trash.keep")?,
        pool_warn: percent(get("pool.warn")?)?,
        pool_reserve: limits::reserve(get("pool.reserve")?)?,
        pool_overcommit: limits::ratio(get("pool.overcommit")?)?,
        max_vcpus: limits::vcpus(get("limits.max_vcpus")?)?,
        max_memory: limits::at_most(get("limits.max_memory")?, MAX_MEMORY)?,
        max_storage: limits::at_most(get("limits.max_storage")?, ByteSize::MAX)?,
        workers: workers(get("workers")?)?,
        accel: accel(get("hypervisor.accel")?)?,
        kernel: Some(text("hypervisor.kernel")?).filter(|k| !k.is_empty()),
        bridge: network::bridge(get("network.bridge")?)?,
        dns: network::servers(get("network.dns")?)?,
        gateway,
        prefix,
        listen_insecure: switch(get("listen_insecure")?)?,
        tls: tls(get("tls")?, get("tls.cert")?, get("tls.key")?)?,
        fingerprint: fingerprint(get("tls.fingerprint")?)?,
        allowed_hosts: list(&get("allowed_hosts")?.value).map(ToOwned::to_owned).collect(),
        trusted_proxies: networks(get("trusted_proxies")?)?,
        rps: count(get("rate_limit.rps")?)?,
        burst: count(get("rate_limit.burst")?)?,
        session_timeout: positive(get("session_timeout")?, span("session_timeout")?)?,
        history_keep: positive(get("history.keep")?, span("history.keep")?)?,
        history_size: size(get("history.size")?)?,
        log_json: match get("log_format")?.value.as_str() {
            "text" => false,
            "json" => true,
            _ => return Err(bad(get("log_format")?, "is neither text nor json")),
        },
        flags: vec![],
        data_dir,
        settings,
    })
}

/// The refusal of a value. Unless there is more to say, the hint is what it can be.
pub(super) fn bad(setting: &Setting, why: &str) -> Problem {
    Problem::new(
        Code::InvalidConfig,
        format!(
            "{} = \"{}\" {why} (from {})",
            setting.key.name,
            setting.value.escape_debug(),
            setting.origin
        ),
    )
    .hint(format!("{} can be {}", setting.key.name, setting.key.range))
}

/// `90s`, `5m`, `24h`, `7d`, `500ms` or a bare number of seconds.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis: u64 = match unit.trim_start() {
        "ms" => 1,
        "" | "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    // A hundred years keeps every later addition to a point in time in range.
    let millis = number.checked_mul(millis)?;
    (millis <= 100 * 366 * 86_400_000).then(|| Duration::from_millis(millis))
}

fn positive(setting: &Setting, span: Duration) -> Result<Duration, Problem> {
    if span < Duration::from_secs(1) {
        return Err(bad(setting, "is too short").hint("the least is 1s"));
    }
    Ok(span)
}

fn flag(setting: &Setting) -> Result<bool, Problem> {
    setting.value.parse().map_err(|_| bad(setting, "is not true or false"))
}

fn node(setting: &Setting) -> Result<String, Problem> {
    types::Name::new(&setting.value)
        .map(|n| n.to_string())
        .map_err(|e| bad(setting, &format!("is no name of a host: {}", e.message)))
}

/// `90%` or `90`.
pub(super) fn percent(setting: &Setting) -> Result<u8, Problem> {
    let number = setting.value.strip_suffix('%').unwrap_or(&setting.value).trim();
    match number.parse() {
        Ok(n @ 1..=100) => Ok(n),
        _ => Err(bad(setting, "is not a part of a hundred").hint("write it like 90%")),
    }
}

fn workers(setting: &Setting) -> Result<usize, Problem> {
    match setting.value.parse() {
        Ok(n @ 1..=64) => Ok(n),
        _ => Err(bad(setting, "is not a number from 1 to 64")),
    }
}

fn accel(setting: &Setting) -> Result<String, Problem> {
    match setting.value.as_str() {
        "auto" | "kvm" | "tcg" => Ok(setting.value.clone()),
        _ => Err(bad(setting, "is not auto, kvm or tcg")),
    }
}

fn switch(setting: &Setting) -> Result<bool, Problem> {
    setting.value.parse().map_err(|_| bad(setting, "is neither true nor false"))
}

fn count(setting: &Setting) -> Result<u32, Problem> {
    match setting.value.parse() {
        Ok(n @ 1..=1_000_000) => Ok(n),
        _ => Err(bad(setting, "is not a number from 1 to 1000000")),
    }
}

/// The parts of a list, which a file may also write as one.
pub(super) fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn networks(setting: &Setting) -> Result<Vec<Net>, Problem> {
    list(&setting.value)
        .map(|part| {
            part.parse().map_err(|()| {
                bad(setting, "is no list of addresses").hint("write it like 10.0.0.1 or 10.0.0.0/8, fd00::/8")
            })
        })
        .collect()
}

fn fingerprint(setting: &Setting) -> Result<Option<String>, Problem> {
    if setting.value.is_empty() {
        return Ok(None);
    }
    match crate::fingerprint::normal(&setting.value) {
        Some(normal) => Ok(Some(normal)),
        None => Err(bad(setting, "is no fingerprint").hint("write sha256: and 64 hexadecimal digits")),
    }
}

const BOTH: &str = "set both tls.cert and tls.key and leave out tls, or neither of them";

fn tls(mode: &Setting, cert: &Setting, key: &Setting) -> Result<Tls, Problem> {
    match (mode.value.as_str(), cert.value.as_str(), key.value.as_str()) {
        ("off", "", "") => Ok(Tls::Off),
        ("self-signed", "", "") => Ok(Tls::SelfSigned),
        ("off", cert, key) if !cert.is_empty() && !key.is_empty() => {
            Ok(Tls::Files { cert: cert.into(), key: key.into() })
        }
        ("off", "", _) => Err(bad(key, "has no tls.cert to go with it").hint(BOTH)),
        ("off", _, _) => Err(bad(cert, "has no tls.key to go with it").hint(BOTH)),
        ("self-signed", _, _) => Err(bad(mode, "excludes tls.cert and tls.key").hint(BOTH)),
        _ => Err(bad(mode, "is neither self-signed nor off")
            .hint("for a certificate of your own, set tls.cert and tls.key")),
    }
}

fn size(setting: &Setting) -> Result<ByteSize, Problem> {
    let size: ByteSize =
        setting.value.parse().map_err(|p: Problem| bad(setting, &format!("is no size: {}", p.message)))?;
    if size < ByteSize::mib(1) { Err(bad(setting, "is less than 1M")) } else { Ok(size) }
}
