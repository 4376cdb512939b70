//! Bad input and bad luck: a coded error, a hint, the right exit code, and no trace.

use e2e::Host;

fn files(host: &Host) -> usize {
    std::fs::read_dir(host.data().join("pools/default/volumes")).unwrap().count()
}

#[test]
fn refusals_leave_no_trace() {
    let host = Host::seeded("refusals");
    host.ok("volume create 1.5G --name data");
    host.ok("machine deploy debian --name web");
    let before = files(&host);
    let long = "a".repeat(64);
    for name in ["", "../x", "Web", "ünï", "0192f0c1-2345-7abc-8def-0123456789ab", long.as_str()] {
        let ran = host.args(&["volume", "create", "1G", "--name", name]);
        assert_eq!(ran.code, 2, "{name}: {ran:?}");
        let ran = host.args(&["machine", "deploy", "debian", "--name", name]);
        assert_eq!(ran.code, 2, "{name}: {ran:?}");
    }
    for size in ["0", "-1", "1X", "99999999T", "18014398509481985G"] {
        let ran = host.args(&["volume", "create", size, "--name", "x"]);
        assert_eq!(ran.code, 2, "{size}: {ran:?}");
    }
    host.refused("volume create 1G --name data", "name-taken", 4);
    host.refused("machine deploy debian --name web", "name-taken", 4);
    host.refused("machine deploy debian --name small --storage 100M", "volume-too-small", 4);
    host.refused("machine deploy nothing --name x", "image-not-found", 3);
    host.refused("machine deploy /dev/urandom --name x", "image-invalid", 4);
    host.refused("machine deploy /no/such/file --name x", "image-not-found", 3);
    host.refused("machine deploy --volume web-root --name x", "volume-in-use", 4);
    host.refused("machine deploy --volume nothing --name x", "volume-not-found", 3);
    host.refused("machine deploy --volume data --name x", "volume-not-bootable", 4);
    host.refused("machine deploy debian --name x --attach data --attach data", "volume-in-use", 4);
    host.refused("machine deploy debian --name x --attach nothing", "volume-not-found", 3);
    host.refused("machine volume detach web web-root", "volume-in-use", 4);
    host.refused("machine volume detach web web-root --force -y", "volume-in-use", 4);
    host.refused("volume trim data", "volume-not-attached", 4);
    host.refused("machine volume detach web data", "volume-not-attached", 4);
    host.refused("machine volume attach web /etc/passwd", "invalid-name", 2);
    host.refused("volume delete web-root -y", "volume-in-use", 4);
    host.refused("volume delete data", "not-confirmed", 4);
    host.refused("machine delete web", "not-confirmed", 4);
    host.refused("volume show nothing", "volume-not-found", 3);
    host.ok("volume create 1G --name other-root");
    host.refused("machine deploy debian --name other", "name-taken", 4);
    host.ok("volume delete other-root -y");
    assert_eq!(files(&host), before);
    assert_eq!(host.json("machine list")["items"].as_array().unwrap().len(), 1);

    // An image that looks right from outside and is cut short.
    let image = host.data().with_extension("cut.raw");
    std::fs::copy(host.file_of("data"), &image).unwrap();
    std::fs::File::options().write(true).open(&image).unwrap().set_len(1 << 20).unwrap();
    host.refused(&format!("machine deploy {} --name x", image.display()), "image-invalid", 4);
    std::fs::remove_file(&image).unwrap();
    assert_eq!(files(&host), before);
}
