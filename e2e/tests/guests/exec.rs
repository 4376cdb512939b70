//! Commands, logins and logs.

use e2e::{Host, Ran};
use std::io::Write;

#[test]
fn commands_logins_and_logs() {
    let host = Host::seeded("exec");
    host.ok("machine deploy debian --name web");

    // Arguments are exact, outputs apart, the exit code the command's own.
    let odd = ["a  b", "", "'q'", "\"", "$HOME", "`x`", "\n", "ü", "*", "--", "-n"];
    let mut args = vec!["machine", "exec", "web", "--", "printf", "<%s>\\n"];
    args.extend(odd);
    let expected: String = odd.iter().map(|a| format!("<{a}>\n")).collect();
    assert_eq!(host.ok_args(&args), expected);
    let ran = host.args(&["machine", "exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!(ran, Ran { code: 42, out: "out\n".into(), err: "err\n".into() });
    assert_eq!(host.args(&["machine", "exec", "web", "--", "sh", "-c", "kill -9 $$"]).code, 137);
    assert_eq!(host.args(&["machine", "exec", "web", "--", "no-such-command"]).code, 127);
    assert_eq!(host.args(&["machine", "exec", "web", "--", "/etc/passwd"]).code, 126);

    // Input of any size, unchanged both ways.
    let input: Vec<u8> = (0..4u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut child = host.begin(&["machine", "exec", "web", "--", "cat"]);
    let mut stdin = child.stdin.take().unwrap();
    let sent = input.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success() && output.stdout == input, "{} bytes came back", output.stdout.len());

    // A terminal, with its size.
    let ran =
        host.at_terminal("machine exec web -it -- sh -c 'tty; stty size; read x; echo got-$x'", "hello\n");
    assert!(ran.out.contains("/dev/pts/") && ran.out.contains("got-hello"), "{ran:?}");

    // Many at once.
    let many: Vec<_> =
        (0..20).map(|n| host.begin(&["machine", "exec", "web", "--", "echo", &n.to_string()])).collect();
    for (n, child) in many.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{n}\n"));
    }

    // A client that goes away takes its command with it.
    let mut child = host.begin(&["machine", "exec", "web", "--", "sleep", "98765"]);
    e2e::until("it runs", e2e::PATIENCE, || {
        (host.sh("web", "pgrep -fc '[s]leep 98765' || true") == "1").then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    e2e::until("it is gone", e2e::PATIENCE, || {
        (host.sh("web", "pgrep -fc '[s]leep 98765' || true") == "0").then_some(())
    });

    // ssh with the key made on first use.
    assert_eq!(host.ok_args(&["machine", "ssh", "web", "--", "hostname"]), "web\n");
    assert_eq!(host.args(&["machine", "ssh", "web", "--", "exit 7"]).code, 7);

    let log = host.ok("machine logs web");
    assert!(log.contains("sistemo") && log.contains("login"), "{log}");

    host.ok("machine stop web");
    host.refused("machine exec web -- true", "machine-not-running", 4);
    host.refused("machine ssh web", "machine-not-running", 4);
    host.ok("machine restart web");
    assert_eq!(host.sh("web", "hostname"), "web");
    let history = host.json("history");
    let actions: Vec<_> = history["items"].as_array().unwrap().iter().map(|h| h["action"].clone()).collect();
    for action in ["machine.deploy", "machine.stop", "machine.restart"] {
        assert!(actions.iter().any(|a| a == action), "{action}: {actions:?}");
    }
}
