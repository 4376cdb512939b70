//! What the bytes of a disk may be wrapped in.

use super::qcow2;
use types::{Code, Problem};

/// What the bytes of a disk are wrapped in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packing {
    /// Nothing: they are as they are.
    None,
    /// Compressed with zstd.
    Zstd,
    /// A qcow2.
    Qcow2,
}

/// Refuses what was wrapped before it was compressed.
///
/// # Errors
/// `usage`.
pub fn unpacked_once(head: &[u8]) -> Result<(), Problem> {
    if packing(head)? == Packing::None {
        return Ok(());
    }
    Err(Problem::new(Code::Usage, "what is compressed there is not the bytes of a disk")
        .hint("`zstd -d` it, and import what that makes"))
}

/// Tells by its first bytes what it is wrapped in; refuses what nobody unwraps here.
///
/// # Errors
/// `usage`.
pub fn packing(head: &[u8]) -> Result<Packing, Problem> {
    let refuse = |what: &str, hint: &str| {
        Err(Problem::new(Code::Usage, format!("it is {what}, not the bytes of a disk")).hint(hint))
    };
    match head {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Packing::Zstd),
        _ if head == qcow2::MAGIC => Ok(Packing::Qcow2),
        [b'K', b'D', b'M', b'V', ..] => {
            refuse("a vmdk", "`qemu-img convert -O raw FILE FILE.raw` makes raw of it, which this takes")
        }
        [0x1f, 0x8b, ..] => refuse("compressed with gzip", "`gunzip < FILE | sistemo volume import -`"),
        [0xfd, b'7', b'z', b'X', ..] => {
            refuse("compressed with xz", "`xz -dc FILE | sistemo volume import -`")
        }
        _ => Ok(Packing::None),
    }
}
