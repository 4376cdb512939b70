//! The end of the host: guests go in order, and come back after the next boot.
//!
//! The host cannot be booted here. What a boot leaves behind is what is left when every run has ended:
//! no process, no tap; what makes it another boot is the kernel's boot id, which debug builds take from
//! `SISTEMO_BOOT_ID`.

use crate::is_clean;
use e2e::{Host, until};
use std::time::Duration;

const NEXT: &str = "00000000-0000-4000-8000-000000000002";

fn phases(host: &Host) -> Vec<String> {
    let machines = host.json("machine list");
    let machines = machines["items"].as_array().unwrap();
    machines.iter().map(|m| m["phase"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_host_goes_down_and_comes_back() {
    let mut host = Host::seeded("host-shutdown");
    for name in ["web", "api", "idle"] {
        host.ok(&format!("machine deploy debian --name {name} --memory 256M"));
    }
    host.ok("machine stop idle");
    let boot = host.sh("web", "echo precious > /root/mark; cat /proc/sys/kernel/random/boot_id");

    host.ok("host shutdown");
    assert_eq!(phases(&host), ["stopped"; 3]);
    for name in ["web", "api"] {
        assert!(is_clean(&host.file_of(&format!("{name}-root"))), "{name}");
        let machine = host.json(&format!("machine show {name}"));
        assert_eq!(machine["last_exit"]["how"], "host");
        assert!(e2e::hypervisor(machine["id"].as_str().unwrap()).is_none());
    }
    host.refused("machine start web", "host-halting", 4);
    let history = host.json("history");
    let line = history["items"].as_array().unwrap().iter().find(|l| l["action"] == "host.shutdown");
    assert_eq!(line.expect("it is in the history")["outcome"], "succeeded");

    // A daemon that comes back in the same boot starts nothing; one of the next boot does.
    assert!(host.down());
    host.up();
    host.refused("machine start web", "host-halting", 4);
    assert!(host.down());
    host.set("SISTEMO_BOOT_ID", NEXT);
    host.up();
    until("both come back by themselves", Duration::from_secs(180), || {
        (phases(&host) == ["running", "stopped", "running"]).then_some(())
    });
    assert_ne!(
        host.sh("web", "cat /root/mark; cat /proc/sys/kernel/random/boot_id"),
        format!("precious\n{boot}")
    );
    assert_eq!(host.sh("web", "cat /root/mark"), "precious");

    // The daemon is stopped and guests run on; the host's end still ends them in order.
    let files = ["web", "api"].map(|name| host.file_of(&format!("{name}-root")));
    assert!(host.down());
    host.ok("host shutdown");
    assert_eq!(host.run("status").code, 5);
    assert!(files.iter().all(|file| is_clean(file)));
}
