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
    built();
}

/// When this was built, by which `doctor` judges the clock; a reproducible build says what it wants.
fn built() {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs()).to_string();
    println!("cargo::rustc-env=SISTEMO_BUILT={}", env::var("SOURCE_DATE_EPOCH").unwrap_or(now));
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
