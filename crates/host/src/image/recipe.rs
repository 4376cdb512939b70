//! What the images that are built here are made of.
//!
//! Invariant: an image knows nothing of the host it was built on or of the machine it will be: no
//! keys, no machine id, no names, no logs; all of that comes from the agent.

use crate::apt::{self, Archive, Os};
use engine::port::Fault;
use std::path::Path;
use types::Code;

/// The packages beyond the minimal system. Without udev there is no `/dev/disk/by-id`, and without
/// dbus a shutdown hangs.
pub const PACKAGES: &str = "systemd,systemd-sysv,udev,dbus,kmod,openssh-server,iproute2,ca-certificates,\
    iputils-ping,procps,less,nano";

/// How packages are unpacked: without syncing each file, since a build that a crash interrupts is
/// thrown away; and without documentation. Packages that are installed later are not concerned.
pub const DPKG: [&str; 5] = [
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*/LC_MESSAGES/*",
];

/// Run in the new root, after all packages are there.
pub const FINISH: &str = r#"
set -eu
rm -f /etc/apt/apt.conf.d/00sistemo-build /etc/dpkg/dpkg.cfg.d/99mmdebstrap
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
printf '%s' "$SISTEMO_SOURCES" > "/etc/apt/sources.list.d/$SISTEMO_DISTRO.sources"
rm -f /etc/ssh/ssh_host_*
mkdir -p /etc/ssh/sshd_config.d
printf 'PermitRootLogin prohibit-password\n' > /etc/ssh/sshd_config.d/10-sistemo.conf
usermod -p '*' root
rm -f /var/lib/dbus/machine-id /etc/resolv.conf
: > /etc/machine-id
: > /etc/resolv.conf
: > /etc/fstab
printf 'localhost\n' > /etc/hostname
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' > /etc/hosts
printf 'LANG=C.UTF-8\n' > /etc/default/locale
ln -sf /dev/null /etc/systemd/system/systemd-networkd-wait-online.service
find /var/log -type f -delete
rm -rf /var/cache/apt/*.bin /var/cache/debconf/*-old /var/lib/dpkg/*-old
"#;

/// A distribution to build from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipe {
    /// `debian` or `ubuntu`.
    pub distro: &'static str,
    /// The release.
    pub suite: String,
    /// Where the packages come from.
    pub sources: String,
    /// Where the guest's own apt gets its packages from.
    pub guest_sources: String,
}

/// What is known of a distribution.
struct Distro {
    name: &'static str,
    /// What is built on hosts of another distribution.
    suite: &'static str,
    uri: &'static str,
    security: &'static str,
    /// The same path on the host and in the guest.
    keyring: &'static str,
    /// How to get it.
    keyring_hint: &'static str,
}

const DISTROS: [Distro; 2] = [
    Distro {
        name: "debian",
        suite: "bookworm",
        uri: "http://deb.debian.org/debian",
        security: "http://deb.debian.org/debian-security",
        keyring: "/usr/share/keyrings/debian-archive-keyring.gpg",
        keyring_hint: "apt install debian-archive-keyring",
    },
    Distro {
        name: "ubuntu",
        suite: "noble",
        uri: "http://archive.ubuntu.com/ubuntu",
        security: "http://security.ubuntu.com/ubuntu",
        keyring: "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
        keyring_hint: "install ubuntu-archive-keyring, or copy /usr/share/keyrings/ubuntu-archive-keyring.gpg \
            from an Ubuntu machine",
    },
];

/// The names of all recipes.
pub fn names() -> Vec<String> {
    DISTROS.iter().map(|d| d.name.to_owned()).collect()
}

/// The recipe of a name, as it is on this host.
///
/// # Errors
/// `image-failed` for a name that is none; `tool-missing` without the distribution's keys.
pub fn find(name: &str) -> Result<Recipe, Fault> {
    let distro = DISTROS.iter().find(|d| d.name == name).ok_or_else(|| {
        Fault::lasting(Code::ImageFailed, format!("there is no recipe \"{name}\""))
            .hint(format!("recipes: {}", names().join(", ")))
    })?;
    let os = Os::here();
    let own = os.id == distro.name;
    let of_host = if own { apt::archives(&os.codename) } else { Vec::new() };
    // The mirrors' list may not name the release's security archive; then it is left to the guest.
    if !of_host.iter().any(|a| a.suites.contains(&os.codename)) && !Path::new(distro.keyring).exists() {
        let text = format!("the keys of {name}'s archive are not on this host");
        return Err(Fault::lasting(Code::ToolMissing, text).hint(distro.keyring_hint));
    }
    Ok(compose(distro, &os, of_host))
}

fn compose(distro: &Distro, os: &Os, of_host: Vec<Archive>) -> Recipe {
    let known = of_host.iter().any(|a| a.suites.contains(&os.codename));
    let suite = if known { os.codename.clone() } else { distro.suite.to_owned() };
    let stock = vec![
        Archive::new(distro.uri, &[suite.clone(), format!("{suite}-updates")], distro.keyring),
        Archive::new(distro.security, &[format!("{suite}-security")], distro.keyring),
    ];
    let sources = if known { of_host } else { stock.clone() };
    let public = sources.iter().all(|a| a.is_public() && !a.trusted);
    let for_guest = if public { sources.clone() } else { stock };
    // The host's keys are not in the guest; the distribution's are.
    let in_guest = |a: Archive| Archive { signed_by: Some(distro.keyring.into()), ..a };
    let for_guest: Vec<_> = for_guest.into_iter().map(in_guest).collect();
    Recipe {
        distro: distro.name,
        suite,
        sources: apt::render(&sources),
        guest_sources: apt::render(&for_guest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debian() -> Os {
        Os { id: "debian".into(), codename: "trixie".into() }
    }

    #[test]
    fn a_hosts_own_mirror_is_used_and_its_keys_stay_on_it() {
        let mirror = Archive {
            signed_by: None,
            ..Archive::new("http://mirror.example/debian", &["trixie".into()], "")
        };
        let recipe = compose(&DISTROS[0], &debian(), vec![mirror]);
        assert_eq!(recipe.suite, "trixie");
        assert!(recipe.sources.contains("mirror.example") && !recipe.sources.contains("Signed-By"));
        assert!(recipe.guest_sources.contains("mirror.example"));
        assert!(recipe.guest_sources.contains("Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg"));
    }

    #[test]
    fn a_guest_is_not_told_of_what_it_cannot_reach() {
        let local = Archive::new("mirror+file:///etc/apt/mirrors/debian.list", &["trixie".into()], "k");
        let recipe = compose(&DISTROS[0], &debian(), vec![local]);
        assert!(recipe.sources.contains("mirror+file"));
        assert!(recipe.guest_sources.contains("http://deb.debian.org/debian-security"));
        assert!(!recipe.guest_sources.contains("mirror+file"));
    }

    #[test]
    fn another_distribution_is_built_from_its_own_archive() {
        let recipe = compose(&DISTROS[1], &debian(), Vec::new());
        assert_eq!(recipe.suite, "noble");
        assert!(recipe.sources.contains("archive.ubuntu.com"));
        assert_eq!(find("plan9").unwrap_err().problem.code, Code::ImageFailed);
    }
}
