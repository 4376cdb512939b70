//! A data directory with image and kernel, made once and copied for each test.

use crate::{Host, scratch};
use host::Layout;
use host::kernel::Kernels;
use rustix::fs::{FlockOperation, flock};
use std::borrow::Cow;
use std::fs::File;
use std::path::Path;
use std::process::Command;

/// Copies the seed to `data`, making it first if it is not there.
pub fn copy_to(data: &Path) {
    let seed = scratch().join("seed");
    {
        // Other tests, perhaps of other programs, wait until it is made.
        let one = File::create(scratch().join("seed.lock")).expect("scratch is writable");
        flock(&one, FlockOperation::LockExclusive).expect("it can be locked");
        if !seed.exists() {
            make(&seed);
        }
        // Without, each test would fetch it.
        let layout = Layout::new(&seed, "/run/sistemo");
        Kernels::new(layout, Cow::Borrowed(&[]), None).ensure(&|_| ()).expect("there is a kernel");
    }
    let mut cp = Command::new("cp");
    cp.args(["-a", "--reflink=auto", "--sparse=always"]).arg(&seed).arg(data);
    assert!(cp.status().expect("cp can be run").success());
}

fn make(seed: &Path) {
    let mut host = Host::empty("seed-part");
    host.keep();
    host.ok("image pull debian");
    assert!(host.down(), "the daemon ends well");
    let made = host.data().to_owned();
    std::fs::rename(made, seed).expect("both are in the scratch directory");
}
