//! The processes of `sistemo-agent`: without arguments PID 1, else the role that the first names.

use guest::{agent, grow, init, log, setup};
use std::process::ExitCode;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|info| log::complain(&format!("{info}"))));
    let arguments: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    // Else the kernel calls us `exe`, after the link that we were started by.
    let _ = rustix::thread::set_name(c"sistemo-agent");
    let outcome = match arguments[..] {
        _ if rustix::process::getpid().is_init() => init::run(),
        ["supervise"] => agent::supervise(),
        ["serve"] => agent::serve(),
        ["apply"] => setup::apply_wanted(),
        ["grow", serial, disk] => grow::run(serial, disk),
        _ => {
            let version = env!("CARGO_PKG_VERSION");
            eprintln!(
                "sistemo-agent {version} runs in the machines of Sistemo, as PID 1 of their initramfs."
            );
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            log::complain(&format!("{}: {e}", arguments.join(" ")));
            ExitCode::FAILURE
        }
    }
}
