//! `sistemo explain CODE`: the page of an error code.

use super::Ended;
use super::context::Context;
use super::render;
use clap::Args;
use serde::Serialize;
use types::{Code, Problem};

mod pages {
    //! `docs/codes/*.md`, as `build.rs` found them.
    include!(concat!(env!("OUT_DIR"), "/pages.rs"));
}

/// What to explain.
#[derive(Args)]
pub struct Explain {
    /// An error code, such as volume-in-use
    code: String,
}

#[derive(Serialize)]
struct Page {
    code: Code,
    exit_code: u8,
    http_status: u16,
    text: &'static str,
}

/// The page of a code, if there is one.
pub fn page(code: Code) -> Option<&'static str> {
    let found = pages::PAGES.iter().find(|(name, _)| *name == code.as_str());
    found.map(|(_, text)| *text)
}

impl Explain {
    /// Prints the page.
    pub fn run(self, context: &Context) -> Ended {
        // As copied from a message, `error[volume-in-use]` is understood too.
        let asked = self.code.trim();
        let asked = asked.strip_prefix("error[").unwrap_or(asked);
        let asked = asked.trim_end_matches([']', ':']);
        let found = Code::ALL.iter().find(|c| c.as_str() == asked);
        let Some((code, text)) = found.and_then(|c| Some((*c, page(*c)?))) else {
            return Err(unknown(asked).into());
        };
        let page = Page { code, exit_code: code.exit(), http_status: code.http_status(), text };
        render::one(context.format(), &page, |page| page.text.to_owned())
    }
}

fn unknown(asked: &str) -> Problem {
    let near: Vec<_> = Code::ALL
        .iter()
        .map(|c| c.as_str())
        .filter(|c| asked.split('-').any(|word| word.len() > 2 && c.contains(word)))
        .collect();
    let hint = if near.is_empty() {
        let all: Vec<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        format!("the codes are: {}", all.join(", "))
    } else {
        format!("perhaps one of: {}", near.join(", "))
    };
    Problem::new(Code::Usage, format!("there is no error code \"{}\"", asked.escape_debug())).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        for &code in Code::ALL {
            let text = page(code).unwrap_or_else(|| panic!("docs/codes/{code}.md is missing"));
            assert!(text.starts_with(&format!("# {code}\n")), "{code}");
            for part in ["## Why it happens", "## What to do"] {
                assert!(text.contains(part), "{code}: {part}");
            }
            assert!(text.contains(&format!("Exit code {}", code.exit())), "{code}");
            assert!(text.contains(&format!("HTTP status {}", code.http_status())), "{code}");
        }
        assert_eq!(pages::PAGES.len(), Code::ALL.len());
    }
}
