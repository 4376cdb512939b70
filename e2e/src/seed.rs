//! A data directory with image and kernel, made once and copied for each test.

use crate::{Host, scratch};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

static MAKING: Mutex<()> = Mutex::new(());

/// Copies the seed to `data`, making it first if it is not there.
pub fn copy_to(data: &Path) {
    let seed = scratch().join("seed");
    {
        let _one = MAKING.lock().expect("nobody fails while making the seed");
        if !seed.exists() {
            make(&seed);
        }
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
