//! The shape of every list in the API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `{"items": […]}`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// The items, ordered by name or, without one, by id.
    pub items: Vec<T>,
}
