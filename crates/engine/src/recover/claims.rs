//! What must be unique: names, tails, addresses, Ethernet addresses, users.
//!
//! Invariant: who asks first keeps what it has; the others get something near it. What is given
//! depends on nothing but the ids and the order, so that a repeated recovery gives the same.

use super::{Around, Found, Group};
use crate::admit::{DEFAULT_NETWORK, FIRST_UID, UIDS};
use crate::db::encode;
use crate::key;
use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;
use types::machine::Nic;
use types::network::NetworkSpec;
use types::operation::Kind;
use types::{Code, Name, NetworkId, Problem};
use uuid::Uuid;

/// Names tried beside the one that is taken.
const TRIES: u32 = 100_000;

/// What was given so far.
pub(super) struct Claims {
    network: NetworkSpec,
    names: HashSet<(Kind, String)>,
    tails: HashSet<String>,
    addresses: HashSet<Ipv4Addr>,
    macs: HashSet<String>,
    uids: HashSet<u32>,
}

/// A name for what has none: `recovered-` and an id's tail.
pub(super) fn made_up(id: Uuid) -> String {
    let tail = id.simple().to_string();
    format!("recovered-{}", &tail[tail.len() - 5..])
}

impl Claims {
    /// Nothing given. The default network is the one that most interfaces are in.
    pub fn new(found: &Found, around: &Around<'_>) -> Result<Self, Problem> {
        let mut uses: BTreeMap<NetworkId, usize> = BTreeMap::new();
        let nics = found.machines.iter().flat_map(|m| &m.specs).flat_map(|s| &s.nics);
        nics.for_each(|nic| *uses.entry(nic.network).or_default() += 1);
        let most = uses.into_iter().max_by_key(|(id, n)| (*n, *id));
        let network = NetworkSpec {
            id: most.map_or(NetworkId(around.fresh), |(id, _)| id),
            name: Name::new(DEFAULT_NETWORK)?,
            created_at: around.now,
            bridge: around.settings.bridge.clone(),
            gateway: around.settings.gateway,
            prefix: around.settings.prefix,
        };
        Ok(Self {
            network,
            names: HashSet::new(),
            tails: HashSet::new(),
            addresses: HashSet::new(),
            macs: HashSet::new(),
            uids: HashSet::new(),
        })
    }

    /// The default network's record.
    pub fn network(&self) -> Group {
        let (kind, id) = (Kind::Network, self.network.id);
        vec![(key::spec(kind, id.0), encode(&self.network)), (key::name(kind, DEFAULT_NETWORK), encode(&id))]
    }

    /// The name, or if it is taken `<name>-2` and so on.
    pub fn name(&mut self, kind: Kind, wanted: &Name) -> Result<Name, Problem> {
        let most = if kind == Kind::Machine { Name::MAX_MACHINE } else { Name::MAX };
        for n in 1..TRIES {
            let end = if n == 1 { String::new() } else { format!("-{n}") };
            let room = most.saturating_sub(end.len());
            let stem: String = wanted.as_str().chars().take(room).collect();
            let name = format!("{}{end}", stem.trim_end_matches('-'));
            // A stem cut short may look like an id, which no name does.
            let Ok(name) = Name::new(&name) else { continue };
            if self.names.insert((kind, name.to_string())) {
                return Ok(name);
            }
        }
        Err(Problem::new(Code::LimitExceeded, format!("there is no free name near \"{wanted}\"")))
    }

    /// Takes an id's random tail; no if another has it.
    pub fn tail(&mut self, short: String) -> bool {
        self.tails.insert(short)
    }

    /// The user, or if it is taken or none of ours the next that is free.
    pub fn uid(&mut self, wanted: u32, id: Uuid) -> u32 {
        let ours = |uid: u32| (FIRST_UID..FIRST_UID + UIDS).contains(&uid);
        if ours(wanted) && self.uids.insert(wanted) {
            return wanted;
        }
        // The random tail's low bits: `UIDS` is a power of two.
        let first = id.as_u128() as u32 % UIDS;
        let free = (0..UIDS).map(|n| FIRST_UID + (first + n) % UIDS).find(|uid| !self.uids.contains(uid));
        // There are as many users as files below a directory can hardly be.
        let uid = free.unwrap_or(FIRST_UID);
        self.uids.insert(uid);
        uid
    }

    /// The interface in the default network, with an address and an Ethernet address of its own.
    pub fn nic(&mut self, wanted: &Nic, id: Uuid) -> Result<Nic, Problem> {
        let mut nic = Nic { network: self.network.id, ..wanted.clone() };
        if !self.inside(nic.address) || !self.addresses.insert(nic.address) {
            let free = self.network.hosts().find(|a| !self.addresses.contains(a));
            nic.address = free.ok_or_else(|| {
                Problem::new(Code::NetworkFull, "there are more machines than the default network holds")
                    .hint("set network.address to what it was, or to a larger subnet")
            })?;
            self.addresses.insert(nic.address);
        }
        let mut n = id.as_u128() as u32;
        while !is_mac(&nic.mac) || !self.macs.insert(nic.mac.clone()) {
            let [_, a, b, c] = n.to_be_bytes();
            nic.mac = format!("52:54:00:{a:02x}:{b:02x}:{c:02x}");
            n = n.wrapping_add(1);
            if is_mac(&nic.mac) && self.macs.insert(nic.mac.clone()) {
                break;
            }
        }
        Ok(nic)
    }

    /// Whether a guest can have the address.
    fn inside(&self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.network.prefix)).unwrap_or(0);
        let (address, gateway) = (u32::from(address), u32::from(self.network.gateway));
        address & mask == gateway & mask && address != gateway && ![0, !mask].contains(&(address & !mask))
    }
}

/// Whether it is `52:54:00:xx:xx:xx`: it becomes part of a hypervisor's arguments.
fn is_mac(mac: &str) -> bool {
    let digit = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let shape = |(n, b): (usize, &u8)| if n % 3 == 2 { *b == b':' } else { digit(b) };
    mac.len() == 17 && mac.starts_with("52:54:00:") && mac.as_bytes().iter().enumerate().all(shape)
}
