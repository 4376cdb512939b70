//! The shape of every list in the API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `{"items": […]}`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// The items, ordered by name or, without one, by id.
    pub items: Vec<T>,
    /// Where to go on, if there is more: the query parameter `cursor` of the next request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
