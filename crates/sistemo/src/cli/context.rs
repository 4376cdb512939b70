//! What every verb has: the global flags and what follows from them.

use super::render::Format;
use super::{Ended, Stop, input};
use crate::client::Client;
use crate::config::{Config, Flags};
use clap::Args;
use std::cell::Cell;
use std::time::Duration;
use tokio::time::Instant;
use types::access::Secret;
use types::{Code, Problem};

/// Where the help lists what every command has, so that a verb's own flags come first.
const HEADING: &str = "Global options";
/// How much longer than `--timeout` a verb may take to say by itself what it waited for.
const MOMENT: Duration = Duration::from_millis(500);

/// Flags of every command.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Where everything of one daemon lives [default: /var/lib/sistemo, or below the home directory without root]
    #[arg(long, global = true, value_name = "DIR", help_heading = HEADING)]
    pub data_dir: Option<String>,
    /// Where the API is, such as unix:///path/to/sistemo.sock
    #[arg(long, global = true, value_name = "URL", help_heading = HEADING)]
    pub url: Option<String>,
    /// A file with the token to show to a daemon at http(s)://; SISTEMO_TOKEN can hold the token itself
    #[arg(long, global = true, value_name = "FILE", env = "SISTEMO_TOKEN_FILE", hide_env = true, help_heading = HEADING)]
    pub token_file: Option<String>,
    /// How to print data
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value = "text",
        hide_default_value = true,
        help_heading = HEADING
    )]
    pub output: Format,
    /// Ask nothing before something goes: the answer is yes
    #[arg(short, long, global = true, help_heading = HEADING)]
    pub yes: bool,
    /// Say nothing but data that was asked for, and errors
    #[arg(short, long, global = true, help_heading = HEADING)]
    pub quiet: bool,
    /// Return once a change is accepted, and print its operation's id
    #[arg(long, global = true, help_heading = HEADING)]
    pub no_wait: bool,
    /// Stop waiting after this time, such as 5m; what was accepted goes on
    #[arg(long, global = true, value_name = "TIME", help_heading = HEADING)]
    pub timeout: Option<String>,
}

/// The surroundings of a verb.
pub struct Context {
    global: Global,
    began: Instant,
    asked: Cell<Duration>,
}

impl Context {
    /// Whether every question was answered beforehand.
    pub fn yes(&self) -> bool {
        self.global.yes
    }

    /// From the global flags.
    pub fn new(global: Global) -> Self {
        Self { global, began: Instant::now(), asked: Cell::default() }
    }

    /// How to print data.
    pub fn format(&self) -> Format {
        self.global.output
    }

    /// Whether remarks are unwanted.
    pub fn quiet(&self) -> bool {
        self.global.quiet
    }

    /// Whether what is accepted is left to itself.
    pub fn no_wait(&self) -> bool {
        self.global.no_wait
    }

    /// Says something beside the data.
    pub fn remark(&self, text: &str) {
        if !self.quiet() {
            eprintln!("{}", super::render::plain(text));
        }
    }

    /// Warns of something.
    pub fn warn(&self, text: &str) {
        self.remark(&format!("warning: {text}"));
    }

    /// How long to wait at most.
    pub fn timeout(&self) -> Result<Option<Duration>, Problem> {
        self.global.timeout.as_deref().map(input::span).transpose()
    }

    /// Until when to wait: `--timeout` after the command began. What a question took does not count.
    pub fn until(&self) -> Result<Option<Instant>, Problem> {
        Ok(self.timeout()?.map(|patience| self.began + patience + self.asked.get()))
    }

    /// Asks somebody, who may take as long as it takes.
    pub fn asking<T>(&self, question: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let answer = question();
        self.asked.set(self.asked.get() + began.elapsed());
        answer
    }

    /// Does this within `--timeout`.
    pub async fn bounded<T>(&self, verb: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            ended = verb => ended,
            () = self.late() => Err(Problem::new(Code::TimedOut, "the command has not ended in time")
                .hint("what it had accepted goes on; give it more time, or leave --timeout out")
                .into()),
        }
    }

    /// Returns once the time is over for those, too, that end by themselves.
    async fn late(&self) {
        loop {
            // A length of time that is none was refused before anything began.
            let Ok(Some(until)) = self.until() else { return std::future::pending().await };
            let end = until + MOMENT;
            // A question meanwhile has put it off.
            if Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }

    /// Runs a verb that asks the daemon, within `--timeout`.
    pub fn run(&self, verb: impl Future<Output = Ended>) -> Ended {
        block_on(self.bounded(verb))
    }

    /// The settings of a command; a client does without a file that it may not read.
    pub fn config(&self, file_required: bool) -> Result<Config, Problem> {
        Config::load(&self.flags(Vec::new()), file_required)
    }

    /// The settings of the daemon, with the flags that only it has.
    pub fn daemon(&self, more: Flags) -> Result<Config, Problem> {
        Config::of_daemon(&self.flags(more))
    }

    fn flags(&self, more: Flags) -> Flags {
        let mut flags = more;
        if let Some(dir) = &self.global.data_dir {
            flags.push(("data_dir", dir.clone()));
        }
        if let Some(url) = &self.global.url {
            flags.push(("url", url.clone()));
        }
        flags
    }

    /// A client of the API.
    pub fn client(&self) -> Result<Client, Problem> {
        let config = self.config(false)?;
        Ok(Client::new(&config.url)?.token(self.token()?).fingerprint(config.fingerprint))
    }

    /// The token, from the file that was named or the environment. There is no flag for the token
    /// itself: everybody on the host can read the arguments of a process.
    fn token(&self) -> Result<Option<Secret>, Problem> {
        let text = match &self.global.token_file {
            Some(path) => Some(input::secret_file(path)?),
            None => std::env::var("SISTEMO_TOKEN").ok(),
        };
        Ok(text.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).map(Secret::new))
    }
}

/// Runs a verb on this thread: a command is cheap, a pool of threads is not.
pub fn block_on(verb: impl Future<Output = Ended>) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Stop::from(Problem::new(Code::Internal, format!("cannot begin: {e}"))))?;
    let ended = runtime.block_on(verb);
    // A thread that still waits for standard input must not hold up the end.
    runtime.shutdown_background();
    ended
}
