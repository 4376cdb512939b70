//! `sistemo config`: each setting, its value and where it came from.

use super::Ended;
use super::context::Context;
use super::render::{self, Format, Table};
use clap::Args;
use serde::Serialize;
use types::List;

/// Flags of `config`: none.
#[derive(Args)]
pub struct Config {}

#[derive(Serialize)]
struct Row {
    key: &'static str,
    value: String,
    origin: String,
}

impl Config {
    /// Shows the settings.
    pub fn run(self, context: &Context) -> Ended {
        let config = context.config(Vec::new(), true)?;
        let items = config.settings.into_iter().map(|s| Row {
            key: s.key.name,
            value: s.value,
            origin: s.origin.to_string(),
        });
        let list = List { items: items.collect(), next_cursor: None };
        if context.format() == Format::Name {
            let keys: Vec<_> = list.items.iter().map(|row| format!("{}\n", row.key)).collect();
            return render::print(&keys.concat());
        }
        if context.format() != Format::Text {
            return render::one(context.format(), &list, |_| String::new());
        }
        let mut table = Table::new(&["KEY", "VALUE", "ORIGIN"]);
        for row in &list.items {
            let value = if row.value.is_empty() { "-" } else { &row.value };
            table.row(&[row.key, value, &row.origin]);
        }
        table.lines(render::print)
    }
}
