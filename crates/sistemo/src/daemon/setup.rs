//! What a daemon says when it is up: where it is, and how there comes to be a first admin.
//!
//! Invariant: the code of the link goes to a person's terminal or file and never to the journal,
//! which others may read; it is good for one admin, and only while there is none.

use super::tcp::Bound;
use crate::api::Shared;
use std::io::Write;
use types::{Code, Problem};

/// Tells where TCP is, and prints the set-up link while there is no admin.
pub async fn announce(tcp: &Bound, app: &Shared) -> Result<(), Problem> {
    let url = tcp.url();
    match &tcp.fingerprint {
        Some(fingerprint) => tracing::info!("the API is at {url}, certificate {fingerprint}"),
        None => tracing::info!("the API is at {url}"),
    }
    let engine = app.engine.clone();
    let open = tokio::task::spawn_blocking(move || engine.setup_open())
        .await
        .map_err(|e| Problem::new(Code::Internal, format!("cannot begin: {e}")))??;
    if !open {
        return Ok(());
    }
    if journal() {
        tracing::info!(
            "there is no admin yet: `sistemo user create NAME --role admin` on this host makes one"
        );
        return Ok(());
    }
    let code = app.gate.setup_code()?;
    let text = format!("To make the first admin, open {url}/setup#{code}\n");
    let mut out = std::io::stdout().lock();
    if let Err(e) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        tracing::warn!("the set-up link could not be printed: {e}");
    }
    Ok(())
}

/// Whether standard output is the journal: systemd says which file that would be.
fn journal() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(std::io::stdout()).is_ok_and(|stat| told == format!("{}:{}", stat.st_dev, stat.st_ino))
}
