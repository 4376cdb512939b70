//! Volumes that leave as files, and files that come as volumes.

use e2e::{Host, until};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Serves a file once to each who asks, and tells where.
fn serve(file: &Path) -> String {
    let bytes = std::fs::read(file).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/appdata.raw.zst", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 4096];
            let n = stream.read(&mut asked).unwrap();
            let there = String::from_utf8_lossy(&asked[..n]).starts_with("GET /appdata.raw.zst ");
            let status = if there { "200 OK" } else { "404 Not Found" };
            let body = if there { &bytes[..] } else { b"" };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // Whoever asked may have gone.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    url
}

/// What of the pool is no volume's.
fn temporaries(host: &Host) -> Vec<String> {
    let dir = host.data().join("pools/default/volumes");
    let names = dir.read_dir().unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|n| n.starts_with('.')).collect()
}

#[test]
fn out_and_in_again() {
    let mut host = Host::seeded("transfer");
    let out = host.data().join("out");
    std::fs::create_dir(&out).unwrap();
    let file = |name: &str| out.join(name).display().to_string();
    host.ok("volume create 256M --name appdata");
    host.ok("machine deploy debian --name web --attach appdata");
    host.sh(
        "web",
        "dd if=/dev/urandom of=/mnt/appdata/data bs=1M count=20 2>/dev/null; echo root > /root/mark; sync",
    );
    let sum = host.sh("web", "sha256sum < /mnt/appdata/data");
    // Of what runs, through a snapshot that goes again; one that stays can be had, too.
    host.ok(&format!("volume export appdata {} --zstd", file("live.raw.zst")));
    host.ok("volume snapshot appdata --name snap");
    host.sh("web", "rm /mnt/appdata/data; sync");
    host.ok(&format!("volume export snap {}", out.display()));
    let snapshots = host.json("snapshot list")["items"].as_array().unwrap().len();
    assert_eq!(snapshots, 1);
    host.ok(&format!("volume import {} --name live", file("live.raw.zst")));
    host.ok(&format!("volume import {} --name snapped", file("snap.raw")));
    for copy in ["live", "snapped"] {
        host.ok(&format!("machine volume attach web {copy}"));
        assert_eq!(host.sh("web", &format!("sha256sum < /mnt/{copy}/data")), sum);
    }
    host.sh("web", "cp /mnt/live/data /mnt/appdata/data; sync");
    host.ok("machine stop web");

    // Out: sparse, compressed, for others; what there is stays.
    host.ok(&format!("volume export appdata {}", out.display()));
    host.ok(&format!("volume export appdata {} --zstd", out.display()));
    host.ok(&format!("volume export appdata {} --format qcow2 --zstd", out.display()));
    host.ok(&format!("volume export web-root {} --zstd", out.display()));
    host.refused(&format!("volume export appdata {}", out.display()), "name-taken", 4);
    host.refused(&format!("volume export nothing {}", out.display()), "volume-not-found", 3);
    host.refused("volume export appdata - --format qcow2", "usage", 2);
    let check = format!("cd {} && sha256sum -c *.sha256", out.display());
    assert!(Command::new("sh").args(["-c", &check]).status().unwrap().success());
    let volume = host.file_of("appdata");
    let same = |args: &[&str]| Command::new("qemu-img").args(args).status().unwrap().success();
    let qcow2 = file("appdata.qcow2");
    assert!(same(&["compare", "-f", "qcow2", "-F", "raw", &qcow2, volume.to_str().unwrap()]));
    assert!(std::fs::read(file("appdata.raw")).unwrap() == std::fs::read(&volume).unwrap());
    let blocks = |path: &Path| std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap());
    assert!(blocks(Path::new(&file("appdata.raw"))) <= blocks(&volume) + 64);

    // In: of a file, compressed or not, of a URL, of a pipe.
    let url = serve(Path::new(&file("appdata.raw.zst")));
    host.ok(&format!("volume import {} --name one", file("appdata.raw")));
    host.ok(&format!("volume import {} --name two --storage 512M", file("appdata.raw.zst")));
    host.ok(&format!("volume import {url} --name three"));
    host.ok(&format!("volume create 300M --from {} --name four", file("appdata.raw")));
    // A qcow2 is a disk, too, of a URL as of a file; as it is, it is bytes like others.
    let disk = file("disk.qcow2");
    assert!(same(&["convert", "-c", "-f", "raw", "-O", "qcow2", &file("appdata.raw"), &disk]));
    let served = serve(Path::new(&disk));
    host.ok(&format!("volume import {disk} --name unpacked"));
    host.ok(&format!("volume import {served} --name fetched"));
    // What was written here is taken here.
    host.ok(&format!("volume import {qcow2} --name again"));
    host.ok(&format!("volume import {disk} --as-is --name packed"));
    let mut packed = std::fs::read(host.file_of("packed")).unwrap();
    let whole = std::fs::read(&disk).unwrap();
    assert!(packed.drain(..whole.len()).eq(whole) && packed.iter().all(|b| *b == 0));
    let mut piped = host.begin(&["volume", "import", "-", "--name", "five"]);
    let mut pipe = piped.stdin.take().unwrap();
    pipe.write_all(&std::fs::read(file("appdata.raw.zst")).unwrap()).unwrap();
    drop(pipe);
    let piped = piped.wait_with_output().unwrap();
    assert!(piped.status.success(), "{piped:?}");
    for name in ["one", "three", "five", "unpacked", "fetched", "again"] {
        assert!(std::fs::read(host.file_of(name)).unwrap() == std::fs::read(&volume).unwrap(), "{name}");
        assert!(blocks(&host.file_of(name)) <= blocks(&volume) + 64, "{name}");
    }
    let size = |name: &str| host.json(&format!("volume show {name}"))["size_bytes"].as_u64();
    assert_eq!((size("two"), size("four")), (Some(512 << 20), Some(300 << 20)));

    // What is not good leaves nothing.
    host.refused(&format!("volume import {} --name one", file("appdata.raw")), "name-taken", 4);
    host.refused(
        &format!("volume import {} --name six --storage 100M", file("appdata.raw")),
        "volume-too-small",
        4,
    );
    let mut cut = std::fs::read(&qcow2).unwrap();
    cut.truncate(cut.len() / 2);
    std::fs::write(file("cut.qcow2"), cut).unwrap();
    host.refused(&format!("volume import {} --name six", file("cut.qcow2")), "usage", 2);
    host.refused(&format!("volume import {} --name six", file("nothing.raw")), "usage", 2);
    host.refused(&format!("volume import {}x --name six", url), "io-error", 1);
    let wrong = "0".repeat(64);
    host.refused(&format!("volume import {url} --name six --sha256 {wrong}"), "checksum-mismatch", 4);
    let mut bytes = std::fs::read(file("appdata.raw")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(file("appdata.raw"), bytes).unwrap();
    host.refused(&format!("volume import {} --name six", file("appdata.raw")), "checksum-mismatch", 4);
    std::fs::write(file("empty.raw"), b"").unwrap();
    host.refused(&format!("volume import {} --name six", file("empty.raw")), "invalid-size", 2);
    host.refused("volume show six", "volume-not-found", 3);
    let mut cut = host.begin(&["volume", "import", "-", "--name", "six"]);
    cut.stdin.as_mut().unwrap().write_all(&[7; 8 << 20]).unwrap();
    until("it is being received", Duration::from_secs(30), || (!temporaries(&host).is_empty()).then_some(()));
    cut.kill().unwrap();
    cut.wait().unwrap();
    until("what broke off is removed", Duration::from_secs(30), || {
        temporaries(&host).is_empty().then_some(())
    });
    host.refused("volume show six", "volume-not-found", 3);

    // What came boots, and has the data; also after the daemon was killed.
    host.ok(&format!("volume import {} --name other-root --root", file("web-root.raw.zst")));
    host.crash();
    host.up();
    host.ok("machine deploy --volume other-root --name other --attach two");
    assert_eq!(host.sh("other", "cat /root/mark; sha256sum < /mnt/two/data"), format!("root\n{sum}"));
    let grown = "test $(df -m --output=size /mnt/two | tail -1) -gt 400 && echo grown";
    host.sh_until("other", grown, |said| said == "grown");
    let history = host.ok("history -n 100");
    for action in ["volume.export", "volume.import"] {
        assert!(history.contains(action), "{history}");
    }
}
