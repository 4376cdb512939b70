//! What clap refuses, in the form of every other error.

use super::render;
use clap::Error;
use clap::error::ErrorKind;
use types::{Code, Problem};

/// Prints help, version or an error; returns the exit code.
pub fn tell(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Nobody left to read it is not an error.
            let _ = error.print();
            0
        }
        kind => {
            let mut problem = problem(&error.render().to_string());
            if kind == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                // What clap renders then is the whole help.
                problem.message = "it is not said what to do".into();
            }
            render::problem(&problem);
            problem.code.exit()
        }
    }
}

/// From clap's text: the first paragraph says what is wrong, `tip:` lines what to do, and the
/// usage line which command it was.
fn problem(text: &str) -> Problem {
    let mut message = String::new();
    let mut tip = None;
    let mut command = String::from("sistemo");
    let mut in_message = true;
    for line in text.lines() {
        let line = line.trim();
        if let Some(found) = line.strip_prefix("tip: ") {
            tip.get_or_insert_with(|| found.to_owned());
            in_message = false;
        } else if let Some(usage) = line.strip_prefix("Usage: ") {
            command = usage
                .split(' ')
                .take_while(|w| !w.starts_with(['[', '<', '-']))
                .collect::<Vec<_>>()
                .join(" ");
            in_message = false;
        } else if line.is_empty() {
            in_message &= message.is_empty();
        } else if in_message {
            if !message.is_empty() {
                message.push(' ');
            }
            message.push_str(line.strip_prefix("error: ").unwrap_or(line));
        }
    }
    let help = format!("see `{command} --help`");
    let hint = match tip {
        Some(tip) => format!("{tip}; {help}"),
        None if command.ends_with(" exec") => {
            format!("put -- before the command that runs in the guest; {help}")
        }
        None => help,
    };
    Problem::new(Code::Usage, message.replace('\'', "\"")).hint(hint.replace('\'', "\""))
}
