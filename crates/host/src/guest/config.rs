//! A run's plan as its guest is told it.

use engine::port::{RunDisk, RunPlan};
use proto::{GuestConfig, Mount, Nic};
use types::Name;
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
        mounts: mounts(plan, &[]),
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

/// The data disks to mount in a run whose guest was told `told` before. What is mounted by its volume's
/// name stays where it is, whatever the volume is called by now: who uses it has it there. What is to come to
/// such a place is left out ([`shut_out`]).
pub fn mounts(plan: &RunPlan, told: &[Mount]) -> Vec<Mount> {
    let one = |d: &RunDisk| {
        let path = match stays(d, told) {
            Some(path) => path.to_owned(),
            None => d.mount.clone().filter(|path| !taken(plan, told, path))?,
        };
        Some(Mount { serial: d.serial.clone(), path, read_only: d.read_only, identity: identity(d) })
    };
    data(plan).filter_map(one).collect()
}

/// The volumes that cannot be mounted before the next run, and the places where others still are.
pub fn shut_out<'a>(plan: &'a RunPlan, told: &[Mount]) -> Vec<(&'a RunDisk, String)> {
    let waiting = data(plan).filter(|d| stays(d, told).is_none());
    waiting.filter_map(|d| Some((d, d.mount.clone().filter(|path| taken(plan, told, path))?))).collect()
}

fn data(plan: &RunPlan) -> impl Iterator<Item = &RunDisk> {
    plan.disks.iter().filter(|d| d.role == VolumeRole::Data)
}

/// Where a disk stays that is mounted by its volume's name, and was before.
fn stays<'a>(disk: &RunDisk, told: &'a [Mount]) -> Option<&'a str> {
    let by_name = |path: &str| path.strip_prefix("/mnt/").is_some_and(|name| Name::new(name).is_ok());
    let before = told.iter().find(|m| m.serial == disk.serial && by_name(&m.path))?;
    disk.by_name.then_some(before.path.as_str())
}

fn taken(plan: &RunPlan, told: &[Mount], path: &str) -> bool {
    data(plan).any(|d| stays(d, told) == Some(path))
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

    /// A run with these data disks: serial, name of the volume, and where it is mounted if that was asked for.
    fn run(disks: &[(&str, &str, Option<&str>)]) -> RunPlan {
        let disk = |(slot, (serial, name, asked)): (u8, &(&str, &str, Option<&str>))| RunDisk {
            volume: types::VolumeId(uuid::Uuid::nil()),
            pool: types::pool::DEFAULT_POOL.into(),
            name: Name::new(name).unwrap(),
            slot,
            serial: (*serial).into(),
            role: VolumeRole::Data,
            mount: Some(asked.map_or_else(|| format!("/mnt/{name}"), str::to_owned)),
            by_name: asked.is_none(),
            read_only: false,
            identity: None,
        };
        RunPlan {
            machine: types::MachineId(uuid::Uuid::nil()),
            name: Name::new("web").unwrap(),
            generation: 1,
            run: types::RunId(uuid::Uuid::nil()),
            uid: 1,
            vcpus: 1,
            memory: types::ByteSize::gib(1),
            kernel: String::new(),
            disks: (1..).zip(disks).map(disk).collect(),
            nics: vec![],
        }
    }

    #[test]
    fn what_is_mounted_by_its_name_stays_until_the_next_run() {
        let paths = |all: &[Mount]| all.iter().map(|m| m.path.clone()).collect::<Vec<_>>();
        let first = run(&[("a", "appdata", None), ("b", "logs", Some("/srv/logs"))]);
        let told = mounts(&first, &[]);
        assert_eq!(paths(&told), ["/mnt/appdata", "/srv/logs"]);

        let renamed = run(&[("a", "data2", None), ("b", "old", Some("/srv/logs")), ("c", "new", None)]);
        let now = mounts(&renamed, &told);
        assert_eq!(paths(&now), ["/mnt/appdata", "/srv/logs", "/mnt/new"]);
        assert!(shut_out(&renamed, &told).is_empty());
        assert_eq!(paths(&mounts(&renamed, &now)), paths(&now));
        assert_eq!(paths(&mounts(&renamed, &[])), ["/mnt/data2", "/srv/logs", "/mnt/new"]);

        // What was asked for is as it was asked for, and what came to be without a place as the plan says.
        let asked = run(&[("a", "data2", Some("/srv/a")), ("b", "old", None)]);
        assert_eq!(paths(&mounts(&asked, &told)), ["/srv/a", "/mnt/old"]);

        // Its old name is another's now, which cannot have the place.
        let taken = run(&[("a", "data2", None), ("d", "appdata", None)]);
        assert_eq!(paths(&mounts(&taken, &told)), ["/mnt/appdata"]);
        let out = shut_out(&taken, &told);
        let [(disk, place)] = &out[..] else { panic!("{out:?}") };
        assert_eq!((disk.name.as_str(), place.as_str()), ("appdata", "/mnt/appdata"));
        assert_eq!(paths(&mounts(&taken, &[])), ["/mnt/data2", "/mnt/appdata"]);
        // Two that swapped their names are both where they were.
        let two = mounts(&run(&[("a", "one", None), ("b", "two", None)]), &[]);
        let swapped = run(&[("a", "two", None), ("b", "one", None)]);
        assert_eq!(paths(&mounts(&swapped, &two)), ["/mnt/one", "/mnt/two"]);
        assert!(shut_out(&swapped, &two).is_empty());
    }

    #[test]
    fn loopback_name_servers_are_of_no_use_to_a_guest() {
        let text = "# x\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch a\nnameserver ::1\nnameserver nonsense\n";
        assert_eq!(parse(text), ["192.0.2.1"]);
    }
}
