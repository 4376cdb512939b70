//! `sistemo man DIR`: the manual pages, made from the command line itself. For packages, so it is not
//! in the help.

use super::Ended;
use super::context::Context;
use crate::config::KEYS;
use clap::Args;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::io;
use std::path::{Path, PathBuf};
use types::{Code, Problem};

/// Where to.
#[derive(Args)]
pub struct Pages {
    /// A directory, which is made
    dir: PathBuf,
}

impl Pages {
    /// Writes a page for every command.
    pub fn run(self, context: &Context) -> Ended {
        let written = write(&self.dir).map_err(|e| {
            Problem::new(Code::IoError, format!("cannot write into {}: {e}", self.dir.display()))
                .hint("name a directory that can be written")
        })?;
        context.remark(&format!("{written} pages are in {}", self.dir.display()));
        Ok(())
    }
}

fn write(dir: &Path) -> io::Result<usize> {
    std::fs::create_dir_all(dir)?;
    let mut root = super::command().disable_version_flag(true);
    root.build();
    let mut count = 0;
    let mut walk = vec![(root.get_name().to_owned(), root)];
    while let Some((name, command)) = walk.pop() {
        std::fs::write(dir.join(format!("{name}.1")), page(&name, &command)?)?;
        count += 1;
        let shown = command.get_subcommands().filter(|c| !c.is_hide_set());
        walk.extend(shown.map(|c| (format!("{name}-{}", c.get_name()), c.clone())));
    }
    Ok(count)
}

fn page(name: &str, command: &clap::Command) -> io::Result<Vec<u8>> {
    let version = env!("CARGO_PKG_VERSION");
    // The names of pages have dashes where those of commands have spaces.
    let named = command.clone().display_name(name.to_owned());
    let man =
        Man::new(named).title(name.to_uppercase()).source(format!("sistemo {version}")).manual("Sistemo");
    let mut out = Vec::new();
    man.render(&mut out)?;
    let mut more = Roff::new();
    if name == "sistemo" {
        section(&mut more, "EXIT STATUS", &[EXITS]);
        environment(&mut more);
        section(&mut more, "FILES", &FILES);
    }
    let parent = name.rsplit_once('-').map_or("", |(parent, _)| parent);
    let children = command.get_subcommands().filter(|c| !c.is_hide_set());
    let related: Vec<_> = (!parent.is_empty())
        .then(|| format!("{parent}(1)"))
        .into_iter()
        .chain(children.map(|c| format!("{name}-{}(1)", c.get_name())))
        .collect();
    section(&mut more, "SEE ALSO", &[&related.join(", ")]);
    more.to_writer(&mut out)?;
    Ok(out)
}

const EXITS: &str = "0 done; 1 failed; 2 usage; 3 not found; 4 conflict or refused; 5 the daemon cannot be \
    reached; 124 timed out. exec returns the command's own.";
const FILES: [&str; 3] = [
    "/var/lib/sistemo: the data directory; sistemo.db, pools, images, and the API's socket sistemo.sock.",
    "/var/lib/sistemo/config.toml: the settings, which `sistemo config` shows.",
    "/etc/default/sistemo: variables such as SISTEMO_LISTEN for the units of the service manager.",
];

fn section(roff: &mut Roff, title: &str, paragraphs: &[&str]) {
    roff.control("SH", [title]);
    for text in paragraphs.iter().filter(|t| !t.is_empty()) {
        roff.control("PP", []);
        roff.text([roman(*text)]);
    }
}

/// The variable of every setting, and those of what is no setting.
fn environment(roff: &mut Roff) {
    section(
        roff,
        "ENVIRONMENT",
        &["A variable counts more than config.toml, and a flag more than a variable."],
    );
    let settings = KEYS.iter().map(|key| {
        let default = if key.default.is_empty() { "none" } else { key.default };
        (key.env, format!("{}: {} [{}; default: {default}]", key.name, key.help, key.range))
    });
    for (name, text) in settings.chain(OTHERS.map(|(name, text)| (name, text.to_owned()))) {
        roff.control("TP", []);
        roff.text([bold(name)]);
        roff.text([roman(text)]);
    }
}

const OTHERS: [(&str, &str); 3] = [
    ("SISTEMO_TOKEN", "the token to show to a daemon at http(s)://"),
    ("SISTEMO_TOKEN_FILE", "a file with that token, as --token-file names one"),
    ("SISTEMO_AGENT", "the agent that the daemon boots guests with, instead of the one that is built in"),
];

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_a_page_for_every_command_that_help_shows() {
        let dir = tempfile::tempdir().unwrap();
        let count = super::write(dir.path()).unwrap();
        assert!(count > 40, "{count}");
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let root = read("sistemo.1");
        assert!(root.contains("EXIT STATUS"));
        let variables = root.split_once("ENVIRONMENT").unwrap().1;
        assert!(super::KEYS.iter().all(|key| variables.contains(key.env)), "{variables}");
        let deploy = read("sistemo-machine-deploy.1");
        assert!(deploy.contains("storage") && deploy.contains("sistemo\\-machine(1)"), "{deploy}");
        assert!(!dir.path().join("sistemo-man.1").exists());
    }
}
