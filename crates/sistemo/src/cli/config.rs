//! `sistemo config`: each setting, its value and where it came from.

use super::Ended;
use super::context::Context;
use super::render::{self, Format, Table};
use crate::api::Setting;
use clap::Args;
use types::List;

/// Flags of `config`.
#[derive(Args)]
pub struct Config {
    /// Ask the daemon what it runs with; else it is what a command would go by, started here and now
    #[arg(long)]
    running: bool,
}

impl Config {
    /// Shows the settings.
    pub async fn run(self, context: &Context) -> Ended {
        let list: List<Setting> = if self.running {
            context.client()?.get(&["config"]).await?
        } else {
            let config = context.config(true)?;
            List { items: config.settings.iter().map(Setting::from).collect(), next_cursor: None }
        };
        if context.format() != Format::Text {
            return render::one(context.format(), &list, |_| String::new());
        }
        let mut table = Table::new(&["KEY", "VALUE", "ORIGIN"]);
        for row in &list.items {
            let value = if row.value.is_empty() { "-" } else { &row.value };
            table.row(&[&row.key, value, &row.origin]);
        }
        table.lines(render::print)
    }
}
