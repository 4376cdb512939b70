//! What is kept on the file systems of pools, and what it takes.
//!
//! Invariant: files are looked at from outside and never read. What files have to themselves and what
//! they share, counted once, add up to no more than the file system says is in use. Where no blocks can be
//! shared, a file is not even opened.

mod fiemap;
mod ledger;
mod scan;
mod union;

use crate::Layout;
use crate::storage::FilePool;
use engine::port::{Footprint, Kept, Sharing, Space};
use fiemap::Mapper;
use ledger::Ledger;
use scan::Seen;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use types::{ByteSize, VolumeId};

/// Looks at pools, and remembers what has not changed since. One look at a time: whoever comes meanwhile
/// finds it done.
#[derive(Default)]
pub struct Spaces(Mutex<HashMap<u64, Ledger>>);

impl fmt::Debug for Spaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spaces")
    }
}

/// What a file system says of itself, in bytes.
#[derive(Clone, Copy)]
struct Room {
    total: u64,
    used: u64,
    free: u64,
}

impl Room {
    fn at(place: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(place)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        Ok(Self { total: bytes(stat.f_blocks), used: bytes(used), free: bytes(stat.f_bavail) })
    }
}

/// A pool that is being looked at.
struct Place {
    pool: String,
    files: Arc<FilePool>,
    dev: u64,
    dedicated: bool,
    room: Room,
    seen: Vec<Seen>,
}

impl Place {
    /// `root` is what has to be alone on its file system to have that for itself.
    fn new(pool: String, files: Arc<FilePool>, root: &Path) -> io::Result<Self> {
        let layout = files.layout();
        // Before its files: one that goes meanwhile was in use.
        let room = Room::at(&layout.volumes())?;
        let dev = layout.volumes().metadata()?.dev();
        let above = root.parent().and_then(|above| above.metadata().ok());
        let dedicated = root.metadata()?.dev() == dev && above.is_some_and(|above| above.dev() != dev);
        let mut seen = scan::pool(layout)?;
        // What is below a mount in the pool is not in its file system.
        seen.retain(|file| file.dev == dev);
        Ok(Self { pool, files, dev, dedicated, room, seen })
    }
}

impl Spaces {
    /// Looks at the pools, of which the default one is the data directory's own.
    pub fn look(&self, layout: &Layout, pools: Vec<(String, Arc<FilePool>)>) -> Vec<Space> {
        let mut ledgers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut places: Vec<Place> = Vec::new();
        for (pool, files) in pools {
            let of_data = pool == types::pool::DEFAULT_POOL;
            let root = if of_data { layout.data() } else { files.layout().pool() }.to_owned();
            match Place::new(pool, files, &root) {
                Ok(place) => places.push(place),
                Err(e) => tracing::debug!(place = %root.display(), error = %e, "a pool cannot be looked at"),
            }
        }
        for file in scan::data(layout) {
            if let Some(place) = places.iter_mut().find(|place| place.dev == file.dev) {
                place.seen.push(file);
            }
        }
        // A file with several names is one.
        let mut known = HashSet::new();
        places.iter_mut().for_each(|p| p.seen.retain(|file| known.insert((file.dev, file.ino))));
        ledgers.retain(|dev, _| places.iter().any(|p| p.dev == *dev));
        let devs: HashSet<u64> = places.iter().map(|p| p.dev).collect();
        for dev in devs {
            let here: Vec<&Place> = places.iter().filter(|p| p.dev == dev).collect();
            if here.iter().any(|p| engine::port::Pool::shares(&*p.files)) {
                let files: Vec<_> = here.iter().map(|p| (p.pool.as_str(), p.seen.as_slice())).collect();
                ledgers.entry(dev).or_default().measure(&files);
            }
        }
        let mut spaces: Vec<_> = places.iter().map(|p| (p.dev, space(p, ledgers.get(&p.dev)))).collect();
        add_up(&mut spaces);
        spaces.into_iter().map(|(_, space)| space).collect()
    }
}

fn space(place: &Place, ledger: Option<&Ledger>) -> Space {
    let of = |file: &Seen| {
        let own = Sharing { exclusive: ByteSize(file.allocated), shared: ByteSize(0) };
        let sharing = ledger.map_or(Some(own), |ledger| ledger.sharing(file));
        (file.kept, Footprint { size: ByteSize(file.size), allocated: ByteSize(file.allocated), sharing })
    };
    // Written to or emptied while it was looked at: the more is what was in use meanwhile.
    let after = Room::at(&place.files.layout().volumes()).unwrap_or(place.room);
    Space {
        pool: place.pool.clone(),
        total: ByteSize(after.total),
        used: ByteSize(after.used.max(place.room.used)),
        free: ByteSize(after.free),
        shared: ledger.map_or(ByteSize(0), |ledger| ledger.shared_once(&place.pool)),
        dedicated: place.dedicated,
        files: place.seen.iter().map(of).collect(),
    }
}

/// Makes the invariant true where much was written and removed in the same moment: what was seen of files
/// was in use, whatever the file system said before and after.
fn add_up(spaces: &mut [(u64, Space)]) {
    let mut sums: HashMap<u64, u64> = HashMap::new();
    for (dev, space) in &*spaces {
        let own = space.files.iter().filter_map(|(_, f)| f.sharing).map(|s| s.exclusive.bytes());
        let sum = sums.entry(*dev).or_default();
        *sum = own.fold(sum.saturating_add(space.shared.bytes()), u64::saturating_add);
    }
    for (dev, space) in spaces {
        let sum = sums.get(dev).copied().unwrap_or(0);
        space.used = space.used.max(ByteSize(sum));
    }
}

impl FilePool {
    /// What the volume's file takes; `None` if it is not there.
    pub(crate) fn takes(&self, volume: VolumeId) -> io::Result<Option<Footprint>> {
        let path = self.layout().volume(volume);
        let seen = match path.symlink_metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            seen => Seen::of(Kept::Volume(volume), path, &seen?).ok_or(io::ErrorKind::InvalidInput)?,
        };
        let shared = match engine::port::Pool::shares(self) {
            true => ledger::shared(&mut Mapper::new(), &seen, &mut |_, _| ())?,
            false => Some(0),
        };
        let sharing = shared.map(|shared| {
            let shared = shared.min(seen.allocated);
            Sharing { exclusive: ByteSize(seen.allocated - shared), shared: ByteSize(shared) }
        });
        let (size, allocated) = (ByteSize(seen.size), ByteSize(seen.allocated));
        Ok(Some(Footprint { size, allocated, sharing }))
    }
}
