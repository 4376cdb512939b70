//! Other formats than raw, by `qemu-img`.
//!
//! Invariant: it is told that what it reads is raw, so that nothing in it is taken for a header.

use super::{Kept, Part, io};
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use types::{Code, Problem};

/// Refuses early where it is missing.
///
/// # Errors
/// `tool-missing`.
pub fn present() -> Result<(), Problem> {
    run(&[OsStr::new("--version")]).map(drop)
}

/// Makes a qcow2 of what is kept, beside where that will be.
///
/// # Errors
/// `tool-missing`, `io-error`.
pub fn qcow2(raw: Kept, target: &Path, zstd: bool) -> Result<Kept, Problem> {
    let Some(from) = raw.part else { return Err(missing()) };
    let to = Part::beside(&target.with_extension("qcow2.new"))?;
    let mut args: Vec<&OsStr> = ["convert", "-q", "-f", "raw", "-O", "qcow2"].map(OsStr::new).to_vec();
    if zstd {
        args.extend(["-c", "-o", "compression_type=zstd"].map(OsStr::new));
    }
    let (source, made) = (from.path(), to.path());
    args.extend([source.as_os_str(), made.as_os_str()]);
    run(&args)?;
    // It may have made a file of its own under that name.
    let mut written = std::fs::File::open(&made).map_err(|e| io("read", target, &e))?;
    let (sha256, bytes) = digest(&mut written).map_err(|e| io("read", target, &e))?;
    written.sync_all().map_err(|e| io("write", target, &e))?;
    let bytes = written.metadata().map_or(bytes, |seen| seen.blocks() * 512);
    Ok(Kept { part: Some(to), sha256, bytes })
}

fn digest(from: &mut impl Read) -> std::io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let bytes = std::io::copy(from, &mut hash)?;
    Ok((format!("{:x}", hash.finalize()), bytes))
}

fn run(args: &[&OsStr]) -> Result<Vec<u8>, Problem> {
    let ran = Command::new("qemu-img").args(args).stdin(Stdio::null()).output();
    let ran = ran.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => missing(),
        _ => Problem::new(Code::ToolMissing, format!("qemu-img cannot be run: {e}")),
    })?;
    if ran.status.success() {
        return Ok(ran.stdout);
    }
    tracing::error!(status = %ran.status, "qemu-img: {}", String::from_utf8_lossy(&ran.stderr).trim());
    Err(Problem::new(Code::IoError, format!("qemu-img failed ({})", ran.status))
        .hint("is there room for it? `df` tells"))
}

fn missing() -> Problem {
    Problem::new(Code::ToolMissing, "qemu-img is not installed").hint("apt install qemu-utils")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::transfer::Out;

    #[test]
    fn what_is_made_a_qcow2_has_its_name_alone_and_no_other_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let names = || std::fs::read_dir(dir.path()).unwrap().count();
        for zstd in [false, true] {
            let target = dir.path().join(format!("{zstd}.qcow2"));
            let before = names();
            let mut out = Out::file(&target, false).unwrap();
            out.data(1 << 20, &[7; 4096]).unwrap();
            out.end(4 << 20).unwrap();
            let kept = qcow2(out.finish().unwrap(), &target, zstd).unwrap();
            assert_eq!(names(), before);
            kept.publish(&target).unwrap();
            assert_eq!(names(), before + 2);
            run(&[OsStr::new("check"), OsStr::new("-q"), target.as_os_str()]).unwrap();
        }
    }
}
