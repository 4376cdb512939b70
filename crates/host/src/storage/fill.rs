//! How a volume comes to be: made beside its name, then named.
//!
//! Invariant: file and sidecar are durable before either is published, and the sidecar is published
//! first: a kill leaves temporaries, a sidecar alone, or the whole; so does a power cut, as both names
//! are in one directory, whose changes a journal keeps in order.

use crate::{Layout, durable, fault};
use engine::port::Fault;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use types::{ByteSize, Code, VolumeId};

/// The volume's temporaries: file, sidecar, and the one of `durable::write`.
pub fn temporaries(layout: &Layout, volume: VolumeId) -> [PathBuf; 3] {
    let name = |tail: &str| layout.volumes().join(format!(".{volume}.{tail}"));
    [name("raw.part"), name("json.part"), name("json.new")]
}

/// Removes the volume's temporaries.
pub fn sweep(layout: &Layout, volume: VolumeId) -> io::Result<()> {
    temporaries(layout, volume).iter().try_for_each(|path| durable::remove(path))
}

/// Makes an empty temporary for `work` to fill, then publishes it with the sidecar. `work` gets
/// the file, its path, and words for what is being done. When it fails, nothing is left.
pub fn fill(
    layout: &Layout,
    volume: VolumeId,
    sidecar: &[u8],
    work: impl FnOnce(&File, &Path, &str) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let text = format!("make the file of volume {volume}");
    let [raw, json, _] = temporaries(layout, volume);
    let failed = |e: io::Error| fault::io(&text, &layout.volumes(), &e);
    let made = (|| {
        // A tool of an earlier try may still hold the old temporary: never write to the same file.
        sweep(layout, volume).map_err(failed)?;
        let file = fresh(&raw).map_err(failed)?;
        // The sidecar's way to the disk is over before the file's content is there.
        std::thread::scope(|scope| {
            let side = scope.spawn(|| {
                let mut side = fresh(&json)?;
                side.write_all(sidecar)?;
                side.sync_all()
            });
            work(&file, &raw, &text)?;
            file.sync_all().map_err(failed)?;
            side.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())).map_err(failed)
        })?;
        // Durable with the file's name: until then nobody was told of either.
        std::fs::rename(&json, layout.volume_sidecar(volume)).map_err(failed)?;
        name(&raw, &layout.volume(volume)).map_err(failed)
    })();
    if made.is_err() {
        // What keeps this from succeeding is what was told already; the next try sweeps again.
        let _ = sweep(layout, volume);
    }
    made
}

/// Publishes a file that is there under another name as the volume's, made this long. It keeps its first name
/// until somebody takes that away, so that a kill loses nothing. `failed` says what an error means.
pub fn link(
    layout: &Layout,
    volume: VolumeId,
    (from, size): (&Path, ByteSize),
    sidecar: &[u8],
    failed: impl Fn(&io::Error) -> Option<Fault>,
) -> Result<(), Fault> {
    fill(layout, volume, sidecar, |_, part, text| {
        let failed = |e: io::Error| failed(&e).unwrap_or_else(|| fault::io(text, part, &e));
        let file = File::options().write(true).open(from).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length > size.bytes() {
            let text = format!("{size} is smaller than what is there, which has {}", ByteSize(length));
            return Err(Fault::lasting(Code::VolumeTooSmall, text));
        }
        // Also if it has that length: whoever gave it to it may have been killed before it was durable.
        file.set_len(size.bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        durable::remove(part).and_then(|()| std::fs::hard_link(from, part)).map_err(failed)
    })
}

/// Makes new content for a published volume, then puts it in the place of the old. When `work` fails,
/// the old one is there and nothing else is left.
pub fn replace(
    layout: &Layout,
    volume: VolumeId,
    work: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let [raw, ..] = temporaries(layout, volume);
    let made = durable::remove(&raw).and_then(|()| fresh(&raw)).and_then(|file| {
        work(&file)?;
        durable::publish(&file, &raw, &layout.volume(volume))
    });
    if made.is_err() {
        // What keeps this from succeeding is what is told; the next try removes it again.
        let _ = durable::remove(&raw);
    }
    made
}

/// A new file that only its owner may read.
fn fresh(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Gives the file its name, unless something has that name.
pub fn name(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        // Not every file system can; nobody else makes files of this name.
        Err(Errno::INVAL | Errno::NOSYS) => std::fs::rename(from, to)?,
        Err(e) => return Err(e.into()),
    }
    durable::sync_dir(to.parent().unwrap_or(to))
}
