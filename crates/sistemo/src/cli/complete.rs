//! What a shell is told while somebody types: verbs, flags, and the names of what there is.
//!
//! Invariant: it never says anything but candidates, asks no question, and is done within
//! [`PATIENCE`], whether a daemon answers or not.

use super::context::{Context, Global};
use super::render::{self, Format};
use clap::Command;
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use std::ffi::OsString;
use std::time::Duration;
use types::{Code, Problem};

/// Set by the script of `sistemo completion`, to the shell's name.
pub const VARIABLE: &str = "SISTEMO_COMPLETE";
/// How long somebody who pressed Tab waits for the daemon.
const PATIENCE: Duration = Duration::from_millis(1500);
/// More than anybody reads.
const MOST: usize = 1000;

/// Answers a shell, if it is one that asks.
pub fn answer(args: &[OsString]) -> Option<u8> {
    let asked = std::env::var_os(VARIABLE).is_some_and(|v| !v.is_empty());
    if !asked || args.get(1).is_none_or(|a| a != "--") {
        return None;
    }
    let here = std::env::current_dir().ok();
    let told = CompleteEnv::with_factory(|| named(super::command()))
        .var(VARIABLE)
        .bin("sistemo")
        .completer("sistemo")
        .try_complete(args.to_vec(), here.as_deref());
    Some(u8::from(told.is_err()))
}

/// The command line with candidates for every argument that names something. They go by the
/// argument's id, so that a new verb has them without doing anything.
fn named(command: Command) -> Command {
    let users = command.get_name() == "user";
    command
        .mut_args(|arg| {
            let candidates = match arg.get_id().as_str() {
                "machine" => ArgValueCandidates::new(|| of("machines")),
                "volume" | "attach" => ArgValueCandidates::new(|| of("volumes")),
                "snapshot" => ArgValueCandidates::new(|| of("snapshots")),
                "image" => ArgValueCandidates::new(images),
                "network" => ArgValueCandidates::new(|| of("networks")),
                "pool" => ArgValueCandidates::new(|| of("pools")),
                "token" => ArgValueCandidates::new(|| of("tokens")),
                "user" => ArgValueCandidates::new(|| of("users")),
                "operation" => ArgValueCandidates::new(|| of("operations")),
                "target" => ArgValueCandidates::new(targets),
                "role" => ArgValueCandidates::new(|| words(["viewer", "operator", "admin"])),
                "code" => ArgValueCandidates::new(|| words(Code::ALL.iter().map(|c| c.as_str()))),
                _ => return arg,
            };
            arg.add(candidates)
        })
        .mut_subcommands(|sub| {
            let sub = if users { sub.mut_args(called_user) } else { sub };
            named(sub)
        })
}

/// `user passwd NAME` is about a user that is there.
fn called_user(arg: clap::Arg) -> clap::Arg {
    if arg.get_id() == "name" { arg.add(ArgValueCandidates::new(|| of("users"))) } else { arg }
}

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<CompletionCandidate> {
    words.into_iter().map(CompletionCandidate::new).collect()
}

fn images() -> Vec<CompletionCandidate> {
    let mut all = of("images");
    for recipe in ["debian", "ubuntu"] {
        if all.iter().all(|c| c.get_value() != recipe) {
            all.push(CompletionCandidate::new(recipe).help(Some("recipe".into())));
        }
    }
    all
}

fn targets() -> Vec<CompletionCandidate> {
    let mut all = of("machines");
    all.extend(of("volumes"));
    all
}

/// What the daemon lists there; nothing if it does not answer in time.
fn of(list: &'static str) -> Vec<CompletionCandidate> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Vec::new() };
    let found = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(list)).await });
    runtime.shutdown_background();
    found.ok().and_then(Result::ok).unwrap_or_default()
}

async fn ask(list: &'static str) -> Result<Vec<CompletionCandidate>, Problem> {
    let words: Vec<_> = std::env::args().skip(2).collect();
    let client = Context::new(global(&words)).client()?;
    let query = if list == "operations" { "limit=100" } else { "" };
    let mut items = client.list::<serde_json::Value>(&[list], query).await?;
    let mut all = Vec::new();
    while let Some(item) = items.next().await? {
        let text = |field: &str| item.get(field).and_then(|v| v.as_str()).map(render::plain);
        let Some(name) = text("name").or_else(|| text("id")) else { continue };
        // Shown beside it where the shell can.
        let how = ["phase", "status", "role", "verb", "subnet"].into_iter().find_map(text);
        all.push(CompletionCandidate::new(name.into_owned()).help(how.map(|h| h.into_owned().into())));
        if all.len() == MOST {
            break;
        }
    }
    Ok(all)
}

/// The global flags among the words typed so far, as far as they say whom to ask.
fn global(words: &[String]) -> Global {
    let value = |flag: &str| {
        words.iter().enumerate().find_map(|(at, word)| {
            let rest = word.strip_prefix(flag)?;
            rest.strip_prefix('=')
                .or_else(|| words.get(at + 1).filter(|_| rest.is_empty()).map(String::as_str))
        })
    };
    Global {
        data_dir: value("--data-dir").map(ToOwned::to_owned),
        url: value("--url").map(ToOwned::to_owned),
        token_file: value("--token-file")
            .map(ToOwned::to_owned)
            .or_else(|| std::env::var("SISTEMO_TOKEN_FILE").ok()),
        output: Format::Name,
        quiet: true,
        yes: false,
        no_wait: false,
        timeout: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_say_whom_to_ask() {
        let words = |text: &str| text.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>();
        let found = global(&words("sistemo --data-dir /d machine show --url=http://h:1 "));
        assert_eq!((found.data_dir.as_deref(), found.url.as_deref()), (Some("/d"), Some("http://h:1")));
        assert!(global(&words("sistemo machine show")).url.is_none());
    }

    #[test]
    fn whatever_names_something_has_candidates() {
        let mut missing = Vec::new();
        let mut walk = vec![(String::new(), named(super::super::command()))];
        while let Some((path, command)) = walk.pop() {
            let path = format!("{path} {}", command.get_name());
            for arg in command.get_positionals().filter(|a| !a.is_hide_set()) {
                let id = arg.get_id().as_str();
                if ["machine", "volume", "pool", "snapshot", "image", "network", "token", "operation"]
                    .contains(&id)
                    && arg.get::<ArgValueCandidates>().is_none()
                {
                    missing.push(format!("{path} {id}"));
                }
            }
            walk.extend(command.get_subcommands().map(|c| (path.clone(), c.clone())));
        }
        assert!(missing.is_empty(), "{missing:?}");
    }
}
