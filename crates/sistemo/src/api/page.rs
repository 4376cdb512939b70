//! The page behind the set-up link.

use axum::http::header;
use axum::response::{Html, IntoResponse};

/// Nothing from elsewhere, nothing inline but the style, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The form that makes the first admin.
pub async fn setup() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(include_str!("setup.html")))
}

/// What the form does.
pub async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("setup.js"))
}
