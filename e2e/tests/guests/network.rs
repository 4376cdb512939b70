//! What guests reach, and who reaches them.

use e2e::Host;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// Answers one connection with the address it came from.
fn greet(listener: TcpListener) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let (mut stream, from) = listener.accept().unwrap();
        stream.write_all(format!("{}\n", from.ip()).as_bytes()).unwrap();
    })
}

/// What a guest reads from an address, by bash alone.
fn read_from(host: &Host, machine: &str, address: &str, port: u16) -> String {
    let script = format!("exec 3<>/dev/tcp/{address}/{port}; cat <&3");
    host.ok_args(&["machine", "exec", machine, "--", "timeout", "20", "bash", "-c", &script])
        .trim()
        .to_owned()
}

#[test]
fn guests_reach_the_host_each_other_and_beyond() {
    let host = Host::seeded("network");
    host.ok("machine deploy debian --name web");
    host.ok("machine deploy debian --name api");
    let address =
        |name: &str| host.json(&format!("machine show {name}"))["address"].as_str().unwrap().to_owned();
    let (web, api) = (address("web"), address("api"));
    assert_ne!(web, api);

    // The host reaches a guest: its sshd greets.
    let mut greeting = [0; 4];
    let reached = e2e::until("sshd greets", e2e::PATIENCE, || {
        let mut stream = TcpStream::connect((web.as_str(), 22)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.read_exact(&mut greeting).ok().map(|()| greeting)
    });
    assert_eq!(&reached, b"SSH-");

    // A guest reaches the host, and another guest.
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = greet(listener);
    assert_eq!(read_from(&host, "web", "10.200.0.1", port), web);
    served.join().unwrap();
    let script = format!("exec 3<>/dev/tcp/{api}/22 && head -c4 <&3");
    e2e::until("sshd of the other greets", e2e::PATIENCE, || {
        let ran = host.args(&["machine", "exec", "web", "--", "timeout", "5", "bash", "-c", &script]);
        (ran.out == "SSH-").then_some(())
    });

    // A guest reaches beyond by address translation: it is seen under the host's address there.
    let outside = std::env::var("SISTEMO_TEST_OUTSIDE").expect("run by scripts/in-namespace");
    assert_eq!(host.sh("web", &format!("ping -c 1 -W 10 {outside} > /dev/null && echo reached")), "reached");

    // Addresses stay, and so does the name; the link is up again after a restart.
    host.ok("machine restart web");
    assert_eq!(address("web"), web);
    assert_eq!(host.sh("web", "hostname -I").trim(), web);
    host.ok("machine delete api -y");
    let links = std::fs::read_to_string("/proc/net/dev").unwrap();
    assert_eq!(links.lines().filter(|l| l.trim_start().starts_with("st")).count(), 1, "{links}");
}
