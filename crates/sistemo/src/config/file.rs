//! `config.toml` as a list of settings with their lines.
//!
//! Invariant: nothing in the file is passed over: what is not a known key is an error.

use super::keys::{self, Key};
use super::{KEYS, Origin, Place};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use types::{Code, Problem};

/// A setting as it stands in the file.
pub(super) struct Line {
    pub key: &'static Key,
    pub value: String,
    pub origin: Origin,
}

/// Reads the file; one that is not there sets nothing.
pub(super) fn read(path: &Path, required: bool) -> Result<Vec<Line>, Problem> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        // A data directory that is not one is told by whoever needs it, with a better name.
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied && !required => {
            return Ok(Vec::new());
        }
        Err(e) => {
            return Err(Problem::new(Code::InvalidConfig, format!("cannot read {}: {e}", path.display()))
                .hint("make the file readable, or remove it"));
        }
    };
    parse(&text, path)
}

/// Reads the text of the file at `path`.
pub(super) fn parse(text: &str, path: &Path) -> Result<Vec<Line>, Problem> {
    let at = |offset: usize| {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Place { line: 1 + before.matches('\n').count(), column: 1 + line.chars().count() }
    };
    let bad = |offset: usize, why: String| {
        let Place { line, column } = at(offset);
        Problem::new(Code::InvalidConfig, format!("{}:{line}:{column}: {why}", path.display()))
    };
    let table = DeTable::parse(text).map_err(|e| {
        let offset = e.span().map_or(0, |s| s.start);
        bad(offset, e.message().to_owned()).hint("the file is TOML: key = \"value\"")
    })?;
    let mut lines = Vec::new();
    let mut walk = vec![(String::new(), table.get_ref())];
    while let Some((prefix, table)) = walk.pop() {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            let offset = key.span().start;
            match (keys::lookup(&name), value.get_ref()) {
                // Some names are a setting and the beginning of others.
                (_, DeValue::Table(inner)) if has_table(&name) => walk.push((format!("{name}."), inner)),
                (Some(found), _) if found.name == "data_dir" => {
                    return Err(bad(offset, "\"data_dir\" cannot be set here".into()).hint(
                        "the file is found in the data directory: use --data-dir or SISTEMO_DATA_DIR",
                    ));
                }
                (Some(found), _) => lines.push(Line {
                    key: found,
                    value: scalar(value).ok_or_else(|| {
                        bad(offset, format!("\"{name}\" is not a text, a number or a list of texts"))
                            .hint(format!("{name} can be {}", found.range))
                    })?,
                    origin: Origin::File(path.to_owned(), at(value.span().start)),
                }),
                (None, _) => {
                    return Err(bad(offset, format!("there is no setting \"{name}\"")).hint(
                        keys::nearest(&name).map_or_else(
                            || "`sistemo config` lists the settings".to_owned(),
                            |near| {
                                format!("perhaps \"{near}\" is meant; `sistemo config` lists the settings")
                            },
                        ),
                    ));
                }
            }
        }
    }
    Ok(lines)
}

fn has_table(name: &str) -> bool {
    KEYS.iter().any(|k| k.name.strip_prefix(name).is_some_and(|r| r.starts_with('.')))
}

fn scalar(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(s) => Some(s.to_string()),
        DeValue::Integer(i) => Some(i.to_string()),
        DeValue::Boolean(b) => Some(b.to_string()),
        DeValue::Float(f) => Some(f.to_string()),
        DeValue::Array(all) => {
            let texts = all.iter().map(|v| v.get_ref().as_str().map(ToOwned::to_owned));
            texts.collect::<Option<Vec<_>>>().map(|all| all.join(","))
        }
        _ => None,
    }
}
