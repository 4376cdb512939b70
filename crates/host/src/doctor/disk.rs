//! Where the data is: room, kind of file system, who may write.

use super::{Finding, Subject};
use crate::Layout;
use crate::fault;
use crate::filesystem::{self, FileSystem};
use crate::pools::place;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use types::ByteSize;
use types::pool::PoolSpec;

/// Below this much, the database itself is in danger.
const LEAST: ByteSize = ByteSize::mib(256);
/// Below this much, or a twentieth, soon something will fail.
const ENOUGH: ByteSize = ByteSize::gib(2);
/// A smaller pool is not worth its file, in GiB.
const WORTH: u64 = 4;

/// The data directory, or what it will be made in.
fn nearest(path: &Path) -> PathBuf {
    path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/")).to_owned()
}

pub(super) fn space(subject: &Subject) -> Vec<Finding> {
    let place = nearest(&subject.data);
    match rustix::fs::statvfs(&place) {
        Ok(s) => {
            let bytes = |blocks: u64| ByteSize(blocks.saturating_mul(s.f_frsize));
            judge_space(bytes(s.f_bavail), bytes(s.f_blocks), (s.f_favail, s.f_files))
        }
        Err(e) => vec![Finding::unseen("space", e)],
    }
}

fn judge_space(free: ByteSize, total: ByteSize, (inodes, of): (u64, u64)) -> Vec<Finding> {
    let fix = "delete machines, volumes or images, or put the data directory on a larger disk";
    let text = format!("{free} of {total} is free");
    let room = if free < LEAST {
        Finding::fail("space", text, fix)
    } else if free < ENOUGH || free.bytes() < total.bytes() / 20 {
        Finding::warn("space", text, fix)
    } else {
        Finding::ok("space", text)
    };
    let mut found = vec![room];
    // Some file systems make inodes as they need them, and count none.
    if of > 0 && inodes < 1000 {
        found.push(Finding::fail("space", format!("{inodes} more files can be made"), "remove small files"));
    }
    found
}

pub(super) fn kind(subject: &Subject) -> Vec<Finding> {
    let pool = subject.data.join("pools/default");
    match filesystem::of(&nearest(&pool)) {
        Ok(on) => vec![judge_kind(&on, fast_pool(subject).as_deref(), || advice(room(subject)))],
        Err(e) => vec![Finding::unseen("filesystem", e)],
    }
}

/// A pool besides the default one that can clone, if there is one.
fn fast_pool(subject: &Subject) -> Option<String> {
    let layout = Layout::new(&subject.data, "/run/sistemo");
    let records = place::records(&layout).ok()?.into_iter().filter_map(Result::ok);
    let fast = |spec: &PoolSpec| {
        let root = place::root(&layout, spec.name.as_str(), &spec.on);
        place::marked(&root, spec.id)
            && (spec.on.size().is_some() || filesystem::of(&root).is_ok_and(|f| f.reflink == Some(true)))
    };
    records.into_iter().find(fast).map(|spec| spec.name.to_string())
}

/// What is free for the file of a pool, beyond what has to stay so.
fn room(subject: &Subject) -> ByteSize {
    let Some(room) = fault::room(&nearest(&subject.data.join("pools"))) else { return ByteSize(0) };
    ByteSize(room.free.bytes().saturating_sub(subject.reserve.of(room.total).bytes()))
}

/// How to have a pool that clones at once, in commands that work as they stand: such a pool takes all its room
/// at once, and half of it leaves as much to everything else.
fn advice(room: ByteSize) -> String {
    match room.bytes() / 2 / ByteSize::GIB {
        half if half >= WORTH => format!(
            "`sistemo pool create fast --size {half}GB` makes a pool that clones at once; deploy with --pool fast"
        ),
        _ => {
            "too little is free here for another pool: put a disk with XFS or Btrfs into this host, and make \
              one there with `sistemo pool create fast --path DIR`; deploy with --pool fast"
                .into()
        }
    }
}

fn judge_kind(on: &FileSystem, fast: Option<&str>, advice: impl FnOnce() -> String) -> Finding {
    let name = &on.name;
    let fix = "put the data directory on a disk of this host, best with XFS or Btrfs";
    if on.network {
        return Finding::fail("filesystem", format!("the data is on a network file system ({name})"), fix);
    }
    if on.volatile {
        return Finding::warn(
            "filesystem",
            format!("the data is in memory ({name}): a reboot loses it"),
            fix,
        );
    }
    match on.reflink {
        Some(true) => {
            Finding::ok("filesystem", format!("{name} shares blocks (reflink): images are cloned at once"))
        }
        Some(false) if fast.is_some() => Finding::ok(
            "filesystem",
            format!("{name} shares no blocks; pool \"{}\" clones at once", fast.unwrap_or_default()),
        ),
        Some(false) => Finding::warn(
            "filesystem",
            format!(
                "{name} shares no blocks: every clone of an image or a volume is a copy of all its bytes"
            ),
            advice(),
        ),
        None => Finding::ok("filesystem", format!("{name}: images are cloned at once where it can")),
    }
}

pub(super) fn directory(subject: &Subject) -> Vec<Finding> {
    let dir = &subject.data;
    let seen = match dir.symlink_metadata() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return vec![Finding::ok("directory", format!("{} is made by `sistemo up`", dir.display()))];
        }
        Err(e) => return vec![Finding::unseen("directory", e)],
        Ok(link) if link.is_symlink() => match dir.metadata() {
            Ok(seen) => seen,
            Err(e) => return vec![Finding::unseen("directory", e)],
        },
        Ok(seen) => seen,
    };
    let shown = dir.display();
    let mut found = vec![];
    if !seen.is_dir() {
        let fix = "name another with --data-dir";
        found.push(Finding::fail("directory", format!("{shown} is no directory"), fix));
    } else if seen.mode() & 0o022 != 0 {
        let text = format!("others than its owner may write to {shown}");
        found.push(Finding::fail("directory", text, format!("chmod 0711 {shown}")));
    }
    for name in ["sistemo.db", "sistemo.db-wal", "ssh/id_ed25519"] {
        let path = dir.join(name);
        if path.metadata().is_ok_and(|m| m.mode() & 0o077 != 0) {
            let path = path.display();
            let text = format!("others than its owner may read or write {path}");
            found.push(Finding::warn("directory", text, format!("chmod 0600 {path}")));
        }
    }
    if found.is_empty() {
        found.push(Finding::ok("directory", format!("{shown} belongs to uid {}", seen.uid())));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn room_is_judged() {
        let state = |free: u64, total: u64| {
            judge_space(ByteSize::mib(free), ByteSize::mib(total), (9999, 9999))[0].state
        };
        assert_eq!(state(100, 100_000), State::Fail);
        assert_eq!(state(1_000, 100_000), State::Warn);
        assert_eq!(state(4_000, 100_000), State::Warn);
        assert_eq!(state(50_000, 100_000), State::Ok);
        let none = judge_space(ByteSize::gib(9), ByteSize::gib(9), (5, 1000));
        assert_eq!(none[1].state, State::Fail);
        assert_eq!(judge_space(ByteSize::gib(9), ByteSize::gib(9), (0, 0)).len(), 1);
    }

    #[test]
    fn kinds_are_judged() {
        let state = |magic| judge_kind(&filesystem::judge(magic, None), None, String::new).state;
        assert_eq!(
            [0xef53, 0x6969, 0x0102_1994, 0x9123_683e].map(state),
            [State::Warn, State::Fail, State::Warn, State::Ok]
        );
        let ext4 = filesystem::judge(0xef53, None);
        assert_eq!(judge_kind(&ext4, None, || "do".into()).fix.unwrap(), "do");
        assert_eq!(judge_kind(&ext4, Some("fast"), String::new).state, State::Ok);
    }

    #[test]
    fn what_is_advised_fits() {
        for (free, size) in [(50, Some(25)), (49, Some(24)), (9, Some(4)), (8, Some(4)), (7, None), (0, None)]
        {
            let advice = advice(ByteSize::gib(free));
            match size {
                Some(size) => {
                    assert!(advice.contains(&format!("pool create fast --size {size}GB`")), "{advice}")
                }
                None => assert!(advice.contains("pool create fast --path DIR`"), "{advice}"),
            }
        }
    }

    #[test]
    fn who_may_write_is_judged() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap()
        };
        let subject = |data: PathBuf| Subject {
            data,
            accel: "auto".into(),
            bridge: "b".into(),
            gateway: [10, 0, 0, 1].into(),
            prefix: 16,
            port: 1,
            reserve: engine::Reserve::Bytes(ByteSize(0)),
            built: 0,
        };
        let us = subject(dir.path().to_owned());
        mode(dir.path(), 0o711);
        assert_eq!(directory(&us)[0].state, State::Ok);
        let db = dir.path().join("sistemo.db");
        std::fs::write(&db, "").unwrap();
        mode(&db, 0o644);
        assert_eq!(directory(&us)[0].state, State::Warn);
        mode(dir.path(), 0o777);
        assert_eq!(directory(&us)[0].state, State::Fail);
        assert_eq!(directory(&subject(dir.path().join("none")))[0].state, State::Ok);
        assert_eq!(directory(&subject(db))[0].state, State::Fail);
    }
}
