//! The kept corpus, replayed: what once was found stays fixed, and every target still runs.

use fuzzing::TARGETS;
use std::io::Write as _;
use std::path::Path;

fn below(dir: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(dir)
}

#[test]
fn every_kept_input_is_taken() {
    let mut inputs = 0;
    for (name, target) in TARGETS {
        let kept = std::fs::read_dir(below("corpus").join(name)).expect("each target has a corpus");
        let mut files: Vec<_> = kept.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(files.len() >= 3, "{name} has a corpus of {}", files.len());
        for file in files {
            // Told only when it fails.
            println!("{}", file.display());
            target(&std::fs::read(file).unwrap());
            inputs += 1;
        }
        target(b"");
    }
    // Not by a macro, whose output the harness would hold back.
    let _ = writeln!(std::io::stderr(), "fuzz corpus: {inputs} inputs of {} targets", TARGETS.len());
}

#[test]
fn every_target_is_fuzzed() {
    for (name, _) in TARGETS {
        let file = std::fs::read_to_string(below("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(file.contains(&format!("fuzzing::{name}(data)")), "{name}");
        let manifest = std::fs::read_to_string(below("Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}
