//! The steps of a boot.
//!
//! Invariant: the agent is there first; the root is the only step that can fail the boot.

use super::{NEW_ROOT, entry, mounts};
use crate::agent::shutdown_signal;
use crate::fact::{Fact, Journal};
use crate::inside::Inside;
use crate::{again, disk, log, modules, names, net, renew, setup, superblock, volumes};
use proto::GuestConfig;
use rustix::mount::{MountFlags, mount};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the root disk may take to appear.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the other disks may take: they appear together with the root, or not at all.
const DISKS: Duration = Duration::from_secs(3);
/// Where images have their init; the order is the kernel's, systemd's own place before.
const INITS: [&str; 5] =
    ["/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/etc/init", "/bin/init"];

/// Boots; comes back only if there is no root or nothing to run in it.
pub fn boot() {
    let mounted = mounts::initial();
    log::unlimited();
    log::say(&format!("agent {} on {}", env!("CARGO_PKG_VERSION"), modules::kernel()));
    let journal = Journal::open();
    mounted.iter().for_each(|failed| note(&journal, failed));
    let mut supervise = again("supervise");
    supervise.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    journal.outcome("the agent", supervise.spawn());
    modules::load_listed().iter().for_each(|failed| note(&journal, failed));
    let booted = configuration().and_then(|config| Ok((root(&journal, &config)?, config)));
    match booted {
        Ok((inside, config)) => {
            prepare(&inside, &journal, &config);
            hand_over(&journal, &config);
        }
        Err(e) => journal.post(&Fact::Failed(e.to_string())),
    }
}

fn note(journal: &Journal, text: &str) {
    journal.post(&Fact::Note { about: text.to_owned(), text: Some(text.to_owned()) });
}

fn configuration() -> io::Result<GuestConfig> {
    let told = |e: &dyn std::fmt::Display| {
        io::Error::other(format!("the machine's configuration {} cannot be read: {e}", proto::CONFIG_PATH))
    };
    let bytes = std::fs::read(proto::CONFIG_PATH).map_err(|e| told(&e))?;
    serde_json::from_slice(&bytes).map_err(|e| told(&e))
}

/// Finds the root disk and mounts it.
fn root(journal: &Journal, config: &GuestConfig) -> io::Result<Inside> {
    let serial = &config.root;
    let told = |what: &str, e: io::Error| io::Error::other(format!("the root disk {serial} {what}: {e}"));
    let disk = disk::wait(serial, Instant::now() + PATIENCE).map_err(|e| told("is not there", e))?;
    let kind = superblock::detect(&disk).map_err(|e| told("holds no root", e))?;
    std::fs::create_dir_all(NEW_ROOT)?;
    volumes::replay(&disk, kind);
    let sound = superblock::sound(&disk, kind);
    let options = volumes::options(kind);
    let mount_it = || {
        mount(format!("/dev/{disk}"), NEW_ROOT, kind.name(), MountFlags::empty(), options)
            .map_err(|e| told(&format!("with its {} cannot be mounted", kind.name()), e.into()))
    };
    mount_it()?;
    let wanted = &config.root_identity;
    if !wanted.is_empty() && !renew::is_renewed(&Inside::at(NEW_ROOT)?, wanted) {
        // The table of file systems first: it names the UUID that is there until then.
        let old = superblock::uuid(&disk, kind).map(renew::text).unwrap_or_default();
        let root = renew::root(&Inside::at(NEW_ROOT)?, wanted, &old);
        rustix::mount::unmount(NEW_ROOT, rustix::mount::UnmountFlags::empty())?;
        let renewed = root.and_then(|()| renew::file_system(&disk, kind, wanted));
        mount_it()?;
        let renewed = renewed.and_then(|()| renew::finish(&Inside::at(NEW_ROOT)?, wanted));
        journal.outcome("the machine's identity", renewed);
    }
    log::say(&format!("mounted the root disk {serial} ({disk}, {})", kind.name()));
    journal.outcome("the root's file system", sound);
    let inside = Inside::at(NEW_ROOT)?;
    journal.post(&Fact::RootMounted { serial: serial.clone(), disk });
    Ok(inside)
}

/// Everything that the machine's own init shall find.
fn prepare(inside: &Inside, journal: &Journal, config: &GuestConfig) {
    mounts::inside(inside).iter().for_each(|failed| note(journal, failed));
    setup::files(inside, journal, config, None);
    journal.outcome("the loopback interface", net::loopback());
    setup::interfaces(journal, config, None);
    journal.outcome("the SSH host key", setup::ensure_host_key(inside, &config.hostname));
    if config.modules {
        journal.outcome("the runtime directory", mounts::spare_modules(inside));
        journal.outcome("the disk of kernel modules", volumes::mount_modules(inside));
    }
    setup::disks(inside, journal, config, None, &[], DISKS);
    // The agent sees to them too; whoever comes next shall not have to wait for that.
    journal.outcome("the names of disks", names::give());
    journal.post(&Fact::Applied(Box::new(config.clone())));
}

/// Makes the machine's root ours and becomes its init, or does an init's work.
fn hand_over(journal: &Journal, config: &GuestConfig) {
    if journal.outcome("the change to the machine's root", mounts::switch()).is_none() {
        return;
    }
    journal.post(&Fact::Ready);
    for path in INITS {
        if std::fs::metadata(path).is_ok_and(|m| m.is_file()) {
            log::say(&format!("handing over to {path}"));
            // Left by a container's build, it would make systemd believe that it runs in one.
            let refused = Command::new(path).env_remove("container").exec();
            note(journal, &format!("the image's init {path} cannot be executed: {refused}"));
        }
    }
    match &config.entry {
        Some(entry) if !entry.argv.is_empty() => entry::run(journal, entry, shutdown_signal()),
        _ => note(journal, "the image has neither an init nor a program to run; the machine idles"),
    }
}
