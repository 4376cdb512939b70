//! Reading and writing `sources.list(5)`, both styles.
//!
//! Invariant: of what is read only entries of the named release with the component `main` are kept;
//! whatever is not understood is passed over.

use std::path::Path;

/// One archive: `deb` entries with the component `main`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Archive {
    /// Where it is.
    pub uri: String,
    /// Of which releases.
    pub suites: Vec<String>,
    /// The keys it is signed by: a path, or the keys themselves as the file has them.
    pub signed_by: Option<String>,
    /// It needs no signature, by the administrator's word.
    pub trusted: bool,
}

impl Archive {
    /// An archive that is signed by the keys in a file.
    pub fn new(uri: &str, suites: &[String], keyring: &str) -> Self {
        Self { uri: uri.into(), suites: suites.to_vec(), signed_by: Some(keyring.into()), trusted: false }
    }

    /// Whether a guest can reach it as the host does.
    pub fn is_public(&self) -> bool {
        let Some((scheme, rest)) = self.uri.split_once("://") else { return false };
        let host = rest.split('/').next().unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        let local = host.starts_with("localhost") || host.starts_with("127.") || host.starts_with("[::1]");
        matches!(scheme, "http" | "https") && !local && !rest.contains('@')
    }
}

/// The archives as a deb822 file.
pub fn render(archives: &[Archive]) -> String {
    let stanza = |a: &Archive| {
        let mut text =
            format!("Types: deb\nURIs: {}\nSuites: {}\nComponents: main\n", a.uri, a.suites.join(" "));
        if let Some(keys) = &a.signed_by {
            text.push_str(&format!("Signed-By: {keys}\n"));
        }
        if a.trusted {
            text.push_str("Trusted: yes\n");
        }
        text
    };
    archives.iter().map(stanza).collect::<Vec<_>>().join("\n")
}

/// The archives of release `codename` in the files below `etc` (`/etc/apt`).
pub fn of_host(etc: &Path, codename: &str) -> Vec<Archive> {
    let mut files = vec![etc.join("sources.list")];
    let parts = std::fs::read_dir(etc.join("sources.list.d"));
    let mut parts: Vec<_> = parts.into_iter().flatten().flatten().map(|e| e.path()).collect();
    parts.sort();
    files.extend(parts);
    let mut found = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let entries = match file.extension().and_then(|e| e.to_str()) {
            Some("list") => one_line(&text),
            Some("sources") => deb822(&text),
            _ => continue,
        };
        found.extend(entries.into_iter().filter_map(|entry| of_release(entry, codename)));
    }
    found
}

/// Keeps of an entry what belongs to the release.
fn of_release(mut archive: Archive, codename: &str) -> Option<Archive> {
    let tail = |suite: &str| suite.strip_prefix(codename).map(str::to_owned);
    archive.suites.retain(|suite| {
        let tail = tail(suite.trim_end_matches('/'));
        matches!(tail.as_deref(), Some("" | "-updates" | "-security" | "/updates"))
    });
    let scheme = archive.uri.split(':').next().unwrap_or_default();
    // Packages in a local directory are not reachable from within the new root.
    let usable = !matches!(scheme, "file" | "copy" | "cdrom" | "");
    (!codename.is_empty() && usable && !archive.suites.is_empty()).then_some(archive)
}

/// `deb [signed-by=/path] http://… suite main`
fn one_line(text: &str) -> Vec<Archive> {
    let entry = |line: &str| {
        let rest = line.trim().strip_prefix("deb ")?.split('#').next()?.trim();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        words.any(|component| component == "main").then(|| {
            let option = |name: &str| options.split_whitespace().find_map(|o| o.strip_prefix(name));
            Archive {
                uri: uri.into(),
                suites: vec![suite.into()],
                signed_by: option("signed-by=").map(|keys| keys.replace(',', " ")),
                trusted: option("trusted=") == Some("yes"),
            }
        })
    };
    text.lines().filter_map(entry).collect()
}

/// Stanzas of `Field: value`, values going on in lines that begin with a space.
fn deb822(text: &str) -> Vec<Archive> {
    let mut stanzas: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let Some(stanza) = stanzas.last_mut() else { continue };
        if line.trim().is_empty() {
            stanzas.push(Vec::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((field, value)) = line.split_once(':') {
            stanza.push((field.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    stanzas.iter().flat_map(|stanza| of_stanza(stanza)).collect()
}

fn of_stanza(stanza: &[(String, String)]) -> Vec<Archive> {
    let field = |name: &str| stanza.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
    let has = |name: &str, word: &str| field(name).split_whitespace().any(|w| w == word);
    if !has("types", "deb") || !has("components", "main") || field("enabled") == "no" {
        return Vec::new();
    }
    let archive = |uri: &str| Archive {
        uri: uri.into(),
        suites: field("suites").split_whitespace().map(str::to_owned).collect(),
        signed_by: Some(field("signed-by").to_owned()).filter(|keys| !keys.is_empty()),
        trusted: field("trusted") == "yes",
    };
    field("uris").split_whitespace().map(archive).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEB822: &str = "Types: deb deb-src\n# a comment\nURIs: http://deb.debian.org/debian\n\
        Suites: bookworm bookworm-updates bookworm-backports\nComponents: main contrib\n\
        Signed-By: /usr/share/keyrings/k.gpg\n\n\
        Types: deb\nURIs: https://third.example/debian\nSuites: bookworm\nComponents: stable\n\n\
        Enabled: no\nTypes: deb\nURIs: http://off.example/\nSuites: bookworm\nComponents: main\n\n\
        Types: deb\nURIs: http://in.example/debian\nSuites: bookworm-security\nComponents: main\n\
        Signed-By:\n -----BEGIN\n .\n abc\n -----END\n";

    const ONE_LINE: &str = "# deb http://no.example bookworm main\n\
        deb [arch=amd64 signed-by=/k.gpg] http://a.example/debian bookworm main # here\n\
        deb http://b.example/debian-security bookworm-security main\n\
        deb-src http://c.example bookworm main\n\
        deb http://d.example/pg bookworm-pgdg main\n\
        deb cdrom:[Debian]/ bookworm main\n\
        deb file:///srv/mirror bookworm main\n";

    #[test]
    fn what_belongs_to_the_release_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sources.list.d")).unwrap();
        std::fs::write(dir.path().join("sources.list.d/debian.sources"), DEB822).unwrap();
        std::fs::write(dir.path().join("sources.list.d/x.sources.disabled"), DEB822).unwrap();
        std::fs::write(dir.path().join("sources.list"), ONE_LINE).unwrap();
        let found = of_host(dir.path(), "bookworm");
        let uris: Vec<_> = found.iter().map(|a| a.uri.as_str()).collect();
        assert_eq!(
            uris,
            [
                "http://a.example/debian",
                "http://b.example/debian-security",
                "http://deb.debian.org/debian",
                "http://in.example/debian"
            ]
        );
        assert_eq!(found[0].signed_by.as_deref(), Some("/k.gpg"));
        assert_eq!(found[2].suites, ["bookworm", "bookworm-updates"]);
        assert!(found[3].signed_by.as_ref().unwrap().contains("\n abc\n"));
        // What is written is read again as the same.
        assert_eq!(deb822(&render(&found)), found);
        assert!(of_host(dir.path(), "trixie").is_empty());
        assert!(of_host(dir.path(), "").is_empty());
    }

    #[test]
    fn a_guest_reaches_public_archives_only() {
        let public = |uri: &str| Archive::new(uri, &[], "k").is_public();
        assert!(public("http://deb.debian.org/debian"));
        for local in [
            "http://localhost:3142/debian",
            "http://127.0.0.1/debian",
            "mirror+file:///etc/apt/mirrors/debian.list",
            "https://user:secret@mirror.example/debian",
        ] {
            assert!(!public(local), "{local}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = (one_line(&text), deb822(&text));
        }
    }
}
