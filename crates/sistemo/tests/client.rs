//! The client without the command line.

use serde_json::json;
use sistemo::client::{Client, Patience};
use std::time::Duration;
use types::{Code, Operation};

fn running() -> Operation {
    serde_json::from_value(json!({
        "id": "0192f0c1-2345-7abc-8def-0123456789ff", "verb": "volume.create", "actor": "root",
        "target": {"kind": "volume", "id": null, "name": "v"}, "generation": 1, "state": "running",
        "problem": null, "created_at": "2026-01-31T12:00:00Z", "ended_at": null
    }))
    .unwrap()
}

#[tokio::test]
async fn patience_ends_with_the_operation_named() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("unix://{}/none.sock", dir.path().display());
    let client = Client::new(&url).unwrap().patience(Patience {
        total: Duration::ZERO,
        first_wait: Duration::ZERO,
        silence: Duration::ZERO,
    });
    let mut seen = 0;
    let problem = client.follow(running(), |_| seen += 1).await.unwrap_err();
    assert_eq!(problem.code, Code::DaemonUnreachable);
    let hint = problem.hint.unwrap();
    assert!(hint.contains("0192f0c1-2345-7abc-8def-0123456789ff goes on"), "{hint}");
    assert_eq!(seen, 1);
}
