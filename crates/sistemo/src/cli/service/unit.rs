//! The units, fitted to a program and a data directory.
//!
//! Invariant: they are those of `packaging/systemd`, which the package installs as they are.

use std::path::Path;

/// The daemon's unit.
pub const DAEMON: &str = "sistemo.service";
/// The unit that ends guests with the host.
pub const GUESTS: &str = "sistemo-guests.service";

const TEXTS: [(&str, &str); 2] = [
    (DAEMON, include_str!("../../../../../packaging/systemd/sistemo.service")),
    (GUESTS, include_str!("../../../../../packaging/systemd/sistemo-guests.service")),
];
/// The program and the data directory in them.
const PROGRAM: &str = "/usr/bin/sistemo";
const DATA: &str = "/var/lib/sistemo";

/// Whether a package's units start this program on this data directory.
pub fn as_packaged(program: &Path, data_dir: &Path) -> bool {
    program == Path::new(PROGRAM) && data_dir == Path::new(DATA)
}

/// Whose text a unit has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// Written by `service install`, word for word.
    Ours,
    /// As above, by another version, or changed since.
    Changed,
    /// Somebody else's.
    Foreign,
}

/// Whose text this unit has.
pub fn whose(name: &str, have: &str) -> Whose {
    let Some((_, text)) = TEXTS.into_iter().find(|(known, _)| *known == name) else { return Whose::Foreign };
    if have.lines().next() != text.lines().next() {
        return Whose::Foreign;
    }
    let value = |keys: [&str; 2]| have.lines().find_map(|l| keys.iter().find_map(|key| l.strip_prefix(*key)));
    let program = value(["ExecStart=", "ExecStop="]).and_then(|c| c.split(' ').next()).unwrap_or(PROGRAM);
    let data = value(["Environment=SISTEMO_DATA_DIR="; 2]).unwrap_or(DATA);
    match fit(text, Path::new(program), Path::new(data)) == have {
        true => Whose::Ours,
        false => Whose::Changed,
    }
}

/// Name and text of each, for this program and data directory.
pub fn fitted(program: &Path, data_dir: &Path) -> Vec<(&'static str, String)> {
    TEXTS.iter().map(|(name, text)| (*name, fit(text, program, data_dir))).collect()
}

fn fit(text: &str, program: &Path, data_dir: &Path) -> String {
    let program = program.display().to_string();
    let data = data_dir.display().to_string();
    let mut out = String::with_capacity(text.len() + 200);
    for line in text.lines() {
        let elsewhere = data != DATA;
        match line.split_once('=') {
            Some((key @ ("ExecStart" | "ExecStop"), command)) => {
                out.push_str(&format!("{key}={}", command.replacen(PROGRAM, &program, 1)));
            }
            Some(("RequiresMountsFor", _)) => out.push_str(&format!("RequiresMountsFor={data}")),
            // The service manager makes it below /var/lib only; elsewhere the daemon does.
            Some(("StateDirectory" | "StateDirectoryMode", _)) if elsewhere => continue,
            Some(("EnvironmentFile", _)) if elsewhere => {
                out.push_str(&format!("Environment=SISTEMO_DATA_DIR={data}\n{line}"));
            }
            // It may be below a home directory.
            Some(("ProtectHome", _)) if elsewhere => out.push_str(&format!("{line}\nReadWritePaths=-{data}")),
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_packaged_where_nothing_differs() {
        for ((name, text), (_, fitted)) in TEXTS.iter().zip(fitted(Path::new(PROGRAM), Path::new(DATA))) {
            assert_eq!(*text, fitted, "{name}");
        }
    }

    #[test]
    fn another_program_and_directory() {
        for (name, text) in fitted(Path::new("/usr/local/bin/sistemo"), Path::new("/srv/vm")) {
            assert!(text.contains("=/usr/local/bin/sistemo "), "{name}");
            let used: Vec<_> = text.lines().filter(|l| !l.starts_with('#')).collect();
            assert!(used.contains(&"RequiresMountsFor=/srv/vm"), "{name}");
            assert!(used.contains(&"Environment=SISTEMO_DATA_DIR=/srv/vm"), "{name}");
            assert!(!used.iter().any(|l| l.contains(PROGRAM) || l.contains(DATA)), "{name}");
            assert!(!used.iter().any(|l| l.starts_with("StateDirectory")), "{name}");
        }
    }

    #[test]
    fn what_was_written_here_is_known_again() {
        for (program, data) in [(PROGRAM, DATA), ("/usr/local/bin/sistemo", DATA), (PROGRAM, "/srv/vm")] {
            for (name, text) in fitted(Path::new(program), Path::new(data)) {
                assert_eq!(whose(name, &text), Whose::Ours, "{name}");
                assert_eq!(whose(name, &format!("{text}Nice=5\n")), Whose::Changed, "{name}");
                assert_eq!(
                    whose(name, "[Service]\nExecStart=/usr/bin/sistemo up\n"),
                    Whose::Foreign,
                    "{name}"
                );
            }
        }
        assert_eq!(whose(DAEMON, ""), Whose::Foreign);
        assert!(as_packaged(Path::new(PROGRAM), Path::new(DATA)));
        assert!(!as_packaged(Path::new(PROGRAM), Path::new("/srv/vm")));
    }
}
