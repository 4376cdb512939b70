//! The default network, and the addresses in it.

use super::Draft;
use crate::db::{Change, Rev};
use crate::store::{Limit, StoreError};
use crate::{Engine, key};
use rand::Rng;
use std::collections::HashSet;
use std::net::Ipv4Addr;
use types::machine::Nic;
use types::network::NetworkSpec;
use types::operation::Kind;
use types::{Code, MachineId, Name, NetworkId, Problem};

/// The name of the network that machines are in unless they ask for another.
pub const DEFAULT: &str = "default";

impl Engine {
    /// Makes the record of the default network, or brings it up to the settings while no machine
    /// has an address in it.
    pub(crate) fn ensure_default_network(&self) -> Result<(), Problem> {
        let settings = self.settings();
        let name = Name::new(DEFAULT)?;
        let have = match self.0.db.find::<NetworkSpec>(DEFAULT) {
            Ok(record) => Some(record),
            Err(p) if p.code == Code::NetworkNotFound => None,
            Err(p) => return Err(p),
        };
        let spec = NetworkSpec {
            id: have.as_ref().map_or_else(|| NetworkId(self.0.ports.clock.new_id()), |r| r.spec.id),
            name,
            created_at: have.as_ref().map_or_else(|| self.0.ports.clock.now(), |r| r.spec.created_at),
            bridge: settings.bridge.clone(),
            gateway: settings.gateway,
            prefix: settings.prefix,
        };
        let mut change = Change::system();
        match have {
            Some(r) if r.spec.value == spec => return Ok(()),
            Some(r) => {
                if !self.0.db.0.scan(&key::addresses(spec.id), Limit::Last(1))?.is_empty() {
                    return Err(Problem::new(
                        Code::InvalidConfig,
                        format!("the default network is {}/{} while machines have addresses in it", r.spec.gateway, r.spec.prefix),
                    )
                    .hint("set network.subnet and network.bridge back to what they were, or delete the machines first"));
                }
                change.update(&r.spec, &spec);
            }
            None => {
                change.claim(key::name(Kind::Network, DEFAULT), &spec.id);
                change.claim(key::spec(Kind::Network, spec.id.0), &spec);
            }
        }
        match change.commit(&self.0.db) {
            Ok(_) | Err(StoreError::Conflict(_)) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Takes an address and an Ethernet address for a machine.
    pub(super) fn take_nic(
        &self,
        draft: &mut Draft,
        network: &Rev<NetworkSpec>,
        machine: MachineId,
    ) -> Result<Nic, Problem> {
        let taken: HashSet<Ipv4Addr> = self
            .0
            .db
            .0
            .scan(&key::addresses(network.id), Limit::All)?
            .iter()
            .filter_map(|e| u32::from_str_radix(e.key.rsplit('/').next()?, 16).ok())
            .map(Ipv4Addr::from)
            .collect();
        let address = network.hosts().find(|a| !taken.contains(a)).ok_or_else(|| {
            Problem::new(Code::NetworkFull, format!("network \"{}\" has no free address", network.name))
                .hint("delete a machine, or set a larger network.subnet")
        })?;
        let mut rng = rand::rng();
        let mac = loop {
            let n: [u8; 3] = rng.random();
            // 52:54:00 is the locally administered prefix that QEMU and its users share.
            let mac = format!("52:54:00:{:02x}:{:02x}:{:02x}", n[0], n[1], n[2]);
            if self.0.db.0.get(&key::mac(&mac))?.is_none() {
                break mac;
            }
        };
        draft.change.claim(key::address(network.id, address), &machine);
        draft.change.claim(key::mac(&mac), &machine);
        Ok(Nic { network: network.id, address, mac })
    }
}
