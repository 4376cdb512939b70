//! `docs/reference/config.md` lists every setting as the code has it. `SISTEMO_BLESS=1` rewrites it.

mod common;

use sistemo::config::KEYS;
use std::fmt::Write;

#[test]
fn the_reference_of_settings_is_current() {
    let path = common::repository().join("docs/reference/config.md");
    let text = page();
    if std::env::var_os("SISTEMO_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "settings have changed: review them with SISTEMO_BLESS=1 cargo test -p sistemo --test reference"
    );
}

fn page() -> String {
    let mut out = String::from(
        "# Settings\n\n\
         A setting comes from `config.toml` in the data directory, then from its environment\n\
         variable, then from its flag; the last that names it counts. `sistemo config` shows each\n\
         value and where it came from, as for a command or daemon started here and now; with\n\
         `--running`, what the daemon runs with. An unknown key or a value that makes no sense is\n\
         refused with its place.\n\n\
         Lengths of time are written like `90s`, `5m`, `24h` or `7d`; a bare number means seconds. A\n\
         dot in a key separates a table from its key: `hypervisor.accel` is\n\n\
         ```toml\n[hypervisor]\naccel = \"tcg\"\n```\n\n\
         A daemon that gets SIGHUP reads its settings again. What is `live` holds from then on; of the\n\
         others it says in its log that they need a restart.\n\n\
         | key | variable | flag | default | range | SIGHUP | meaning |\n|---|---|---|---|---|---|---|\n",
    );
    for key in KEYS {
        let code = |text: &str| {
            if text.is_empty() { String::from("-") } else { format!("`{text}`") }
        };
        let (name, env, flag) = (code(key.name), code(key.env), code(key.flag));
        let (default, range, help) = (code(key.default), key.range, key.help);
        let when = if key.live { "live" } else { "restart" };
        writeln!(out, "| {name} | {env} | {flag} | {default} | {range} | {when} | {help} |").unwrap();
    }
    out.push_str(
        "\nWithout root, the data directory is `$XDG_DATA_HOME/sistemo`, or `~/.local/share/sistemo`.\n\n\
         The daemon boots guests with the agent that was built in; `SISTEMO_AGENT` names another, and\n\
         without either `sistemo-agent` beside the program is taken.\n",
    );
    out
}
