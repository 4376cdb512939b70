//! A file on its way.

use super::io;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use types::{Code, Problem};

/// A file without its final name; removed, unless it gets that.
pub struct Part {
    path: PathBuf,
    /// Open for reading and writing.
    pub file: File,
}

impl Part {
    /// Makes one beside `target`.
    ///
    /// # Errors
    /// `io-error`.
    pub fn beside(target: &Path) -> Result<Self, Problem> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.{}.part", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.map_err(|e| io("make", &path, &e))?;
        Ok(Self { path, file })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it durable and gives it its name, which nothing may have.
    ///
    /// # Errors
    /// `name-taken`, `io-error`.
    pub fn publish(self, target: &Path) -> Result<(), Problem> {
        self.file.sync_all().map_err(|e| io("write", target, &e))?;
        match renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(taken(target)),
            // Not every file system can.
            Err(Errno::INVAL | Errno::NOSYS) if !target.exists() => {
                std::fs::rename(&self.path, target).map_err(|e| io("name", target, &e))?;
            }
            Err(Errno::INVAL | Errno::NOSYS) => return Err(taken(target)),
            Err(e) => return Err(io("name", target, &e.into())),
        }
        let dir = target.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir).and_then(|d| d.sync_all()).map_err(|e| io("write", dir, &e))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The refusal of a name that something has.
pub fn taken(target: &Path) -> Problem {
    Problem::new(Code::NameTaken, format!("there is a file {} already", target.display()))
        .hint("choose another name, or remove it first")
}

/// Something that is whole.
pub struct Kept {
    /// Where it is; `None` if it went to a pipe.
    pub part: Option<Part>,
    /// Of the bytes as they are there, in hexadecimal.
    pub sha256: String,
    /// What it takes.
    pub bytes: u64,
}

impl Kept {
    /// Gives it its name, and its checksum, as `sha256sum -c` reads it, a name beside it.
    ///
    /// # Errors
    /// `name-taken`, `io-error`.
    pub fn publish(self, target: &Path) -> Result<(), Problem> {
        let Some(part) = self.part else { return Ok(()) };
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let sum = checksum_of(target);
        let beside = Part::beside(&sum)?;
        std::io::Write::write_all(&mut &beside.file, format!("{}  {name}\n", self.sha256).as_bytes())
            .map_err(|e| io("write", &sum, &e))?;
        part.publish(target)?;
        // One of an earlier file of this name tells nothing any more.
        let _ = std::fs::remove_file(&sum);
        beside.publish(&sum)
    }
}

/// Where the checksum of a file is.
pub fn checksum_of(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".sha256");
    target.with_file_name(name)
}
