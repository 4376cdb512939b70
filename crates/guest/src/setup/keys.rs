//! Root's `authorized_keys`.
//!
//! Invariant: a key of ours that was replaced or withdrawn does not open the machine any more; lines
//! that somebody else wrote stay as they are.

use super::passwd::root_home;
use crate::inside::Inside;
use rustix::fs::{Mode, OFlags, fchmod};
use std::io;

/// The comment of keys that are Sistemo's own.
const OURS: &str = "sistemo";

/// Lets `keys` in, and of those that were let in before only these.
///
/// # Errors
/// When the file cannot be written.
pub fn apply(inside: &Inside, keys: &[String], former: &[String]) -> io::Result<()> {
    let dir = format!("{}/.ssh", root_home(inside).trim_end_matches('/'));
    let path = format!("{dir}/authorized_keys");
    let before = inside.text(&path)?;
    let after = edit(&before, keys, former);
    if after == before {
        return Ok(());
    }
    if !inside.exists(&dir) {
        inside.make_dir(&dir, 0o700)?;
    }
    // sshd passes over keys in a directory that others can write.
    let fd = inside.open(&dir, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    fchmod(fd, Mode::from_raw_mode(0o700))?;
    inside.write(&path, after.as_bytes(), 0o600)
}

fn edit(text: &str, keys: &[String], former: &[String]) -> String {
    let keys: Vec<&str> = keys.iter().map(|k| k.trim()).filter(|k| Key::of(k).is_some()).collect();
    let has = |list: &[&str], key: &Key| list.iter().filter_map(|l| Key::of(l)).any(|k| k.blob == key.blob);
    let former: Vec<&str> = former.iter().map(String::as_str).collect();
    let stays = |line: &&str| match Key::of(line) {
        Some(key) => has(&keys, &key) || !(key.is_ours() || has(&former, &key)),
        None => true,
    };
    let mut out: String = text.lines().filter(stays).map(|l| format!("{l}\n")).collect();
    for line in keys {
        let there = out.lines().filter_map(Key::of).any(|k| Key::of(line).is_some_and(|n| n.blob == k.blob));
        if !there && !line.contains(['\n', '\r']) {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// What matters of a line (`sshd(8)`, AUTHORIZED_KEYS FILE FORMAT).
struct Key<'a> {
    blob: &'a str,
    comment: &'a str,
}

impl<'a> Key<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let line = line.trim();
        if line.starts_with('#') {
            return None;
        }
        // Options may stand before the type, and hold quoted blanks; the type is known by its look.
        let is_type = |w: &str| ["ssh-", "ecdsa-", "sk-"].iter().any(|p| w.starts_with(p));
        let at = std::iter::once(0)
            .chain(line.match_indices([' ', '\t']).map(|(i, _)| i + 1))
            .find(|&i| line[i..].split_whitespace().next().is_some_and(is_type))?;
        let (_, rest) = line[at..].trim_start().split_once([' ', '\t'])?;
        let rest = rest.trim_start();
        let (blob, comment) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        (!blob.is_empty()).then_some(Self { blob, comment: comment.trim() })
    }

    fn is_ours(&self) -> bool {
        self.comment
            .strip_prefix(OURS)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', ':', '@', ' ']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "ssh-ed25519 AAAA1 sistemo";
    const THEIRS: &str = "# mine\nfrom=\"10.0.0.1 x\",no-pty ssh-rsa BBBB me@laptop\n\nrubbish\n";

    fn keys(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|&l| l.to_owned()).collect()
    }

    #[test]
    fn ours_are_added_once_and_theirs_stay() {
        let once = edit(THEIRS, &keys(&[OWN]), &[]);
        assert_eq!(once, format!("{THEIRS}{OWN}\n"));
        assert_eq!(edit(&once, &keys(&[OWN]), &[]), once);
        // Theirs is one of ours too: once is enough, with the options that they gave it.
        assert_eq!(edit(THEIRS, &keys(&["ssh-rsa BBBB me@laptop"]), &[]), THEIRS);
    }

    #[test]
    fn a_replaced_key_of_ours_goes() {
        let before = format!("{OWN}\n{THEIRS}");
        let new = "ssh-ed25519 AAAA2 sistemo";
        assert_eq!(edit(&before, &keys(&[new]), &[]), format!("{THEIRS}{new}\n"));
        assert_eq!(edit(&before, &[], &[]), THEIRS);
    }

    #[test]
    fn a_withdrawn_key_goes() {
        let user = "ssh-rsa CCCC you@desk";
        let before = edit(THEIRS, &keys(&[user]), &[]);
        assert_eq!(edit(&before, &[], &keys(&[user])), THEIRS);
        assert_eq!(edit(&before, &[], &[]), before);
    }

    #[test]
    fn what_is_no_key_is_not_written() {
        let odd = keys(&["", "rubbish", "ssh-rsa", "ssh-rsa A x\nssh-rsa B y"]);
        assert_eq!(edit("", &odd, &[]), "");
    }

    #[test]
    fn a_comment_that_only_begins_like_ours_is_theirs() {
        let line = "ssh-rsa DDDD sistemology\n";
        assert_eq!(edit(line, &[], &[]), line);
    }

    #[test]
    fn written_for_root_alone() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let inside = Inside::at(dir.path().to_str().unwrap()).unwrap();
        apply(&inside, &[], &[]).unwrap();
        assert!(!dir.path().join("root").exists());
        apply(&inside, &keys(&[OWN]), &[]).unwrap();
        let mode = |p: &str| dir.path().join(p).metadata().unwrap().mode() & 0o777;
        assert_eq!((mode("root/.ssh"), mode("root/.ssh/authorized_keys")), (0o700, 0o600));
    }
}
