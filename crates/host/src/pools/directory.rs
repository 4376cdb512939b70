//! Pools in directories of the host.
//!
//! Invariant: the mark is the publication, and the last to go; what is in the directory besides what Sistemo
//! has made is never touched.

use super::place::{self, DIRECTORIES, MARK, RESERVE};
use crate::{Layout, durable, fault};
use engine::port::Fault;
use std::io::{self, ErrorKind};
use std::path::Path;
use types::pool::{PoolOn, PoolSpec};
use types::{Code, Problem};

/// Judges whether a pool can be made in this directory.
pub fn probe(layout: &Layout, asked: &str) -> Result<PoolOn, Problem> {
    let invalid = |why: String| Problem::new(Code::InvalidRequest, why);
    if !asked.starts_with('/') {
        return Err(invalid(format!("{asked} is no absolute path")).hint("give the directory from / on"));
    }
    let unusable = |e: &io::Error| {
        invalid(format!("{asked} cannot be used: {}", fault::said(e)))
            .hint("give a directory of this host that is there, such as where a disk is mounted")
    };
    let path = Path::new(asked).canonicalize().map_err(|e| unusable(&e))?;
    if !path.is_dir() {
        return Err(unusable(&ErrorKind::NotADirectory.into()));
    }
    let data = layout.data().canonicalize().unwrap_or_else(|_| layout.data().to_owned());
    if path.starts_with(&data) {
        return Err(invalid(format!("{asked} is in the data directory"))
            .hint("give a directory elsewhere, or make a pool in a file with --size"));
    }
    // Its own pool is in there, and all that is to outlive the end of this one.
    if data.starts_with(&path) {
        return Err(invalid(format!("the data directory {} is in {asked}", data.display()))
            .hint("give a directory that is for the pool alone, such as where a disk is mounted"));
    }
    let Some(text) = path.to_str() else { return Err(unusable(&ErrorKind::InvalidData.into())) };
    let on = crate::filesystem::of(&path).map_err(|e| unusable(&e))?;
    if on.network {
        let why =
            format!("{asked} is on a network file system ({}), whose locks are not to be relied on", on.name);
        return Err(invalid(why).hint("give a directory on a disk of this host"));
    }
    rustix::fs::access(&path, rustix::fs::Access::WRITE_OK).map_err(|e| unusable(&e.into()))?;
    let conflict = |why: &str| Problem::new(Code::Conflict, format!("{asked} {why}"));
    if place::mark(&path).map_err(|e| unusable(&e))?.is_some() {
        return Err(conflict("holds a pool already").hint(format!(
            "`sistemo pool list` shows yours; if it is a pool of a lost data directory, move what you need out \
             of it and remove {}",
            path.join(MARK).display()
        )));
    }
    if let Some(dir) = DIRECTORIES.iter().find(|dir| path.join(dir).symlink_metadata().is_ok()) {
        return Err(conflict(&format!("has something called {dir}, as a pool has"))
            .hint("give an empty directory, or make one in it for the pool"));
    }
    Ok(PoolOn::Directory { path: text.to_owned() })
}

/// Marks the directory as the pool.
pub fn make(path: &Path, pool: &PoolSpec) -> Result<(), Fault> {
    let failed = |e: io::Error| fault::io(&format!("make pool \"{}\"", pool.name), path, &e);
    match place::mark(path).map_err(failed)? {
        Some(mark) if mark == pool.id.to_string() => return Ok(()),
        Some(_) => {
            return Err(Fault::lasting(Code::Conflict, format!("{} holds another pool", path.display()))
                .hint("`sistemo pool list` shows them"));
        }
        None => {}
    }
    durable::write(&path.join(MARK), pool.id.to_string().as_bytes(), 0o600).map_err(failed)
}

/// Takes the pool out of the directory, if it is there.
pub fn remove(path: &Path, pool: &PoolSpec) -> Result<(), Fault> {
    if !place::marked(path, pool.id) {
        return Ok(());
    }
    place::refuse_used(path, pool, false)?;
    let gone = || -> io::Result<()> {
        for dir in DIRECTORIES {
            match std::fs::remove_dir(path.join(dir)) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        durable::remove(&path.join(RESERVE))?;
        durable::sync_dir(path)?;
        durable::remove(&path.join(MARK))?;
        durable::sync_dir(path)
    };
    gone().map_err(|e| fault::io(&format!("remove pool \"{}\"", pool.name), path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn what_the_data_directory_is_in_or_what_is_in_it_is_no_pool() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        std::fs::create_dir_all(at("srv/data/inner")).unwrap();
        let layout = Layout::new(at("srv/data"), at("run"));
        let around = [PathBuf::from("/"), dir.path().to_owned(), at("srv")];
        let inside = [at("srv/data"), at("srv/data/inner")];
        let told = ["the data directory", "is in the data directory"];
        for (places, told) in [&around[..], &inside[..]].into_iter().zip(told) {
            for place in places {
                let refused = probe(&layout, place.to_str().unwrap()).unwrap_err();
                assert_eq!(refused.code, Code::InvalidRequest);
                assert!(refused.message.contains(told) && refused.hint.is_some(), "{refused}");
            }
        }
    }
}
