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
}
