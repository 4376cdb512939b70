//! The settings that this daemon runs with.

use super::{ProblemBody, Shared};
use crate::config;
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use types::List;
use utoipa::ToSchema;

/// A setting, as it holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Setting {
    /// Its name in `config.toml`.
    pub key: String,
    /// What it is set to; empty if to nothing.
    pub value: String,
    /// Who said so: `default`, a place in a file, an environment variable, or a flag.
    pub origin: String,
}

impl From<&config::Setting> for Setting {
    fn from(setting: &config::Setting) -> Self {
        Self {
            key: setting.key.name.to_owned(),
            value: setting.value.clone(),
            origin: setting.origin.to_string(),
        }
    }
}

/// Tells what the daemon runs with. What its file or environment say since, it does not know before it
/// reads them again.
#[utoipa::path(
    get,
    path = "/v1/config",
    tag = "host",
    operation_id = "config",
    responses(
        (status = 200, description = "Every setting", body = List<Setting>),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn config(State(app): State<Shared>) -> Json<List<Setting>> {
    let held = app.settings.read().unwrap_or_else(|e| e.into_inner());
    Json(List { items: held.iter().map(Setting::from).collect(), next_cursor: None })
}
