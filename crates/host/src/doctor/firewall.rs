//! Other people's packet filters that would cut guests off.
//!
//! A packet passes only if every chain of the forward hook lets it: ours cannot overrule another
//! that drops what it does not know.

use super::command::output;
use super::{Finding, Subject};
use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

const CHECK: &str = "firewall";
const LIMIT: Duration = Duration::from_secs(2);

pub(super) fn check(subject: &Subject) -> Vec<Finding> {
    if !rustix::process::geteuid().is_root() {
        return vec![Finding::unseen(CHECK, "only root sees the rules")];
    }
    let mut found = vec![];
    match output(Command::new("nft").args(["-j", "list", "chains"]), LIMIT) {
        Ok(json) => {
            for chain in dropping(&json) {
                let list = ["list", "chain", &chain.family, &chain.table, &chain.name];
                let rules = output(Command::new("nft").args(list), LIMIT).unwrap_or_default();
                found.extend(judge(&chain, &rules, &subject.bridge));
            }
        }
        // Told by the check of the tools.
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => found.push(Finding::unseen(CHECK, format!("nft: {e}"))),
    }
    // What the old interface of the kernel holds, nft does not show.
    if let Ok(rules) = output(Command::new("iptables-legacy").args(["-S", "FORWARD"]), LIMIT) {
        if rules.contains("-P FORWARD DROP") && !rules.contains(&subject.bridge) {
            let b = &subject.bridge;
            let fix = format!(
                "iptables-legacy -I FORWARD -i {b} -j ACCEPT; iptables-legacy -I FORWARD -o {b} -j ACCEPT"
            );
            found.push(Finding::warn(CHECK, "iptables-legacy drops what it does not know", fix));
        }
    }
    if found.is_empty() {
        found.push(Finding::ok(CHECK, "nothing drops what is forwarded"));
    }
    found
}

#[derive(PartialEq, Eq, Debug)]
struct Chain {
    family: String,
    table: String,
    name: String,
}

/// The chains of the forward hook that drop by default.
fn dropping(json: &str) -> Vec<Chain> {
    let all: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let chains = all["nftables"].as_array().into_iter().flatten().map(|c| &c["chain"]);
    chains
        .filter(|c| c["hook"] == "forward" && c["policy"] == "drop")
        .filter(|c| matches!(c["family"].as_str(), Some("ip" | "inet" | "bridge")))
        .filter_map(|c| {
            let text = |key: &str| c[key].as_str().map(str::to_owned);
            Some(Chain { family: text("family")?, table: text("table")?, name: text("name")? })
        })
        .collect()
}

fn judge(chain: &Chain, rules: &str, bridge: &str) -> Option<Finding> {
    // Whoever names our bridge there has thought of it.
    if rules.contains(bridge) {
        return None;
    }
    let place = format!("{} {} {}", chain.family, chain.table, chain.name);
    let allow = |way: &str| format!("nft insert rule {place} {way} {bridge} accept");
    let fix = format!("{}; {}", allow("iifname"), allow("oifname"));
    Some(Finding::warn(
        CHECK,
        format!("the chain {place} drops what it does not know: guests reach nothing"),
        fix,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_of_drop_is_seen() {
        let chain = |hook: &str, policy: &str| {
            format!(
                r#"{{"chain":{{"family":"ip","table":"filter","name":"FORWARD","handle":2,"type":"filter","hook":"{hook}","prio":0,"policy":"{policy}"}}}}"#
            )
        };
        let all = |chains: &[String]| format!(r#"{{"nftables":[{{"metainfo":{{}}}},{}]}}"#, chains.join(","));
        assert_eq!(dropping(&all(&[chain("forward", "accept"), chain("input", "drop")])), vec![]);
        let found = dropping(&all(&[chain("forward", "drop")]));
        assert_eq!(found.len(), 1);
        let told = judge(&found[0], "chain FORWARD { policy drop; }", "sistemo0").unwrap();
        assert!(told.fix.unwrap().contains("nft insert rule ip filter FORWARD iifname sistemo0 accept"));
        assert_eq!(judge(&found[0], "iifname \"sistemo0\" accept", "sistemo0"), None);
        assert_eq!(dropping("nonsense"), vec![]);
    }
}
