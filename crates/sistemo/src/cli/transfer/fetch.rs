//! Fetching with curl, which knows proxies, redirects and certificates.

use std::process::{Child, Command, Stdio};
use types::{Code, Problem};

/// Begins to fetch a URL.
///
/// # Errors
/// `tool-missing`.
pub fn fetch(url: &str) -> Result<Child, Problem> {
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--silent", "--show-error", "--location", "--proto", "=http,https", "--", url]);
    curl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    curl.spawn().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => missing(),
        _ => Problem::new(Code::ToolMissing, format!("curl cannot be run: {e}")),
    })
}

/// Whether all of it came; `size` passes through, which is nothing if nobody receives any more.
///
/// # Errors
/// `io-error`, with what curl said.
pub fn fetched(child: Child, size: Option<u64>) -> Result<Option<u64>, Problem> {
    let ended = child.wait_with_output();
    match ended {
        Ok(ended) if ended.status.success() || size.is_none() => Ok(size),
        Ok(ended) => {
            let said = String::from_utf8_lossy(&ended.stderr);
            let said = said.lines().next().unwrap_or("curl failed").trim().to_owned();
            Err(Problem::new(Code::IoError, format!("it cannot be fetched: {said}")).hint("check the URL"))
        }
        Err(e) => Err(Problem::new(Code::IoError, format!("it cannot be fetched: {e}"))),
    }
}

/// There is no curl.
pub fn missing() -> Problem {
    Problem::new(Code::ToolMissing, "curl is not installed").hint("apt install curl")
}
