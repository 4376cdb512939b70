//! How answers look.
//!
//! Invariant: `json` and `yaml` carry every field of the API's answer; in `text`, nothing that came
//! from a guest or a file reaches the terminal with control characters in it.

mod list;
mod table;

pub use list::list;
pub use table::Table;

use super::context::Context;
use super::{Ended, Stop};
use clap::ValueEnum;
use serde::Serialize;
use std::borrow::Cow;
use std::io::{ErrorKind, Write};
use types::{Code, Problem, Timestamp};

/// The forms that data is printed in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    // No doc comments: clap would print a line for each in every help.
    Text,
    Json,
    Yaml,
    Name,
}

/// Prints one thing: as data, or as the text that `text` makes of it.
pub fn one<T: Serialize>(format: Format, value: &T, text: impl FnOnce(&T) -> String) -> Ended {
    print(&match format {
        Format::Text => text(value),
        Format::Json => serde_json::to_string_pretty(value).map_err(unprintable)? + "\n",
        Format::Yaml => serde_yaml_ng::to_string(value).map_err(unprintable)?,
        Format::Name => names(value)?,
    })
}

/// Prints what a change came to: in `text` a sentence, which `--quiet` leaves out.
pub fn done<T: Serialize>(context: &Context, value: &T, sentence: impl FnOnce(&T) -> String) -> Ended {
    if context.quiet() && context.format() == Format::Text {
        return Ok(());
    }
    one(context.format(), value, sentence)
}

/// Prints one of the things that come without an end: a line of text, of JSON or with its name, or a document
/// of YAML.
pub fn next<T: Serialize>(format: Format, value: &T, text: impl FnOnce(&T) -> String) -> Ended {
    print(&match format {
        Format::Text => text(value) + "\n",
        Format::Json => serde_json::to_string(value).map_err(unprintable)? + "\n",
        Format::Yaml => format!("---\n{}", serde_yaml_ng::to_string(value).map_err(unprintable)?),
        Format::Name => name(value)? + "\n",
    })
}

/// The lines that name a thing, or each of a list.
fn names(value: &impl Serialize) -> Result<String, Problem> {
    let value = serde_json::to_value(value).map_err(unprintable)?;
    match value.get("items").and_then(serde_json::Value::as_array) {
        Some(items) => items.iter().map(|item| Ok(name(item)? + "\n")).collect(),
        None => Ok(name(&value)? + "\n"),
    }
}

/// What a thing is called: its name, or its id if it has none.
fn name(value: &impl Serialize) -> Result<String, Problem> {
    let value = serde_json::to_value(value).map_err(unprintable)?;
    let field =
        |name: &str| value.get(name).and_then(serde_json::Value::as_str).map(|s| plain(s).into_owned());
    field("name")
        .or_else(|| field("id"))
        .or_else(|| field("key"))
        .or_else(|| field("check"))
        .or_else(|| field("file"))
        .ok_or_else(|| Problem::new(Code::Usage, "this has no name to print").hint("use -o json or -o yaml"))
}

/// `Name:   value` lines, aligned; a field without a value is left out.
pub fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 4;
    let mut out = String::new();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        let name = format!("{name}:");
        out.push_str(&format!("{name:width$}{}\n", plain(value)));
    }
    out
}

/// Writes to standard output. A reader that went away ends the command as SIGPIPE would.
pub fn print(text: &str) -> Ended {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| written(&e))
}

/// Why standard output took no more.
pub fn written(error: &std::io::Error) -> Stop {
    if error.kind() == ErrorKind::BrokenPipe {
        return Stop::Exit(141);
    }
    Problem::new(Code::IoError, format!("cannot write the answer: {error}")).into()
}

/// `error[code]: message` and `hint: …` on standard error.
pub fn problem(problem: &Problem) {
    let mut text = format!("error[{}]: {}\n", problem.code, plain(&problem.message));
    if let Some(hint) = &problem.hint {
        text.push_str(&format!("hint: {}\n", plain(hint)));
    }
    // With nowhere to tell it, the exit code still does.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// `text` without anything that a terminal would obey.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    Cow::Owned(text.chars().map(shown).collect())
}

/// A point in time for people: to the second, UTC.
pub fn time(at: Timestamp) -> String {
    let seconds = at.0.as_second();
    Timestamp::from_millis(seconds.saturating_mul(1000)).to_string()
}

/// When something was deleted, and until when it can be taken back; empty if it was not.
pub fn deleted(at: Option<Timestamp>, until: Option<Timestamp>) -> String {
    let until = until.map(|t| format!(", can be taken back until {}", time(t))).unwrap_or_default();
    at.map(|t| format!("{}{until}", time(t))).unwrap_or_default()
}

/// A value or a dash.
pub fn or_dash(value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

fn unprintable(error: impl std::fmt::Display) -> Problem {
    Problem::new(Code::Internal, format!("the answer cannot be printed: {error}"))
}
