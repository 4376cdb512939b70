//! The processes of `sistemo-agent`: without arguments PID 1, else the role that the first names.

use guest::{agent, freeze, grow, init, log, release, setup, trim};
use std::process::ExitCode;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|info| log::complain(&format!("{info}"))));
    let arguments: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    // Else the kernel calls us `exe`, after the link that we were started by.
    let _ = rustix::thread::set_name(c"sistemo-agent");
    let well = |()| ExitCode::SUCCESS;
    let outcome = match arguments[..] {
        _ if rustix::process::getpid().is_init() => init::run().map(well),
        ["supervise"] => agent::supervise().map(well),
        ["serve"] => agent::serve().map(well),
        ["apply"] => setup::apply_wanted().map(well),
        ["grow", serial, disk] => grow::run(serial, disk).map(well),
        ["release", serial] => release::run(serial, false),
        ["release", serial, "force"] => release::run(serial, true),
        ["freeze", seconds] => freeze::run(seconds),
        ["thaw"] => freeze::let_go_of_all().map(well),
        ["trim"] => trim::run(None),
        ["trim", serial] => trim::run(Some(serial)),
        _ => {
            let version = env!("CARGO_PKG_VERSION");
            eprintln!(
                "sistemo-agent {version} runs in the machines of Sistemo, as PID 1 of their initramfs."
            );
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(code) => code,
        Err(e) => {
            log::complain(&format!("{}: {e}", arguments.join(" ")));
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
