//! What a shell is told while somebody types: verbs, flags, and the names of what there is.
//!
//! Invariant: it never says anything but candidates, asks no question, and is done within
//! [`PATIENCE`], whether a daemon answers or not.

use super::context::{Context, Global};
use super::render::{self, Format};
use clap::{Arg, Command};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use std::ffi::{OsStr, OsString};
use std::time::Duration;
use types::{Code, Problem};

/// Set by the script of `sistemo completion`, to the shell's name.
pub const VARIABLE: &str = "SISTEMO_COMPLETE";
/// How long somebody who pressed Tab waits for the daemon.
const PATIENCE: Duration = Duration::from_millis(1500);
/// More than anybody reads.
const MOST: usize = 1000;
/// Asks for what is in the trash.
const DELETED: &str = "deleted=true";

/// Answers a shell, if it is one that asks.
pub fn answer(args: &[OsString]) -> Option<u8> {
    let asked = std::env::var_os(VARIABLE).is_some_and(|v| !v.is_empty());
    if !asked || args.get(1).is_none_or(|a| a != "--") {
        return None;
    }
    let here = std::env::current_dir().ok();
    let told = CompleteEnv::with_factory(|| named(super::command(), ""))
        .var(VARIABLE)
        .bin("sistemo")
        .completer("sistemo")
        .try_complete(args.to_vec(), here.as_deref());
    Some(u8::from(told.is_err()))
}

/// The command line with candidates for every argument that names something. They go by the argument's id and
/// by the command it is of, so that a new verb has them without doing anything. `parent` is what `command` is
/// a verb of.
fn named(command: Command, parent: &str) -> Command {
    let name = command.get_name().to_owned();
    command
        .mut_args(|arg| match completer(parent, &name, &arg) {
            Some(completer) => arg.add(completer),
            None => arg,
        })
        .mut_subcommands(|sub| named(sub, &name))
}

/// What an argument names, if it names something that is there.
fn completer(parent: &str, command: &str, arg: &Arg) -> Option<ArgValueCompleter> {
    Some(match (parent, command, arg.get_id().as_str()) {
        // Only what is in the trash can be taken back.
        ("machine", "restore", "machine") => listed("machines", DELETED),
        ("volume", "restore", "volume") => listed("volumes", DELETED),
        ("snapshot", "undelete", "snapshot") => listed("snapshots", DELETED),
        // One verb for several kinds; as a flag it is the name of what is made.
        ("machine", _, "old" | "name") if arg.is_positional() => listed("machines", ""),
        ("volume", _, "old" | "name") if arg.is_positional() => listed("volumes", ""),
        ("user", "passwd" | "delete", "name") => listed("users", ""),
        (_, _, "machine") => listed("machines", ""),
        (_, _, "volume" | "attach") => listed("volumes", ""),
        (_, _, "snapshot") => listed("snapshots", ""),
        (_, _, "image") => offering(|typed| {
            let mut all = of("images", "", typed);
            all.extend(recipes(&all));
            all
        }),
        (_, _, "network") => listed("networks", ""),
        (_, _, "pool") => listed("pools", ""),
        (_, _, "token") => listed("tokens", ""),
        (_, _, "operation") => listed("operations", "limit=100"),
        (_, _, "target") => offering(|typed| {
            let mut all = of("machines", "", typed);
            all.extend(of("volumes", "", typed));
            all
        }),
        (_, _, "role") => offering(|_| words(["viewer", "operator", "admin"])),
        (_, _, "code") => offering(|_| words(Code::ALL.iter().map(|c| c.as_str()))),
        _ => return None,
    })
}

/// Offers those of these that begin as what is typed does.
fn offering(all: impl Fn(&str) -> Vec<CompletionCandidate> + Send + Sync + 'static) -> ArgValueCompleter {
    ArgValueCompleter::new(move |typed: &OsStr| {
        let typed = typed.to_string_lossy();
        let mut all = all(&typed);
        all.retain(|candidate| candidate.get_value().to_string_lossy().starts_with(&*typed));
        all
    })
}

/// Offers what the daemon lists there.
fn listed(list: &'static str, query: &'static str) -> ArgValueCompleter {
    offering(move |typed| of(list, query, typed))
}

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<CompletionCandidate> {
    words.into_iter().map(CompletionCandidate::new).collect()
}

/// The recipes that are no image yet.
fn recipes(images: &[CompletionCandidate]) -> Vec<CompletionCandidate> {
    ["debian", "ubuntu"]
        .into_iter()
        .filter(|recipe| images.iter().all(|image| image.get_value() != *recipe))
        .map(|recipe| CompletionCandidate::new(recipe).help(Some("recipe".into())))
        .collect()
}

/// What the daemon lists there and begins so; nothing if it does not answer in time.
fn of(list: &str, query: &str, typed: &str) -> Vec<CompletionCandidate> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Vec::new() };
    let found = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(list, query, typed)).await });
    runtime.shutdown_background();
    found.ok().and_then(Result::ok).unwrap_or_default()
}

async fn ask(list: &str, query: &str, typed: &str) -> Result<Vec<CompletionCandidate>, Problem> {
    let words: Vec<_> = std::env::args().skip(2).collect();
    let client = Context::new(global(&words)).client()?;
    let mut items = client.list::<serde_json::Value>(&[list], query).await?;
    let mut all: Vec<CompletionCandidate> = Vec::new();
    while let Some(item) = items.next().await? {
        let text = |field: &str| item.get(field).and_then(|v| v.as_str()).map(render::plain);
        let Some(name) = text("name").or_else(|| text("id")) else { continue };
        // In the trash, several can have been called so.
        if !name.starts_with(typed) || all.iter().any(|c| c.get_value().to_string_lossy() == name) {
            continue;
        }
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

    /// What is typed there is new, or of elsewhere, or in a list that clap has.
    const NAMES_NOTHING: [&str; 14] = [
        "completion shell",
        "machine exec command",
        "machine label labels",
        "machine rename new",
        "machine ssh args",
        "pool create name",
        "pool resize size",
        "user create name",
        "volume create size",
        "volume export file",
        "volume import from",
        "volume label labels",
        "volume rename new",
        "volume resize size",
    ];

    #[test]
    fn whatever_names_something_has_candidates() {
        let mut without = Vec::new();
        let root = named(super::super::command(), "");
        let mut walk: Vec<_> = root.get_subcommands().map(|c| (c.get_name().to_owned(), c)).collect();
        while let Some((path, command)) = walk.pop() {
            if command.is_hide_set() {
                continue;
            }
            for arg in command.get_positionals().filter(|a| !a.is_hide_set()) {
                if arg.get::<ArgValueCompleter>().is_none() {
                    without.push(format!("{path} {}", arg.get_id()));
                }
            }
            walk.extend(command.get_subcommands().map(|c| (format!("{path} {}", c.get_name()), c)));
        }
        without.sort_unstable();
        assert_eq!(without, NAMES_NOTHING);
    }

    #[test]
    fn what_is_made_has_no_name_yet() {
        let root = named(super::super::command(), "");
        let has = |path: &[&str], id: &str| {
            let command = path.iter().fold(&root, |at, name| at.find_subcommand(name).unwrap());
            let arg = command.get_arguments().find(|a| a.get_id() == id).unwrap();
            arg.get::<ArgValueCompleter>().is_some()
        };
        for path in [["machine", "deploy"], ["machine", "clone"], ["volume", "create"], ["volume", "restore"]]
        {
            assert!(!has(&path, "name"), "{path:?}");
        }
        for path in [["machine", "protect"], ["volume", "label"], ["user", "passwd"]] {
            assert!(has(&path, "name"), "{path:?}");
        }
        assert!(has(&["machine", "deploy"], "volume") && has(&["machine", "deploy"], "pool"));
    }

    #[test]
    fn only_what_begins_so_is_offered() {
        let completer = offering(|_| words(["web", "web-root", "appdata"]));
        let offered: Vec<_> =
            completer.complete(OsStr::new("web")).into_iter().map(|c| c.get_value().to_owned()).collect();
        assert_eq!(offered, ["web", "web-root"]);
    }
}
