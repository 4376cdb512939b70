//! The daemon comes and goes; machines stay.

use e2e::Host;

#[test]
fn machines_outlive_the_daemon() {
    let mut host = Host::seeded("outlive");
    host.ok("machine deploy debian --name web");
    let boot = host.sh("web", "cat /proc/sys/kernel/random/boot_id");
    host.sh("web", "echo x > /run/only-in-memory");
    host.crash();
    let ran = host.run("machine list");
    assert_eq!(ran.code, 5, "{ran:?}");
    host.up();
    assert_eq!(
        host.sh("web", "cat /run/only-in-memory /proc/sys/kernel/random/boot_id"),
        format!("x\n{boot}")
    );
    assert!(host.down());
    host.up();
    assert_eq!(host.sh("web", "cat /proc/sys/kernel/random/boot_id"), boot);
    host.ok("machine stop web");
    assert!(crate::is_clean(&host.file_of("web-root")));
}

#[test]
fn a_guest_may_restart_and_power_itself_off() {
    let host = Host::seeded("itself");
    host.ok("machine deploy debian --name web");
    let boot = host.sh("web", "cat /proc/sys/kernel/random/boot_id");
    let booted = || {
        let state = host.run("machine exec web -- systemctl is-system-running --wait").out;
        matches!(state.as_str(), "running\n" | "degraded\n").then_some(())
    };
    e2e::until("systemd is up", e2e::PATIENCE, booted);
    host.args(&["machine", "exec", "web", "--", "systemctl", "reboot"]);
    e2e::until("it is back", e2e::PATIENCE, || {
        let ran = host.run("machine exec web -- cat /proc/sys/kernel/random/boot_id");
        (ran.code == 0 && ran.out.trim() != boot).then_some(())
    });
    e2e::until("systemd is up", e2e::PATIENCE, booted);
    host.args(&["machine", "exec", "web", "--", "systemctl", "poweroff"]);
    e2e::until("it is off", e2e::PATIENCE, || {
        (host.json("machine show web")["phase"] == "stopped").then_some(())
    });
    host.ok("machine start web");
}

#[test]
fn a_second_daemon_is_refused() {
    let host = Host::seeded("second");
    let ran = host.run("up");
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.err.contains("error[daemon-running]"), "{ran:?}");
}
