//! The announcement's workflow, verbatim, from an empty data directory.

use crate::{GIB, ROOT_DISK, ROOT_FS, is_clean};
use e2e::Host;

#[test]
fn the_announcement() {
    let host = Host::empty("announcement");
    let ran = host.run("machine deploy debian --name web --storage 5GB");
    assert_eq!(ran.code, 0, "{ran:?}");
    // The first deploy makes the image and says what it does.
    assert!(ran.err.contains("image") && ran.err.lines().count() >= 3, "{}", ran.err);
    println!("{}", ran.err);
    assert_eq!(
        host.ok("volume list"),
        "NAME         SIZE    STATUS     ATTACHED TO   TYPE\n\
         web-root     5.0GB   attached   web           root\n"
    );
    host.sh_until("web", ROOT_FS, |said| said == (5 * GIB).to_string());
    assert_eq!(host.sh("web", ROOT_DISK), (5 * GIB).to_string());
    host.sh("web", "echo precious > /root/mark; sync");

    host.ok("volume create 2G --name appdata");
    host.ok("machine stop web");
    assert!(is_clean(&host.file_of("web-root")));
    host.ok("machine volume attach web appdata");
    host.ok("machine start web");
    assert_eq!(host.sh("web", "findmnt -no FSTYPE,TARGET /mnt/appdata"), "ext4   /mnt/appdata");
    host.sh("web", "echo kept > /mnt/appdata/mark");
    host.ok("machine stop web");
    host.ok("volume resize web-root 10GB");
    assert_eq!(std::fs::metadata(host.file_of("web-root")).unwrap().len(), 10 * GIB);
    host.ok("machine start web");
    host.sh_until("web", ROOT_FS, |said| said == (10 * GIB).to_string());
    assert_eq!(host.sh("web", "cat /root/mark /mnt/appdata/mark"), "precious\nkept");

    let ran = host.at_terminal("machine delete web --preserve-storage", "y\n");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("web-root") && ran.out.contains("appdata"), "{ran:?}");
    assert_eq!(
        host.ok("volume list"),
        "NAME         SIZE     STATUS     ATTACHED TO   TYPE\n\
         appdata      2.0GB    detached   -             data\n\
         web-root     10.0GB   detached   -             root\n"
    );
    assert!(is_clean(&host.file_of("web-root")) && is_clean(&host.file_of("appdata")));

    // And the old disk boots again, under another name.
    host.ok("machine deploy --volume web-root --name web2");
    assert_eq!(host.sh("web2", "cat /root/mark; hostname; cat /etc/hostname"), "precious\nweb2\nweb2");
}
