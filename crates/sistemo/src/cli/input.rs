//! What people type: names, references, sizes, volumes with their mount points.
//!
//! Invariant: the vocabulary judges (`types`), so the command line and the API refuse the same
//! things with the same words.

use std::io::Read;
use types::id::looks_like_id;
use types::machine::AttachVolume;
use types::{ByteSize, Code, Name, Problem};

/// A reference to something that exists, by id or name.
pub fn reference(text: &str) -> Result<&str, Problem> {
    if looks_like_id(text) {
        return Ok(text);
    }
    Name::new(text).map(|_| text).map_err(|problem| {
        if text.contains('/') {
            problem.hint("things are named by their name or id, never by a path")
        } else {
            problem
        }
    })
}

/// The longest file that a secret is read from.
const MAX_SECRET: u64 = 4096;

/// The first line of a file that holds a secret.
pub fn secret_file(path: &str) -> Result<String, Problem> {
    let file = std::fs::File::open(path).map_err(|e| {
        Problem::new(Code::Usage, format!("cannot read {path}: {e}")).hint("name a readable file")
    })?;
    secret_line(file, path)
}

/// The first line of `from`, which a message calls `what`.
pub fn secret_line(from: impl std::io::Read, what: &str) -> Result<String, Problem> {
    let mut text = String::new();
    std::io::Read::take(from, MAX_SECRET).read_to_string(&mut text).map_err(|e| {
        Problem::new(Code::Usage, format!("cannot read {what}: {e}")).hint("it is one line of text")
    })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// A length of time, such as `30d`.
pub fn span(text: &str) -> Result<std::time::Duration, Problem> {
    crate::config::duration(text).ok_or_else(|| {
        Problem::new(Code::Usage, format!("\"{}\" is not a length of time", text.escape_debug()))
            .hint("write a number and a unit, such as 90s, 5m, 24h or 30d")
    })
}

/// A size in bytes.
pub fn size(text: &str) -> Result<u64, Problem> {
    text.parse::<ByteSize>().map(ByteSize::bytes)
}

/// `VOL[:PATH[:ro]]`, `VOL:none`, `VOL:ro`.
pub fn attach(text: &str) -> Result<AttachVolume, Problem> {
    let bad = |why: String| {
        Problem::new(Code::Usage, format!("\"{}\" is not understood: {why}", text.escape_debug()))
            .hint("write VOL, VOL:/path, VOL:/path:ro, VOL:ro or VOL:none")
    };
    let mut parts = text.split(':');
    let volume = reference(parts.next().unwrap_or_default())?.to_owned();
    let mut asked = AttachVolume { volume, mount: None, read_only: false };
    for part in parts {
        match part {
            "ro" if !asked.read_only => asked.read_only = true,
            _ if asked.read_only => return Err(bad("nothing follows \"ro\"".into())),
            _ if asked.mount.is_some() => return Err(bad("it has two mount points".into())),
            "none" => asked.mount = Some(part.to_owned()),
            _ if part.starts_with('/') => asked.mount = Some(part.to_owned()),
            _ => {
                let part = part.escape_debug();
                return Err(bad(format!("\"{part}\" is neither an absolute path nor none or ro")));
            }
        }
    }
    Ok(asked)
}

/// An image as it is asked for: a path is made absolute, since the daemon works elsewhere.
pub fn image(text: &str) -> Result<String, Problem> {
    if text.is_empty() {
        return Err(Problem::new(Code::Usage, "an image cannot be empty")
            .hint("name a recipe such as debian, a local image, or a path"));
    }
    let is_path = ["/", "./", "../"].iter().any(|p| text.starts_with(p));
    if !is_path {
        return Ok(text.to_owned());
    }
    std::path::absolute(text)
        .map(|path| path.display().to_string())
        .map_err(|e| Problem::new(Code::Usage, format!("\"{text}\" is no usable path: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_with_their_mount_points() {
        for (text, mount, read_only) in [
            ("v", None, false),
            ("v:ro", None, true),
            ("v:none", Some("none"), false),
            ("v:none:ro", Some("none"), true),
            ("v:/var/lib/app", Some("/var/lib/app"), false),
            ("v:/srv:ro", Some("/srv"), true),
        ] {
            let asked = attach(text).unwrap();
            assert_eq!((asked.mount.as_deref(), asked.read_only), (mount, read_only), "{text}");
        }
        for (text, code) in [
            ("v:", Code::Usage),
            ("v:x", Code::Usage),
            ("v:/a:/b", Code::Usage),
            ("v:ro:ro", Code::Usage),
            ("v:ro:/a", Code::Usage),
            ("v:/a:rw", Code::Usage),
            ("", Code::InvalidName),
            ("/dev/sda", Code::InvalidName),
            ("V", Code::InvalidName),
        ] {
            assert_eq!(attach(text).unwrap_err().code, code, "{text:?}");
        }
    }

    #[test]
    fn references_are_names_or_ids() {
        assert!(reference("web").is_ok());
        assert!(reference("0192f0c1-2345-7abc-8def-0123456789ab").is_ok());
        for bad in ["", "../x", "Web", "ünï", "--flag", "/dev/sda"] {
            assert_eq!(reference(bad).unwrap_err().code, Code::InvalidName, "{bad:?}");
        }
    }

    #[test]
    fn only_paths_are_made_absolute() {
        assert_eq!(image("debian").unwrap(), "debian");
        assert_eq!(image("https://x/y").unwrap(), "https://x/y");
        assert_eq!(image("docker.io/library/nginx").unwrap(), "docker.io/library/nginx");
        assert!(image("./disk.raw").unwrap().starts_with('/'));
        assert!(image("").is_err());
    }
}
