//! Embeds what the one binary carries: the pages of `docs/codes` and, where the build was given
//! one, the guest agent.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let root = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    pages(&Path::new(&root).join("../../docs/codes"), &out);
    agent(&out);
    built(Path::new(&root));
}

/// Says what was built and when: `doctor` judges the clock by it. `SISTEMO_COMMIT` and
/// `SOURCE_DATE_EPOCH` count first, then what `git archive` wrote into `COMMIT`, then, for a release, git.
/// Without a date from any of them, and while developing, it is now and no commit: to follow git then
/// would build everything again after each commit.
fn built(root: &Path) {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rerun-if-env-changed=SISTEMO_COMMIT");
    println!("cargo::rerun-if-changed=COMMIT");
    let given = |name| env::var(name).ok().filter(|v| !v.is_empty());
    let release = given("PROFILE").is_some_and(|p| p == "release");
    let known = archived(root).or_else(|| release.then(|| checked_out(root)).flatten());
    let (commit, committed) = known.unzip();
    let now =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let date = given("SOURCE_DATE_EPOCH").or(committed).unwrap_or_else(|| now().to_string());
    println!("cargo::rustc-env=SISTEMO_BUILT={date}");
    println!("cargo::rustc-env=SISTEMO_COMMIT={}", given("SISTEMO_COMMIT").or(commit).unwrap_or_default());
    println!("cargo::rustc-env=SISTEMO_TARGET={}", given("TARGET").unwrap_or_default());
}

/// Commit and time of the archive that this was unpacked from.
fn archived(root: &Path) -> Option<(String, String)> {
    words(&fs::read_to_string(root.join("COMMIT")).ok()?)
}

/// Commit and time of the checkout.
fn checked_out(root: &Path) -> Option<(String, String)> {
    let git = |args: &[&str]| {
        let ran = std::process::Command::new("git").args(args).current_dir(root).output().ok()?;
        ran.status.success().then(|| String::from_utf8_lossy(&ran.stdout).trim().to_owned())
    };
    // A checkout of something else, around an unpacked archive of this, says nothing.
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={}", root.join(log).display());
    }
    words(&git(&["log", "-1", "--format=%H %ct"])?)
}

/// A commit and a number of seconds.
fn words(text: &str) -> Option<(String, String)> {
    let (commit, seconds) = text.trim().split_once(' ')?;
    let good = commit.len() >= 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
    (good && seconds.parse::<u64>().is_ok()).then(|| (commit.to_owned(), seconds.to_owned()))
}

/// Writes the table of pages: a page's name is its code.
fn pages(dir: &Path, out: &Path) {
    println!("cargo::rerun-if-changed={}", dir.display());
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .expect("docs/codes is readable")
        .map(|entry| entry.expect("docs/codes is readable").path())
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect();
    found.sort();
    let mut code = String::from("pub static PAGES: &[(&str, &str)] = &[\n");
    for path in found {
        let path = path.canonicalize().expect("a page is readable");
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let place = path.display().to_string();
        writeln!(code, "    ({name:?}, include_str!({place:?})),").expect("a text takes all");
    }
    code.push_str("];\n");
    fs::write(out.join("pages.rs"), code).expect("OUT_DIR is writable");
}

/// Writes the agent's bytes, or that there are none: then it is looked for at run time.
fn agent(out: &Path) {
    println!("cargo::rerun-if-env-changed=SISTEMO_AGENT_BIN");
    let code = match env::var("SISTEMO_AGENT_BIN") {
        Ok(path) if !path.is_empty() => {
            println!("cargo::rerun-if-changed={path}");
            let path = fs::canonicalize(&path).expect("SISTEMO_AGENT_BIN names a file");
            let place = path.display().to_string();
            format!("pub static AGENT: Option<&[u8]> = Some(include_bytes!({place:?}));\n")
        }
        _ => "pub static AGENT: Option<&[u8]> = None;\n".to_owned(),
    };
    fs::write(out.join("agent.rs"), code).expect("OUT_DIR is writable");
}
