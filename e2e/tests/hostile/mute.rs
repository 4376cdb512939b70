//! A guest that never says hello.

use crate::agent::stops;
use e2e::{Host, scratch};
use std::time::{Duration, Instant};

#[test]
fn a_guest_that_never_says_hello_is_said_to_have_failed() {
    // The kernel finds nothing that it can run, and starts again and again.
    let agent = scratch().join("no-agent");
    std::fs::create_dir_all(scratch()).unwrap();
    std::fs::write(&agent, "this is no program").unwrap();
    let settings = [
        ("SISTEMO_AGENT", agent.to_str().unwrap()),
        ("SISTEMO_BOOT_TIMEOUT", "15s"),
        ("SISTEMO_STOP_TIMEOUT", "5s"),
    ];
    let host = Host::seeded_with("mute", &settings);
    host.ok("machine deploy debian --name evil --memory 256M --no-wait");
    e2e::until("it starts", Duration::from_secs(120), || {
        host.run("machine list").out.contains("starting").then_some(())
    });
    host.refused("machine exec evil -- true", "machine-not-running", 4);
    let began = Instant::now();
    e2e::until("it is given up", Duration::from_secs(120), || {
        host.run("machine list").out.contains("failed").then_some(())
    });
    println!("    given up after {:.1} s", began.elapsed().as_secs_f32());
    let machine = host.json("machine show evil");
    assert_eq!(machine["fault"]["code"], "boot-failed", "{machine}");
    assert!(!machine["fault"]["hint"].is_null(), "{machine}");
    let history = host.json("history");
    let deploy = history["items"].as_array().unwrap().iter().find(|e| e["action"] == "machine.deploy");
    assert_eq!(deploy.unwrap()["outcome"], "failed");
    // It runs on, so that somebody can look.
    e2e::until("it panics", e2e::PATIENCE, || host.ok("machine logs evil").contains("panic").then_some(()));
    stops(&host);
    let _ = std::fs::remove_file(agent);
}
