//! Disks of a machine that runs: how long a person waits for them.

use super::figure::{line, median, ms, time};
use e2e::Host;

/// What the project promises without KVM, in seconds.
const ATTACH: f64 = 1.5;
const GROW: f64 = 1.0;

/// `machine volume attach` until it is mounted, and `volume resize` until `df` shows it, each beside
/// what is promised.
pub fn attach_and_grow(host: &Host) {
    let ok = |line: &str| {
        let ran = host.run(line);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        ran.out
    };
    ok("volume create 1G --name data");
    ok("machine deploy debian --name web");
    // What its init does at a boot is not to be measured along.
    host.run("machine exec web -- systemctl is-system-running --wait");
    let seen = |path: &str| -> f64 {
        let ran = host.args(&["machine", "exec", "web", "--", "df", "-B1", "--output=size", path]);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.out.lines().last().and_then(|n| n.trim().parse().ok()).expect("a size")
    };
    let mut attach = vec![];
    for _ in 0..5 {
        attach.push(time(|| drop(ok("machine volume attach web data"))).as_secs_f64());
        assert_eq!(ok("machine exec web -- findmnt -no TARGET /mnt/data").trim(), "/mnt/data");
        ok("machine volume detach web data");
    }
    let attach = median(attach);
    line("live attach until mounted / promised", attach / ATTACH, 1.0, &ms(attach));

    ok("machine volume attach web data");
    let mut grow = vec![];
    for gib in 2..7 {
        let before = seen("/mnt/data");
        grow.push(time(|| drop(ok(&format!("volume resize data {gib}G")))).as_secs_f64());
        assert!(seen("/mnt/data") > before, "df shows it");
    }
    let grow = median(grow);
    line("live resize until df shows it / promised", grow / GROW, 1.0, &ms(grow));
}
