//! The init of the test's guest: loads the listed modules, looks at the disk, and powers off.

use std::ffi::{CString, c_char, c_int, c_long, c_ulong};
use std::fs;
use std::os::fd::AsRawFd;

unsafe extern "C" {
    fn mount(src: *const c_char, at: *const c_char, kind: *const c_char, flags: c_ulong, data: *const c_char) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn reboot(how: c_int) -> c_int;
    fn sync();
}

const FINIT_MODULE: c_long = if cfg!(target_arch = "x86_64") { 313 } else { 273 };

fn attach(src: &str, at: &str, kind: &str, read_only: bool) -> bool {
    let text = |s: &str| CString::new(s).unwrap();
    let (src, at, kind) = (text(src), text(at), text(kind));
    // SAFETY: all strings outlive the call.
    unsafe { mount(src.as_ptr(), at.as_ptr(), kind.as_ptr(), read_only.into(), std::ptr::null()) == 0 }
}

fn main() {
    attach("devtmpfs", "/dev", "devtmpfs", false);
    attach("sysfs", "/sys", "sysfs", false);
    println!("config: {}", fs::read_to_string("/etc/sistemo/config.json").unwrap_or_default());
    for path in fs::read_to_string("/etc/sistemo/modules").unwrap_or_default().lines() {
        let file = fs::File::open(path).unwrap();
        // SAFETY: the descriptor is open and the string is static.
        let ended = unsafe { syscall(FINIT_MODULE, file.as_raw_fd(), c"".as_ptr(), 0) };
        let name = path.rsplit('/').next().unwrap().trim_end_matches(".ko");
        println!("{}: {name}", if ended == 0 { "loaded" } else { "not loaded" });
    }
    for entry in fs::read_dir("/sys/block").unwrap().flatten() {
        println!("block: {}", entry.file_name().to_string_lossy());
    }
    let mounted = attach("/dev/vda", "/sysroot", "ext4", true);
    let version = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let found = fs::read_dir("/sysroot").into_iter().flatten().flatten().any(|e| e.path().join("modules.dep").exists());
    println!("modules disk: {} {version}", if mounted && found { "ok" } else { "not ok" });
    // SAFETY: plain system calls.
    unsafe {
        sync();
        reboot(0x4321_fedc);
    }
}
