//! Fetching with curl, which knows proxies, redirects and certificates.

use std::process::{Child, Command, Stdio};
use types::{Code, Problem};

/// What curl says last: the status that a server answered with, or 000.
const STATUS: &str = "%{stderr}\n%{http_code}\n";

/// Begins to fetch a URL.
///
/// # Errors
/// `tool-missing`.
pub fn fetch(url: &str) -> Result<Child, Problem> {
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--silent", "--show-error", "--location", "--proto", "=http,https"]);
    curl.args(["--write-out", STATUS, "--", url]);
    curl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    curl.spawn().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => missing(),
        _ => Problem::new(Code::ToolMissing, format!("curl cannot be run: {e}")).hint("apt install curl"),
    })
}

/// Whether all of it came; `size` passes through, which is nothing if nobody receives any more.
///
/// # Errors
/// `io-error`, with the reason; what curl said of it is for the log.
pub fn fetched(child: Child, size: Option<u64>) -> Result<Option<u64>, Problem> {
    let ended = child.wait_with_output();
    match ended {
        Ok(ended) if ended.status.success() || size.is_none() => Ok(size),
        Ok(ended) => {
            let said = String::from_utf8_lossy(&ended.stderr);
            tracing::debug!(status = %ended.status, "curl: {}", said.trim());
            let (why, hint) = reason(ended.status.code(), said.trim_end().lines().last().unwrap_or_default());
            Err(Problem::new(Code::IoError, format!("it cannot be fetched: {why}")).hint(hint))
        }
        Err(e) => Err(Problem::new(Code::IoError, format!("it cannot be fetched: {e}"))),
    }
}

/// What an exit code of curl means, with the status of the last answer, and what to look at.
fn reason(code: Option<i32>, status: &str) -> (String, &'static str) {
    let (why, hint) = match code {
        Some(3) => ("this is no URL", "check the URL"),
        Some(5 | 97) => ("the proxy cannot be reached", "check http_proxy and https_proxy"),
        Some(6) => ("no host of this name is known", "check the URL, and the name servers of this host"),
        Some(7) => ("nothing answers there", "check the URL, and whether this host may go there"),
        Some(22) => return (format!("the server answers with status {status}"), "check the URL"),
        Some(28) => ("the server took too long", "try again later"),
        Some(35 | 51 | 58 | 60 | 77 | 83 | 90 | 91) => (
            "no secure connection comes about",
            "look at its certificate, and at ca-certificates of this host",
        ),
        Some(47) => ("the server sends from one place to the next without an end", "check the URL"),
        Some(18 | 52 | 55 | 56 | 92) => ("the connection broke off", "try again"),
        _ => ("curl failed", "fetch it into a file, and import that"),
    };
    (why.to_owned(), hint)
}

/// There is no curl.
pub fn missing() -> Problem {
    Problem::new(Code::ToolMissing, "curl is not installed").hint("apt install curl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_curl_says_is_not_what_a_user_reads() {
        let child = fetch("http://127.0.0.1:9/disk.raw").unwrap();
        let problem = fetched(child, Some(1)).unwrap_err();
        assert_eq!(problem.to_string(), "it cannot be fetched: nothing answers there");
        assert_eq!(reason(Some(22), "404").0, "the server answers with status 404");
        assert_eq!(reason(None, "").0, "curl failed");
    }
}
