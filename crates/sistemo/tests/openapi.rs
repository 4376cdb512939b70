//! `openapi/v1.json` is what the code says. `SISTEMO_BLESS=1` rewrites it.

mod common;

#[test]
fn the_checked_in_description_is_current() {
    let path = common::repository().join("openapi/v1.json");
    let text = sistemo::api::description().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("SISTEMO_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "the API has changed: review it with SISTEMO_BLESS=1 cargo test -p sistemo --test openapi"
    );
}

#[test]
fn operations_have_names_of_their_own_and_problems() {
    let api = serde_json::to_value(sistemo::api::description()).unwrap();
    let mut seen = std::collections::HashSet::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(seen.insert(id.to_owned()), "{id} twice");
            let problem = &operation["responses"]["default"];
            assert!(path == "/healthz" || problem.is_object(), "{method} {path}");
        }
    }
}
