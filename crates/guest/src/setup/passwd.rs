//! Users of the machine's root, from its own files.
//!
//! A static program must not ask the C library, which would load modules of this root's.
//!
//! Invariant: numbers need no files; a name that is nowhere is an error, never root.

use crate::inside::Inside;
use std::io;

/// As whom a program runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ids {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// All groups.
    pub groups: Vec<u32>,
    /// The home directory.
    pub home: String,
}

/// Root's home directory.
pub fn root_home(inside: &Inside) -> String {
    ids(inside, "0").map_or_else(|_| "/root".to_owned(), |root| root.home)
}

/// Who `user[:group]` is (OCI image-spec, `config.md`, `User`).
///
/// # Errors
/// When there is no such user or group.
pub fn ids(inside: &Inside, who: &str) -> io::Result<Ids> {
    resolve(&inside.text("/etc/passwd")?, &inside.text("/etc/group")?, who).map_err(io::Error::other)
}

fn resolve(passwd: &str, group: &str, who: &str) -> Result<Ids, String> {
    let (user, named_group) = match who.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (who, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let entry = passwd
        .lines()
        .map(fields)
        .find(|f| f.len() >= 6 && (f[0] == user || (number.is_some() && f[2].parse().ok() == number)));
    let mut ids = match (&entry, number) {
        (Some(f), _) => Ids {
            uid: f[2].parse().map_err(|_| format!("the user {user:?} has no number"))?,
            gid: f[3].parse().map_err(|_| format!("the user {user:?} has no group"))?,
            groups: Vec::new(),
            home: if f[5].starts_with('/') { f[5].clone() } else { "/".into() },
        },
        (None, Some(0)) => Ids { home: "/root".into(), ..Ids::default() },
        (None, Some(uid)) => Ids { uid, home: "/".into(), ..Ids::default() },
        (None, None) => return Err(format!("there is no user {user:?}")),
    };
    let groups: Vec<_> = group.lines().map(fields).filter(|f| f.len() >= 4).collect();
    let gid = |f: &[String]| f[2].parse::<u32>().ok();
    match named_group.filter(|g| !g.is_empty()) {
        Some(name) => {
            let by_name = groups.iter().find(|f| f[0] == name).and_then(|f| gid(f));
            ids.gid =
                by_name.or_else(|| name.parse().ok()).ok_or_else(|| format!("there is no group {name:?}"))?;
        }
        None => {
            let name = entry.as_ref().map_or(user, |f| f[0].as_str());
            let has = |f: &&Vec<String>| f[3].split(',').any(|member| member == name);
            ids.groups = groups.iter().filter(has).filter_map(|f| gid(f)).collect();
        }
    }
    if !ids.groups.contains(&ids.gid) {
        ids.groups.insert(0, ids.gid);
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbad\nweb:x:33:34::/var/www:/bin/sh\nodd:x:7:7::relative:\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlog:x:4:syslog,web\nweb2:x:5:website\n";

    fn who(text: &str) -> Result<Ids, String> {
        resolve(PASSWD, GROUP, text)
    }

    #[test]
    fn users_by_name_or_number() {
        let web = Ids { uid: 33, gid: 34, groups: vec![34, 4], home: "/var/www".into() };
        assert_eq!(who("web"), Ok(web.clone()));
        assert_eq!(who("33"), Ok(web));
        assert_eq!(who("").unwrap().home, "/root");
        assert_eq!(who("odd").unwrap().home, "/");
        assert_eq!(who("1000"), Ok(Ids { uid: 1000, gid: 0, groups: vec![0], home: "/".into() }));
    }

    #[test]
    fn a_group_that_is_named_is_the_only_one() {
        assert_eq!(who("web:log").unwrap().groups, [4]);
        assert_eq!(who("1000:99").unwrap().gid, 99);
        assert!(who("web:nope").is_err());
    }

    #[test]
    fn nobody_becomes_root_by_mistake() {
        assert!(who("nope").is_err());
        assert!(who("-1").is_err());
        assert_eq!(resolve("", "", "0").unwrap().home, "/root");
    }
}
