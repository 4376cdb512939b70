//! A run's plan as its guest is told it.

use engine::port::{RunDisk, RunPlan};
use proto::{GuestConfig, Mount, Nic};
use types::volume::VolumeRole;

/// What guests are told beyond their plan.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// Lines for root's `authorized_keys`.
    pub authorized_keys: Vec<String>,
    /// Name servers; see [`nameservers`].
    pub nameservers: Vec<String>,
}

/// The configuration of a run's guest.
pub fn describe(plan: &RunPlan, extras: &Extras) -> GuestConfig {
    let root = plan.disks.iter().find(|d| d.role == VolumeRole::Root);
    GuestConfig {
        generation: plan.generation,
        hostname: plan.name.to_string(),
        root: root.map(|d| d.serial.clone()).unwrap_or_default(),
        root_identity: root.map(identity).unwrap_or_default(),
        modules: true,
        mounts: mounts(plan),
        nics: plan
            .nics
            .iter()
            .map(|(network, nic)| Nic {
                mac: nic.mac.clone(),
                address: nic.address,
                prefix: network.prefix,
                gateway: Some(network.gateway),
            })
            .collect(),
        nameservers: extras.nameservers.clone(),
        authorized_keys: extras.authorized_keys.clone(),
        entry: None,
    }
}

fn identity(disk: &RunDisk) -> String {
    disk.identity.map(|id| id.hyphenated().to_string()).unwrap_or_default()
}

/// The data disks to mount.
pub fn mounts(plan: &RunPlan) -> Vec<Mount> {
    let data = plan.disks.iter().filter(|d| d.role == VolumeRole::Data);
    let one = |d: &RunDisk| {
        let path = d.mount.clone()?;
        Some(Mount { serial: d.serial.clone(), path, read_only: d.read_only, identity: identity(d) })
    };
    data.filter_map(one).collect()
}

/// The host's name servers, as far as a guest can reach them: not those on loopback.
pub fn nameservers() -> Vec<String> {
    // systemd-resolved's stub listens on loopback; the servers behind it are in its own file.
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    let of = |file: &str| parse(&std::fs::read_to_string(file).unwrap_or_default());
    files.iter().map(|f| of(f)).find(|found| !found.is_empty()).unwrap_or_default()
}

fn parse(resolv: &str) -> Vec<String> {
    resolv
        .lines()
        .filter_map(|l| l.trim().strip_prefix("nameserver"))
        .filter_map(|a| a.trim().parse::<std::net::IpAddr>().ok())
        .filter(|a| !a.is_loopback() && !a.is_unspecified())
        // resolv.conf(5): MAXNS is 3.
        .take(3)
        .map(|a| a.to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_name_servers_are_of_no_use_to_a_guest() {
        let text = "# x\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch a\nnameserver ::1\nnameserver nonsense\n";
        assert_eq!(parse(text), ["192.0.2.1"]);
    }
}
