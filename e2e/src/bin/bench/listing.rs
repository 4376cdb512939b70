//! Lists, the command line's own cost, and memory.

use super::figure::{line, median, ms, time};
use e2e::Host;
use serde_json::Value;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Resident memory of a process in MB.
fn resident(pid: rustix::process::Pid) -> f64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or("VmRSS: 0 kB");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// A command's wall time in seconds, own CPU seconds and peak memory in MB.
fn cost(command: &mut Command) -> (f64, f64, f64) {
    // `wait4` below waits for it and tells what it cost, which `Child::wait` does not.
    #[allow(clippy::zombie_processes)]
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("it can be run");
    let began = std::time::Instant::now();
    let mut status = 0;
    // SAFETY: both pointers are to locals that outlive the call; the child is ours and is waited for
    // nowhere else (dropping a `Child` does not wait).
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let pid = libc::pid_t::try_from(child.id()).expect("a pid fits");
        assert_eq!(libc::wait4(pid, &raw mut status, 0, &raw mut usage), pid);
        usage
    };
    assert_eq!(status, 0, "{command:?}");
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    let cpu = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    (began.elapsed().as_secs_f64(), cpu, usage.ru_maxrss as f64 / 1024.0)
}

fn sistemo(host: &Host, args: &[&str]) -> Command {
    let mut command = Command::new(e2e::program());
    command.args(args).env("SISTEMO_DATA_DIR", host.data());
    command
}

/// 1,000 machines and 10,000 volumes in the store.
pub fn many() {
    let mut host = Host::empty("bench-listing");
    let idle = resident(host.pid());
    line("daemon memory, idle (MB)", idle, 20.0, "resident");
    let cpu: Vec<f64> = (0..21).map(|_| cost(&mut sistemo(&host, &["status"])).1).collect();
    line("sistemo status: own CPU (ms)", median(cpu) * 1e3, 15.0, "user + system");

    host.run("volume create 16M --name template");
    assert!(host.down());
    fabricate(&host);
    host.up();
    let all = |host: &Host| {
        let listed: Value = serde_json::from_str(&host.run("volume list -o json").out).expect("JSON");
        listed["items"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(all(&host), 10_000);
    let socket = host.data().join("sistemo.sock");
    let (mut ratios, mut ours, mut bare, mut memory) = (vec![], vec![], vec![], vec![]);
    for _ in 0..11 {
        let (own, _, peak) = cost(&mut sistemo(&host, &["volume", "list"]));
        let mut curl = Command::new("curl");
        curl.args(["-s", "--unix-socket"]).arg(&socket).arg("http://sistemo/v1/volumes");
        let fetched = time(|| {
            cost(&mut curl);
        })
        .as_secs_f64();
        ratios.push(own / fetched);
        ours.push(own);
        bare.push(fetched);
        memory.push(peak);
    }
    let measured = format!("{} / {}", ms(median(ours)), ms(median(bare)));
    line("volume list of 10,000 / curl of the same", median(ratios), 2.0, &measured);
    let small = Host::empty("bench-small");
    let little = median((0..11).map(|_| cost(&mut sistemo(&small, &["volume", "list"])).2).collect());
    let much = median(memory);
    line("volume list of 10,000: peak memory / of none", much / little, 1.3, &format!("{much:.1} MB"));
    line("daemon memory, 1,000 machines, 10,000 volumes (MB)", resident(host.pid()), 60.0, "resident");
}

/// Fills the store and the pool as so many requests would have: each volume with its file and sidecar,
/// so that the reconciler finds everything as it shall be.
fn fabricate(host: &Host) {
    use engine::store::{Cause, Limit, Sqlite, Store, Txn};
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&host.data().join("sistemo.db")).expect("it opens"));
    let template = &store.scan("volume/", Limit::All).expect("it reads")[..2];
    let spec: Value = serde_json::from_slice(&template[0].value).expect("a spec");
    let status = template[1].value.clone();
    let network = store.scan("network/", Limit::All).expect("it reads");
    let network: Value = serde_json::from_slice(&network[0].value).expect("a spec");
    let cause = || Cause { actor: types::Actor::system(), operation: None, verb: types::Verb::Reconcile };
    let mut puts: Vec<(String, Vec<u8>)> = vec![];
    let pool = host.data().join("pools/default/volumes");
    let text = |v: &Value| v.to_string().into_bytes();
    for n in 1..10_000u32 {
        let id = uuid::Uuid::now_v7();
        let mut new = spec.clone();
        new["id"] = id.to_string().into();
        new["name"] = format!("volume-{n:05}").into();
        std::fs::write(pool.join(format!("{id}.json")), new.to_string()).expect("there is room");
        let size = spec["size"].as_u64().expect("a size");
        std::fs::File::create(pool.join(format!("{id}.raw")))
            .and_then(|f| f.set_len(size))
            .expect("there is room");
        puts.push((format!("volume/{id}/spec"), text(&new)));
        puts.push((format!("volume/{id}/status"), status.clone()));
        puts.push((format!("claim/name/volume/volume-{n:05}"), format!("\"{id}\"").into_bytes()));
        if n <= 1000 {
            puts.extend(machine(host, n, id, &network));
        }
    }
    for puts in puts.chunks(120) {
        let puts = puts.to_vec();
        store.commit(Txn { checks: vec![], puts, deletes: vec![], cause: cause() }).expect("it commits");
    }
}

/// A stopped machine that holds `root`.
fn machine(host: &Host, n: u32, root: uuid::Uuid, network: &Value) -> Vec<(String, Vec<u8>)> {
    let id = uuid::Uuid::now_v7();
    let name = format!("machine-{n:04}");
    let address = format!("10.200.{}.{}", n / 250 + 1, n % 250 + 2);
    let spec = serde_json::json!({
        "id": id, "name": name, "generation": 1, "node": "localhost", "created_at": "2026-01-01T00:00:00Z",
        "vcpus": 2, "memory": 512u64 << 20, "image": null, "desired": "stopped", "epoch": 1,
        "disks": [{ "volume": root, "slot": 0, "role": "root", "mount": "default" }],
        "nics": [{ "network": network["id"], "address": address, "mac": format!("52:54:00:01:{:02x}:{:02x}", n >> 8, n & 255) }],
        "uid": 1_900_000_000u32 + n,
    });
    let status = serde_json::json!({
        "observed_generation": 1, "run": null, "ended_epoch": 1, "booted": true, "kernel": "6.1.0",
    });
    let dir = host.data().join("machines").join(id.to_string());
    std::fs::create_dir_all(&dir).expect("there is room");
    std::fs::write(dir.join("machine.json"), spec.to_string()).expect("there is room");
    vec![
        (format!("machine/{id}/spec"), spec.to_string().into_bytes()),
        (format!("machine/{id}/status"), status.to_string().into_bytes()),
        (format!("claim/name/machine/{name}"), format!("\"{id}\"").into_bytes()),
        (format!("claim/attach/{root}"), format!("\"{id}\"").into_bytes()),
    ]
}
