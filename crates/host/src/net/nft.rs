//! Address translation, forwarding and the guard against forged addresses: two tables of ours.
//!
//! `table inet sistemo_<bridge>` translates what leaves the subnet and accepts what is forwarded
//! from and to the bridge. `table bridge sistemo_<bridge>` lets a tap send IPv4 and ARP from its own
//! addresses, and nothing else: no forged sender, no router advertisements, no VLAN tags. It knows
//! its taps by a set of names, for `meta ibrname` is a module that not every kernel has.
//!
//! An `accept` in one table never overrides a `drop` in another. A host with Docker drops forwarded
//! packets in a table of its own: there, `iptables -I DOCKER-USER -i <bridge> -j ACCEPT` (and `-o`)
//! is the administrator's to say. Other tables are never touched.
//!
//! Invariant: one call is one transaction of the kernel's (`nft -f -`); after it the tables are as
//! the script says, whatever they were; the elements of other interfaces stay.

use super::{failed, no_root};
use crate::tool;
use engine::port::{Fault, NicPlan};
use std::io::{ErrorKind, Write};
use std::process::{Command, Output, Stdio};
use types::Code;
use types::network::NetworkSpec;

const PREFIX: &str = "sistemo_";

/// Our tables' name: one per bridge, so that daemons with different bridges do not meet.
pub fn table(bridge: &str) -> String {
    format!("{PREFIX}{bridge}")
}

/// The subnet, as `10.200.0.0/16`.
fn subnet(network: &NetworkSpec) -> String {
    let base = std::net::Ipv4Addr::from(u32::from(network.gateway) & super::bridge::mask(network.prefix));
    format!("{base}/{}", network.prefix)
}

/// The script that makes a network's tables.
pub fn network_script(network: &NetworkSpec) -> String {
    let (table, bridge, subnet) = (table(&network.bridge), &network.bridge, subnet(network));
    // `flush chain` and not `delete table`: the set of interfaces is filled by `nic_script`.
    format!(
        r#"add table inet {table}
add chain inet {table} postrouting {{ type nat hook postrouting priority srcnat; policy accept; }}
flush chain inet {table} postrouting
add rule inet {table} postrouting ip saddr {subnet} ip daddr != {subnet} oifname != "{bridge}" masquerade
add chain inet {table} forward {{ type filter hook forward priority filter; policy accept; }}
flush chain inet {table} forward
add rule inet {table} forward iifname "{bridge}" accept
add rule inet {table} forward oifname "{bridge}" accept
add table bridge {table}
add set bridge {table} taps {{ type ifname; }}
add set bridge {table} nics {{ type ifname . ether_addr . ipv4_addr; }}
add chain bridge {table} guard {{ type filter hook prerouting priority -300; policy accept; }}
flush chain bridge {table} guard
add rule bridge {table} guard iifname != @taps accept
add rule bridge {table} guard ether type ip iifname . ether saddr . ip saddr @nics accept
add rule bridge {table} guard ether type arp iifname . ether saddr . arp saddr ip @nics iifname . arp saddr ether . arp saddr ip @nics accept
add rule bridge {table} guard drop
"#
    )
}

/// What our sets hold of an interface: set and element.
fn elements(nic: &NicPlan) -> [(&'static str, String); 2] {
    [
        ("taps", format!("\"{}\"", nic.tap)),
        ("nics", format!("\"{}\" . {} . {}", nic.tap, nic.mac, nic.address)),
    ]
}

fn each(verb: &str, table: &str, nic: &NicPlan) -> String {
    let line = |(set, element)| format!("{verb} element bridge {table} {set} {{ {element} }}\n");
    elements(nic).map(line).concat()
}

fn nic_script(table: &str, nic: &NicPlan) -> String {
    each("add", table, nic)
}

/// Adding first makes removing what is not there no error.
fn remove_script(table: &str, nic: &NicPlan) -> String {
    each("add", table, nic) + &each("delete", table, nic)
}

/// Looks at everything that [`network_script`] and [`nic_script`] make.
fn look_script(table: &str, nic: &NicPlan) -> String {
    format!(
        "list chain inet {table} postrouting\nlist chain inet {table} forward\nlist chain bridge {table} guard\n{}",
        each("get", table, nic)
    )
}

/// Runs `nft` with this script; what it says is the caller's to judge.
fn nft(arguments: &[&str], script: &str) -> Result<Output, Fault> {
    let unable = |e: &std::io::Error| tool::unable("nft", e, "nftables", Code::NetworkFailed);
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| unable(&e))?;
    if let Some(mut stdin) = child.stdin.take() {
        // It reads everything before it writes anything. That it did not says its status.
        match stdin.write_all(script.as_bytes()) {
            Err(e) if e.kind() != ErrorKind::BrokenPipe => tracing::warn!(error = %e, "nft's input"),
            _ => {}
        }
    }
    child.wait_with_output().map_err(|e| unable(&e))
}

fn apply(what: &str, script: &str) -> Result<(), Fault> {
    let output = nft(&["-f", "-"], script)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    tracing::error!(status = %output.status, "nft, to {what}: {}", said.trim());
    if !rustix::process::geteuid().is_root() || said.contains("Operation not permitted") {
        return Err(no_root(what));
    }
    Err(failed(what, "nft refused its rules").hint("the daemon's log tells what nft said"))
}

/// Makes a network's tables.
pub fn ensure_network(network: &NetworkSpec) -> Result<(), Fault> {
    apply(&format!("set up address translation for bridge {}", network.bridge), &network_script(network))
}

/// Lets an interface send from its own addresses.
pub fn ensure_nic(network: &NetworkSpec, nic: &NicPlan) -> Result<(), Fault> {
    let what = format!("let {} use its address", nic.tap);
    apply(&what, &nic_script(&table(&network.bridge), nic))
}

/// Whether a network's tables are there and know the interface.
pub fn has_nic(network: &NetworkSpec, nic: &NicPlan) -> Result<bool, Fault> {
    let output = nft(&["-f", "-"], &look_script(&table(&network.bridge), nic))?;
    let said = String::from_utf8_lossy(&output.stdout);
    // Chains that somebody emptied are there and do nothing.
    Ok(output.status.success() && ["masquerade", "oifname", "drop"].iter().all(|rule| said.contains(rule)))
}

/// Takes the interface out of our tables: of all bridges, for nothing else tells which was its own
/// once the tap is gone.
pub fn remove_nic(nic: &NicPlan) -> Result<(), Fault> {
    let output = nft(&["-j", "list", "tables", "bridge"], "")?;
    let script: String = tables(&output.stdout).iter().map(|table| remove_script(table, nic)).collect();
    if script.is_empty() {
        return Ok(());
    }
    apply(&format!("take the address from {}", nic.tap), &script)
}

/// Our tables in the answer to `nft -j list tables bridge`.
fn tables(json: &[u8]) -> Vec<String> {
    let answer: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
    let items = answer["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names = items.iter().filter_map(|item| item["table"]["name"].as_str());
    names.filter(|name| name.starts_with(PREFIX)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(gateway: &str, prefix: u8) -> NetworkSpec {
        NetworkSpec {
            id: types::NetworkId(uuid::Uuid::now_v7()),
            name: "default".parse().unwrap(),
            created_at: types::Timestamp(jiff::Timestamp::UNIX_EPOCH),
            bridge: "sistemo0".into(),
            gateway: gateway.parse().unwrap(),
            prefix,
        }
    }

    #[test]
    fn the_subnet_is_the_gateways() {
        assert_eq!(subnet(&network("10.200.0.1", 16)), "10.200.0.0/16");
        assert_eq!(subnet(&network("192.168.7.129", 26)), "192.168.7.128/26");
    }

    #[test]
    fn a_script_names_our_tables_only() {
        for line in network_script(&network("10.200.0.1", 16)).lines() {
            assert!(line.contains(" sistemo_sistemo0"), "{line}");
            assert!(!line.contains("ruleset"));
        }
    }

    #[test]
    fn tables_of_others_are_not_ours() {
        let json = br#"{"nftables":[{"metainfo":{}},{"table":{"family":"bridge","name":"sistemo_a"}},
            {"table":{"family":"bridge","name":"libvirt"}}]}"#;
        assert_eq!(tables(json), ["sistemo_a"]);
        assert!(tables(b"nonsense").is_empty());
    }
}
