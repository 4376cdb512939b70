//! Volumes as files of whoever runs the command.
//!
//! Invariant: what is not whole has no name, or, where the file system asks for one, none that anybody would
//! take for it.

pub mod convert;
mod fetch;
mod input;
mod out;
mod packing;
mod part;
mod qcow2;

pub use input::{Input, Piece, send};
pub use out::Out;
pub use part::{Kept, Part, checksum_of};

use std::path::Path;
use types::{Code, Problem};

/// A problem with a file.
pub fn io(doing: &str, path: &Path, e: &std::io::Error) -> Problem {
    let problem = Problem::new(Code::IoError, format!("cannot {doing} {}: {e}", path.display()));
    match e.kind() {
        std::io::ErrorKind::StorageFull => problem.hint("make room there, or write it elsewhere"),
        std::io::ErrorKind::NotFound => problem.hint("make the directory first"),
        _ => problem,
    }
}
