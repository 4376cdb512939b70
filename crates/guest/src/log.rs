//! What the agent says on the machine's console, through the kernel's log.
//!
//! Invariant: never fails and never blocks: a guest without a console works all the same.

use std::fs::OpenOptions;
use std::io::Write;

// printk(9) levels: what happens is a notice, what went wrong an error.
const NOTICE: u8 = 5;
const ERROR: u8 = 3;
/// The kernel cuts a record of `/dev/kmsg` at about 1,000 bytes.
const LONGEST: usize = 900;

/// Says what happens.
pub fn say(text: &str) {
    put(NOTICE, text);
}

/// Says what went wrong.
pub fn complain(text: &str) {
    put(ERROR, text);
}

/// Lifts the kernel's limit of ten lines in five seconds, which a boot exceeds.
pub fn unlimited() {
    let _ = std::fs::write("/proc/sys/kernel/printk_devkmsg", "on");
}

fn put(level: u8, text: &str) {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    if let Ok(mut kmsg) = OpenOptions::new().write(true).open("/dev/kmsg") {
        let _ = kmsg.write_all(format!("<{level}>sistemo: {text}\n").as_bytes());
    }
}
