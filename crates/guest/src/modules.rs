//! Loading kernel modules, without any tool of the image.
//!
//! Invariant: a module that cannot be loaded is a note; one that is loaded already is no failure.

use crate::inside::Inside;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::ffi::c_int;
use std::io;
use std::os::fd::AsFd;

/// `linux/module.h`: the kernel shall decompress the file.
const COMPRESSED: c_int = 4;

/// `uname -r`.
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Loads what [`proto::MODULES_LIST`] lists, and removes the files, whose memory nobody else needs.
/// Answers what failed.
pub fn load_listed() -> Vec<String> {
    let list = match std::fs::read_to_string(proto::MODULES_LIST) {
        Ok(list) => list,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(e) => return vec![format!("cannot read the list of kernel modules: {e}")],
    };
    let mut failed = Vec::new();
    for path in listed(&list) {
        let loaded = std::fs::File::open(path).and_then(|file| load(&file, path));
        if let Err(e) = loaded {
            failed.push(format!("the kernel module {path} cannot be loaded: {e}"));
        }
        let _ = std::fs::remove_file(path);
    }
    failed
}

fn listed(list: &str) -> impl Iterator<Item = &str> {
    list.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'))
}

fn load(file: impl AsFd, path: &str) -> io::Result<()> {
    let flags = if path.ends_with(".ko") { 0 } else { COMPRESSED };
    match rustix::system::finit_module(file, c"", flags) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Loads a module and what it needs from the root's `/lib/modules`.
///
/// # Errors
/// When it is not there or the kernel does not take it.
pub fn load_from(inside: &Inside, name: &str) -> io::Result<()> {
    let base = format!("/lib/modules/{}", kernel());
    let files = needed(&inside.text(&format!("{base}/modules.dep"))?, name);
    if files.is_empty() {
        return Err(io::Error::other(format!("the kernel module {name} is not there")));
    }
    for file in files {
        let path = format!("{base}/{file}");
        load(inside.open(&path, OFlags::RDONLY, Mode::empty())?, &path)?;
    }
    Ok(())
}

/// From `modules.dep`: the files that module `name` needs in the order of loading, itself last.
fn needed(dep: &str, name: &str) -> Vec<String> {
    let is_it = |path: &str| {
        let file = path.rsplit('/').next().unwrap_or(path);
        file.split(".ko").next().is_some_and(|stem| stem.replace('-', "_") == name.replace('-', "_"))
    };
    let Some((file, needs)) = dep.lines().filter_map(|l| l.split_once(':')).find(|(path, _)| is_it(path))
    else {
        return Vec::new();
    };
    needs.split_whitespace().rev().chain([file]).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_come_first() {
        let dep = "kernel/lib/a.ko:\nkernel/fs/xfs/xfs.ko.xz: kernel/lib/b.ko kernel/lib/a.ko\n\
                   kernel/fs/xfs_more.ko: x\n";
        assert_eq!(needed(dep, "xfs"), ["kernel/lib/a.ko", "kernel/lib/b.ko", "kernel/fs/xfs/xfs.ko.xz"]);
        assert_eq!(needed(dep, "a"), ["kernel/lib/a.ko"]);
        assert_eq!(needed("kernel/dm-mod.ko:\n", "dm_mod"), ["kernel/dm-mod.ko"]);
        assert!(needed(dep, "absent").is_empty());
    }

    #[test]
    fn the_list_is_one_path_a_line() {
        assert_eq!(listed("# x\n/a.ko\n\n /b.ko \n").collect::<Vec<_>>(), ["/a.ko", "/b.ko"]);
    }
}
