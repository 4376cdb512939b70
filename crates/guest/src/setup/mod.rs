//! What a machine's root is told about its machine, at boot and whenever the host says so.
//!
//! Invariant: applying again changes nothing; the user's own lines stay; what a user changed since
//! the last configuration stays unless the configuration changed in that respect.

mod hostkey;
mod hosts;
mod keys;
mod passwd;
mod resolv;

pub use hostkey::ensure as ensure_host_key;
pub use passwd::{Ids, ids, root_home};

use crate::fact::{Fact, Journal, RUN};
use crate::inside::Inside;
use crate::{log, net, volumes};
use proto::GuestConfig;
use std::io;
use std::time::{Duration, Instant};

/// How long a disk that is attached to a running machine may take to appear.
const PLUGGING: Duration = Duration::from_secs(10);

/// Host name, resolver and keys: what concerns files only.
pub fn files(inside: &Inside, journal: &Journal, new: &GuestConfig, old: Option<&GuestConfig>) {
    if old.is_none_or(|o| o.hostname != new.hostname) && !new.hostname.is_empty() {
        journal.outcome("the host name", hosts::apply(inside, &new.hostname));
    }
    if old.is_none_or(|o| o.nameservers != new.nameservers) && !new.nameservers.is_empty() {
        journal.outcome("the name servers", resolv::apply(inside, &new.nameservers));
    }
    let former = old.map_or(&[][..], |o| &o.authorized_keys);
    if old.is_none() || former != new.authorized_keys {
        journal.outcome("root's SSH keys", keys::apply(inside, &new.authorized_keys, former));
    }
}

/// Network interfaces.
pub fn interfaces(journal: &Journal, new: &GuestConfig, old: Option<&GuestConfig>) {
    for nic in &new.nics {
        if old.is_none_or(|o| !o.nics.contains(nic)) {
            let done = journal.outcome(&format!("the interface {}", nic.mac), net::configure(nic));
            if done.is_some() {
                log::say(&format!("the interface {} has {}/{}", nic.mac, nic.address, nic.prefix));
            }
        }
    }
}

/// Data disks, those that go first, outer mount points before inner ones; all together may take
/// `patience` to appear.
pub fn disks(
    inside: &Inside,
    journal: &Journal,
    new: &GuestConfig,
    old: Option<&GuestConfig>,
    released: &[String],
    patience: Duration,
) {
    let end = Instant::now() + patience;
    let former = old.map_or(&[][..], |o| &o.mounts);
    let depth = |m: &&proto::Mount| m.path.split('/').filter(|n| !n.is_empty()).count();
    let mut gone: Vec<_> = former.iter().filter(|m| !new.mounts.contains(m)).collect();
    gone.sort_by_key(depth);
    gone.iter().rev().for_each(|mount| volumes::unmount_data(inside, journal, mount));
    let mut fresh: Vec<_> = new.mounts.iter().collect();
    // What was let go of and did not leave is mounted again.
    fresh.retain(|m| !former.contains(m) || released.contains(&m.serial));
    fresh.sort_by_key(depth);
    fresh.iter().for_each(|mount| volumes::mount_data(inside, journal, mount, end));
}

/// A change of the running machine's configuration.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Change {
    /// What shall be.
    pub new: GuestConfig,
    /// What was applied last.
    pub old: Option<GuestConfig>,
    /// Serials of disks that were let go of.
    #[serde(default)]
    pub released: Vec<String>,
}

/// Where the agent leaves a [`Change`] for its helper.
pub const CHANGE: &str = "change.json";

/// The helper that applies a [`Change`]; the machine's root is its standard input.
///
/// # Errors
/// When there is no change to apply.
pub fn apply_wanted() -> io::Result<()> {
    let Change { new, old, released } = serde_json::from_slice(&std::fs::read(format!("{RUN}/{CHANGE}"))?)?;
    let inside = Inside::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let journal = Journal::open();
    files(&inside, &journal, &new, old.as_ref());
    interfaces(&journal, &new, old.as_ref());
    disks(&inside, &journal, &new, old.as_ref(), &released, PLUGGING);
    log::say(&format!("applied the configuration of generation {}", new.generation));
    journal.post(&Fact::Applied(Box::new(new)));
    Ok(())
}
