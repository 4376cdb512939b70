//! Guests that are older than the daemon, and what became of them while there was none.

use e2e::{Host, hypervisor, until};
use rustix::process::{Signal, kill_process};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The kept agents of earlier versions: version and packed program.
fn kept() -> Vec<(String, PathBuf)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let version = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        Some(name.strip_prefix("agent-")?.strip_suffix(".gz")?.to_owned())
    };
    let files = std::fs::read_dir(dir).unwrap().flatten().map(|e| e.path());
    let mut found: Vec<_> = files.filter_map(|path| Some((version(&path)?, path))).collect();
    found.sort();
    found
}

/// How many initramfs there are: one for each agent that was booted with.
fn initramfs(host: &Host) -> usize {
    let kernels = std::fs::read_dir(host.data().join("kernels")).unwrap().flatten();
    let files = kernels.flat_map(|kernel| std::fs::read_dir(kernel.path()).unwrap().flatten());
    files.filter(|f| f.file_name().to_string_lossy().starts_with("initramfs-")).count()
}

/// The state of a machine's hypervisor while no daemon holds its control.
fn hypervisors_word(machine: &str) -> Option<String> {
    let runs = Path::new("/run/sistemo").join(&machine[machine.len() - 12..]);
    let socket = std::fs::read_dir(runs).ok()?.flatten().next()?.path().join("qmp.sock");
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    for command in ["qmp_capabilities", "query-status"] {
        writeln!(stream, "{}", serde_json::json!({ "execute": command })).ok()?;
    }
    let said = lines.find(|line| line.as_ref().map_or(true, |l| l.contains("\"status\"")))?.ok()?;
    let said: serde_json::Value = serde_json::from_str(&said).ok()?;
    said["return"]["status"].as_str().map(str::to_owned)
}

#[test]
fn a_guest_whose_agent_is_older_keeps_working() {
    let kept = kept();
    assert!(!kept.is_empty(), "there is a kept agent");
    let today = std::fs::read(std::env::var_os("SISTEMO_AGENT").expect("scripts/test names it")).unwrap();
    for (version, packed) in kept {
        println!("    agent {version}");
        let unpacked = Command::new("gzip").arg("-dc").arg(packed).output().unwrap();
        assert!(unpacked.status.success());
        let same = unpacked.stdout == today;
        let agent = e2e::scratch().join("old-agent");
        std::fs::create_dir_all(e2e::scratch()).unwrap();
        std::fs::write(&agent, unpacked.stdout).unwrap();

        let mut host = Host::seeded_with("upgrade", &[("SISTEMO_AGENT", agent.to_str().unwrap())]);
        host.ok("volume create 64M --name data");
        host.ok("machine deploy debian --name old --attach data");
        let boot = host.sh("old", "cat /proc/sys/kernel/random/boot_id");
        let id = host.json("machine show old")["id"].as_str().unwrap().to_owned();
        let process = hypervisor(&id).unwrap().0;
        assert!(host.down());
        std::fs::remove_file(&agent).unwrap();
        host.unset("SISTEMO_AGENT");
        host.up();

        // The same guest in the same process, and everything that its agent is for.
        assert_eq!(host.sh("old", "cat /proc/sys/kernel/random/boot_id"), boot);
        assert_eq!(hypervisor(&id).unwrap().0, process);
        assert_eq!(host.args(&["machine", "exec", "old", "--", "sh", "-c", "exit 42"]).code, 42);
        let ran = host.at_terminal("machine exec old -it -- sh -c 'read x; echo got-$x'", "hello\n");
        assert!(ran.out.contains("got-hello"), "{ran:?}");
        assert!(host.ok("machine logs old").contains("sistemo"));
        host.ok("machine deploy debian --name new");
        assert_eq!(host.sh("new", "hostname"), "new");
        assert_eq!(initramfs(&host), if same { 1 } else { 2 });

        // A restart inside comes back with the agent that it was booted with.
        host.args(&["machine", "exec", "old", "--", "systemctl", "reboot", "--force"]);
        until("it is back", Duration::from_secs(180), || {
            let ran = host.run("machine exec old -- cat /proc/sys/kernel/random/boot_id");
            (ran.code == 0 && ran.out.trim() != boot).then_some(())
        });
        assert_eq!(hypervisor(&id).unwrap().0, process);
        host.sh_until("old", "findmnt -no TARGET /mnt/data", |said| said == "/mnt/data");
        // A disk that comes is mounted by its hello; it cannot let go of one, and says what helps.
        host.ok("volume create 64M --name late");
        host.ok("machine volume attach old late");
        until("it is mounted", e2e::PATIENCE, || {
            (host.run("machine exec old -- findmnt -no TARGET /mnt/late").code == 0).then_some(())
        });
        host.refused("machine volume detach old late", "guest-failed", 1);
        assert!(host.run("machine volume detach old late").err.contains("restart the machine"));
        let ran = host.run("machine stop old");
        assert_eq!((ran.code, ran.err.contains("warning")), (0, false), "{ran:?}");
        assert!(crate::is_clean(&host.file_of("old-root")));
        // And a start by the daemon brings today's.
        host.ok("machine start old");
        assert_eq!(host.sh("old", "hostname"), "old");
    }
}

#[test]
fn what_became_of_guests_without_a_daemon_is_seen_at_start() {
    let mut host = Host::seeded("away");
    for name in ["died", "ended", "lives"] {
        host.ok(&format!("machine deploy debian --name {name} --memory 256M"));
    }
    let id = |name: &str| host.json(&format!("machine show {name}"))["id"].as_str().unwrap().to_owned();
    let (died, ended, lives) = (id("died"), id("ended"), id("lives"));
    let running = hypervisor(&lives).unwrap().0;
    until("systemd is up", Duration::from_secs(180), || {
        let state = host.run("machine exec ended -- systemctl is-system-running --wait").out;
        matches!(state.as_str(), "running\n" | "degraded\n").then_some(())
    });
    // It goes once nobody is there to hear of it.
    host.sh("ended", "systemd-run --quiet --on-active=3 systemctl poweroff");
    host.crash();
    kill_process(hypervisor(&died).unwrap().0, Signal::KILL).unwrap();
    until("its process is gone", Duration::from_secs(30), || hypervisor(&died).is_none().then_some(()));
    until("the guest has switched itself off", Duration::from_secs(180), || {
        (hypervisors_word(&ended)? == "shutdown").then_some(())
    });
    assert!(hypervisor(&ended).is_some(), "its hypervisor waits to tell");
    host.up();
    let exit = |name: &str| {
        until("it is seen to have stopped", Duration::from_secs(60), || {
            let machine = host.json(&format!("machine show {name}"));
            (machine["phase"] == "stopped").then(|| machine["last_exit"]["how"].clone())
        })
    };
    assert_eq!(exit("died"), "died");
    assert_eq!(exit("ended"), "ended");
    assert!(hypervisor(&ended).is_none());
    assert_eq!(host.json("machine show lives")["phase"], "running");
    assert_eq!(hypervisor(&lives).unwrap().0, running);
    assert_eq!(host.sh("lives", "hostname"), "lives");
    for name in ["died", "ended"] {
        host.ok(&format!("machine start {name}"));
        assert_eq!(host.sh(name, "hostname"), name);
    }
}
