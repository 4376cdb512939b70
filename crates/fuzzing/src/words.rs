//! What people type and write.

use types::{ByteSize, Name};

/// Sizes, names and mount points.
pub fn word(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(size) = text.parse::<ByteSize>() {
        assert!(size.bytes() % ByteSize::MIB == 0 && size <= ByteSize::MAX && size.bytes() > 0);
        let _ = size.to_string();
    }
    if let Ok(name) = Name::new(text) {
        assert_eq!(name.as_str(), text);
        assert!(text.len() <= 63 && text.parse::<uuid::Uuid>().is_err());
        if let Ok(machine) = Name::machine(text) {
            assert!(Name::new(machine.root_volume().as_str()).is_ok(), "its root volume has no name");
        }
    }
    if let Ok(types::machine::Mount::At(path)) = engine::fuzzing::mount(text) {
        assert!(path.starts_with('/') && path.len() > 1 && path.len() <= 256);
        assert!(path.split('/').all(|p| p != ".." && p != "."));
        // What was made of it is taken as it is.
        assert_eq!(engine::fuzzing::mount(&path), Ok(types::machine::Mount::At(path.clone())));
    }
}

/// `config.toml`.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match sistemo::config::of_text(text) {
        Ok(config) => assert!(config.workers > 0 && (8..=30).contains(&config.prefix)),
        Err(problem) => assert!(!problem.message.is_empty()),
    }
}
