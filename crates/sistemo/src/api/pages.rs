//! Pages of lists.
//!
//! Invariant: a cursor is the last item's place in the order, so that what comes and goes meanwhile
//! neither repeats nor hides another; it is made here and understood nowhere else.

use super::body;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use types::{Code, Problem};
use utoipa::IntoParams;

/// The most items of a page.
pub const MAX: usize = 10_000;

/// A page of a list without filters.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageArgs {
    /// At most this many; all of them unless given.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl PageArgs {
    /// That page of `items`, as [`cut`] makes it.
    ///
    /// # Errors
    /// `invalid-request`.
    pub fn of<T: Serialize + Send + 'static>(
        &self,
        items: Vec<T>,
        place: impl Fn(&T) -> String,
    ) -> Result<Response, Problem> {
        cut(items, self.limit, self.cursor.as_deref(), place)
    }
}

/// The number of items that was asked for.
///
/// # Errors
/// `invalid-request`.
pub fn limit(asked: Option<usize>, unless: usize) -> Result<usize, Problem> {
    match asked {
        None => Ok(unless),
        Some(n) if (1..=MAX).contains(&n) => Ok(n),
        Some(n) => Err(Problem::new(Code::InvalidRequest, format!("limit = {n} makes no page"))
            .hint(format!("ask for 1 to {MAX} items"))),
    }
}

/// The page of `items`, which are in the order of `place`.
///
/// # Errors
/// `invalid-request` if the cursor is none of ours.
pub fn cut<T: Serialize + Send + 'static>(
    items: Vec<T>,
    limit_asked: Option<usize>,
    cursor: Option<&str>,
    place: impl Fn(&T) -> String,
) -> Result<Response, Problem> {
    let n = limit(limit_asked, usize::MAX)?;
    let mut rest = items;
    if let Some(cursor) = cursor {
        let after = decode(cursor)?;
        rest.retain(|item| place(item) > after);
    }
    let more = rest.len() > n;
    rest.truncate(n);
    let next = more.then(|| rest.last().map(|item| encode(&place(item)))).flatten();
    Ok(body::page(rest, next))
}

/// A cursor for this place.
pub fn encode(place: &str) -> String {
    super::access::secret::hex(place.as_bytes())
}

/// The place of a cursor.
///
/// # Errors
/// `invalid-request`.
pub fn decode(cursor: &str) -> Result<String, Problem> {
    let bytes: Option<Vec<u8>> = cursor
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|p| p.len() == 2)?, 16).ok())
        .collect();
    bytes.and_then(|b| String::from_utf8(b).ok()).filter(|p| !p.is_empty() && p.len() < 200).ok_or_else(
        || {
            Problem::new(Code::InvalidRequest, "the cursor is not of this list")
                .hint("take next_cursor of the page before, or begin without a cursor")
        },
    )
}

/// The id of a cursor of a list in the order of time.
///
/// # Errors
/// `invalid-request`.
pub fn id(cursor: Option<&str>) -> Result<Option<uuid::Uuid>, Problem> {
    let bad = |_| {
        Problem::new(Code::InvalidRequest, "the cursor is not of this list")
            .hint("take next_cursor of the page before, or begin without a cursor")
    };
    cursor.map(|c| decode(c)?.parse().map_err(bad)).transpose()
}

/// The labels of a query.
pub fn labels_in_query(asked: Option<&str>) -> Result<types::label::Labels, types::Problem> {
    let each: Vec<&str> = asked.unwrap_or_default().split(',').filter(|l| !l.is_empty()).collect();
    types::label::Labels::parse(&each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    async fn page(limit: Option<usize>, cursor: Option<&str>) -> Value {
        let items: Vec<_> = (0..10).map(|n| format!("v{n}")).collect();
        let answer = cut(items, limit, cursor, Clone::clone).unwrap();
        let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn pages_are_the_list() {
        let whole = page(None, None).await;
        assert_eq!(whole.get("next_cursor"), None);
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let part = page(Some(3), cursor.as_deref()).await;
            all.extend(part["items"].as_array().unwrap().clone());
            match part.get("next_cursor") {
                Some(next) => cursor = next.as_str().map(ToOwned::to_owned),
                None => break,
            }
        }
        assert_eq!(Value::from(all), whole["items"]);
        assert_eq!(page(Some(10), None).await.get("next_cursor"), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["x", "0", "zz", "", "ff", "\u{fc}\u{fc}", &"00".repeat(500)] {
            assert!(decode(bad).is_err(), "{bad}");
        }
        assert!(limit(Some(0), 1).is_err() && limit(Some(MAX + 1), 1).is_err());
        assert!(id(Some(&encode("x"))).is_err());
    }
}
